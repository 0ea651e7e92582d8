"""The table of images: one row per image, built from folders or from a manifest CSV."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from cxr_lightning.config import ColumnsConfig
from cxr_lightning.data import names
from cxr_lightning.data.files import find_files, find_images
from cxr_lightning.data.folders import read_folders
from cxr_lightning.data.manifest import read_manifest
from cxr_lightning.data.patients import PatientPattern
from cxr_lightning.errors import ConfigError, DataError

__all__ = ["COLUMNS", "Index", "find_images", "index_folders", "index_manifest"]

COLUMNS = ["path", "label", "split", "group", "source"]
PREDICTION_COLUMNS = ["path", "group", "label", "predicted", "error"]
"""What else `predictions.csv` has beside one column per class."""


@dataclass(frozen=True)
class Index:
    """Which images there are.

    `table` has one row per image: `path` (relative to `root`, POSIX), `label` (int), `split` (of
    the folder: "train", "val", "test" or "" for none), `group` (the patient), `source` (where the
    image comes from), and the manifest's other columns.
    """

    root: Path
    classes: tuple[str, ...]  # their position is the label
    table: pd.DataFrame
    ignored: dict[str, int]  # how many files were passed over, by suffix or "hidden"
    notes: list[str]  # sentences that the user should read, for the screen


def index_folders(
    root: Path,
    classes: dict[str, list[str]] | None = None,
    group_pattern: str | None = None,
    *,
    subfolder: str | None = None,
) -> Index:
    """Index `root/[train|val|test/]<class>/**/<image>`; the arguments are as in `conf/data`.

    Raises `DataError` for what is in the folders, `ConfigError` for what the arguments say of it.
    """
    pattern, listed = PatientPattern(group_pattern), names.listed_classes(classes)
    found = find_files(root)
    table, notes = read_folders(root, found, listed, subfolder, pattern.patient)
    index = Index(root, (), table.assign(group="", source=""), found.ignored, notes)
    return _named(index, listed, pattern, f"class folders under {root}")


def index_manifest(
    manifest: Path,
    root: Path | None = None,
    classes: dict[str, list[str]] | None = None,
    columns: ColumnsConfig | None = None,
    *,
    group_pattern: str | None = None,
) -> Index:
    """Index the images that a CSV lists; paths are relative to `root`, else to the CSV's folder."""
    columns, root = columns or ColumnsConfig(), root or manifest.parent
    pattern, listed = PatientPattern(group_pattern), names.listed_classes(classes)
    index = Index(root, (), read_manifest(manifest, root, columns), {}, [])
    return _named(index, listed, pattern, f"`{columns.label}`, {manifest}")


def _named(index: Index, listed: dict[str, str], pattern: PatientPattern, where: str) -> Index:
    """The names in a table (`class` instead of `label`) become classes, patients and sources."""
    table, notes = index.table, list(index.notes)
    if listed:
        order = tuple(dict.fromkeys(listed.values()))
        found = table["class"].map(lambda name: listed.get(names.key(name), ""))
        unknown = sorted(set(table["class"][found == ""]))
        if unknown:
            raise DataError(
                f"Unknown {names.some(unknown)} among the {where}. Known: {', '.join(order)}. "
                "Add the spelling to data.classes, or leave these images out."
            )
    else:
        found, notes_of_classes = names.unify(table["class"], "class")
        order, notes = tuple(sorted(set(found))), notes + notes_of_classes
        if len(order) < 2:
            raise DataError(f"Only one class, `{order[0]}`, among the {where}; two are needed.")
    taken = [name for name in order if name in (*PREDICTION_COLUMNS, *COLUMNS)]
    if taken:
        raise ConfigError(
            f"A class cannot be called {names.some(taken)}: predictions.csv has another column of "
            f"that name. Rename it, for example data.classes={{{taken[0]}_class:[{taken[0]}],…}}"
        )
    without = table["group"] == ""
    paths = table["path"][without]
    matched = paths.map(pattern.patient)
    notes += pattern.check(paths, matched, found[without])
    groups, notes_of_groups = names.unify(table["group"].where(~without, matched), "patient")
    sources, notes_of_sources = names.unify(table["source"], "source")
    clash = {name: f"manifest_{name}" for name in (*order, "predicted", "error")}
    table = table.rename(columns={k: v for k, v in clash.items() if k in table.columns[5:]})
    table = table.assign(
        label=found.map({name: i for i, name in enumerate(order)}).astype(int),
        group=groups.where(groups != "", table["path"]),
        source=sources.where(sources != "", index.root.name),
    )
    parts = table["path"].map(lambda path: PurePosixPath(path).parts)
    columns = [*COLUMNS, *(name for name in table.columns if name not in ("class", *COLUMNS))]
    table = table.loc[parts.sort_values().index, columns].reset_index(drop=True)
    notes += notes_of_groups + notes_of_sources
    return Index(index.root, order, table, index.ignored, notes)

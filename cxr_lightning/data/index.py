"""The table of images: one row per image, built from folders or from a manifest CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from cxr_lightning.config import ColumnsConfig
from cxr_lightning.data import names
from cxr_lightning.data.files import find_files, find_images
from cxr_lightning.data.folders import read_folders
from cxr_lightning.data.manifest import read_manifest
from cxr_lightning.data.names import some
from cxr_lightning.data.patients import PatientPattern
from cxr_lightning.errors import ConfigError, DataError

__all__ = ["COLUMNS", "Index", "find_images", "index_folders", "index_manifest"]

COLUMNS = ["path", "label", "split", "group", "source"]
PREDICTION_COLUMNS = ("path", "group", "label", "predicted", "error")
"""What else `predictions.csv` has beside one column per class."""


@dataclass(frozen=True)
class Index:
    """Which images there are.

    Attributes:
        root: the folder that relative paths start from.
        classes: class names; their position is the label.
        table: one row per image, columns `path` (relative to root, POSIX), `label` (int),
            `split` (of the folder: "train", "val", "test" or "" for none),
            `group` (the patient), `source` (where the image comes from), and the manifest's others.
        ignored: how many files that are not images were passed over, by suffix or "hidden".
        notes: sentences that the user should read, for the screen.
    """

    root: Path
    classes: tuple[str, ...]
    table: pd.DataFrame
    ignored: dict[str, int]
    notes: list[str] = field(default_factory=list)


def index_folders(
    root: Path,
    classes: dict[str, list[str]] | None = None,
    group_pattern: str | None = None,
    *,
    subfolder: str | None = None,
    pattern_works_on: Sequence[str] = (),
) -> Index:
    """Index `root/[train|val|test/]<class>/**/<image>`; `names.SPLIT_WORDS` has the split words.

    Args:
        root: the folder.
        classes: canonical class name to other spellings; None takes the folders' names, sorted.
        group_pattern: regular expression searched in the relative path; what its groups match,
            joined, is the patient. A path without a match is a patient of its own.
        subfolder: the folder in class folders whose images are meant, where there are several.
        pattern_works_on: see `PatientPattern`.

    Raises:
        DataError: unknown class folder, levels that are not as expected (see `folders`), no image.
        ConfigError: a pattern that matches nothing, classes that are one by their names.
    """
    listed = names.listed_classes(classes)
    pattern = PatientPattern(group_pattern, pattern_works_on)
    found = find_files(root)
    table, notes = read_folders(root, found, listed, subfolder, pattern.patient)
    table = table.assign(group="", source="")
    where = f"class folders under {root}"
    return _index(root, table, classes, pattern, where=where, ignored=found.ignored, notes=notes)


def index_manifest(
    manifest: Path,
    root: Path | None = None,
    classes: dict[str, list[str]] | None = None,
    columns: ColumnsConfig | None = None,
    *,
    group_pattern: str | None = None,
    pattern_works_on: Sequence[str] = (),
) -> Index:
    """Index the images that a CSV lists; paths are relative to `root`, else to the CSV's folder.

    Raises:
        DataError: see `manifest.read_manifest`; unknown class.
        ConfigError: as `index_folders`.
    """
    columns, root = columns or ColumnsConfig(), root or manifest.parent
    names.listed_classes(classes)
    pattern = PatientPattern(group_pattern, pattern_works_on)
    table = read_manifest(manifest, root, columns)
    where = f"`{columns.label}`, {manifest}"
    return _index(root, table, classes, pattern, where=where, ignored={}, notes=[])


def _index(
    root: Path,
    table: pd.DataFrame,
    classes: dict[str, list[str]] | None,
    pattern: PatientPattern,
    *,
    where: str,
    ignored: dict[str, int],
    notes: list[str],
) -> Index:
    """Names become classes, patients and sources; all that a folder and a manifest share."""
    if classes:
        known = names.listed_classes(classes)
        found = table["class"].map(lambda name: known.get(names.key(name), ""))
        unknown = sorted(set(table["class"][found == ""]))
        if unknown:
            raise DataError(
                f"Unknown {some(unknown)} among the {where}. Known: {', '.join(classes)}. "
                "Add the spelling to data.classes, or leave these images out."
            )
        order = tuple(classes)
    else:
        found, united = names.unify(table["class"], "class")
        notes = notes + united
        order = tuple(sorted(set(found)))
        if len(order) < 2:
            raise DataError(f"Only one class, `{order[0]}`, among the {where}; two are needed.")
    taken = [name for name in order if name in (*PREDICTION_COLUMNS, *COLUMNS)]
    if taken:
        raise ConfigError(
            f"A class cannot be called {some(taken)}: predictions.csv has another column of that "
            f"name. Rename it, for example data.classes={{{taken[0]}_class:[{taken[0]}],…}}"
        )
    groups, united = names.unify(table["group"], "patient")
    without = groups == ""
    if without.any():
        paths = table["path"][without]
        matched = paths.map(pattern.patient)
        notes = notes + pattern.check(paths, matched, found[without])
        matched, united = names.unify(groups.where(~without, matched), "patient")
        groups = matched.where(matched != "", table["path"])
    sources, united_sources = names.unify(table["source"], "source")
    clash = {name: f"manifest_{name}" for name in (*order, *PREDICTION_COLUMNS[3:])}
    table = table.rename(columns={k: v for k, v in clash.items() if k in table.columns[5:]})
    table = table.assign(
        label=found.map({name: i for i, name in enumerate(order)}).astype(int),
        group=groups,
        source=sources.where(sources != "", root.name),
    )
    parts = table["path"].map(lambda path: PurePosixPath(path).parts)
    columns = [*COLUMNS, *(name for name in table.columns if name not in ("class", *COLUMNS))]
    table = table.loc[parts.sort_values().index, columns].reset_index(drop=True)
    return Index(root, order, table, ignored, notes + united + united_sources)

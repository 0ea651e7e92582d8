"""The table of images: one row an image, built from folders or from a manifest CSV."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from cxr_lightning.config import ColumnsConfig
from cxr_lightning.data.decode import looks_like_image
from cxr_lightning.errors import DataError

SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
CLASSES_KEY = "data.classes"


@dataclass(frozen=True)
class Index:
    """Which images there are.

    Attributes:
        root: the folder that relative paths start from.
        classes: class names; their position is the label.
        table: one row an image, columns `path` (relative to root, POSIX), `label` (int),
            `split` (of the folder: "train", "val", "test" or "" for none),
            `group` (the patient), `source` (where the image comes from).
        ignored: how many files that are not images were passed over, by suffix or "hidden".
    """

    root: Path
    classes: tuple[str, ...]
    table: pd.DataFrame
    ignored: dict[str, int]


def index_folders(
    root: Path, classes: dict[str, list[str]] | None = None, group_pattern: str | None = None
) -> Index:
    """Index `root/[train|val|validation|test/]<class>/**/<image>`.

    Args:
        root: the folder.
        classes: canonical class name to other spellings; None takes the folders' names, sorted.
        group_pattern: regular expression searched in the relative path; what its groups match,
            joined, is the patient. A path without a match is a patient of its own.

    Raises:
        DataError: unknown class folder, image outside a class folder, or no image at all.
    """
    ignored: Counter[str] = Counter()
    rows = []
    stray = []
    for path in _images(root, ignored):
        folders = path.parts[:-1]
        split = SPLIT_FOLDERS.get(folders[0].lower(), "") if folders else ""
        below = folders[1:] if split else folders
        if below:
            rows.append((path.as_posix(), below[0], split))
        else:
            stray.append(path.as_posix())
    if stray:
        raise DataError(
            f"{len(stray)} images under {root} lie in no class folder, for example {stray[0]}. "
            "Expected: [train|val|test/]<class>/<image>, or a manifest (data.manifest=…)."
        )
    if not rows:
        raise DataError(
            f"No images under {root} ({sum(ignored.values())} other files). "
            "Expected: [train|val|test/]<class>/<image>."
        )
    table = pd.DataFrame(rows, columns=["path", "class", "split"])
    names = tuple(classes) if classes else tuple(sorted(table["class"].unique()))
    table["label"] = _labels(table["class"], names, classes, where=f"class folders under {root}")
    table["group"] = _groups(table["path"], group_pattern)
    table["source"] = root.name
    return Index(root, names, _ordered(table), dict(ignored))


def index_manifest(
    manifest: Path,
    root: Path | None = None,
    classes: dict[str, list[str]] | None = None,
    columns: ColumnsConfig | None = None,
    group_pattern: str | None = None,
) -> Index:
    """Index the images that a CSV lists; paths are relative to `root`, else to the CSV's folder.

    Raises:
        DataError: CSV or column missing, unknown class or split, path listed twice, file missing.
    """
    columns = columns or ColumnsConfig()
    if not manifest.is_file():
        raise DataError(f"The manifest {manifest} does not exist (data.manifest).")
    root = root or manifest.parent
    try:
        listed = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    except ValueError as error:  # empty, not a table, or not UTF-8
        raise DataError(f"{manifest} cannot be read as a CSV in UTF-8: {error}") from error
    for field, name in columns:
        required = field in ("path", "label") or name != ColumnsConfig.model_fields[field].default
        if required and name not in listed.columns:
            raise DataError(
                f"{manifest} has no column `{name}`; its columns are {', '.join(listed.columns)}. "
                f"Name yours with data.columns.{field}=…"
            )
    if listed.empty:
        raise DataError(f"{manifest} lists no images.")
    table = pd.DataFrame({"path": listed[columns.path], "class": listed[columns.label]})
    table["path"] = table["path"].map(lambda path: PurePosixPath(path).as_posix())  # no `./`
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise DataError(f"{manifest} lists {_some(twice)} more than once.")
    absent = [path for path in table["path"] if not (root / path).is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} files of {manifest} are not under {root}: {_some(absent)}. "
            "Set data.root to the folder that its paths start from."
        )
    names = tuple(classes) if classes else tuple(sorted(set(table["class"]) - {""}))
    table["label"] = _labels(table["class"], names, classes, where=f"`{columns.label}`, {manifest}")
    table["split"] = _manifest_splits(listed, columns.split, manifest)
    table["group"] = _groups(table["path"], group_pattern)
    if columns.group in listed.columns:
        table["group"] = listed[columns.group].where(listed[columns.group] != "", table["group"])
    table["source"] = listed[columns.source] if columns.source in listed.columns else root.name
    return Index(root, names, _ordered(table), {})


def find_images(where: Path) -> tuple[Path, list[str], dict[str, int]]:
    """Every image under a folder, or the one image.

    Returns:
        The folder, the images (POSIX paths relative to it), and the ignored files as in `Index`.

    Raises:
        DataError: it does not exist, or has no images.
    """
    if not where.exists():
        raise DataError(f"No images at {where.absolute()} (input): it does not exist.")
    if where.is_file():
        return where.parent, [where.name], {}
    ignored: Counter[str] = Counter()
    images = [path.as_posix() for path in _images(where, ignored)]
    if not images:
        raise DataError(f"No images under {where.absolute()} ({ignored.total()} other files).")
    return where, images, dict(ignored)


def _images(root: Path, ignored: Counter[str]) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders.sort()
        for name in sorted(files):
            path = (Path(folder) / name).relative_to(root)
            if _is_hidden(path):
                ignored["hidden"] += 1
            elif looks_like_image(root / path):
                yield path
            else:
                ignored[path.suffix.lower() or path.name] += 1


def _is_hidden(path: Path) -> bool:
    # macOS writes `._name.jpg` beside each file that it copies to a foreign disk and `__MACOSX/`
    # into zips, Jupyter copies opened files to `.ipynb_checkpoints/`.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _spelling(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _labels(
    found: "pd.Series[str]",
    names: tuple[str, ...],
    classes: dict[str, list[str]] | None,
    where: str,
) -> "pd.Series[int]":
    position = {name: i for i, name in enumerate(names)}
    if classes:
        spellings = {
            _spelling(spelling): position[name]
            for name, others in classes.items()
            for spelling in (name, *others)
        }
        position = {
            name: spellings[s] for name in found.unique() if (s := _spelling(name)) in spellings
        }
    unknown = sorted(set(found.unique()) - set(position))
    if unknown:
        raise DataError(
            f"Unknown {_some(unknown)} among the {where}. Known: {', '.join(names)}. "
            f"Add the spelling to {CLASSES_KEY}, or move the folder away."
        )
    return found.map(position).astype(int)


def _groups(paths: "pd.Series[str]", pattern: str | None) -> "pd.Series[str]":
    if pattern is None:
        return paths
    expression = re.compile(pattern)

    def group(path: str) -> str:
        match = expression.search(path)
        parts = [part for part in match.groups() if part] if match else []
        return "/".join(parts) or path

    return paths.map(group)


def _manifest_splits(listed: pd.DataFrame, column: str, manifest: Path) -> "pd.Series[str]":
    if column not in listed.columns:
        return pd.Series("", index=listed.index)
    known = {**SPLIT_FOLDERS, "": ""}
    unknown = sorted({name for name in listed[column].unique() if name.lower() not in known})
    if unknown:
        raise DataError(
            f"Unknown {_some(unknown)} in column `{column}` of {manifest}. "
            f"Known: {', '.join(SPLIT_FOLDERS)} or empty."
        )
    return listed[column].str.lower().map(known)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    order = table["path"].map(lambda path: PurePosixPath(path).parts)
    return table.loc[
        order.sort_values().index, ["path", "label", "split", "group", "source"]
    ].reset_index(drop=True)


def _some(names: "pd.Series[str] | list[str]", most: int = 20) -> str:
    listed = ", ".join(f"`{name}`" for name in list(names)[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")

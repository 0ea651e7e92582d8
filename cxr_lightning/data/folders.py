"""Class and split of images in folders, `[train|val|test/]<class>/**`, or what is wrong there.

No folder level may be taken for another one: a class that is none would be trained, and tested,
without a word.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cxr_lightning.data import names
from cxr_lightning.data.files import Found
from cxr_lightning.data.names import count, some
from cxr_lightning.errors import ConfigError, DataError

EXPECTED = "Expected: [train|val|test/]<class>/<image>"
ALL_SUBFOLDERS = "*"
KINDS_OF_PICTURE = {
    *("image", "images", "img", "imgs", "mask", "masks", "lung masks", "annotations"),
    *("segmentation", "segmentations"),
}
MASK_ENDING = re.compile(r" (masks?|seg|segmentation|label)$")
Parts = tuple[str, ...]


def read_folders(
    root: Path,
    found: Found,
    listed: dict[str, str],
    subfolder: str | None,
    patient: Callable[[str], str],
) -> tuple[pd.DataFrame, list[str]]:
    """Columns `path`, `class` (the folder's name) and `split`, and sentences for the user.

    Args:
        root: the folder that was searched.
        found: what is in it.
        listed: key of each listed class or spelling → class (see `names`); empty: all folders.
        subfolder: `data.subfolder`, the folder in a class folder whose images are meant.
        patient: the patient that a path names, or "".

    Raises:
        DataError: levels that are not as expected, with the tree that was seen or the right root.
        ConfigError: no such subfolder.
    """
    if not found.images:
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(found.ignored.items()))
        raise DataError(
            f"No images under {root} ({sum(found.ignored.values())} other files)"
            f"{': ' + kinds if kinds else ''}. {EXPECTED}."
        )
    _refuse_deeper_splits(root, found)
    rows = []
    for path in found.images:
        folders = path.parts[:-1]
        split = names.split_of(folders[0]) if folders else ""
        rows.append((path, split, folders[bool(split) :]))
    _refuse_stray(root, [path for path, _, below in rows if not below], len(rows))
    classes = listed or {names.key(below[0]): below[0] for _, _, below in rows}
    _refuse_deeper_classes(root, found, rows, classes, bool(listed))
    _refuse_empty_classes(root, found, listed)
    rows, notes = _in_subfolder(rows, subfolder)
    if subfolder is None:
        _refuse_repeats(rows, patient)
    if not listed and len(classes) < 2:
        raise DataError(
            f"Only one class folder, `{rows[0][2][0]}`, under {root}; at least two are needed. "
            f"{EXPECTED}. Found:\n{_tree(root, found)}"
        )
    table = pd.DataFrame(
        [(path.as_posix(), below[0], split) for path, split, below in rows],
        columns=["path", "class", "split"],
    )
    for split in ("train", "test"):
        there = {names.key(name) for name in table["class"][table["split"] == split]}
        there_listed = {classes.get(name, name) for name in there}
        lacking = [name for name in dict.fromkeys(classes.values()) if name not in there_listed]
        if there and lacking:
            notes.append(f"The {split} folder has no images of {', '.join(lacking)}.")
    return table, notes


Rows = list[tuple[Path, str, Parts]]  # image, split, folders from the class folder on


def _refuse_deeper_splits(root: Path, found: Found) -> None:
    """A folder below the root that holds split folders is no class."""
    holders: defaultdict[Parts, set[str]] = defaultdict(set)
    for path in found.images:
        for depth, name in enumerate(path.parts[:-1]):
            if depth and names.split_of(name):
                holders[path.parts[:depth]].add(name)
    deepest = [
        parts
        for parts in holders
        if not any(p[: len(parts)] == parts for p in holders if p != parts)
    ]
    if not deepest:
        return
    shown = ["/".join(parts) for parts in deepest]
    if len(shown) > 1:
        raise DataError(
            f"The folders {some(shown, 6)} under {root} hold split folders each "
            f"({', '.join(sorted(holders[deepest[0]]))}), so they are no classes. {EXPECTED}. Set "
            "data.root to the folder of one set, move the split folders to the top, or list the "
            f"images in a manifest (data.manifest). Found:\n{_tree(root, found)}"
        )
    raise DataError(
        f"`{shown[0]}` under {root} holds split folders "
        f"({', '.join(sorted(holders[deepest[0]]))}), so it is no class. "
        f"Set data.root={root / shown[0]}, or move that folder away if it is a copy."
    )


def _refuse_stray(root: Path, stray: list[Path], n_images: int) -> None:
    if not stray:
        return
    advice = "Move them into class folders or away, or list them in a manifest (data.manifest=…)."
    if all(len(path.parts) == 1 for path in stray) and len(stray) == n_images:
        parent = root.absolute().parent
        right = parent.parent if names.split_of(parent.name) else parent
        advice = (
            f"If `{root.name}` is a class folder, set data.root={right}. If a table names the "
            "classes, set data.manifest=…"
        )
    raise DataError(
        f"{count(len(stray), 'image')} under {root} lie in no class folder, for example "
        f"{stray[0].as_posix()}. {EXPECTED}. {advice}"
    )


def _refuse_deeper_classes(
    root: Path, found: Found, rows: Rows, classes: dict[str, str], are_listed: bool
) -> None:
    """A folder that holds folders called like classes, or that names a kind of picture."""
    holders: defaultdict[Parts, set[str]] = defaultdict(set)
    for path, split, below in rows:
        own = classes.get(names.key(below[0]))
        start = path.parts[: bool(split)]
        for depth, name in enumerate(below):
            if depth and classes.get(names.key(name), own) != own:
                holders[start + below[:depth]].add(name)
                break
        if not are_listed and names.key(below[0]) in KINDS_OF_PICTURE:
            holders[(*start, below[0])].update(below[1:2])
    if not holders:
        return
    shown = ["/".join(parts) for parts in holders]
    inside = sorted(set.union(*holders.values()))
    why = f"hold the folders {some(inside, 6)}" if inside else "name a kind of picture"
    roots = [f"data.root={root.joinpath(*parts)}" for parts, held in holders.items()
             if held and not names.split_of(parts[0])]  # fmt: skip
    raise DataError(
        f"Under {root}, these cannot be classes because they {why}: {some(shown, 6)}. {EXPECTED}. "
        + (f"Set {' or '.join(roots[:3])}, or move" if roots else "Move")
        + f" away what is no class. Found:\n{_tree(root, found)}"
    )


def _refuse_empty_classes(root: Path, found: Found, listed: dict[str, str]) -> None:
    """A class folder without images: an unreadable format, or an archive that is still packed."""
    filled = {path.parts[:depth] for path in found.images for depth in range(len(path.parts))}
    empty = []
    for folder in found.folders:
        level = folder.parts[bool(folder.parts and names.split_of(folder.parts[0])) :]
        if len(level) != 1 or (listed and names.key(level[0]) not in listed):
            continue
        if folder.parts not in filled:
            others = [
                path for path in found.others if path.parts[: len(folder.parts)] == folder.parts
            ]
            files = (
                f"{count(len(others), 'other file')}, for example {others[0].name}"
                if others
                else "empty"
            )
            empty.append(f"  {folder.as_posix()} ({files})")
    if empty:
        raise DataError(
            f"Class folders without images under {root}:\n" + "\n".join(empty) + "\nAdd their "
            "images, or move these folders away"
            + ("." if listed else "; or say which folders are classes: data.classes={NAME:[],…}.")
        )


def _in_subfolder(rows: Rows, subfolder: str | None) -> tuple[Rows, list[str]]:
    """The images in `subfolder` of those class folders that have it, and all of the others."""
    if subfolder in (None, ALL_SUBFOLDERS):
        return rows, []
    wanted = names.key(subfolder)

    def inside(below: Parts) -> bool:
        return wanted in map(names.key, below[1:]) or (wanted == "." and not below[1:])

    having = {(split, below[0]) for _, split, below in rows if inside(below)}
    if not having:
        seen = sorted({"/".join(below[1:]) or "." for _, _, below in rows})
        raise ConfigError(
            f"data.subfolder={subfolder}: no class folder has images there. Found: {some(seen)}."
        )
    kept = [row for row in rows if inside(row[2]) or (row[1], row[2][0]) not in having]
    left_out = len(rows) - len(kept)
    return kept, [
        f"data.subfolder={subfolder} leaves out {count(left_out, 'image')} of other subfolders."
    ]


def _refuse_repeats(rows: Rows, patient: Callable[[str], str]) -> None:
    """Subfolders of a class that repeat file names hold the same films twice, or their masks."""
    per_class: defaultdict[tuple[str, str], dict[tuple[str, str], list[str]]] = defaultdict(dict)
    for path, split, below in rows:
        film = MASK_ENDING.sub("", names.key(path.stem))
        films = per_class[split, below[0]]
        # What a pattern tells apart is two patients, whatever the files are called.
        films.setdefault((film, patient(path.as_posix())), []).append("/".join(below[1:]) or ".")
    for (split, name), films in per_class.items():
        n_all = Counter(folder for places in films.values() for folder in places)
        repeated = Counter(
            folder for places in films.values() if len(set(places)) > 1 for folder in places
        )
        if any(2 * n >= n_all[folder] for folder, n in repeated.items()):
            folders = sorted(repeated, key=lambda folder: ("mask" in folder.lower(), folder))
            each = [f"{folder} ({count(n_all[folder], 'image')})" for folder in folders]
            raise DataError(
                f"Subfolders of {split + ' ' if split else ''}{name} repeat the same file names: "
                f"{some(each, 6, '')}. If some hold masks or copies, name the one that counts: "
                f"data.subfolder={folders[0].rpartition('/')[2]}. If each is a patient: "
                "'data.group_pattern=\"([^/]+)/[^/]+$\"'. To take all as they are: "
                "data.subfolder='*'."
            )


def _tree(root: Path, found: Found, most: int = 16) -> str:
    """The folders with the images in and below each, three levels deep where they are few."""
    counts = Counter(
        path.parts[:depth] for path in found.images for depth in range(1, len(path.parts))
    )
    levels = [sorted(parts for parts in counts if len(parts) <= depth) for depth in (3, 2, 1)]
    shown = next((level for level in levels if len(level) <= most), levels[-1])
    lines = [f"  {root}/"] + [
        f"  {'  ' * len(parts)}{parts[-1]}/ ({count(counts[parts], 'image')})"
        for parts in shown[:most]
    ]
    return "\n".join(lines + (["  …"] if len(shown) > most else []))

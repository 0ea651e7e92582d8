"""Class and split of images in folders, `[train|val|test/]<class>/**`, or what is wrong there.

No folder level may be taken for another one: a class that is none would be trained, and tested,
without a word.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path, PurePath

import pandas as pd

from cxr_lightning.data import names
from cxr_lightning.data.files import Found
from cxr_lightning.data.names import count, some
from cxr_lightning.errors import ConfigError, DataError

EXPECTED = "Expected: [train|val|test/]<class>/<image>"
ALL_SUBFOLDERS = "*"
KINDS_OF_PICTURE = re.compile(r"(.* )?(images?|imgs?|masks?|segmentations?|annotations?)")
MASK_FOLDER = re.compile(r"(.* )?(masks?|segmentations?|annotations?)")
MASK_ENDING = re.compile(r" (masks?|seg|segmentation|label)$")
Parts = tuple[str, ...]
Rows = list[tuple[Path, str, Parts]]  # image, split, folders from the class folder on


def read_folders(
    root: Path,
    found: Found,
    listed: dict[str, str],
    subfolder: str | None,
    patient: Callable[[str], str],
) -> tuple[pd.DataFrame, list[str]]:
    """Columns `path`, `class` (the folder's name) and `split`, and sentences for the user.

    `listed` is `names.listed_classes`, empty: all folders are classes; `patient` gives the patient
    that a path names, or "".

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
    rows = []
    for path in found.images:
        folders = path.parts[:-1]
        split = names.split_of(folders[0]) if folders else ""
        rows.append((path, split, folders[bool(split) :]))
    classes = listed or {names.key(below[0]): below[0] for *_, below in rows if below}
    _refuse_wrong_levels(root, found, rows, classes, are_listed=bool(listed))
    _refuse_stray(root, [path for path, _, below in rows if not below], len(rows))
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
        there = {classes.get(names.key(name)) for _, where, (name, *_) in rows if where == split}
        lacking = [name for name in dict.fromkeys(classes.values()) if name not in there]
        if there and lacking:
            notes.append(f"The {split} folder has no images of {', '.join(lacking)}.")
    outside = table["path"][table["split"] == ""]
    if 0 < len(outside) < len(table):
        n = count(len(outside), "image")
        notes.append(
            f"{n} outside the split folders (for example {outside.iloc[0]}): they train if "
            "split=official."
        )
    return table, notes


def _refuse_wrong_levels(
    root: Path, found: Found, rows: Rows, classes: dict[str, str], *, are_listed: bool
) -> None:
    """A folder that holds split folders or folders called like other classes is no class.

    Nor is one that names a kind of picture, unless it is listed.
    """
    holders: defaultdict[Parts, set[str]] = defaultdict(set)
    for path, split, below in rows:
        own = classes.get(names.key(below[0])) if below else None
        for depth, name in enumerate(path.parts[:-1]):
            is_class = depth > bool(split) and classes.get(names.key(name), own) != own
            if is_class or (depth and names.split_of(name)):
                holders[path.parts[:depth]].add(name)
                break
        else:
            if below and not are_listed and KINDS_OF_PICTURE.fullmatch(names.key(below[0])):
                holders[path.parts[: bool(split) + 1]].update(below[1:2])
    # A copy within a copy, as in Kermany's archive: the innermost is whole.
    wrong = [p for p in holders if not any(q[: len(p)] == p for q in holders if q != p)]
    if not wrong:
        return
    inside = sorted(set.union(*(holders[parts] for parts in wrong)))
    why = f"hold {some(inside, 6)}" if inside else "name a kind of picture"
    roots = [f"data.root={root.joinpath(*parts)}" for parts in wrong
             if holders[parts] and not names.split_of(parts[0])]  # fmt: skip
    raise DataError(
        f"Not classes, under {root}: {some(map('/'.join, wrong), 6)}, for they {why}. "
        f"{EXPECTED}. " + (f"Set {' or '.join(roots[:3])}. Or m" if roots else "M") + "ove the "
        f"folders to the expected places, and copies away. Found:\n{_tree(root, found)}"
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


def _refuse_empty_classes(root: Path, found: Found, listed: dict[str, str]) -> None:
    """A class folder without images: an unreadable format, or an archive that is still packed."""
    filled = {path.parts[:depth] for path in found.images for depth in range(len(path.parts))}
    empty = []
    for folder in found.folders:
        level = folder.parts[bool(folder.parts and names.split_of(folder.parts[0])) :]
        if len(level) != 1 or (listed and names.key(level[0]) not in listed):
            continue
        if folder.parts not in filled:
            files = [path.name for path in found.others if folder in path.parents]
            what = f"{count(len(files), 'other file')}, like {files[0]}" if files else "empty"
            empty.append(f"  {folder.as_posix()} ({what})")
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
        # What a pattern tells apart is two patients, whatever the files are called.
        places = per_class[split, below[0]].setdefault((film, patient(path.as_posix())), [])
        places.append("/".join(below[1:]) or ".")
    for (split, name), films in per_class.items():
        n_all = Counter(folder for places in films.values() for folder in places)
        n_again = Counter(
            folder for places in films.values() if len(set(places)) > 1 for folder in places
        )
        masks = {f for f in n_all if MASK_FOLDER.fullmatch(names.key(f.rpartition("/")[2]))}
        if masks or any(2 * n >= n_all[folder] for folder, n in n_again.items()):
            folders = sorted(n_all if masks else n_again, key=lambda f: (f in masks, f))
            each = [f"{folder} ({count(n_all[folder], 'image')})" for folder in folders]
            what = "hold masks" if masks else "repeat the same file names"
            raise DataError(
                f"Subfolders of {split + ' ' if split else ''}{name} {what}: {some(each, 6, '')}. "
                f"Name the one that counts, for example data.subfolder={PurePath(folders[0]).name}"
                ". If each is a patient: 'data.group_pattern=\"([^/]+)/[^/]+$\"'. "
                "To take all: data.subfolder='*'."
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

"""Class and split of images in folders, `[train|val|test/]<class>/**`, or what is wrong there.

No folder level may be taken for another one: a class that is none would be trained, and tested,
without a word.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import NamedTuple

import pandas as pd

from cxr_lightning.data import names
from cxr_lightning.data.files import Found
from cxr_lightning.data.names import count, some
from cxr_lightning.errors import ConfigError, DataError

MASKS = r"masks?|segmentations?|annotations?"
MASK_FOLDER = re.compile(rf"(.* )?({MASKS})")
KINDS_OF_PICTURE = re.compile(rf"(.* )?(images?|imgs?|{MASKS})")
MASK_ENDING = re.compile(r" (masks?|seg|segmentation|label)$")


class _Image(NamedTuple):
    path: Path
    split: str
    below: tuple[str, ...]  # the class folder and those in it


def read_folders(
    root: Path,
    found: Found,
    listed: dict[str, str],
    subfolder: str | None,
    patient: Callable[[str], str],
) -> tuple[pd.DataFrame, list[str]]:
    """Columns `path`, `class` (the folder's name) and `split`, and sentences for the user.

    `listed` is `names.listed_classes`, empty: all folders are classes; `patient` gives the patient
    that a path names, or "". Raises `DataError` for levels that are not as expected, with the tree
    that was seen or the right root, and `ConfigError` where no class has `subfolder`.
    """
    images, notes = [], []
    for path in found.images:
        split = names.split_of(path.parts[0]) if path.parts[1:] else ""
        images.append(_Image(path, split, path.parts[bool(split) : -1]))
    classes = listed or {names.key(i.below[0]): i.below[0] for i in images if i.below}
    _refuse_wrong_levels(root, images, classes, are_listed=bool(listed))
    _refuse_empty_classes(root, found, listed)
    if not listed and len(classes) < 2:
        what = f"Only one class folder, `{images[0].below[0]}`, under {root}; two are needed"
        raise _wrong_levels(root, images, what)
    if subfolder is None:
        _refuse_repeats(images, patient)
    elif subfolder != "*":
        n_all, images = len(images), _in_subfolder(images, subfolder)
        left_out = count(n_all - len(images), "image")
        notes.append(f"data.subfolder={subfolder} leaves out {left_out} of other subfolders.")
    rows = [(image.path.as_posix(), image.below[0], image.split) for image in images]
    table = pd.DataFrame(rows, columns=["path", "class", "split"])
    for split in ("train", "test"):
        there = {classes.get(names.key(name)) for name in table["class"][table["split"] == split]}
        lacking = [name for name in dict.fromkeys(classes.values()) if name not in there]
        if there and lacking:
            notes.append(f"The {split} folder has no images of {', '.join(lacking)}.")
    outside = table["path"][table["split"] == ""]
    if 0 < len(outside) < len(table):
        notes.append(
            f"{count(len(outside), 'image')} outside the split folders (for example "
            f"{outside.iloc[0]}): they train if split=official."
        )
    return table, notes


def _wrong_levels(root: Path, images: list[_Image], what: str, advice: str = "") -> DataError:
    """With the folders that have images, three levels deep."""
    folders = Counter("/".join(image.path.parts[:-1][:3]) for image in images)
    tree = [f"\n  {folder or '.'} ({count(n, 'image')})" for folder, n in sorted(folders.items())]
    shown = "".join(tree[:16]) + ("\n  …" if tree[16:] else "")
    expected = "Expected: [train|val|test/]<class>/<image>."
    return DataError(f"{what}. {expected}{advice} Found under {root}:{shown}")


def _refuse_wrong_levels(
    root: Path, images: list[_Image], classes: dict[str, str], *, are_listed: bool
) -> None:
    wrong: defaultdict[tuple[str, ...], bool] = defaultdict(bool)  # whether it holds folders
    for path, split, below in images:
        own = classes.get(names.key(below[0])) if below else None
        for depth, name in enumerate(path.parts[:-1]):
            is_class = depth > bool(split) and classes.get(names.key(name), own) != own
            if is_class or (depth and names.split_of(name)):
                wrong[path.parts[:depth]] = True
                break
        else:
            if below and not are_listed and KINDS_OF_PICTURE.fullmatch(names.key(below[0])):
                wrong[path.parts[: bool(split) + 1]] |= len(below) > 1
    if wrong:
        # A copy within a copy, as in Kermany's archive: the innermost is whole.
        inner = [p for p in wrong if not any(q[: len(p)] == p for q in wrong if q != p)]
        roots = [root.joinpath(*p) for p in inner if wrong[p] and not names.split_of(p[0])]
        advice = (
            " A class folder holds neither split folders nor those of other classes, and is not "
            "called after a kind of picture, like masks, unless data.classes lists it. "
            + (
                f"Set {some((f'data.root={r}' for r in roots), 3, '')}, or move"
                if roots
                else "Move"
            )
            + " the folders to the expected places, and copies away."
        )
        what = f"Not class folders, under {root}: {some(map('/'.join, inner), 6)}"
        raise _wrong_levels(root, images, what, advice)
    stray = [image.path for image in images if not image.below]
    if stray:
        advice = " Move them, or list all images in a manifest (data.manifest=…)."
        if len(stray) == len(images) and stray[0].parts == (stray[0].name,):
            above = root.absolute().parent
            right = above.parent if names.split_of(above.name) else above
            advice = f" If `{root.name}` is a class folder, set data.root={right}.{advice}"
        what = f"{count(len(stray), 'image')} under {root} lie in no class folder, for example "
        raise _wrong_levels(root, images, what + stray[0].as_posix(), advice)


def _refuse_empty_classes(root: Path, found: Found, listed: dict[str, str]) -> None:
    """A class folder without images: an unreadable format, or an archive that is still packed."""
    filled = {path.parts[:depth] for path in found.images for depth in range(len(path.parts))}
    empty = []
    for folder in found.folders:
        level = folder.parts[bool(folder.parts and names.split_of(folder.parts[0])) :]
        may_be_class = len(level) == 1 and (not listed or names.key(level[0]) in listed)
        if may_be_class and folder.parts not in filled:
            empty.append(folder.as_posix())
    if empty:
        raise DataError(
            f"Class folders without images under {root}: {some(empty)}. Add or unpack their "
            "images, or move these folders away, or list other classes: data.classes={NAME:[],…}."
        )


def _in_subfolder(images: list[_Image], subfolder: str) -> list[_Image]:
    """The images in `subfolder` of those class folders that have it, and all of the others."""

    def is_inside(image: _Image) -> bool:
        return names.key(subfolder) in [names.key(name) for name in image.below[1:] or ["."]]

    having = {(image.split, image.below[0]) for image in images if is_inside(image)}
    if not having:
        seen = some(sorted({"/".join(image.below[1:]) or "." for image in images}))
        message = f"data.subfolder={subfolder}: no class folder has images there. Found: {seen}."
        raise ConfigError(message)
    return [i for i in images if is_inside(i) or (i.split, i.below[0]) not in having]


def _refuse_repeats(images: list[_Image], patient: Callable[[str], str]) -> None:
    """Subfolders of a class that repeat file names hold the same films twice, or their masks."""
    per_class: dict[str, defaultdict[tuple[str, str], list[str]]] = {}
    for path, split, below in images:
        # What a pattern tells apart is two patients, whatever the files are called.
        film = MASK_ENDING.sub("", names.key(path.stem)), patient(path.as_posix())
        films = per_class.setdefault(f"{split} {below[0]}".strip(), defaultdict(list))
        films[film].append("/".join(below[1:]) or ".")
    for name, films in per_class.items():
        n_all = Counter(place for places in films.values() for place in places)
        n_again = Counter(p for places in films.values() if len(set(places)) > 1 for p in places)
        masks = {f for f in n_all if MASK_FOLDER.fullmatch(names.key(PurePath(f).name))}
        if masks or any(2 * n >= n_all[folder] for folder, n in n_again.items()):
            folders = sorted(n_all if masks else n_again, key=lambda f: (f in masks, f))
            each = [f"{folder} ({count(n_all[folder], 'image')})" for folder in folders]
            raise DataError(
                f"Subfolders of {name} {'hold masks' if masks else 'repeat the same file names'}: "
                f"{some(each, 6, '')}. Name the one that counts, for example data.subfolder="
                f"{PurePath(folders[0]).name}. If each is a patient: "
                "'data.group_pattern=\"([^/]+)/[^/]+$\"'. To take all: data.subfolder='*'."
            )

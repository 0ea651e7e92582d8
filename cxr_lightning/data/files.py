"""Which files below a folder are images; each real folder once, whatever links lead to it."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr_lightning.data.decode import looks_like_image
from cxr_lightning.errors import DataError


@dataclass(frozen=True)
class Found:
    """What lies below a folder; paths are relative to it.

    Attributes:
        images: those that are images, or promise to be one.
        folders: all that are not hidden, also empty ones.
        others: files that are no images.
        ignored: how many files were passed over, by suffix or "hidden".
    """

    images: list[Path]
    folders: list[Path]
    others: list[Path]
    ignored: dict[str, int]


def find_files(root: Path) -> Found:
    """Look through a folder, its subfolders, and folders that links lead to."""
    found = Found([], [], [], {})
    hidden = 0
    for folder, names in _walk(root):
        for name in sorted(names):
            path = folder / name
            if _is_hidden(path):
                hidden += 1
            elif looks_like_image(root / path):
                found.images.append(path)
            else:
                found.others.append(path)
        if not _is_hidden(folder):
            found.folders.append(folder)
    found.ignored.update(Counter(path.suffix.lower() or path.name for path in found.others))
    if hidden:
        found.ignored["hidden"] = hidden
    found.images.sort(key=lambda path: path.parts)
    return found


def find_images(where: Path) -> tuple[Path, list[str], dict[str, int]]:
    """Every image under a folder, or the one image.

    Returns:
        The folder, the images (POSIX paths relative to it), and the ignored files as in `Found`.

    Raises:
        DataError: it does not exist, or has no images.
    """
    if not where.exists():
        raise DataError(f"No images at {where.absolute()} (input): it does not exist.")
    if where.is_file():
        return where.parent, [where.name], {}
    found = find_files(where)
    if not found.images:
        n_others = sum(found.ignored.values())
        raise DataError(f"No images under {where.absolute()} ({n_others} other files).")
    return where, [path.as_posix() for path in found.images], found.ignored


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every real folder once (relative to `root`) with its files' names.

    Links come after all that is reached without them; none leads to the folders above `root`,
    which hold `root` and what does not belong to it.
    """
    seen: set[str] = set()
    above = {str(parent) for parent in root.resolve().parents}
    starts = [root]
    while starts:
        for folder, subfolders, files in os.walk(starts.pop(0), followlinks=False):
            real = os.path.realpath(folder)
            if real in seen or real in above:
                subfolders.clear()
                continue
            seen.add(real)
            subfolders.sort()
            starts += [link for name in subfolders if (link := Path(folder) / name).is_symlink()]
            yield Path(folder).relative_to(root), files


def _is_hidden(path: Path) -> bool:
    # macOS writes `._name.jpg` beside each file that it copies to a foreign disk and `__MACOSX/`
    # into zips, Jupyter copies opened files to `.ipynb_checkpoints/`.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)

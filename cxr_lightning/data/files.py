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
    """What lies below a folder; paths are relative to it."""

    images: list[Path]  # what is an image, or promises to be one
    folders: list[Path]  # all that are not hidden, also empty ones
    ignored: dict[str, int]  # how many files were passed over, by suffix or "hidden"


def find_files(root: Path) -> Found:
    """Look through a folder, and those that links lead to.

    Raises `DataError` where there is no image, and for a folder that cannot be listed.
    """
    images, folders, ignored = [], [], Counter[str]()
    for folder, names in _walk(root):
        for path in (folder / name for name in sorted(names)):
            if _is_hidden(path):
                ignored["hidden"] += 1
            elif looks_like_image(root / path):
                images.append(path)
            else:
                ignored[path.suffix.lower() or path.name] += 1
        if not _is_hidden(folder):
            folders.append(folder)
    if not images:
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(ignored.items())) or "none"
        where = f"under {root.absolute()} ({ignored.total()} other files)"
        raise DataError(f"No images {where}: {kinds}.")
    return Found(sorted(images, key=lambda path: path.parts), folders, dict(ignored))


def find_images(where: Path) -> tuple[Path, list[str], dict[str, int]]:
    """A folder, all images under it (POSIX paths relative to it), and `Found.ignored`.

    `where` is that folder, or one image. Raises `DataError` where there is none.
    """
    if not where.exists():
        raise DataError(f"No images at {where.absolute()} (input): it does not exist.")
    if where.is_file():
        return where.parent, [where.name], {}
    found = find_files(where)
    return where, [path.as_posix() for path in found.images], found.ignored


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every real folder once (relative to `root`) with its files' names.

    Links come after all that is reached without them; none leads to the folders above `root`,
    which hold `root` and what does not belong to it.
    """
    seen = {str(parent) for parent in root.resolve().parents}
    starts = [root]
    while starts:
        for folder, subfolders, files in os.walk(starts.pop(0), onerror=_refused):
            real = os.path.realpath(folder)
            if real in seen:
                subfolders.clear()
                continue
            seen.add(real)
            subfolders.sort()
            starts += [link for name in subfolders if (link := Path(folder) / name).is_symlink()]
            yield Path(folder).relative_to(root), files


def _refused(error: OSError) -> None:
    """A folder that cannot be listed would be left out, and its class or split be incomplete."""
    if any(part.startswith(".") for part in Path(error.filename).parts[-1:]):
        return  # hidden: it would be passed over anyway
    raise DataError(
        f"The folder {error.filename} cannot be read ({error.strerror}), so its images would be "
        "missing. Make it readable, or move it away."
    ) from error


def _is_hidden(path: Path) -> bool:
    # macOS writes `._name.jpg` beside each file that it copies to a foreign disk and `__MACOSX/`
    # into zips, Jupyter copies opened files to `.ipynb_checkpoints/`.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)

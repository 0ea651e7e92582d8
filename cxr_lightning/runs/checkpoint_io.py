"""Checkpoints that are complete or absent, whenever the process is killed."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file, then renames.

    fsspec, which Lightning 2.6 writes with, does so in /tmp: between two disks that is a copy, and
    a process killed in the middle of it leaves a file that cannot be resumed from.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save to `<path>.part`, then rename it to `path`."""
        if "://" in str(path):  # an object store writes in one step anyway
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        part = Path(f"{path}.part")
        super().save_checkpoint(checkpoint, part, storage_options)
        part.replace(path)

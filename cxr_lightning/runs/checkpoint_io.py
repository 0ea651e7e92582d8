"""Checkpoints that are complete or absent, whenever the process is killed."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins import TorchCheckpointIO

from cxr_lightning.runs.writing import replace_synced


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
        replace_synced(part, Path(path))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load `path`; what ModelCheckpoint kept beside it is found where it lies now.

        Of a moved folder, Lightning 2.6 would forget the best values and keep the old path.
        """
        loaded: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        for state in loaded.get("callbacks", {}).values():
            if isinstance(state, dict) and state.get("dirpath") and state.get("best_model_path"):
                _move(state, Path(path).parent.resolve())
        return loaded


def _move(state: dict[str, Any], here: Path) -> None:
    """Give ModelCheckpoint's paths the folder `here`, if that is where its best one lies now."""
    then = Path(state["dirpath"])

    def moved(path: str) -> str:
        return str(here / Path(path).relative_to(then)) if Path(path).is_relative_to(then) else path

    if then.name != here.name or not Path(moved(state["best_model_path"])).exists():
        return
    state["dirpath"] = str(here)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])
    state["best_k_models"] = {moved(file): score for file, score in state["best_k_models"].items()}

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

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load `path`; what ModelCheckpoint kept beside it is found where it lies now.

        Of a moved folder, Lightning 2.6 would forget the best values and keep the old path.
        """
        loaded: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        here = Path(path).parent.resolve()
        for state in loaded.get("callbacks", {}).values():
            if isinstance(state, dict) and _lay_beside(state, here):
                _move(state, here)
        return loaded


def _lay_beside(state: dict[str, Any], here: Path) -> bool:
    """Whether a callback's best checkpoint lay in another folder and lies in `here` now."""
    then, best = state.get("dirpath"), state.get("best_model_path")
    if not then or not best or then == str(here):
        return False
    return Path(then).name == here.name and (here / Path(best).name).exists()


def _move(state: dict[str, Any], here: Path) -> None:
    """Give the paths of ModelCheckpoint's state the folder `here`."""
    state["dirpath"] = str(here)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        if state.get(key):
            state[key] = str(here / Path(state[key]).name)
    models = state.get("best_k_models", {})
    state["best_k_models"] = {str(here / Path(file).name): score for file, score in models.items()}

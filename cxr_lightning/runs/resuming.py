"""From which checkpoint an interrupted run resumes, also where the last one is damaged."""

from pathlib import Path

from cxr_lightning.errors import CheckpointError
from cxr_lightning.runs.folder import is_first_process, last_checkpoint


def intact_checkpoint(folder: Path) -> Path | None:
    """last.ckpt; where it is damaged, best.ckpt, which is said. None: the run has not begun.

    Raises:
        CheckpointError: neither can be read.
    """
    last = last_checkpoint(folder)
    if last is None or _can_be_read(last):
        return last
    best = last.with_name("best.ckpt")
    if best.exists() and _can_be_read(best):
        if is_first_process():
            print(
                f"{last} is damaged: the epochs after the best one are lost. The run resumes from "
                f"{best.name}, and its further epochs are computed again.",
                flush=True,
            )
        return best
    raise CheckpointError(
        f"{last} is damaged, and there is no other checkpoint to resume from: what was trained is "
        f"lost. Delete {last.parent} and rerun the same command: the run starts again."
    )


def _can_be_read(file: Path) -> bool:
    """Whether all of a checkpoint is there; torch raises errors of many kinds where it is not."""
    if not file.is_file():
        return False
    import torch  # here: --help should not cost its import

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:
        return False
    return isinstance(content, dict) and {"state_dict", "epoch", "loops"} <= content.keys()

"""A run's folder: whether it is free, unfinished or finished, and may be written to."""

import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.runs.writing import read_json, without_passwords, write_text

if TYPE_CHECKING:
    from cxr_lightning.metrics import Estimate

JobState = Literal["finished", "pruned", "failed", "unfinished", "waiting"]

CONFIG, ERROR, REFUSED = "config.yaml", "error.txt", "refused.txt"
MISTAKES = "worst_mistakes.json"  # pictures by path, for the run's page
EXTERNAL = "external"  # one folder per set of other hospitals' images in it
KEPT = ("metrics.json", "pruned.json", "curves.csv", "checkpoints")
PLACES = ("data.root=", "data.manifest=")
OF_FOLDERS = ("dirpath", "save_dir", "log_dir")  # arguments of callbacks and loggers
LOCK_S = 45  # longer than the 30 s that a job may take to end after SIGTERM
# They change no number, so a run can be resumed with other values of them.
KEYS_IGNORED_ON_RESUME = (
    *("name", "folder", "search", "ladder_minutes"),
    *("data.cache_dir", "data.num_workers", "trainer.profiler"),
)


def job_state(folder: Path) -> JobState:
    """How far the run in `folder` is, as its files alone say.

    failed: `error.txt`, or `refused.txt` where a sweep's job found another run in its folder.
    finished: `metrics.json`, the last file a run writes. pruned: stopped by its search. unfinished:
    interrupted, or still running. waiting: not started.
    """
    if (folder / REFUSED).exists():
        return "failed"
    if (folder / "metrics.json").exists():
        return "finished"
    if (folder / "pruned.json").exists():
        return "pruned"
    if (folder / ERROR).exists():
        return "failed"
    return "unfinished" if (folder / CONFIG).exists() else "waiting"


def failure(folder: Path) -> str:
    """Why a failed run failed, in one line: the end of the trace in `error.txt`."""
    if (folder / REFUSED).exists():
        return (folder / REFUSED).read_text(encoding="utf-8").strip()
    lines = (folder / ERROR).read_text(encoding="utf-8").strip().splitlines()
    traces = [i for i, line in enumerate(lines) if line.startswith("Traceback")]
    end = lines[traces[-1] + 1 :] if traces else lines
    # The frames are indented; the exception is not, and its message reaches to the end.
    frames = next((i for i, line in enumerate(end) if not line.startswith(" ")), 0)
    message = " ".join(line.strip() for line in end[frames:])
    return re.sub(r"^cxr_lightning\.errors\.\w+: ", "", message)


def last_checkpoint(folder: Path) -> Path | None:
    """Where an interrupted run resumes: the end of its last complete epoch."""
    file = folder / "checkpoints" / "last.ckpt"
    return file if file.exists() else None


def read_estimates(folder: Path) -> "dict[str, Estimate]":
    """The final test numbers of a finished run, by name; none of a pruned one."""
    from cxr_lightning.metrics import Estimate

    file = folder / "metrics.json"
    metrics = read_json(file)["metrics"] if file.exists() else {}
    return {name: Estimate(**values) for name, values in metrics.items()}


def is_first_process() -> bool:
    """Whether this process, and no other rank, may write to the run folder."""
    variables = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in variables)


@contextmanager
def claimed(
    folder: Path,
    config: dict[str, Any],
    cfg: DictConfig,
    images_key: Callable[[], str] | None = None,
) -> Iterator[None]:
    """Hold the run folder for this process, as long as the run lasts, and record its configuration.

    config: the checked configuration, plain values, written as `config.yaml`. cfg: as composed by
    Hydra, written with its overrides under `.hydra/`. images_key: of the images that are to be
    used; it is compared where only the place of the images has changed.

    Raises:
        ConfigError: the folder holds a run of another configuration, results of unknown
            configuration, or another process is writing to it.
    """
    if not is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=LOCK_S)
    try:
        with _waiting(folder, lock):
            _refuse_another_run(folder, config, images_key)
            (folder / REFUSED).unlink(missing_ok=True)
            if job_state(folder) not in ("finished", "pruned"):
                (folder / ERROR).unlink(missing_ok=True)
                _record(folder, config, cfg)
            try:
                yield
            except Exception:
                write_text(folder / ERROR, traceback.format_exc())
                raise
    except Timeout:
        raise ConfigError(
            f"Another process is writing to {folder}. Wait for it, or choose another name=…"
        ) from None


@contextmanager
def _waiting(folder: Path, lock: FileLock) -> Iterator[None]:
    """Hold the lock; a run that was just told to stop may need a while to release it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder} is in use; waiting {LOCK_S} s for it …", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def record_error(folder: Path) -> None:
    """Write the trace of a run that failed before it had claimed its folder."""
    if is_first_process() and not (folder / CONFIG).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ERROR, traceback.format_exc())


def refuse(folder: Path, reason: str) -> None:
    """Note that a sweep's job could not run because its folder holds something else."""
    write_text(folder / REFUSED, reason)


def _refuse_another_run(
    folder: Path, config: dict[str, Any], images_key: Callable[[], str] | None
) -> None:
    if job_state(folder) == "failed" and not any((folder / kept).exists() for kept in KEPT):
        return  # it failed before there was anything to lose; its configuration may be fixed
    if not (folder / CONFIG).exists():
        if (folder / "metrics.json").exists() or last_checkpoint(folder):
            raise ConfigError(
                f"{folder} holds a run whose configuration is not known (no {CONFIG}). "
                "Choose another name=… or move the folder away."
            )
        return
    recorded = _comparable(_recorded_config(folder / CONFIG))
    wanted = _comparable(config)
    differing = [
        f"{key}={recorded.get(key, '(not set)')} (now {wanted.get(key, '(not set)')})"
        for key in dict.fromkeys([*recorded, *wanted])
        if recorded.get(key) != wanted.get(key)
        and not key.startswith(KEYS_IGNORED_ON_RESUME)
        # A key that is newer than the run, and asks for nothing.
        and (key in recorded or wanted[key] not in (None, [], {}))
    ]
    if images_key and differing and all(one.startswith(PLACES) for one in differing):
        record = folder / "run.json"
        if record.exists() and read_json(record).get("images_key") == images_key():
            return  # the same images, moved
    if differing:
        shown = ", ".join(differing[:5]) + (", …" if len(differing) > 5 else "")
        raise ConfigError(
            f"{folder} holds a run with another configuration: {shown}. Choose another name=…, "
            "give the same values to continue that run, or delete the folder."
        )


def _recorded_config(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, IsADirectoryError):
        content = None
    if not isinstance(content, dict) or not content:
        raise DataError(
            f"{file} is damaged: with which settings this run was trained is lost, so it cannot be "
            "continued. Take the file from a copy of the folder, or delete the folder to start "
            "again."
        )
    return content


def _record(folder: Path, config: dict[str, Any], cfg: DictConfig) -> None:
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        (folder / ".hydra").mkdir(exist_ok=True)
        parts = {"config": cfg, "hydra": {"hydra": hydra}, "overrides": hydra.overrides.task}
        for name, part in parts.items():
            text = without_passwords(OmegaConf.to_yaml(part))
            write_text(folder / ".hydra" / f"{name}.yaml", text)
    write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """The flat configuration; what lies in the run's own folder moves with it."""
    return _flat(_from_folder(config, str(config.get("folder", ""))))


def _from_folder(node: Any, folder: str, key: str = "") -> Any:
    """`folder` and what lies below it are given from it, as in conf: `${folder}/checkpoints`.

    `folder` is absolute; a path may be one from the directory in which the run was started, which
    is not known any more: `outputs/a/checkpoints` is below `/home/me/outputs/a`. A single word is
    a path only under a key of `OF_FOLDERS`: a network may be called as the folder is.
    """
    if isinstance(node, dict):
        return {name: _from_folder(value, folder, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_from_folder(value, folder, key) for value in node]
    if not folder or not isinstance(node, str) or not ("/" in node or key in OF_FOLDERS):
        return node
    path, ends = re.sub(r"^(~|\.)/", "", node), [folder]
    if not path.startswith("/"):
        parts = folder.strip("/").split("/")
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
    of = next((end for end in ends if f"{path}/".startswith(f"{end}/")), None)
    return node if of is None else "${folder}" + path.removeprefix(of)


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 0.1}}` as `{"optim.lr": 0.1}`; an empty section is a value."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    return {
        key: value
        for name, inner in node.items()
        for key, value in _flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }

"""A checkpoint as one file for other programs: `cxr-export ckpt_path=…`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.config import TrainConfig, existing_checkpoints, parse
from cxr_lightning.deploy.settings import ExportConfig
from cxr_lightning.startup import prepare

if TYPE_CHECKING:
    from cxr_lightning.models.classifier import Classifier


def run(cfg: DictConfig) -> dict[str, Path]:
    """Export as `conf/export.yaml` says; returns the files that were written, by their names.

    `model.onnx` and `model.pt2` with `model.json` in `folder`. An exported file that differs from
    the checkpoint is deleted, and `CheckpointError` raised.
    """
    config = parse(ExportConfig, cfg)
    checkpoints = existing_checkpoints(config.ckpt_path)
    prepare()
    from cxr_lightning.decisions.choice import with_tau
    from cxr_lightning.deploy import checks, formats
    from cxr_lightning.deploy.films import films_for
    from cxr_lightning.deploy.metadata import metadata_of
    from cxr_lightning.runs.writing import write_json
    from cxr_lightning.trained import load_ensemble

    formats.check_available(config.formats)
    classifier = load_ensemble(checkpoints, config).eval()
    if config.calibrate and classifier.temperature is None:
        print("The probabilities are not calibrated: the run had no validation images.")
    if config.tau is not None:
        classifier.use(with_tau(classifier, config.tau))
    data = parse(TrainConfig, classifier.hparams["run"]).data
    films = films_for(data, _run_of(checkpoints[0]), config.input, config.n_images)
    given = (classifier.hparams["classes"], checkpoints, config)
    metadata = metadata_of(classifier.network, data, *given)
    program = formats.program_of(classifier, data.image_size)
    in_torch = formats.module_runner(formats.ToProbabilities(classifier.network).eval())
    expected = checks.probabilities(_predicted(classifier), films.images, config.batch_size)

    config.folder.mkdir(parents=True, exist_ok=True)
    written, about = {}, {}
    for name in dict.fromkeys(config.formats):
        file = config.folder / formats.FILES[name]
        part = file.with_name(f"unchecked-{file.name}")
        try:
            formats.WRITERS[name](program, part, metadata)
            runner = formats.RUNNERS[name](part)
            found = checks.probabilities(runner, films.images, config.batch_size)
            same = checks.check_same(expected, found, films, file.name)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        speeds = checks.compare_speed(in_torch, runner, films.images, config.batch_size)
        about[file.name] = {"check": asdict(same), "speed": _told(file, same, speeds)}
        written[file.name] = file
    write_json(config.folder / "model.json", metadata | {"exported": about})
    written["model.json"] = config.folder / "model.json"
    for file in _cards(checkpoints, config):
        written[file.name] = file
    for file in written.values():
        print(f"Written: {file}")
    return written


def _cards(checkpoints: list[Path], config: ExportConfig) -> list[Path]:
    """The run's model card and CLAIM sheet, beside the export; none of what was not tested so."""
    from cxr_lightning.cards.page import write_cards
    from cxr_lightning.errors import CxrError
    from cxr_lightning.external import is_tested

    is_as_tested = len(checkpoints) == 1 and config.tta == "none" and config.tau is None
    if not is_as_tested or not is_tested(checkpoints[0]):
        print("No model card: no run in the checkpoint's folder has tested this network as it is.")
        return []
    try:
        return write_cards(_run_of(checkpoints[0]), config.folder)
    except CxrError as error:  # the exported network is whole without it
        print(f"No model card: {error}")
        return []


def _run_of(checkpoint: Path) -> Path:
    """The run's folder, of a checkpoint that lies where the run wrote it."""
    return checkpoint.absolute().parent.parent


def _predicted(classifier: "Classifier") -> Any:
    """What `cxr-predict` would say: softmax in double precision."""
    import torch

    @torch.inference_mode()
    def run(images: Any) -> Any:
        return torch.softmax(classifier(torch.from_numpy(images)).double(), dim=1).numpy()

    return run


def _told(file: Path, same: Any, speeds: Any) -> list[dict[str, float]]:
    """Print what was found; the speeds as plain values."""
    print(
        f"{file.name}: the largest difference of a probability is {same.largest_difference:.1e} on "
        f"{same.n} {same.films} (less than {same.bound:g} is required); all decisions are equal."
    )
    for speed in speeds:
        print(
            f"  batch of {speed.batch_size}: {speed.exported_images_per_s:.1f} images/s, torch "
            f"{speed.torch_images_per_s:.1f}: {speed.ratio:.2f} times as fast"
        )
    return [asdict(speed) | {"ratio": speed.ratio} for speed in speeds]


def main() -> None:
    """The command `cxr-export`."""
    run_command("export", run)


if __name__ == "__main__":
    main()

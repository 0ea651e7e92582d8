"""What in a data set would mislead, before any training: `cxr-audit data=kaggle data.root=…`."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cxr_lightning.audit.settings import AuditConfig
from cxr_lightning.cli import run_command
from cxr_lightning.config import TrainConfig, existing_checkpoints, parse
from cxr_lightning.errors import LeakError
from cxr_lightning.startup import prepare

if TYPE_CHECKING:
    from cxr_lightning.audit.findings import Audit
    from cxr_lightning.metrics import Estimate


def run(cfg: DictConfig) -> "Audit":
    """Audit as `conf/audit.yaml` says; writes `audit.html`, `audit.json` and the tables.

    Raises `LeakError`, after everything is written, where films or patients are in two splits.
    """
    config = parse(AuditConfig, cfg)
    existing_checkpoints(config.ckpt_path)
    prepare()
    from cxr_lightning.audit.findings import audit
    from cxr_lightning.audit.page import print_verdicts, write_page

    found = audit(
        config.data, config.split, config.ladder_minutes, config.n_resamples, config.labels
    )
    if config.ckpt_path is not None:
        found.masks = _masks(config, config.ckpt_path)
    config.folder.mkdir(parents=True, exist_ok=True)
    write_page(config.folder, found, config.shown)
    print_verdicts(found, config.folder)
    if any(verdict.level == "leak" for verdict in found.verdicts):
        raise LeakError("There is a leak: a test on these films would not be one. See above.")
    return found


def _masks(config: AuditConfig, checkpoint: Path) -> "dict[str, Estimate]":
    from cxr_lightning.audit.masks import masked_accuracy
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.trained import as_trained, check_classes, load_classifier

    classifier = load_classifier(checkpoint, config.trust)
    trained = parse(TrainConfig, classifier.hparams["run"])
    classes: list[str] = classifier.hparams["classes"]
    data = as_trained(config.data, trained.data, classes)
    data = data.model_copy(update={"unreadable": "skip"})
    split = config.split.model_copy(update={"leak": "drop", "val_fraction": 0.0})
    datamodule = XrayDataModule(data, split)
    datamodule.prepare_data()
    datamodule.test_all_without_test_folder()
    datamodule.setup()
    check_classes(datamodule, classes, checkpoint)
    return masked_accuracy(classifier, datamodule, config.n_resamples)


def main() -> None:
    """The command `cxr-audit`."""
    run_command("audit", run)


if __name__ == "__main__":
    main()

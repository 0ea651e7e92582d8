"""Images of other hospitals: which they are, and how much a network loses on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_lightning.config import ColumnsConfig, DataConfig, ExternalSet, SplitConfig, TrainConfig
from cxr_lightning.contrasts import Interval, independent_difference
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.data.names import some
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.metrics import Estimate, Floats, Ints, estimate
from cxr_lightning.runs.folder import EXTERNAL
from cxr_lightning.runs.writing import read_json
from cxr_lightning.trained import as_trained, check_classes

COMPARED = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
FOLDER = EXTERNAL


@dataclass(frozen=True)
class Tests:
    """What a network said of n test images. labels (n,), probabilities (n, C), groups (n,)."""

    labels: Ints
    probabilities: Floats
    groups: list[str]

    def of_classes(self, classes: Sequence[int]) -> "Tests":
        """Those whose true class is one of these."""
        kept = np.flatnonzero(np.isin(self.labels, list(classes)))
        groups = [self.groups[i] for i in kept]
        return Tests(self.labels[kept], self.probabilities[kept], groups)

    @cached_property
    def present(self) -> list[int]:
        """The classes of which there are images."""
        return sorted({int(label) for label in self.labels})


@dataclass(frozen=True)
class Drop:
    """A metric on the run's own test images less that on the others, both of the same classes."""

    internal: Estimate
    external: Estimate
    difference: Interval


def drops(
    internal: Tests, external: Tests, classes: Sequence[str], n_resamples: int
) -> dict[str, Drop]:
    """Each of `COMPARED`, on the classes that both have; the patients are different ones."""
    shared = [k for k in external.present if k in internal.present]
    if not shared:
        return {}
    found = []
    for tests in (internal.of_classes(shared), external.of_classes(shared)):
        said = (tests.labels, tests.probabilities, classes, tests.groups)
        found.append(estimate(*said, n_resamples=n_resamples))
    return {
        name: Drop(own[name], other[name], independent_difference(own[name], other[name]))
        for own, other in [found]
        for name in COMPARED
    }


def is_tested(checkpoint: Path) -> bool:
    """Whether it is the one that the run tested in whose folder it lies."""
    file = checkpoint.absolute().parent.parent / "metrics.json"
    if not file.exists():
        return False
    tested = str(read_json(file).get("tested", {}).get("checkpoint"))
    return checkpoint.name in (tested, f"{tested}.ckpt")


def own_tests(checkpoint: Path, classes: list[str]) -> Tests | None:
    """What the run of a checkpoint said of its own test images; None where it tested another."""
    folder = checkpoint.absolute().parent.parent
    if not is_tested(checkpoint) or not (folder / "predictions.csv").exists():
        return None
    text: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8"}
    frame = pd.read_csv(folder / "predictions.csv", **text)
    labels = pd.Index(classes).get_indexer(pd.Index(frame["label"])).astype(np.int64)
    return Tests(labels, frame[classes].to_numpy(dtype=np.float64), list(frame["group"]))


def open_sets(config: TrainConfig, own: XrayDataModule) -> dict[str, XrayDataModule]:
    """The sets that `external` names, decoded and ready to test; before any training.

    Raises:
        ConfigError: a set without a name of its own, or with other classes.
        DataError: a set that is not there, or has images of the training in it.
    """
    found: dict[str, XrayDataModule] = {}
    training = {str((own.index.root / path).resolve()) for path in own.table["path"]}
    for one in config.external:
        name = one.name or _name(one)
        if name in found:
            raise ConfigError(
                f"external: two sets are called `{name}`. Give them names: "
                "external=[{name:a,root:/path},{name:b,root:/path}]"
            )
        data = as_trained(_data(one, config.data), config.data, list(own.classes))
        split = SplitConfig(name="official", val_fraction=0.0, leak="drop")
        datamodule = XrayDataModule(data, split)
        datamodule.prepare_data()
        datamodule.test_all_without_test_folder()
        datamodule.setup()
        check_classes(datamodule, list(own.classes), Path("external"))
        files = {str((datamodule.index.root / p).resolve()): p for p in datamodule.table["path"]}
        if shared := sorted(files[file] for file in set(files) & training):
            raise DataError(
                f"external: {len(shared)} images of `{name}` belong to the run's own data: "
                f"{some(shared, 50, '')}. External images must be those of another place."
            )
        found[name] = datamodule
    return found


def _name(one: ExternalSet) -> str:
    if one.manifest is not None:
        return one.manifest.absolute().parent.name or one.manifest.stem
    if one.root is None:
        raise ConfigError("external: a set needs a folder (root) or a CSV (manifest).")
    return one.root.absolute().name


def _data(one: ExternalSet, own: DataConfig) -> DataConfig:
    """As the run's images are read, but for what says where these are."""
    given = one.model_dump(exclude={"name", "columns"})
    where = {"name": "folder", "phantom": None, "download": False, "columns": one.columns}
    white = {"white": None, "unreadable": own.unreadable}
    assert isinstance(one.columns, ColumnsConfig)
    return own.model_copy(update={**where, **white, **given})

"""A logistic regression on what a frozen network sees: the simplest that a training must beat."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cxr_lightning.callbacks.finetuning import FrozenBody
from cxr_lightning.data.store import Pixels
from cxr_lightning.errors import ConfigError
from cxr_lightning.models.network import Network, head_of

if TYPE_CHECKING:
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.models.classifier import Classifier

Floats = npt.NDArray[np.float32]


def features(
    network: Network, pixels: Pixels, cache_dir: Path, batch_size: int, how: str = ""
) -> Floats:
    """What the last layer of `network` reads, float32 (n, F), for each image of `pixels`.

    Kept in `cache_dir` by image, network and weights, and by `how` they are computed (precision),
    so that they are computed once.
    """
    head = head_of(network.backbone)
    (of_head,) = (name for name, module in network.named_modules() if module is head)
    body = hashlib.sha256(f"{pixels.key} {how} {network.backbone}".encode())
    body.update(pixels.rows.tobytes())
    for name, value in network.state_dict().items():
        if not name.startswith(f"{of_head}."):
            body.update(name.encode() + value.detach().cpu().numpy().tobytes())
    file = cache_dir / "features" / f"{body.hexdigest()[:24]}.npy"
    if file.exists():
        return cast(Floats, np.load(file))
    found: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: found.append(given[0].float().cpu()))
    device = next(network.parameters()).device
    try:
        with torch.inference_mode():
            for start in range(0, len(pixels), batch_size):
                stop = min(start + batch_size, len(pixels))
                batch = np.stack([pixels[i] for i in range(start, stop)])[:, None]
                network(torch.from_numpy(batch).to(device))
    finally:
        handle.remove()
    values = torch.cat(found).numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part.npy")
    np.save(part, values)
    part.replace(file)
    return cast(Floats, values)


def fit_head(head: nn.Linear, x: Floats, labels: npt.NDArray[np.int64], strength: float) -> None:
    """Give `head` the weights of scikit-learn's logistic regression on standardised features.

    `strength` is its C, the inverse of the L2 penalty. x is (n, F), labels (n,).
    """
    scale, regression = StandardScaler(), LogisticRegression(C=strength, max_iter=2000)
    make_pipeline(scale, regression).fit(x, labels)
    coefficients, intercept = regression.coef_, regression.intercept_
    if len(coefficients) == 1 and head.out_features == 2:  # two classes: one difference of logits
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    weight = coefficients / scale.scale_
    bias = intercept - weight @ scale.mean_
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))


class LogisticHead(FrozenBody):
    """Fits the last layer in the first batch of the training, and ends it with the epoch.

    The fit replaces what the optimizer did.
    """

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__(unfreeze_at_epoch=None)
        self.strength = strength

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze the body; refuse what a logistic regression cannot take into account."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        classifier = cast("Classifier", pl_module)
        head = head_of(classifier.network.backbone)
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise ConfigError(f"A probe needs a linear last layer with a bias; this is {head}.")
        imbalance = classifier.hparams["imbalance"]
        if imbalance["name"] != "none" or imbalance["balanced_sampler"]:
            raise ConfigError(
                f"A probe fits its own loss: imbalance={imbalance['name']} would change nothing. "
                "Set imbalance=none."
            )
        if any(isinstance(c, WeightAveraging) for c in trainer.callbacks):  # type: ignore[attr-defined]
            raise ConfigError("A probe has no weights to average: leave callbacks.ema out.")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Fit it, on the training images as they are."""
        network = cast("Classifier", pl_module).network
        head = cast("nn.Linear", head_of(network.backbone))
        datamodule: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        dataset = datamodule.dataset("train")
        data = datamodule.data
        with trainer.precision_plugin.forward_context():
            how = str(trainer.precision)
            x = features(network.eval(), dataset.pixels, data.cache_dir, data.batch_size, how)
        fit_head(head, x, dataset.labels.numpy(), self.strength)
        trainer.should_stop = True

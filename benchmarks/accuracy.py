"""The part `accuracy`: seconds to a test accuracy, `experiment=quick` against the student."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from benchmarks.arithmetic import paired_ratios, spread
from benchmarks.child import Result
from benchmarks.contenders.case import Case, adam, train
from benchmarks.contenders.ours import train_ours
from benchmarks.contenders.student import image_loader
from benchmarks.images import link
from benchmarks.suite import Suite, show, values

GOAL = 0.8  # the report's best
LAST_EPOCHS = 3
STUDENT_EPOCHS, STUDENT_BATCH_SIZE = 15, 100  # the report's
OURS = "ours: experiment=quick"
STUDENTS = {"student: ResNet-18": "resnet18", "student: cnn5": "cnn5"}
HEADER = ["", "seeds that reach it", "seconds", "time / ours", "final accuracy, %", "process, s"]
NOTE = (
    f"{GOAL:.0%} of the test images, mean of the last {LAST_EPOCHS} epochs. Mean over seeds "
    "(smallest–largest). A seed that does not reach it counts with all its epochs: its time and "
    "the ratio are lower bounds."
)

Epochs = list[tuple[float, float, float]]
"""Of each epoch, the time at its end, the test accuracy, and the time after that test."""
Curve = list[tuple[float, float]]
"""Of each epoch, seconds since the process was started, without the tests; and the accuracy."""


def run(suite: Suite) -> None:
    """One seed per round: ours, then the student with both of the report's networks."""
    if not suite.only:
        suite.left_out.append(
            "accuracy is left out: it takes long. Ask for it with --only accuracy."
        )
        return
    is_test = suite.found["split"] == "test"
    if not is_test.any():
        suite.left_out.append("accuracy is left out: the images have no test folder.")
        return
    root = suite.work / "accuracy"
    for folder, found in (("test", suite.found[is_test]), ("train", suite.found[~is_test])):
        link(found.sort_values("path"), root / folder, len(found))
    contenders = {OURS: partial(_one, suite, root, "ours")}
    for name, model in STUDENTS.items():
        if suite.wants(f"accuracy/{model}"):
            contenders[name] = partial(_one, suite, root, "student", model=model)
    results = suite.interleave("accuracy", contenders)
    curves = {name: [result["curve"] for result in found] for name, found in results.items()}
    whole_s = values(results, "whole_s")
    suite.data["accuracy"] = {"curves": curves, "whole_s": whole_s}
    show("accuracy: seconds to the report's best", HEADER, table_rows(curves, whole_s), NOTE)


def reached(curve: Sequence[tuple[float, float]]) -> float | None:
    """Seconds until the mean accuracy of the last three epochs is the goal; None if it never is."""
    for end in range(LAST_EPOCHS, len(curve) + 1):
        if mean(accuracy for _, accuracy in curve[end - LAST_EPOCHS : end]) >= GOAL:
            return curve[end - 1][0]
    return None


def table_rows(
    curves: Mapping[str, Sequence[Curve]], whole_s: Mapping[str, Sequence[float]]
) -> list[list[str]]:
    """One row per contender, from the curves of its seeds and the seconds of its processes."""
    # A seed that does not reach the goal counts with all its epochs, which is too little.
    seconds = {name: [reached(c) or c[-1][0] for c in seeds] for name, seeds in curves.items()}
    rows = []
    for name, seeds in curves.items():
        n_reached = sum(reached(curve) is not None for curve in seeds)
        final = [100 * mean(a for _, a in curve[-LAST_EPOCHS:]) for curve in seeds]
        ratios = paired_ratios(seconds[name], seconds[OURS]) if OURS in seconds else []
        rows.append(
            [
                name,
                f"{n_reached} of {len(seeds)}",
                _mean(seconds[name], digits=0),
                _mean(ratios, digits=1) if ratios else "",
                _mean(final, digits=1),
                spread(whole_s[name]),
            ]
        )
    return rows


def _mean(values: Sequence[float], digits: int) -> str:
    return "{:.{d}f} ({:.{d}f}–{:.{d}f})".format(mean(values), min(values), max(values), d=digits)


def _one(suite: Suite, root: Path, contender: str, seed: int, **options: Any) -> Result:
    with suite.new_folder() as cache:  # nothing is decoded yet
        target, start = f"benchmarks.accuracy:{contender}", time.time()
        epochs = suite.measure(target, cache, root=str(root), seed=seed, **options)["epochs"]
        return {"curve": curve_of(epochs, start), "whole_s": time.time() - start}


def curve_of(epochs: Epochs, start: float) -> Curve:
    """The curve of a process that was started at `start`; the clock stands still during tests."""
    curve = []
    for trained, value, tested in epochs:
        curve.append((trained - start, value))
        start += tested - trained
    return curve


def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of the images that are classified correctly."""
    right = n = 0
    network.eval()
    with torch.inference_mode():
        for image, label in batches:
            right += int((network(image).argmax(dim=1) == label).sum())
            n += len(label)
    network.train()
    return right / n


class EachEpoch(Callback):
    """Tests after each epoch of training."""

    epochs: ClassVar[Epochs] = []  # Hydra builds the callback, so that nobody else has it

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test, in the run's precision."""
        trained = time.time()
        loader = trainer.datamodule.test_dataloader()  # type: ignore[attr-defined]
        batches = ((batch.image, batch.label) for batch in loader)
        with trainer.precision_plugin.forward_context():
            self.epochs.append((trained, accuracy(pl_module, batches), time.time()))


def ours(root: str, seed: int) -> Result:
    """`cxr-train experiment=quick`, from an empty store."""
    callback = "+callbacks.each_epoch={_target_: benchmarks.accuracy.EachEpoch}"
    train_ours(Path(root), "experiment=quick", f"seed={seed}", callback)
    return {"epochs": EachEpoch.epochs}


def student(root: str, seed: int, model: str) -> Result:
    """The report as a student writes it: constant Adam, float32, augmentation, batches of 100."""
    torch.manual_seed(seed)
    case = Case(Path(root), model, STUDENT_BATCH_SIZE, augment=True, image_size=256)
    batches, test = image_loader(case), image_loader(case, "test")
    network = case.network(channels=3)
    optimizer = adam(network)
    epochs: Epochs = []
    for _ in range(STUDENT_EPOCHS):
        train(network, batches, case, optimizer)
        epochs.append((time.time(), accuracy(network, test), time.time()))
    return {"epochs": epochs}

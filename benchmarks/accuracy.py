"""The part `accuracy`: seconds to a test accuracy, `experiment=fast` against the student."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.arithmetic import paired_ratios, spread
from benchmarks.child import Result
from benchmarks.rounds import Runs, interleave, progress
from benchmarks.suite import Part, Suite, Table
from benchmarks.training.case import LEARNING_RATE, Case
from cxr_lightning.data.index import index_folders

GOAL = 0.8  # the report's best
LAST_EPOCHS = 3
STUDENT_EPOCHS, STUDENT_BATCH_SIZE = 15, 100  # the report's
OURS = "ours: experiment=fast"
STUDENTS = {"student: ResNet-18": "resnet18", "student: cnn5": "cnn5"}

Curve = list[tuple[float, float]]
"""Of each epoch, seconds since the process was started and the test accuracy at its end."""


def run(suite: Suite) -> Part:
    """A seed a round: ours, then the student with both of the report's networks."""
    part = Part()
    if not suite.asks_for("accuracy"):
        part.left_out.append("accuracy is left out: it takes long. Ask for it: --only accuracy")
        return part
    root = suite.work / "images" / "accuracy"
    if not _link_all(suite.images, root):
        part.left_out.append("accuracy is left out: the images have no test folder.")
        return part
    progress("accuracy")
    contenders = {OURS: partial(_one, suite, root, "ours", {})}
    for name, model in STUDENTS.items():
        if suite.wants(f"accuracy/{model}"):
            contenders[name] = partial(_one, suite, root, "student", {"model": model})
    runs = interleave(contenders, suite.rounds)
    part.left_out += runs.left_out.values()
    curves = {name: [r["curve"] for r in results] for name, results in runs.results.items()}
    part.data["accuracy"] = {
        name: {"curves": curves[name], "whole_s": runs.values(name, "whole_s")} for name in curves
    }
    part.show(_table(curves, runs))
    return part


def reached(curve: Sequence[tuple[float, float]], goal: float = GOAL) -> float | None:
    """Seconds until the mean accuracy of the last three epochs is `goal`; None if it never is."""
    for end in range(LAST_EPOCHS, len(curve) + 1):
        if mean(accuracy for _, accuracy in curve[end - LAST_EPOCHS : end]) >= goal:
            return curve[end - 1][0]
    return None


def _table(curves: Mapping[str, Sequence[Curve]], runs: Runs) -> Table:
    # One that does not get there counts with all its epochs, which is too little.
    seconds = {
        name: [reached(curve) or curve[-1][0] for curve in of_seeds]
        for name, of_seeds in curves.items()
    }
    rows = []
    for name, of_seeds in curves.items():
        n_reached = sum(reached(curve) is not None for curve in of_seeds)
        final = [100 * mean(a for _, a in curve[-LAST_EPOCHS:]) for curve in of_seeds]
        ratio = paired_ratios(seconds[name], seconds[OURS]) if OURS in seconds else []
        rows.append(
            [
                name,
                f"{n_reached} of {len(of_seeds)}",
                f"{mean(seconds[name]):.0f} ({min(seconds[name]):.0f}–{max(seconds[name]):.0f})",
                f"{mean(ratio):.1f} ({min(ratio):.1f}–{max(ratio):.1f})" if ratio else "",
                f"{mean(final):.1f} ({min(final):.1f}–{max(final):.1f})",
                spread(runs.values(name, "whole_s")).text(),
            ]
        )
    header = [
        "",
        "seeds that reach it",
        "seconds",
        "time / ours",
        "accuracy at the end, %",
        "whole process, s",
    ]
    note = (
        f"{GOAL:.0%} on the test images, mean of the last {LAST_EPOCHS} epochs. Mean over seeds "
        "(smallest–largest). A seed that does not get there counts with all its epochs: its time, "
        "and the ratio, are lower bounds."
    )
    return Table("accuracy: seconds to the report's best", header, rows, note)


def _one(suite: Suite, root: Path, who: str, options: dict[str, Any], seed: int) -> Result:
    with suite.new_folder() as cache:  # nothing is decoded yet
        start = time.time()
        result = suite.measure(
            f"benchmarks.accuracy:{who}", cache, root=str(root), seed=seed, start=start, **options
        )
        return {**result, "whole_s": time.time() - start}


def _link_all(images: Path, root: Path) -> bool:
    """Links to all images in `root/{train,test}/<class>/`; False where nothing is to be tested."""
    index = index_folders(images)
    if not (index.table["split"] == "test").any():
        return False
    if root.exists():
        return True
    columns = (index.table[name] for name in ("path", "label", "split"))
    for number, (path, label, split) in enumerate(zip(*columns, strict=True)):
        source = (index.root / path).resolve()
        folder = root / ("test" if split == "test" else "train") / index.classes[label]
        link = folder / f"{number:05d}{source.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
    return True


def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of the images that are called right."""
    right = n = 0
    network.eval()
    with torch.inference_mode():
        for image, label in batches:
            right += int((network(image).argmax(dim=1) == label).sum())
            n += len(label)
    network.train()
    return right / n


class TestEachEpoch(Callback):
    """Tests after each epoch of training, and takes the time of it from the clock."""

    __test__ = False  # no test class, whatever its name
    start: ClassVar[float]
    latest: ClassVar["TestEachEpoch"]

    def __init__(self) -> None:
        TestEachEpoch.latest = self  # Hydra builds it, so that nobody else has it
        self.curve: Curve = []
        self.tested_s = 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test, in the run's precision."""
        now = time.time()
        loader = trainer.datamodule.test_dataloader()  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            value = accuracy(pl_module, ((batch.image, batch.label) for batch in loader))
        self.curve.append((now - TestEachEpoch.start - self.tested_s, value))
        self.tested_s += time.time() - now


def ours(root: str, seed: int, start: float) -> Result:
    """`cxr-train experiment=fast`, from the start of the process and an empty store."""
    import hydra

    from cxr_lightning import train
    from cxr_lightning.config import conf_dir

    TestEachEpoch.start = start
    overrides = [
        "experiment=fast",
        f"seed={seed}",
        f"folder='{Path.cwd() / 'run'}'",
        "data=folder",
        f"data.root='{root}'",
        "+callbacks.each_epoch={_target_: benchmarks.accuracy.TestEachEpoch}",
    ]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", overrides)
    train.run(cfg)
    return {"curve": TestEachEpoch.latest.curve}


def student(root: str, seed: int, start: float, model: str) -> Result:
    """The report as a student writes it: constant Adam, float32, augmentation, batches of 100."""
    from benchmarks.training.student import image_folder

    torch.manual_seed(seed)
    case = Case(
        Path(root), Path.cwd(), model, STUDENT_BATCH_SIZE, augment=True, image_size=256, workers=2
    )
    load = partial(DataLoader, batch_size=case.batch_size, num_workers=case.workers)
    batches = load(image_folder(case), shuffle=True)
    test: DataLoader[Any] = load(image_folder(case, "test"))
    network = case.network(channels=3).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    loss_function = nn.CrossEntropyLoss()
    curve: Curve = []
    tested_s = 0.0
    for _ in range(STUDENT_EPOCHS):
        for image, label in batches:
            optimizer.zero_grad()
            loss_function(network(image), label).backward()
            optimizer.step()
        now = time.time()
        value = accuracy(network, test)
        curve.append((now - start - tested_s, value))
        tested_s += time.time() - now
        print(f"epoch {len(curve)}: {curve[-1][0]:.0f} s, {value:.1%}", flush=True)
    return {"curve": curve}

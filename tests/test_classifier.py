"""The LightningModule: what it logs, collects and keeps in a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_classifiers import CLASSES, LABELS, images, loader, trainer

from cxr_lightning.errors import CheckpointError, TrainingError
from cxr_lightning.metrics import compute_metrics
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.predictions import EpochPredictions
from cxr_lightning.trained import load_classifier


def probabilities(model: Classifier) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        result: np.ndarray = torch.softmax(model(images()).double(), dim=1).numpy()
    return result


# --- predictions and metrics ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 11])
def test_predictions_are_in_row_order_whatever_the_order_of_batches(size: int) -> None:
    logits = torch.randn(len(LABELS), 3, generator=torch.Generator().manual_seed(3))
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(4))
    collector = EpochPredictions(CLASSES)
    for rows in order.split(size):
        collector.update(logits[rows], LABELS[rows], rows + 100, torch.tensor(0.5))
    values = collector.compute()
    assert values.pop("loss") == 0.5
    collected = collector.collected
    assert collected.rows.tolist() == list(range(100, 111))
    assert collected.labels.tolist() == LABELS.tolist()
    expected = torch.softmax(logits.double(), dim=1).numpy()
    np.testing.assert_allclose(collected.probabilities, expected, rtol=1e-12)
    assert collected.predicted.tolist() == logits.argmax(dim=1).tolist()
    by_hand = compute_metrics(LABELS.numpy(), expected, CLASSES)
    assert values == pytest.approx({name: v[0] for name, v in by_hand.items()}, nan_ok=True)


def test_a_new_epoch_starts_from_nothing() -> None:
    collector = EpochPredictions(CLASSES)
    for loss in (1.0, 0.25):
        collector.update(torch.eye(3), torch.arange(3), torch.arange(3), torch.tensor(loss))
        values = collector.compute()
        assert (values["accuracy"], values["loss"]) == (1, loss)
        assert len(collector.collected.rows) == 3
        collector.reset()


def test_the_loss_of_an_epoch_is_its_mean_over_images() -> None:
    collector = EpochPredictions(CLASSES)
    collector.update(torch.eye(3), torch.arange(3), torch.arange(3), torch.tensor(0.5))
    collector.update(torch.eye(3)[:1], torch.tensor([0]), torch.tensor([3]), torch.tensor(2.0))
    assert collector.compute()["loss"] == (3 * 0.5 + 1 * 2.0) / 4


def test_probabilities_of_large_logits_are_exact() -> None:
    collector = EpochPredictions(CLASSES)
    logits = torch.tensor([[1000.0, 999.0, -1000.0]])
    collector.update(logits, torch.tensor([0]), torch.tensor([0]), torch.tensor(0.0))
    collector.compute()
    # e / (e + 1), 1 / (e + 1), 0
    expected = [[0.7310585786300049, 0.2689414213699951, 0.0]]
    np.testing.assert_allclose(collector.collected.probabilities, expected, rtol=1e-14)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_outputs_that_are_not_finite_stop_the_run_with_advice(bad: float) -> None:
    collector = EpochPredictions(CLASSES)
    logits = torch.tensor([[0.0, bad, 0.0]])
    collector.update(torch.eye(3), torch.arange(3), torch.arange(3), torch.tensor(0.0))
    collector.update(logits, torch.tensor([0]), torch.tensor([3]), torch.tensor(0.0))
    with pytest.raises(TrainingError, match=r"diverged.*Lower optim.lr.*trainer.precision=32-true"):
        collector.compute()


def test_a_diverging_training_ends_in_a_sentence(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    model = classifier("optim.lr=1e30")
    with pytest.raises(TrainingError, match="diverged"):
        trainer(tmp_path, max_epochs=2).fit(model, loader(), loader())


def test_logged_validation_metrics_are_those_of_metrics_py(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    model = classifier()
    order = [5, 3, 10, 0, 1, 2, 9, 8, 7, 6, 4]
    logged = trainer(tmp_path).validate(model, loader(order), verbose=False)[0]
    expected = compute_metrics(LABELS.numpy(), probabilities(model), CLASSES)
    loss = logged.pop("val/loss")
    assert logged == pytest.approx({f"val/{k}": v[0] for k, v in expected.items()}, abs=1e-6)
    assert model.predictions["val"].rows.tolist() == list(range(11))
    # The mean over images, though the last batch has 3 instead of 4.
    model.eval()
    assert loss == pytest.approx(F.cross_entropy(model(images()), LABELS).item(), rel=1e-5)


def test_metrics_of_a_class_without_images_are_not_logged(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    without_covid = [row for row in range(len(LABELS)) if LABELS[row] != 0]
    logged = trainer(tmp_path).validate(classifier(), loader(without_covid), verbose=False)[0]
    assert "val/recall/COVID19" not in logged
    assert "val/auroc/COVID19" not in logged
    assert {"val/recall/NORMAL", "val/f1_macro", "val/auroc_macro"} <= set(logged)
    assert not any(np.isnan(value) for value in logged.values())


def test_training_logs_its_loss_and_a_few_metrics(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(classifier(), loader(), loader())
    logged = {name for name in fitted.callback_metrics if name.startswith("train/")}
    few = ("loss", "accuracy", "balanced_accuracy", "f1_macro", *(f"recall/{k}" for k in CLASSES))
    assert logged == {f"train/{name}" for name in few}


def test_the_loss_follows_the_imbalance_option(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    model = classifier("imbalance=class_weights")
    one_batch = loader(size=11)
    logged = trainer(tmp_path).validate(model, one_batch, verbose=False)[0]
    # 11 training images, 3 classes: 11 / (3 · 3), 11 / (3 · 5), 11 / (3 · 3)
    weights = torch.tensor([11 / 9, 11 / 15, 11 / 9])
    expected = F.cross_entropy(model(images()), LABELS, weight=weights).item()
    assert logged["val/loss"] == pytest.approx(expected, rel=1e-5)


def test_predicting_gives_rows_probabilities_and_labels(
    classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    model = classifier()
    batches = trainer(tmp_path).predict(model, loader([3, 2, 1, 0], size=4))
    assert batches is not None
    rows, predicted, labels = batches[0]
    assert rows.tolist() == [3, 2, 1, 0]
    assert labels.tolist() == [1, 2, 1, 0]
    np.testing.assert_allclose(predicted.numpy(), probabilities(model)[[3, 2, 1, 0]], rtol=1e-5)


def test_logits_are_float32_in_mixed_precision(classifier: Callable[..., Classifier]) -> None:
    model = classifier()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.network(images()).dtype == torch.bfloat16
        assert model(images()).dtype == torch.float32


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(classifier: Callable[..., Classifier], tmp_path: Path) -> tuple[Classifier, Path]:
    """A classifier that has moved, and its checkpoint."""
    model = classifier("imbalance=class_weights", "augment=standard", "data=kaggle")
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(model, loader(), loader())
    fitted.save_checkpoint(tmp_path / "a.ckpt")
    return model, tmp_path / "a.ckpt"


def test_hyper_parameters_are_plain_values(checkpoint: tuple[Classifier, Path]) -> None:
    loaded = torch.load(checkpoint[1], weights_only=True)["hyper_parameters"]
    assert loaded["classes"] == CLASSES
    assert loaded["class_counts"] == [3, 5, 3]
    assert loaded["imbalance"]["name"] == "class_weights"
    assert loaded["optim"]["lr"] == 0.001
    assert loaded["run"]["data"]["name"] == "kaggle"
    assert loaded["run"]["augment"]["rotate"]["degrees"] == 10


def test_a_reloaded_classifier_gives_the_same_logits_to_the_bit(
    checkpoint: tuple[Classifier, Path], classifier: Callable[..., Classifier]
) -> None:
    model, file = checkpoint
    model.eval()
    torch.manual_seed(99)
    reloaded = load_classifier(file).eval()
    assert torch.equal(reloaded(images()), model(images()))
    assert not torch.equal(classifier().eval()(images()), model(images()))  # training moved it


def test_a_checkpoint_that_is_none_of_ours_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text.ckpt is not a checkpoint of cxr-train"):
        load_classifier(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {"lr": 1}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other.ckpt is not a checkpoint of cxr-train"):
        load_classifier(tmp_path / "other.ckpt")

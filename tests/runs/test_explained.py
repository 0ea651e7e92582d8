"""Where a trained network looks: in the run's folder and TensorBoard; no number changes by it."""

from collections.abc import Callable
from pathlib import Path

from small_runs import SHORT, SUM_TEST, read_json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cxr_lightning.train import TrainResult
from cxr_lightning.trained import load_classifier


def test_heatmaps_change_no_number(run: Callable[..., TrainResult], tmp_path: Path) -> None:
    with_maps = run(tmp_path / "with", *SHORT)
    without = run(tmp_path / "without", *SHORT, "callbacks.worst_mistakes=null")
    assert (tmp_path / "with" / "explanation.json").exists()
    assert not (tmp_path / "without" / "explanation.json").exists()
    assert with_maps.metrics == without.metrics
    for name in ("predictions.csv", "calibration.json"):
        one, other = (tmp_path / folder / name for folder in ("with", "without"))
        assert one.read_bytes() == other.read_bytes()
    first, second = (
        load_classifier(tmp_path / folder / "checkpoints" / "best.ckpt").state_dict()
        for folder in ("with", "without")
    )
    assert all(value.equal(second[key]) for key, value in first.items())


def test_a_learnt_network_has_other_maps_than_random_weights(trained: TrainResult) -> None:
    found = read_json(trained.folder / "explanation.json")
    assert found["images"] == SUM_TEST
    assert found["layers"] == ["backbone.features"]
    assert 0 <= found["center"]["low"] < found["center"]["value"] < found["center"]["high"] <= 1
    assert found["center"]["uniform_share"] == (26 / 32) ** 2  # margins of 3 of 32 px
    assert found["randomised_weights"]["n"] > SUM_TEST / 2
    assert abs(found["randomised_weights"]["rank_correlation"]) < 0.5
    events = EventAccumulator(str(trained.folder)).Reload()
    (shown,) = events.Scalars("test/attention/center")
    assert abs(shown.value - found["center"]["value"]) < 1e-6

"""A study: its objectives, its storage, and what a report shows of it."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.database import open_storage
from cxr_lightning.sweeps.plan import Job, Plan
from cxr_lightning.sweeps.search import Search
from cxr_lightning.sweeps.study import StudyResults, pictures, study_results

F1 = {"val/f1_macro": "maximize"}
TWO = {"val/f1_macro": "maximize", "val/loss": "minimize"}
LOG, AB = "lr=tag(log, interval(1e-4, 1e-1))", "model=choice(a, b)"
SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "model": CategoricalDistribution(["a", "b"]),
}


def open_search(folder: Path, *words: str, **options: Any) -> Search:
    given: dict[str, Any] = {"storage": f"sqlite:///{folder}/study.db", "study_name": "study"}
    given |= {"objectives": F1, "n_trials": 3}
    given["sampler"] = {"_target_": "optuna.samplers.RandomSampler"}
    given["pruner"] = {"_target_": "optuna.pruners.MedianPruner"}
    typed = list(words or [LOG, AB])
    overrides = OverridesParser.create().parse_overrides(typed)
    return Search(
        folder=folder, overrides=overrides, place=lambda name: [f"name={name}"], **given | options
    )


# --- objectives ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        (
            {**F1, "test/loss": "minimize"},
            "hydra.sweeper.objectives: test/loss is measured on the test images. What is "
            "chosen by them cannot be tested by them; take its val/… instead.",
        ),
        (
            {"val/loss": "min"},
            "hydra.sweeper.objectives: val/loss=min; maximize or minimize.",
        ),
        ({}, "hydra.sweeper.objectives is empty; give [{val/f1_macro:maximize}]."),
    ],
)
def test_wrong_objectives_are_refused(
    objectives: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        open_search(tmp_path, objectives=objectives)
    assert str(refused.value) == sentence
    assert list(tmp_path.iterdir()) == []  # no study of it


def test_without_validation_images_only_training_can_be_an_objective(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^split.val_fraction=0 leaves no images to measure val"):
        open_search(tmp_path, has_validation=False)
    search = open_search(tmp_path, objectives={"train/loss": "minimize"}, has_validation=False)
    assert search.study.direction.name == "MINIMIZE"


def test_nothing_swept_is_nothing_to_search(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Nothing to search: hydra.sweeper.params is empty."):
        open_search(tmp_path, "model=a", "trainer.max_epochs=3")


# --- storage -------------------------------------------------------------------------------------


def test_the_study_is_where_the_url_says(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    search = open_search(tmp_path / "sweep", storage=url, study_name="mine")
    assert (search.of_jobs["storage"], search.of_jobs["study"]) == (url, "mine")
    assert optuna.get_all_study_names(url) == ["mine"]
    assert not (tmp_path / "sweep" / "study.db").exists()
    open_search(tmp_path / "sweep", storage=url, study_name="other")
    assert sorted(optuna.get_all_study_names(url)) == ["mine", "other"]


@pytest.mark.parametrize(
    ("words", "options", "difference"),
    [
        ([LOG, AB, "trainer.max_epochs=2"], {}, "trainer.max_epochs=2"),
        (["lr=interval(1e-4, 1e-1)", AB], {}, f"lr=interval(1e-4, 1e-1), {LOG}"),
        ([LOG, "model=choice(a, b, c)"], {}, f"{AB}, model=choice(a, b, c)"),
        (
            [LOG, AB],
            {"objectives": {"val/loss": "minimize"}},
            "objectives={val/f1_macro: maximize}, objectives={val/loss: minimize}",
        ),
        (
            [LOG, AB],
            {"objectives": TWO},
            "objectives={val/f1_macro: maximize, val/loss: minimize}, objectives={val/f1_macro: "
            "maximize}",
        ),
    ],
)
def test_a_study_is_not_continued_as_another(
    words: list[str], options: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    open_search(tmp_path, LOG, AB)
    open_search(tmp_path, LOG, AB, n_trials=9, seed=1)  # that is no other search
    with pytest.raises(ConfigError) as refused:
        open_search(tmp_path, *words, **options)
    assert str(refused.value) == (
        f"{tmp_path} holds another search; it differs in {difference}. Choose another name=…, or "
        "give the same values to continue that search."
    )


def test_a_study_may_be_continued_with_other_loader_workers(tmp_path: Path) -> None:
    open_search(tmp_path, LOG, AB, "data.num_workers=0")
    search = open_search(tmp_path, LOG, AB, "data.num_workers=4")
    assert search.fixed == ["data.num_workers=4"]


def test_a_pruner_that_cannot_be_built_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    pruner = {"_target_": "optuna.pruners.PercentilePruner", "n_startup_trials": 5}
    with pytest.raises(ConfigError, match=r"`optuna.pruners.PercentilePruner` cannot be built"):
        open_search(tmp_path, pruner=pruner)


def test_no_pruner_is_one_word_on_the_command_line(tmp_path: Path) -> None:
    # Hydra merges it with the configured one, whose arguments are left.
    merged = {"_target_": "optuna.pruners.NopPruner", "n_startup_trials": 5}
    assert open_search(tmp_path, pruner=merged).of_jobs["pruner"] == {}


# --- the report ----------------------------------------------------------------------------------


def make_study(folder: Path, values: list[list[float] | None], objectives: dict[str, str]) -> Plan:
    """A study with a trial for each entry, None for a pruned one; and the plan of its jobs."""
    url = f"sqlite:///{folder}/study.db"
    study = optuna.create_study(
        storage=open_storage(url), study_name="study", directions=list(objectives.values())
    )
    for number, of_trial in enumerate(values):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if of_trial is None else TrialState.COMPLETE,
                values=of_trial,
                params={"lr": 0.001 * (number + 1), "model": "ab"[number % 2]},
                distributions=SPACE,
            )
        )
        run = folder / f"trial-{number:03d}"
        run.mkdir()
        search = {"study": "study", "storage": url, "objectives": objectives, "trial": number}
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": 0, "search": search}))
    jobs = [Job(f"trial-{number:03d}", {}) for number in range(len(values))]
    return Plan(True, "cxr-train", [], ["lr", "model"], 9, jobs)


def results_of(
    folder: Path, values: list[list[float] | None], goals: dict[str, str]
) -> StudyResults:
    results = study_results(folder, make_study(folder, values, goals))
    assert results is not None
    return results


def drawn(
    folder: Path, values: list[list[float] | None], goals: dict[str, str]
) -> dict[str, Figure]:
    """Optuna's figures of such a study, by title."""
    make_study(folder, values, goals)
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder}/study.db")
    return {title: figure for title, figure, _ in pictures(study, list(goals))}


def test_a_search_that_has_not_begun_has_no_results(tmp_path: Path) -> None:
    plan = Plan(True, "cxr-train", [], ["lr"], 3, [Job("trial-000", {})])
    assert study_results(tmp_path, plan) is None


def test_one_complete_trial_is_the_best_and_has_no_pictures(tmp_path: Path) -> None:
    results = results_of(tmp_path, [None, [0.5]], F1)
    assert results.sentences == [
        "2 trials: 1 pruned, 1 complete",
        "Best: trial-001, val/f1_macro 0.5000, with lr=0.002 model=b",
    ]
    assert (results.best, results.charts) == (["trial-001"], [])


def test_pruned_trials_alone_have_no_best(tmp_path: Path) -> None:
    results = results_of(tmp_path, [None, None], F1)
    assert (results.sentences, results.best) == (["2 trials: 2 pruned"], [])


def test_several_trials_have_the_best_and_pictures_of_all(tmp_path: Path) -> None:
    results = results_of(tmp_path, [[0.5], [0.9], None, [0.7]], F1)
    assert results.best == ["trial-001"]
    assert results.trials.to_numpy().tolist() == [
        ["0", "complete", "0.5000", "0.001", "a"],
        ["1", "complete", "0.9000", "0.002", "b"],
        ["2", "pruned", "", "0.003", "a"],
        ["3", "complete", "0.7000", "0.004", "b"],
    ]
    titles = [chart.title for chart in results.charts]
    assert titles == [
        "val/f1_macro: history",
        "val/f1_macro: importance of each parameter",
        "val/f1_macro: trials by parameters, dark is good",
    ]
    words = "3 complete trials; their values are in the table of all trials"
    assert [chart.alt for chart in results.charts] == [f"{title}. {words}" for title in titles]


def test_the_figures_have_the_values_of_the_trials(tmp_path: Path) -> None:
    figures = drawn(tmp_path, [[0.5], [0.9], None, [0.7]], F1)
    history = figures["val/f1_macro: history"].axes[0]
    assert history.collections[0].get_offsets().tolist() == [[0, 0.5], [1, 0.9], [3, 0.7]]
    importances = figures["val/f1_macro: importance of each parameter"].axes[0]
    assert sorted(t.get_text() for t in importances.get_yticklabels()) == ["lr", "model"]


# Trial 2 is worse than trial 0 in both; no other is.
OF_TWO: list[list[float] | None] = [[0.5, 0.2], [0.9, 0.4], [0.4, 0.3]]


def test_two_objectives_have_a_front_and_no_pruning(tmp_path: Path) -> None:
    results = results_of(tmp_path, OF_TWO, TWO)
    assert results.best == ["trial-000", "trial-001"]
    assert results.sentences == [
        "3 trials: 3 complete",
        "Best: trial-000, val/f1_macro 0.5000, val/loss 0.2000, with lr=0.001 model=a",
        "Best: trial-001, val/f1_macro 0.9000, val/loss 0.4000, with lr=0.002 model=b",
    ]
    assert open_search(tmp_path / "new").of_jobs["pruner"] != {}
    assert open_search(tmp_path / "two", objectives=TWO).of_jobs["pruner"] == {}


def test_two_objectives_are_in_each_picture(tmp_path: Path) -> None:
    figures = drawn(tmp_path, OF_TWO, TWO)
    front, bars, lines = (figures[title].axes[0] for title in figures)
    assert next(iter(figures)) == "val/f1_macro and val/loss: Pareto front"
    points = {tuple(p) for c in front.collections for p in np.asarray(c.get_offsets()).tolist()}
    assert points == {(0.5, 0.2), (0.9, 0.4), (0.4, 0.3)}
    legend = bars.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["val/f1_macro", "val/loss"]
    assert [t.get_text() for t in lines.get_xticklabels()] == [*TWO, "lr", "model"]


@pytest.mark.parametrize(
    ("goals", "values"),
    [
        (F1, [[0.5], [0.9]]),
        ({"val/loss": "minimize"}, [[0.5], [0.9]]),
        (TWO, OF_TWO),
    ],
)
def test_dark_is_good(
    goals: dict[str, str], values: list[list[float] | None], tmp_path: Path
) -> None:
    figures = drawn(tmp_path, values, goals)
    title = next(title for title in figures if "dark is good" in title)
    lines = figures[title].axes[0].collections[0]
    shade = lines.get_cmap()(lines.norm(lines.get_array())).sum(axis=1)  # dark is small
    first = np.asarray(lines.get_segments())[:, 0, 1]  # the height at the first objective
    goes_up = next(iter(goals.values())) == "maximize"
    best = first.argmax() if goes_up else first.argmin()
    assert shade[best] == shade.min() < shade.max()


def test_the_pictures_leave_pyplots_style_and_figures_alone(tmp_path: Path) -> None:
    with plt.style.context("default"):
        own = plt.figure()
        before, interactive = dict(plt.rcParams), plt.isinteractive()
        results_of(tmp_path, [[0.5], [0.9]], F1)
        assert (dict(plt.rcParams), plt.isinteractive()) == (before, interactive)
        assert (plt.get_fignums(), plt.gcf()) == ([own.number], own)
        plt.close(own)


def test_a_sweep_that_was_moved_keeps_its_study(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    plan = make_study(tmp_path / "first", [[0.5], [0.9]], F1)
    (tmp_path / "first").rename(tmp_path / "moved")
    results = study_results(tmp_path / "moved", plan)
    assert results is not None and results.best == ["trial-001"]


def test_results_are_named_by_the_latest_trials_objective(tmp_path: Path) -> None:
    plan = make_study(tmp_path, [[0.5], [0.9]], F1)
    first = tmp_path / "trial-000" / "config.yaml"  # finished, and only then found misspelt
    first.write_text(first.read_text().replace("val/f1_macro", "val/f1"))
    results = study_results(tmp_path, plan)
    assert results is not None and "val/f1_macro" in results.trials

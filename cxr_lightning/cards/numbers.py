"""A run's numbers as tables of text, each with its interval and its number of images."""

from typing import Any

import pandas as pd

from cxr_lightning.audit.rungs import NAMES, beyond_nothing
from cxr_lightning.cards.record import RunFiles, estimates_of
from cxr_lightning.cards.words import counted, percent, points, with_n
from cxr_lightning.contrasts import Interval
from cxr_lightning.decisions.triage import Share
from cxr_lightning.metrics import Estimate
from cxr_lightning.subgroups import SHOWN

OVERALL = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy (mean recall)",
    "f1_macro": "macro F1",
    "precision_macro": "macro precision",
    "specificity_macro": "macro specificity",
    "auroc_macro": "macro AUROC",
    "average_precision_macro": "macro average precision",
    "mcc": "Matthews correlation",
}
BY_CLASS = {
    "recall": "recall (sensitivity)",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "auroc": "AUROC",
}
SCORES = {"ece": "calibration error (ECE)", "brier": "Brier score", "log_loss": "log loss"}


def rung_estimate(rung: dict[str, Any], metric: str) -> Estimate:
    """A number of a rung of `ladder.json`."""
    return Estimate(**rung["metrics"][metric])


def highest_rung(run: RunFiles) -> dict[str, Any] | None:
    """The rung of the null ladder with the highest accuracy."""
    if not run.ladder:
        return None
    return max(run.ladder, key=lambda rung: rung_estimate(rung, "accuracy").value or 0.0)


def nothing(run: RunFiles) -> str:
    """How good nothing is, in a sentence that stands beside the headline; empty without a test."""
    if not run.results:
        return ""
    if (rung := highest_rung(run)) is None:
        baseline = 100 * run.results["majority_baseline_accuracy"]
        n = run.results["n"]
        return (
            f"Always naming the most frequent test class is right in {baseline:.1f}% of the {n} "
            "images. The null ladder was not computed (ladder_minutes)."
        )
    least, best = (rung_estimate(one, "accuracy") for one in (run.ladder[0], rung))
    return (
        f"How good is nothing? Accuracy of “{run.ladder[0]['name']}” on the same {best.n} images: "
        f"{percent(least)}; of “{rung['name']}”, the best of what is not the disease: "
        f"{percent(best)}. {beyond(rung)}"
    )


def beyond(rung: dict[str, Any]) -> str:
    """How far the network is above a rung, and what follows."""
    return beyond_nothing("This network", rung["name"], Interval(**rung["network_minus_rung"]))


def missing_rungs(run: RunFiles) -> list[str]:
    """What a ladder that ran out of time lacks."""
    there = {rung["rung"] for rung in run.ladder}
    return [name for key, name in NAMES.items() if run.ladder and key not in there]


def overall(run: RunFiles) -> pd.DataFrame:
    """Each overall metric of the network; beside it, of nothing and of the highest rung."""
    rung = highest_rung(run)
    beside = {} if rung is None else {r["name"]: r for r in (run.ladder[0], rung)}
    rows = []
    for name, title in OVERALL.items():
        row = {"metric": title, "this network": with_n(name, run.estimates[name])}
        for title_of_rung, one in beside.items():
            row[title_of_rung] = with_n(name, rung_estimate(one, name))
        rows.append(row)
    return pd.DataFrame(rows)


def by_class(estimates: dict[str, Estimate], classes: list[str]) -> pd.DataFrame:
    """One row per class."""
    return pd.DataFrame(
        [
            {"class": k}
            | {title: with_n(m, estimates[f"{m}/{k}"]) for m, title in BY_CLASS.items()}
            for k in classes
        ]
    )


def ladder(run: RunFiles) -> pd.DataFrame:
    """Each rung's accuracy and macro F1, and how far the network is above it."""
    return pd.DataFrame(
        [
            {
                "what is seen": rung["name"],
                "accuracy": with_n("accuracy", rung_estimate(rung, "accuracy")),
                "macro F1": with_n("f1_macro", rung_estimate(rung, "f1_macro")),
                "network minus this, points": points(rung["network_minus_rung"]),
            }
            for rung in run.ladder
        ]
    )


def calibration(run: RunFiles) -> pd.DataFrame:
    """Each score of the test images before and after calibration."""
    if not run.calibration:
        return pd.DataFrame()
    test = run.calibration["test"]

    def score(when: str, name: str) -> str:
        one = test[when][name]
        return f"{one['value']:.3f} ({one['low']:.3f}–{one['high']:.3f})\nn = {test['n']}"

    return pd.DataFrame(
        [
            {"score": title, "as trained": score("before", k), "calibrated": score("after", k)}
            for k, title in SCORES.items()
        ]
    )


def external(run: RunFiles) -> pd.DataFrame:
    """What the network reaches on other hospitals' images, and loses against its own."""
    rows = []
    for name, results in run.external.items():
        baseline = f"{100 * results['majority_baseline_accuracy']:.1f}%\nn = {results['n']}"
        for metric, lost in results.get("lost", {}).items():
            there, own = (Estimate(**lost[side]) for side in ("external", "internal"))
            rows.append(
                {
                    "images": name,
                    "metric": metric.replace("_", " "),
                    "there": with_n(metric, there),
                    "own test, same classes": with_n(metric, own),
                    "lost, points": points(lost["difference"]),
                    "largest class there": baseline if metric == "accuracy" else "",
                }
            )
    return pd.DataFrame(rows)


def external_sets(run: RunFiles) -> list[dict[str, Any]]:
    """Of each set: its name, what is in it, the numbers by class, and the confusion matrix."""
    return [
        {
            "name": name,
            "images": counted(results["images_per_class"]),
            "patients": results["patients"],
            "by_class": by_class(
                estimates_of(results),
                [k for k in run.classes if results["images_per_class"].get(k)],
            ),
            "confusion": results["confusion_matrix"],
        }
        for name, results in run.external.items()
    ]


def subgroups(run: RunFiles) -> pd.DataFrame:
    """Each stratum, the worst of each column first."""
    rows = []
    for row in run.subgroups.to_dict("records"):
        texts = {"subgroup": f"{row['column']}={row['stratum']}"}
        texts |= {"images": str(row["n"]), "patients": str(row["patients"])}
        for metric in SHOWN:
            texts[metric.replace("_", " ")] = _stratum(row, metric)
        rows.append(texts)
    return pd.DataFrame(rows)


def _stratum(row: dict[Any, Any], metric: str) -> str:
    if isinstance(row["note"], str):
        return row["note"]
    values = [row[f"{metric}{end}"] for end in ("", "/low", "/high")]
    value, low, high = (None if pd.isna(v) else float(v) for v in values)
    return with_n(metric, Estimate(value, low, high, row["n"], "not estimable"))


def triage(run: RunFiles) -> list[dict[str, Any]]:
    """Of each triage that is in the run's folder: target, threshold, accuracy, verdicts."""
    found = []
    for place, content in run.triage.items():
        people = content["patients"]
        found.append(
            {
                "place": place,
                "target": content["target"],
                "threshold": f"{content['threshold']:.4f}",
                "cautions": content["cautions"],
                "sensitivity": _of_patients(people["sensitivity"]),
                "specificity": _of_patients(people["specificity"]),
                "verdicts": [
                    f"{one['verdict']}: {name.replace('_', ' ')} (sensitivity at least "
                    f"{100 * one['sensitivity']:.0f}%, specificity at least "
                    f"{100 * one['specificity']:.0f}%)"
                    for name, one in content["verdicts"].items()
                ],
            }
        )
    return found


def _of_patients(one: dict[str, Any]) -> str:
    return Share(one["hits"], one["n"]).text

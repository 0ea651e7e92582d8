"""triage.html and triage.json: what a frozen threshold is worth, and for whom."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from cxr_lightning.decisions import triage
from cxr_lightning.decisions.judged import SCREENING_PROFILES, Judged
from cxr_lightning.decisions.triage import Accuracy, Share
from cxr_lightning.pages import charts
from cxr_lightning.pages.template import rendered
from cxr_lightning.runs.writing import write_json, write_text

SCREENED = 100_000
THRESHOLDS = np.linspace(0.005, 0.5, 100)
TITLES = {
    "ppv": "PPV",
    "npv": "NPV",
    "found": "cases found",
    "missed": "cases missed",
    "examinations": "second examinations",
    "avoided": "examinations avoided",
    "cost_per_case": "cost per case found",
}


def write_page(folder: Path, judged: Judged) -> Path:
    """Write both files; returns the page's path."""
    content = {
        "judged": judged,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "accuracies": _accuracies(judged),
        "screening": _screening(judged),
        "curve": _curve(judged),
        "profiles": set(judged.targets) & set(SCREENING_PROFILES),
        "found_on": judged.found_on,
        "screened": SCREENED,
        "strata": judged.strata.map(str),
    }
    write_json(folder / "triage.json", _json(judged))
    write_text(folder / "triage.html", rendered("decisions/triage.html.j2", content))
    return folder / "triage.html"


def print_judged(judged: Judged, page: Path) -> None:
    """Cautions, the threshold, its accuracy by patient, and the verdicts."""
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    for caution in judged.cautions:
        say(caution)
    say(f"Threshold on the probability of {judged.config.target}: {judged.threshold:.4f}")
    say(f"Sensitivity by patient: {judged.patients.sensitivity.text}")
    say(f"Specificity by patient: {judged.patients.specificity.text}")
    for name, verdict in judged.verdicts.items():
        sensitivity, specificity = judged.targets[name]
        aim = f"sensitivity ≥ {100 * sensitivity:.0f}%, specificity ≥ {100 * specificity:.0f}%"
        say(f"{verdict}: {name} ({aim})")
    if set(judged.targets) & set(SCREENING_PROFILES):
        say("The screening profiles of August 2025 are known to us from a secondary source only.")
    console.print(f"Page: {page}", markup=False, highlight=False, soft_wrap=True)


def _accuracies(judged: Judged) -> pd.DataFrame:
    rows = {"test films": judged.films, "test patients": judged.patients}
    if judged.found_on is not None:
        rows = {"films that gave the threshold": judged.found_on, **rows}
    return pd.DataFrame(
        [
            {"on": name, "sensitivity": a.sensitivity.text, "specificity": a.specificity.text}
            for name, a in rows.items()
        ]
    )


def _screening(judged: Judged) -> pd.DataFrame:
    rows = []
    for prevalence in judged.config.prevalences:
        found = triage.at_prevalence(
            judged.patients, prevalence, SCREENED, judged.config.prices or ()
        )
        row = {"prevalence": f"{100 * prevalence:g}%"}
        for name, (value, low, high) in found.items():
            row[TITLES[name]] = _number(name, value, low, high)
        rows.append(row)
    return pd.DataFrame(rows)


def _number(name: str, value: float, low: float, high: float) -> str:
    if name in ("ppv", "npv"):
        return f"{100 * value:.1f}% ({100 * low:.1f}–{100 * high:.1f})"
    return f"{value:,.0f} ({low:,.0f}–{high:,.0f})"


def _curve(judged: Judged) -> charts.Chart | None:
    """The decision curve at the first prevalence of at least 5%, or the highest."""
    people = triage.by_patient(judged.tests)
    is_case, score = people["is_case"].to_numpy(), people["score"].to_numpy()
    if not is_case.any() or is_case.all():
        return None
    prevalence = max(judged.config.prevalences)
    curve = triage.net_benefit(is_case, score, THRESHOLDS, prevalence)
    names = {"model": "by the network", "all": "examine everyone", "none": "examine no one"}
    lines = {
        names[name]: pd.Series(np.maximum(values, -0.05), index=THRESHOLDS)
        for name, values in curve.items()
    }
    title = f"Net benefit at a prevalence of {100 * prevalence:g}%"
    return charts.lines(title, lines, ("threshold of the probability", "net benefit per person"))


def _json(judged: Judged) -> dict[str, Any]:
    return {
        "target": judged.config.target,
        "threshold": judged.threshold,
        "temperature": judged.temperature,
        "cautions": judged.cautions,
        "found_on": None if judged.found_on is None else _plain(judged.found_on),
        "films": _plain(judged.films),
        "patients": _plain(judged.patients),
        "verdicts": {
            name: {
                "verdict": verdict,
                "sensitivity": judged.targets[name][0],
                "specificity": judged.targets[name][1],
            }
            for name, verdict in judged.verdicts.items()
        },
        "cases_needed": [{"missed": missed, "cases": n} for missed, n in judged.needed],
        "screening": {
            str(prevalence): triage.at_prevalence(
                judged.patients, prevalence, SCREENED, judged.config.prices or ()
            )
            for prevalence in judged.config.prevalences
        },
        "subgroups": judged.strata.to_dict("records"),
    }


def _plain(accuracy: Accuracy) -> dict[str, Any]:
    def share(one: Share) -> dict[str, Any]:
        return asdict(one) | {"value": one.value, "low": one.low, "high": one.high}

    return {
        "sensitivity": share(accuracy.sensitivity),
        "specificity": share(accuracy.specificity),
    }

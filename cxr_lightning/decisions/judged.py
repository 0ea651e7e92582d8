"""A triage threshold and what it is worth: films are read, split by purpose, and judged."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cxr_lightning.data.names import count, some
from cxr_lightning.data.patients import CHILDREN
from cxr_lightning.decisions import triage
from cxr_lightning.decisions.calibration import tempered
from cxr_lightning.decisions.settings import TriageConfig
from cxr_lightning.decisions.triage import Accuracy
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.metrics import FEWEST_PATIENTS
from cxr_lightning.subgroups import ADULT, columns_of, strata_of, years_of

SCREENING_PROFILES = {  # of August 2025, by a secondary source
    "screening_profile_90_80": (0.9, 0.8),
    "screening_profile_90_60": (0.9, 0.6),
    "screening_profile_60_98": (0.6, 0.98),
}
FURTHER_MISSED = 3


@dataclass(frozen=True)
class Judged:
    """What a frozen threshold is worth on the films that did not give it.

    cautions: what must be read first. found_on: the films that gave it; None if it was given.
    films, patients: its accuracy by film and by patient. verdicts: by target. strata: by subgroup.
    """

    config: TriageConfig
    cautions: list[str]
    threshold: float
    temperature: float
    found_on: Accuracy | None
    tests: pd.DataFrame
    films: Accuracy
    patients: Accuracy
    targets: dict[str, tuple[float, float]]
    verdicts: dict[str, str]
    strata: pd.DataFrame

    @property
    def needed(self) -> list[tuple[int, int | None]]:
        """Cases in all that a lower limit at the first target takes, if so many are missed."""
        aim, found = next(iter(self.targets.values()))[0], self.patients.sensitivity
        missed = found.n - found.hits
        return [
            (missed + more, triage.needed_for(aim, missed + more, found.n))
            for more in range(FURTHER_MISSED)
        ]


def judge(config: TriageConfig) -> Judged:
    """Read, find the threshold, and judge it.

    Raises:
        ConfigError: films or target are not named, or the target is no class.
        DataError: a file is missing or is not a predictions.csv; the same patients in both.
    """
    given, tested = _files(config)
    temperature = config.temperature or _temperature(config.run)
    tests = _read(tested, config.target, temperature)
    cautions = _cautions(tests, config)
    tests, ages = _adults(tests)
    cautions += ages
    found_on, threshold = None, config.threshold
    if threshold is None:
        assert given is not None
        films = _adults(_read(given, config.target, temperature))[0]
        if shared := sorted(set(films["group"]) & set(tests["group"])):
            raise DataError(
                f"{len(shared)} patients are in both {given} and {tested}: {some(shared, 5, '')}. "
                "A threshold is judged on other patients than those who gave it."
            )
        is_case, score = films["is_case"].to_numpy(), films["score"].to_numpy()
        if not is_case.any():
            raise DataError(f"{given} has no film of {config.target}: there is no threshold.")
        threshold = triage.choose_threshold(is_case, score, config.sensitivity)
        found_on = triage.accuracy_at(is_case, score, threshold)
        if (n := int(is_case.sum())) < FEWEST_PATIENTS:
            cautions.append(f"The threshold rests on {count(n, 'case')} only.")
    people = triage.by_patient(tests)
    of_patients = _accuracy(people, threshold)
    targets = {k: (t.sensitivity, t.specificity) for k, t in config.targets.items()}
    targets |= SCREENING_PROFILES if config.screening_profiles else {}
    return Judged(
        config=config,
        cautions=cautions,
        threshold=threshold,
        temperature=temperature,
        found_on=found_on,
        tests=tests,
        films=_accuracy(tests, threshold),
        patients=of_patients,
        targets=targets,
        verdicts=triage.targets_reached(of_patients, targets),
        strata=_strata(tests, config, threshold),
    )


def _accuracy(rows: pd.DataFrame, threshold: float) -> Accuracy:
    return triage.accuracy_at(rows["is_case"].to_numpy(), rows["score"].to_numpy(), threshold)


def _files(config: TriageConfig) -> tuple[Path | None, Path]:
    """Where the threshold comes from, None if it is given; and what it is judged on."""
    run = config.run
    tested = config.test or (run / "predictions.csv" if run else None)
    given = config.calibration or (run / "predictions-val.csv" if run else None)
    if tested is None or (given is None and config.threshold is None):
        raise ConfigError(
            "cxr-triage needs run=outputs/NAME; or calibration=…/predictions.csv (or threshold=…) "
            "and test=…/predictions.csv"
        )
    if config.threshold is not None:
        given = None
    elif given is not None and not given.exists() and config.calibration is None:
        raise DataError(
            f"The run {run} has no predictions of validation films (predictions-val.csv): it had "
            "none, or is older. Give calibration=…/predictions.csv of cxr-evaluate, or threshold=…"
        )
    return given, tested


def _temperature(run: Path | None) -> float:
    file = run / "calibration.json" if run else None
    if file is None or not file.exists():
        return 1.0
    return float(json.loads(file.read_text(encoding="utf-8"))["temperature"])


def _read(file: Path, target: str, temperature: float) -> pd.DataFrame:
    """The films of a predictions.csv, with `is_case` and `score`, the target's probability."""
    if not file.is_file():
        raise DataError(f"{file}: no such file. cxr-train and cxr-evaluate write predictions.csv.")
    frame = pd.read_csv(file, dtype={"group": str, "label": str, "path": str}, encoding="utf-8")
    missing = [name for name in ("path", "group", "label", "predicted") if name not in frame]
    if missing:
        raise DataError(
            f"{file} is not a predictions.csv of cxr-train or cxr-evaluate: it has no column "
            f"{some(missing)}."
        )
    classes = _classes(frame, file)
    if target not in classes:
        raise ConfigError(f"target={target} is no class here: {', '.join(classes)}.")
    p = tempered(frame[classes].to_numpy(dtype=np.float64), temperature)
    score = p[:, classes.index(target)]
    return frame.assign(is_case=frame["label"] == target, score=score)


def _classes(frame: pd.DataFrame, file: Path) -> list[str]:
    """The columns after `predicted` that sum to 1 in every row."""
    after = list(frame.columns[frame.columns.get_loc("predicted") + 1 :])  # type: ignore[operator]
    for n in range(2, len(after) + 1):
        some_of = frame[after[:n]]
        numbers = some_of.select_dtypes("number")
        if numbers.shape[1] == n and np.allclose(numbers.sum(axis=1), 1, atol=0.01):
            return after[:n]
    raise DataError(f"{file} has no columns of probabilities that sum to 1.")


def _cautions(tests: pd.DataFrame, config: TriageConfig) -> list[str]:
    """What makes the threshold mean nothing for the adults that it is meant for."""
    others, cases = tests[~tests["is_case"]], tests[tests["is_case"]]
    found = []
    names = others["path"].str.contains(CHILDREN, regex=True)
    if len(others) and (names.mean() >= 0.5 or _is_kaggle(config.run, config.test)):
        found.append(
            "Most films without the disease are of children aged one to five, and those with it "
            "are of adults: this threshold means nothing for adults. It shows how the tool works."
        )
    if "source" in tests and len(cases) and len(others):
        own = set(cases["source"].astype(str)) - set(others["source"].astype(str))
        if cases["source"].astype(str).isin(own).mean() >= 0.95:
            found.append(
                f"The cases come from another archive ({some(sorted(own), 3, '')}) than the other "
                "films: this threshold may tell the archives apart, and means nothing elsewhere."
            )
    if not len(cases):
        found.append(f"There is no case of {config.target} among the test films.")
    return found


def _is_kaggle(run: Path | None, test: Path | None) -> bool:
    """Whether the run was tested on its own images, and they are Kaggle's."""
    if run is None or test is not None or not (run / "config.yaml").exists():
        return False
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return bool(config.get("data", {}).get("name") == "kaggle")


def _adults(films: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Without those under 15, for whom WHO does not recommend computer reading; what is said."""
    column = next(
        (str(c) for c in films if str(c).lower() in ("age", "patient_age", "patientage")), None
    )
    if column is None:
        return films, ["Ages are not known. WHO recommends computer reading only from 15 years on."]
    years = years_of(films[column].fillna("").astype(str).str.strip())
    is_young = years < ADULT
    if not is_young.any():
        return films, []
    said = f"{count(int(is_young.sum()), 'film')} of people under 15 are left out."
    return films[~is_young].reset_index(drop=True), [
        f"{said} WHO recommends computer reading only from 15 years on."
    ]


def _strata(tests: pd.DataFrame, config: TriageConfig, threshold: float) -> pd.DataFrame:
    """Sensitivity and specificity by subgroup, the lowest sensitivity first."""
    if "source" not in tests:
        return pd.DataFrame()
    names = list(tests.columns)
    further = [c for c in names[names.index("source") + 1 :] if c not in ("is_case", "score")]
    table = tests[["path", "label", "predicted", "group", "source", *further]]
    rows = []
    for column in columns_of(table, config.subgroups):
        strata = strata_of(table[column], column)
        for stratum in dict.fromkeys(sorted(strata)):
            people = triage.by_patient(tests[(strata == stratum).to_numpy()])
            found = _accuracy(people, threshold)
            few = len(people) < FEWEST_PATIENTS
            rows.append(
                {
                    "subgroup": f"{column}={stratum}",
                    "patients": len(people),
                    "sensitivity": "too few patients" if few else found.sensitivity.text,
                    "specificity": "" if few else found.specificity.text,
                    "order": 2.0 if few else (found.sensitivity.value or 1.5),
                }
            )
    frame = pd.DataFrame(rows)
    return frame.sort_values("order", kind="stable").drop(columns="order") if len(frame) else frame

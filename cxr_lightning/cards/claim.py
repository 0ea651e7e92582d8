"""A run's CLAIM 2024 sheet: what its files prove, and what is left for people to write."""

from collections.abc import Callable
from dataclasses import dataclass

from cxr_lightning.cards import numbers, recipe
from cxr_lightning.cards.claim_items import Item, items
from cxr_lightning.cards.recipe import LEFT_OUT
from cxr_lightning.cards.record import RunFiles
from cxr_lightning.cards.words import percent
from cxr_lightning.data.names import count
from cxr_lightning.subgroups import is_age

ACTION = "ACTION"
NOT_THERE = {  # what to do where a run has nothing on an item that it could prove
    30: "Compute the null ladder (ladder_minutes=5), or give a manifest with columns to report by.",
    31: "The run has no heatmaps: its network allows none, or they were left out.",
    33: "Test it on another hospital's images (external), or discuss why not.",
}
UNTESTED = "The run has not been tested: rerun its command."


@dataclass(frozen=True)
class Proof:
    """What a run's files say to an item. files: where, in the run's folder.

    action: what is to do because of what they say, or do not say.
    """

    said: str
    files: tuple[str, ...]
    action: str = ""


@dataclass(frozen=True)
class Line:
    """An item of the sheet. status: `proved`, `partly` or `ACTION`."""

    item: Item
    said: str
    files: tuple[str, ...]
    action: str

    @property
    def status(self) -> str:
        """By what is there, and what is left to do."""
        if not self.said:
            return ACTION
        return f"partly, {ACTION}" if self.action else "proved"


def sheet(run: RunFiles) -> list[Line]:
    """All 44 lines; an item counts as proved only where the files that it names are there."""
    return [_line(run, item) for item in items()]


def summary(lines: list[Line]) -> str:
    """How many of each status."""
    n_of = {kind: sum(line.status == kind for line in lines) for kind in ("proved", ACTION)}
    partly = len(lines) - sum(n_of.values())
    return (
        f"Of {len(lines)} items, the run's files prove {n_of['proved']} and a part of {partly}; "
        f"{n_of[ACTION]} are for people to write."
    )


def _line(run: RunFiles, item: Item) -> Line:
    proof = PROOFS[item.number](run) if item.number in PROOFS else None
    if proof is None:
        there = NOT_THERE.get(item.number, UNTESTED) if item.number in PROOFS else ""
        return Line(item, "", (), f"{there} {item.action}".strip())
    if missing := [name for name in proof.files if not run.has(name)]:
        action = f"The run's folder has no {', '.join(missing)}. {item.action}".strip()
        return Line(item, "", (), action)
    action = " ".join(part for part in (proof.action, item.action) if part)
    return Line(item, proof.said, proof.files, action)


def _text(rows: recipe.Rows, *names: str) -> str:
    of = dict(rows)
    return "; ".join(f"{name}: {of[name]}" for name in names)


def _sources(run: RunFiles) -> Proof:
    tests = run.predictions
    named = sorted(set(tests["source"])) if "source" in tests else []
    sources = f"; sources of the test images: {', '.join(named)}" if named else ""
    said = _text(recipe.training_data(run), "data set") + sources
    return Proof(said, ("config.yaml", "split.csv", *(("predictions.csv",) if named else ())))


def _patients(run: RunFiles) -> Proof:
    patients = run.record.get("patients", {})
    n_images = {split: sum(run.images(split).values()) for split in patients}
    told = [f"{s}: {n_images[s]} images of {count(n, 'patient')}" for s, n in patients.items()]
    said = f"the patient, as far as it is known; {', '.join(told)}"
    unknown = [note for note in run.notes if "patient" in note]
    if sum(patients.values()) == sum(n_images.values()):
        unknown = unknown or ["Every image counts as a patient of its own."]
    action = f"{' '.join(unknown)} Say how images of one patient were kept together." * bool(
        unknown
    )
    return Proof(said, ("run.json", "split.csv"), action)


def _metrics(run: RunFiles) -> Proof:
    titles = [*numbers.OVERALL.values(), *(f"{t} by class" for t in numbers.BY_CLASS.values())]
    return Proof(", ".join(titles) + "; defined in cxr_lightning/metrics.py", ("metrics.json",))


def _uncertainty(run: RunFiles) -> Proof:
    methods = sorted({e.method for e in run.estimates.values() if e.low is not None})
    return Proof(f"95% intervals: {', '.join(methods)}", ("metrics.json", "config.yaml"))


def _sample(run: RunFiles) -> Proof | None:
    found = run.estimates.get("accuracy")
    if found is None:
        return None
    n = count(run.results["patients"], "patient")
    said = f"reached: {found.n} test images of {n}, accuracy {percent(found)}"
    return Proof(said, ("metrics.json",))


def _robustness(run: RunFiles) -> Proof | None:
    parts, files = [], []
    if run.ladder:
        parts.append(f"null ladder of {count(len(run.ladder), 'rung')}")
        files.append("ladder.json")
    if len(run.subgroups):
        parts.append(count(len(run.subgroups), "subgroup"))
        files.append("subgroups.csv")
    return Proof(", ".join(parts), tuple(files)) if parts else None


def _explanation(run: RunFiles) -> Proof | None:
    about = run.explanation
    if not about or "reason" in about:
        return None
    correlation = about["randomised_weights"]["rank_correlation"]
    check = (
        "no check with random weights was possible"
        if correlation is None
        else f"rank correlation with maps of random weights {correlation:.2f} "
        f"(n = {about['randomised_weights']['n']})"
    )
    return Proof(f"{about['method']} of {about['images']} images; {check}", ("explanation.json",))


def _external(run: RunFiles) -> Proof | None:
    if not run.external:
        return None
    files = tuple(f"external/{name}/metrics.json" for name in run.external)
    told = [
        f"{row['images']}: {row['metric']} {row['there']}".replace("\n", ", ")
        for row in numbers.external(run).to_dict("records")
    ]
    return Proof("; ".join(told) or "tested; no class is in both", files)


def _internal(run: RunFiles) -> Proof | None:
    if not run.results:
        return None
    n, patients = run.results["n"], count(run.results["patients"], "patient")
    return Proof(f"{n} images of {patients}", ("metrics.json", "predictions.csv"))


def _included(run: RunFiles) -> Proof:
    rows = recipe.training_data(run)
    return Proof(
        _text(rows, "trained on", "chosen on", "tested on", *LEFT_OUT), ("run.json", "split.csv")
    )


def _characteristics(run: RunFiles) -> Proof:
    said = "classes in each partition"
    known = [str(c) for c in run.predictions if is_age(str(c)) or str(c).lower() == "sex"]
    files = ("run.json", "predictions.csv") if known else ("run.json",)
    return Proof(f"{said}; of the test: {', '.join(known)}" if known else said, files)


def _performance(run: RunFiles) -> Proof | None:
    if not run.estimates:
        return None
    told = [f"{numbers.OVERALL[k]} {percent(run.estimates[k])}" for k in list(numbers.OVERALL)[:3]]
    return Proof(f"{', '.join(told)}; n = {run.results['n']}", ("metrics.json",))


def _diagnostic(run: RunFiles) -> Proof | None:
    if not run.estimates:
        return None
    recalls = {k: run.estimates[f"recall/{k}"] for k in run.classes}
    told = ", ".join(f"{k} {percent(e)} (n = {e.n})" for k, e in recalls.items())
    for one in numbers.triage(run):
        told += (
            f"; triage for {one['target']}: sensitivity {one['sensitivity']}, specificity "
            f"{one['specificity']}"
        )
    return Proof(f"sensitivity by class: {told}", ("metrics.json", *run.triage))


def _failures(run: RunFiles) -> Proof | None:
    if not run.results:
        return None
    files = ["predictions.csv"]
    files += [name for name in ("confusion_matrix.png", "worst_mistakes.png") if run.has(name)]
    return Proof(f"{count(run.n_mistakes, 'mistake')} on {run.results['n']} images", tuple(files))


def _details(run: RunFiles) -> Proof:
    commit = run.record.get("git_commit")
    return Proof(f"commit {commit}" if commit else "configuration of the run", ("config.yaml",))


def _recipe(*names: str, files: tuple[str, ...]) -> Callable[[RunFiles], Proof]:
    return lambda run: Proof(_text(recipe.recipe(run), *names), files)


def _data(*names: str, files: tuple[str, ...]) -> Callable[[RunFiles], Proof]:
    return lambda run: Proof(_text(recipe.training_data(run), *names), files)


def _ensembles(run: RunFiles) -> Proof:
    tested = run.results.get("tested", {})
    is_soup = bool(tested) and tested.get("epoch") is None
    said = "none: one network"
    return Proof(recipe.tested(run) if is_soup else said, ("metrics.json",))


def _chosen(run: RunFiles) -> Proof:
    return Proof(f"{recipe.tested(run)}; never by test images", ("metrics.json", "run.json"))


CONFIGURED = ("config.yaml", "run.json")
PROOFS: dict[int, Callable[[RunFiles], Proof | None]] = {
    7: _sources,
    8: _data(*LEFT_OUT, files=("run.json", "split.csv")),
    9: _data("read as", files=CONFIGURED),
    10: _data(LEFT_OUT[0], files=("split.csv",)),
    12: _data(LEFT_OUT[1], files=CONFIGURED),
    19: _data("split", "trained on", "chosen on", "tested on", files=("config.yaml", "split.csv")),
    20: _patients,
    21: _sample,
    22: _recipe("network", files=CONFIGURED),
    23: _recipe("software", files=("run.json",)),
    24: _recipe("starts from", "seed", files=CONFIGURED),
    25: _recipe(
        *("loss", "optimizer", "augmentation", "epochs", "machine"),
        files=(*CONFIGURED, "curves.csv"),
    ),
    26: _chosen,
    27: _ensembles,
    28: _metrics,
    29: _uncertainty,
    30: _robustness,
    31: _explanation,
    32: _internal,
    33: _external,
    35: _included,
    36: _characteristics,
    37: _performance,
    38: _diagnostic,
    39: _failures,
    40: lambda run: Proof("drafted", ("model_card.md",)),
    41: lambda run: Proof("drafted", ("model_card.md",)),
    42: _details,
}

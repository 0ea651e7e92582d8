"""What the findings of an audit mean, each in a sentence, with the paper that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cxr_lightning.audit.duplicates import Found
from cxr_lightning.audit.ladder import Ladder
from cxr_lightning.contrasts import above_or_below, holm
from cxr_lightning.data.names import count, some
from cxr_lightning.metrics import Estimate

LEVELS = ("leak", "warning", "note")  # the worst first
MAGUOLO = "Maguolo & Nanni, Information Fusion 76 (2021) 1"
DEGRAVE = "DeGrave, Janizek & Lee, Nature Machine Intelligence 3 (2021) 610"
ZECH = "Zech et al., PLoS Medicine 15 (2018) e1002683"
NORTHCUTT = "Northcutt, Jiang & Chuang, J. Artif. Intell. Res. 70 (2021) 1373"
ALL_BUT_FEW, MOST = 0.95, 0.5  # of a source's films, and of a class's
OAKDEN = "Oakden-Rayner, Academic Radiology 27 (2020) 106"
TELLING = 0.6  # an AUROC whose lower limit is above it


@dataclass(frozen=True)
class Verdict:
    """A finding. level: one of `LEVELS`. check: what was looked at. paper: why it matters."""

    level: str
    check: str
    sentence: str
    paper: str


def of_patients(shared: Sequence[str]) -> list[Verdict]:
    """Patients with films on both sides of a split."""
    if not shared:
        return []
    one = "One patient has" if len(shared) == 1 else f"{len(shared)} patients have"
    text = (
        f"{one} films in more than one split: {some(shared, 10, '')}. A model is tested on "
        "patients that it knows. split.leak=drop leaves their training films out."
    )
    return [Verdict("leak", "patients", text, ZECH)]


def of_duplicates(table: pd.DataFrame, found: Found, classes: Sequence[str]) -> list[Verdict]:
    """Films that are there twice: in several splits, with several labels, or only so."""
    verdicts = []
    splits = [table["split"].iloc[rows].nunique() > 1 for rows in found.sets]
    labels = [table["label"].iloc[rows].nunique() > 1 for rows in found.sets]
    if n := sum(splits):
        text = (
            f"{count(n, 'film')} {'is' if n == 1 else 'are'} in more than one split, as copies: "
            f"{_first(table, found, splits)}. Remove them from the training images."
        )
        verdicts.append(Verdict("leak", "duplicates", text, MAGUOLO))
    if n := sum(labels):
        text = (
            f"{count(n, 'film')} {'has' if n == 1 else 'have'} copies with different labels: "
            f"{_first(table, found, labels)}. One of the labels is wrong."
        )
        verdicts.append(Verdict("warning", "label conflicts", text, NORTHCUTT))
    rest = [not a and not b for a, b in zip(splits, labels, strict=True)]
    if n := sum(rest):
        text = (
            f"{count(n, 'film')} {'is' if n == 1 else 'are'} there several times within a split: "
            f"{_first(table, found, rest)}. They count several times."
        )
        verdicts.append(Verdict("note", "duplicates", text, MAGUOLO))
    return verdicts


def _first(table: pd.DataFrame, found: Found, chosen: Sequence[bool]) -> str:
    rows = next(rows for rows, is_it in zip(found.sets, chosen, strict=True) if is_it)
    return some(table["path"].iloc[rows], 3, "")


def of_sources(table: pd.DataFrame, classes: Sequence[str]) -> list[Verdict]:
    """Classes most of whose films come from sources that have hardly any other class."""
    counts = pd.crosstab(table["source"], table["label"])
    if len(counts) < 2:
        return []
    shares = counts.div(counts.sum(axis=1), axis=0)
    sentences = []
    for label in counts.columns:
        own = counts.index[shares[label] >= ALL_BUT_FEW]
        share = counts.loc[own, label].sum() / counts[label].sum()
        if share < MOST:
            continue
        is_pure = (shares.loc[own, label] == 1).all()
        of = "Every" if share == 1 else f"{100 * share:.1f}% of the"
        films, come = ("film", "comes") if share == 1 else ("films", "come")
        which = some(map(str, own), 3, "")
        other = "no other class does" if is_pure else "hardly any other film does"
        sentences.append(f"{of} {classes[int(label)]} {films} {come} from {which}, and {other}.")
    if not sentences:
        return []
    text = " ".join(sentences) + (
        " A model can be right by recognising the archive. Test it on films of other hospitals "
        "(external=…)."
    )
    return [Verdict("warning", "class and source", text, MAGUOLO)]


def of_ladder(ladder: Ladder) -> list[Verdict]:
    """Rungs that should know nothing and tell classes apart; and the highest."""
    if not ladder.rungs:
        return []
    verdicts = []
    nothing = ladder.rungs[0]
    blamed = [rung for rung in ladder.rungs if rung.key in ("facts", "border")]
    above = [ladder.above(nothing, rung.probabilities) for rung in blamed]
    p_values = holm([1.0 if one.p is None else one.p for one in above])
    for rung, difference, p in zip(blamed, above, p_values, strict=True):
        told = _told_apart(ladder, rung.key)
        if not told and not (p < 0.05 and difference.value > 0):
            continue
        where = "The file alone (size, format, bytes)"
        paper = MAGUOLO
        if rung.key == "border":
            where, paper = "The border of the film, without its central 80%,", DEGRAVE
        accuracy = ladder.estimates[rung.key]["accuracy"]
        text = (
            f"{where} tells the class in {100 * (accuracy.value or 0):.1f}% of the test films; "
            f"nothing at all in {100 * (ladder.estimates['nothing']['accuracy'].value or 0):.1f}%."
        )
        if told:
            text += " By it one can tell " + ", ".join(told) + " from the others (AUROC)."
        verdicts.append(Verdict("warning", "shortcuts", text, paper))
    highest = ladder.highest
    place = above_or_below(ladder.above(nothing, highest.probabilities)).replace(" it", " nothing")
    text = (
        f"The highest rung of the null ladder, “{highest.name}”, is {place}. What a network "
        "reaches counts from there."
    )
    return [*verdicts, Verdict("note", "null ladder", text, MAGUOLO)]


def _told_apart(ladder: Ladder, rung: str) -> list[str]:
    """The classes that a rung tells from the others, with their AUROC."""
    of = {name: ladder.estimates[rung][f"auroc/{name}"] for name in ladder.classes}
    # An AUROC of 1 has no limits: no resample differs.
    told = {k: e.value for k, e in of.items() if e.value and (e.low or e.value) > TELLING}
    told = {k: v for k, v in told.items() if of[k].low is not None or v == 1}
    return [f"{k} ({v:.2f})" for k, v in sorted(told.items(), key=lambda one: -one[1])]


def of_labels(suspects: pd.DataFrame | None, n: int) -> list[Verdict]:
    """Labels that the other films contradict."""
    if suspects is None or not len(suspects):
        return []
    text = (
        f"{count(len(suspects), 'film')} of {n:,} "
        f"{'looks' if len(suspects) == 1 else 'look'} more like another class than like the "
        "given one, to a simple model of other patients' films. Look at the first of them."
    )
    return [Verdict("note", "labels", text, NORTHCUTT)]


def of_files(odd: pd.DataFrame, unreadable: dict[str, str]) -> list[Verdict]:
    """Files that cannot be read, and films that do not look like one."""
    verdicts = []
    if unreadable:
        path, reason = next(iter(unreadable.items()))
        text = f"{count(len(unreadable), 'file')} cannot be read: {path} ({reason})."
        verdicts.append(Verdict("warning", "files", text, OAKDEN))
    if len(odd):
        text = f"{count(len(odd), 'film')} may be no chest film, or a bad one; look at them."
        verdicts.append(Verdict("note", "odd films", text, OAKDEN))
    return verdicts


def of_masks(masks: dict[str, Estimate], majority: float) -> list[Verdict]:
    """What a trained network can do without the lungs; masks: accuracy by what is left of films."""
    border, whole = masks.get("border only"), masks.get("whole")
    if border is None or whole is None or border.low is None or border.low <= majority:
        return []
    text = (
        f"With the central 80% blacked out, the network is still right in "
        f"{100 * (border.value or 0):.1f}% of the test films (whole films: "
        f"{100 * (whole.value or 0):.1f}%; always the largest class: {100 * majority:.1f}%): it "
        "reads more than lungs."
    )
    return [Verdict("warning", "the network", text, DEGRAVE)]

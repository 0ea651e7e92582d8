"""audit.html and audit.json: what an audit found, to look at and to compute with."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_lightning.audit.findings import Audit
from cxr_lightning.contrasts import Interval
from cxr_lightning.data import splits
from cxr_lightning.metrics import Estimate
from cxr_lightning.pages import charts
from cxr_lightning.pages.template import rendered
from cxr_lightning.pages.thumbnails import thumbnail
from cxr_lightning.runs.writing import write_csv, write_json, write_text

HISTOGRAM_FILMS, MOST_SOURCES = 500, 8  # of a class or split; shown by name
LEVEL_STYLES = {"leak": "bold red", "warning": "yellow", "note": ""}


def write_page(folder: Path, audit: Audit, shown: int) -> Path:
    """Write `audit.html`, `audit.json`, `duplicates.csv` and `labels.csv`."""
    duplicates, labels = _duplicates(audit), _labels(audit)
    for name, frame in (("duplicates", duplicates), ("labels", labels), ("odd", audit.odd)):
        if len(frame):
            write_csv(folder / f"{name}.csv", frame)
    content = {
        "audit": audit,
        "is_phantom": "phantom" in audit.index.root.name,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "counts": _counts(audit),
        "files": _files(audit),
        "sources": _sources(audit),
        "exposure": _exposure(audit),
        "duplicates": _gallery_of_duplicates(audit, shown),
        "n_duplicates": len(audit.duplicates.sets),
        "labels": _gallery_of_labels(audit, labels, shown),
        "n_labels": len(labels),
        "odd": _gallery_of_odd(audit, shown),
        "ladder": _ladder(audit),
        "told": _told(audit),
        "masks": _masks(audit),
    }
    write_json(folder / "audit.json", _json(audit, duplicates, labels))
    write_text(folder / "audit.html", rendered("audit/audit.html.j2", content))
    return folder / "audit.html"


def print_verdicts(audit: Audit, folder: Path) -> None:
    """Every verdict, the worst first, and where the page is."""
    console, table = Console(), Table("", "finding", box=None, padding=(0, 1))
    for verdict in audit.verdicts:
        style = LEVEL_STYLES[verdict.level]
        table.add_row(Text(verdict.level, style=style), Text(verdict.sentence))
    console.print(table if audit.verdicts else "Nothing was found.")
    for note in audit.notes:
        console.print(note, markup=False, highlight=False)
    console.print(f"Page: {folder / 'audit.html'}", markup=False, highlight=False, soft_wrap=True)


def _json(audit: Audit, duplicates: pd.DataFrame, labels: pd.DataFrame) -> dict[str, Any]:
    ladder: list[dict[str, Any]] = []
    if audit.ladder is not None and audit.ladder.rungs:
        nothing = audit.ladder.rungs[0].probabilities
        ladder = [
            {key: value for key, value in rung.items() if key != "network_minus_rung"}
            for rung in audit.ladder.as_json(nothing)
        ]
    return {
        "verdicts": [asdict(verdict) for verdict in audit.verdicts],
        "notes": audit.notes,
        "images_root": str(audit.index.root.resolve()),
        "counts": splits.counts(audit.table, audit.index.classes).to_dict(),
        "patients": audit.table.groupby("split")["group"].nunique().to_dict(),
        "patients_in_several_splits": audit.shared,
        "unreadable": audit.unreadable,
        "duplicates": duplicates.to_dict("records"),
        "labels": labels.to_dict("records"),
        "odd": audit.odd.to_dict("records"),
        "ladder": ladder,
        "masks": {name: asdict(value) for name, value in audit.masks.items()},
    }


def _counts(audit: Audit) -> pd.DataFrame:
    counts = splits.counts(audit.table, audit.index.classes)[["train", "test"]]
    counts.loc["all"] = counts.sum()
    patients = audit.table.groupby("split")["group"].nunique()
    counts.loc["patients"] = [patients.get(split, 0) for split in counts.columns]
    return counts.rename_axis("class").reset_index().map(_text)


def _groupings(audit: Audit) -> dict[str, pd.Series]:
    """By what files and exposures are compared: class, split, and source where there are several.

    Of more than eight sources, the others are one.
    """
    table = audit.table
    found = {"class": table["label"].map(dict(enumerate(audit.index.classes)))}
    found["split"] = table["split"]
    if table["source"].nunique() > 1:
        most = table["source"].value_counts().index[:MOST_SOURCES]
        found["source"] = table["source"].where(table["source"].isin(most), "other sources")
    return found


def _files(audit: Audit) -> pd.DataFrame:
    """One row per class, split and source: what its files are like."""
    rows = []
    means = pd.Series([audit.pixels[i].mean() for i in range(len(audit.pixels))])
    for kind, names in _groupings(audit).items():
        for name in dict.fromkeys(sorted(names)):
            is_in = (names == name).to_numpy()
            facts = audit.facts[is_in]
            rows.append(
                {
                    "films": f"{kind} {name}",
                    "n": str(len(facts)),
                    "width, px": _middle(facts["width"]),
                    "height, px": _middle(facts["height"]),
                    "kB": _middle(facts["bytes"] / 1000),
                    "formats and modes": _most(facts["format"] + " " + facts["mode"]),
                    "bits": _most(facts["bits"].astype(str)),
                    "mean grey": _middle(means[is_in]),
                }
            )
    return pd.DataFrame(rows)


def _middle(values: pd.Series) -> str:
    low, middle, high = values.quantile([0.05, 0.5, 0.95]).round().astype(int)
    return f"{middle} ({low}–{high})"


def _most(values: pd.Series) -> str:
    shares = values.value_counts(normalize=True).head(3)
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def _sources(audit: Audit) -> pd.DataFrame:
    """Films per class and source; empty where there is one source."""
    if audit.table["source"].nunique() < 2:
        return pd.DataFrame()
    names = audit.table["label"].map(dict(enumerate(audit.index.classes)))
    table = pd.crosstab(names.rename("class"), audit.table["source"])
    most = table.sum().sort_values(ascending=False).index[:12]
    return table[most].reset_index().map(_text)


def _exposure(audit: Audit) -> list[charts.Chart]:
    """The mean share of each grey level, one chart per grouping, one line per class, split …"""
    drawn = []
    for kind, names in _groupings(audit).items():
        lines = {}
        for name in dict.fromkeys(sorted(names)):
            rows = np.flatnonzero(names == name)
            if len(rows) > HISTOGRAM_FILMS:
                rows = np.sort(np.random.default_rng(0).choice(rows, HISTOGRAM_FILMS, False))
            films = audit.pixels.take(rows)
            bands = [np.bincount(films[i].ravel() >> 3, minlength=32) for i in range(len(rows))]
            share = np.mean(bands, axis=0) / audit.pixels.size_px**2
            lines[str(name)] = pd.Series(share, index=np.arange(32) * 8 + 4)
        title = f"Grey levels by {kind}: mean share of the pixels in bands of 8"
        drawn.append(charts.lines(title, lines, ("grey level", "share of pixels")))
    return drawn


def _duplicates(audit: Audit) -> pd.DataFrame:
    rows = []
    pairs = zip(audit.duplicates.sets, audit.duplicates.kinds, strict=True)
    for number, (members, kind) in enumerate(pairs, start=1):
        films = audit.table.iloc[members][["path", "label", "split", "group"]]
        rows.append(films.assign(set=number, kind=kind))
    if not rows:
        return pd.DataFrame()
    table = pd.concat(rows)
    table["label"] = table["label"].map(dict(enumerate(audit.index.classes)))
    return table[["set", "kind", "path", "label", "split", "group"]]


def _labels(audit: Audit) -> pd.DataFrame:
    if audit.suspects is None or not len(audit.suspects):
        return pd.DataFrame()
    names = dict(enumerate(audit.index.classes))
    found = audit.suspects
    return pd.DataFrame(
        {
            "path": audit.table["path"].to_numpy()[found["row"]],
            "given": found["given"].map(names),
            "suggested": found["suggested"].map(names),
            "probability_of_given": found["probability"].round(4),
        }
    )


def _film(audit: Audit, row: int, words: str) -> dict[str, Any]:
    path = audit.table["path"].iloc[row]
    name = audit.index.classes[int(audit.table["label"].iloc[row])]
    small = thumbnail(audit.index.root / path, audit.pixels.white)
    return {"path": path, "label": name, "words": words, "thumbnail": small}


def _gallery_of_duplicates(audit: Audit, shown: int) -> list[list[dict[str, Any]]]:
    """Leaks first, then label conflicts, then the others."""
    sets = list(zip(audit.duplicates.sets, audit.duplicates.kinds, strict=True))
    leaks = audit.table["split"].to_numpy()
    labels = audit.table["label"].to_numpy()
    sets.sort(key=lambda one: (len({*leaks[one[0]]}) == 1, len({*labels[one[0]]}) == 1))
    return [
        [_film(audit, int(row), f"{leaks[row]}, {kind}") for row in rows[:6]]
        for rows, kind in sets[: shown // 2]
    ]


def _gallery_of_labels(audit: Audit, labels: pd.DataFrame, shown: int) -> list[dict[str, Any]]:
    if audit.suspects is None or not len(labels):
        return []
    rows = audit.suspects["row"].tolist()[:shown]
    return [
        _film(audit, int(row), f"rather {one.suggested}?")
        for row, one in zip(rows, labels.head(shown).itertuples(), strict=True)
    ]


def _gallery_of_odd(audit: Audit, shown: int) -> list[dict[str, Any]]:
    odd = audit.odd.head(shown)
    return [_film(audit, row, why) for row, why in zip(odd["row"], odd["why"], strict=True)]


def _ladder(audit: Audit) -> charts.Chart | None:
    if audit.ladder is None or not audit.ladder.rungs:
        return None
    rows = {
        rung.name: _interval(audit.ladder.estimates[rung.key]["accuracy"])
        for rung in audit.ladder.rungs
    }
    label = "accuracy on the test films, percent, with 95% interval"
    return charts.intervals("How good is nothing?", rows, label)


def _interval(found: Estimate) -> Interval:
    return Interval(found.value or 0.0, found.low, found.high)


def _told(audit: Audit) -> pd.DataFrame:
    """Accuracy, macro F1 and each class's AUROC of each rung."""
    if audit.ladder is None or not audit.ladder.rungs:
        return pd.DataFrame()
    names = {"accuracy": "accuracy", "f1_macro": "macro F1"}
    names |= {f"auroc/{name}": f"AUROC of {name}" for name in audit.ladder.classes}
    rows = []
    for rung in audit.ladder.rungs:
        found = audit.ladder.estimates[rung.key]
        row = {"what is seen": rung.name}
        for metric, title in names.items():
            row[title] = _estimate(found[metric], percent=not metric.startswith("auroc"))
        rows.append(row)
    return pd.DataFrame(rows)


def _masks(audit: Audit) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"films": name, "n": str(one.n), "accuracy": _estimate(one, percent=True)}
            for name, one in audit.masks.items()
        ]
    )


def _estimate(found: Estimate, *, percent: bool) -> str:
    if found.value is None:
        return ""
    if percent:
        limits = (
            "" if found.low is None else f" ({100 * found.low:.1f}–{100 * (found.high or 0):.1f})"
        )
        return f"{100 * found.value:.1f}%{limits}"
    limits = "" if found.low is None else f" ({found.low:.2f}–{found.high or 0:.2f})"
    return f"{found.value:.2f}{limits}"


def _text(value: object) -> str:
    return str(value)

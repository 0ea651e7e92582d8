"""An audit of a data configuration: everything that it finds, before any training."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cxr_lightning.audit import sights, suspects, verdicts
from cxr_lightning.audit.duplicates import Found, find_duplicates
from cxr_lightning.audit.ladder import Films, Ladder, climb
from cxr_lightning.audit.verdicts import LEVELS, Verdict
from cxr_lightning.config import DataConfig, SplitConfig
from cxr_lightning.data import splits
from cxr_lightning.data.facts import file_facts
from cxr_lightning.data.index import Index
from cxr_lightning.data.sources import load_index
from cxr_lightning.data.store import Pixels, open_store
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.metrics import Estimate


@dataclass
class Audit:
    """What was found. table: the readable films, with the `split` that they are audited in.

    pixels: 128 px, in the order of `table`. facts: of their files. shared: patients in several
    splits. suspects: see `suspects.contradicted_labels`. masks: accuracy of a trained network.
    """

    index: Index
    table: pd.DataFrame
    pixels: Pixels
    facts: pd.DataFrame
    unreadable: dict[str, str]
    shared: list[str]
    duplicates: Found
    ladder: Ladder | None
    suspects: pd.DataFrame | None
    odd: pd.DataFrame
    notes: list[str]
    masks: dict[str, Estimate] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        """Every finding, the worst level first."""
        found = [
            *verdicts.of_patients(self.shared),
            *verdicts.of_duplicates(self.table, self.duplicates, self.index.classes),
            *verdicts.of_sources(self.table, self.index.classes),
            *(verdicts.of_ladder(self.ladder) if self.ladder else []),
            *verdicts.of_masks(self.masks, self.majority),
            *verdicts.of_labels(self.suspects, len(self.table)),
            *verdicts.of_files(self.odd, self.unreadable),
        ]
        return sorted(found, key=lambda verdict: LEVELS.index(verdict.level))

    @property
    def majority(self) -> float:
        """How often always answering the largest class is right on the test films."""
        tests = self.table[self.table["split"] == "test"]
        return float(tests["label"].value_counts(normalize=True).max()) if len(tests) else 0.0


def audit(
    data: DataConfig, split: SplitConfig, minutes: float, n_resamples: int, with_labels: bool
) -> Audit:
    """Look at all images of `data`; raises as `sources.load_index`."""
    index = load_index(data)
    paths = list(index.table["path"])
    given = (data.cache_dir, index.root, paths, sights.SIZE_PX, data.white)
    pixels, unreadable = open_store(*given)
    readable = index.table[~index.table["path"].isin(list(unreadable))].reset_index(drop=True)
    table, shared, notes = _split(readable, split, index.classes)
    facts = file_facts(data.cache_dir, index.root, list(table["path"]))
    films = Films(
        table=table,
        train=_rows(table, "train"),
        test=_rows(table, "test"),
        n_classes=len(index.classes),
        root=index.root,
        cache_dir=data.cache_dir,
        white=pixels.white,
    )
    ladder = None
    if minutes and len(films.train) and len(films.test):
        ladder = _ladder(films, minutes, n_resamples, list(index.classes), notes)
    elif minutes:
        notes.append("There is no null ladder: it needs training and test films.")
    labels = table["label"].to_numpy(dtype=np.int64)
    doubted = None
    if with_labels:
        seen = [sights.thumbnail(pixels), sights.untrained(pixels, data.cache_dir, lambda: None)]
        seen.append(np.concatenate(seen, axis=1))
        doubted = suspects.contradicted_labels(seen, labels, list(table["group"]))
        if doubted is None:
            notes.append("Labels are not checked: a class has fewer than five patients.")
    return Audit(
        index=index,
        table=table,
        pixels=pixels,
        facts=facts,
        unreadable=unreadable,
        shared=shared,
        duplicates=find_duplicates(index.root, table, pixels),
        ladder=ladder,
        suspects=doubted,
        odd=suspects.odd_films(table, pixels, facts),
        notes=notes,
    )


def _rows(table: pd.DataFrame, split: str) -> np.ndarray:
    return np.flatnonzero(table["split"] == split).astype(np.int64)


def _ladder(
    films: Films, minutes: float, n_resamples: int, classes: list[str], notes: list[str]
) -> Ladder | None:
    missing = set(range(len(classes))) - set(films.labels(films.train).tolist())
    if missing:
        names = ", ".join(classes[k] for k in sorted(missing))
        notes.append(f"There is no null ladder: {names} has no training films.")
        return None
    tests = films.table.iloc[films.test][["path", "group", "label"]]
    return Ladder(climb(films, minutes), tests, classes, n_resamples)


def _split(
    readable: pd.DataFrame, split: SplitConfig, classes: tuple[str, ...]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The films with their splits, patients in several of them, and what is to be said of it.

    No film is left out, also where its patient is on both sides.
    """
    notes, shared = [], []
    if split.name == "official":
        parts = readable.assign(split=readable["split"].replace({"val": "train", "": "train"}))
        shared = splits.leaking_groups(parts)
        if not (readable["split"] == "test").any():
            notes.append("There is no test folder: the films are split by patient, 80 to 20.")
            split = split.model_copy(update={"name": "pooled"})
    try:
        drop = split.model_copy(update={"leak": "drop", "val_fraction": 0.0})
        assigned = splits.assign_splits(readable, drop, classes).set_index("path")["split"]
    except (ConfigError, DataError) as error:
        notes.append(f"The films cannot be split: {error}")
        return readable.assign(split="train"), shared, notes
    of_path = readable["path"].map(assigned).fillna("train")
    return readable.assign(split=of_path), shared, notes

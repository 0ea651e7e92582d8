"""Images against the split that a run has recorded: which kept it, were added, or are gone."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cxr_lightning.data.index import Index
from cxr_lightning.data.names import count, some

LEFT_OUT = ""  # the split of an image that could not be read, or of a patient who was left out
SHOWN = 5


@dataclass(frozen=True)
class Changes:
    """What differs from the recorded split. added: paths. gone: path → the split that it had."""

    added: list[str]
    gone: "pd.Series[str]"

    def sentences(self, *, all_count: bool = False) -> list[str]:
        """What the user should read; all_count: every image is tested, whatever its split."""
        found = []
        if self.added:
            then = "tested with the others" if all_count else "left out, as no subset has it"
            n = count(len(self.added), "image")
            found.append(f"Added since the run began, {then}: {n} ({some(self.added, SHOWN)}).")
        for split, paths in self._gone_by_split().items():
            n = count(len(paths), f"{split} image")
            found.append(f"Gone since the run began: {n} ({some(paths, SHOWN)}).")
        return found

    def as_json(self) -> dict[str, Any]:
        """For `metrics.json`: counts and first paths; empty where nothing has changed."""

        def first(paths: list[str]) -> dict[str, Any]:
            return {"n": len(paths), "first": paths[:SHOWN]}

        found: dict[str, Any] = {"added": first(self.added)} if self.added else {}
        gone = {str(split): first(paths) for split, paths in self._gone_by_split().items()}
        if gone:
            found["gone"] = gone
        return {"changed_images": found} if found else {}

    def _gone_by_split(self) -> dict[Hashable, list[str]]:
        gone = self.gone[self.gone != LEFT_OUT]
        return {split: list(of.index) for split, of in gone.groupby(gone, sort=False)}


def changes(index: Index, recorded: "pd.Series[str]") -> Changes:
    """What differs between the images that are there and those recorded (path → split)."""
    paths = index.table["path"]
    added = list(paths[~paths.isin(recorded.index)])
    return Changes(added, recorded[~recorded.index.isin(paths)])


def restricted(index: Index, recorded: "pd.Series[str]") -> Index:
    """The index without images that were added since."""
    kept = index.table["path"].isin(recorded.index)
    return replace(index, table=index.table[kept].reset_index(drop=True))


def as_recorded(table: pd.DataFrame, recorded: "pd.Series[str]") -> pd.DataFrame:
    """The images that had a split, each with that one."""
    table = table.assign(split=table["path"].map(recorded).fillna(LEFT_OUT))
    return table[table["split"] != LEFT_OUT].reset_index(drop=True)

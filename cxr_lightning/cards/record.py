"""What a run's folder holds, read once. What is not there is empty, and said where it is missed."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cxr_lightning.errors import DataError
from cxr_lightning.metrics import Estimate
from cxr_lightning.runs.folder import CONFIG, EXTERNAL
from cxr_lightning.runs.writing import read_json

TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8"}
NAMES = (  # in notes: a card may be published, and names may be those of people
    *(r", for example .*(?=: each of them)", r" \(for example .*\)(?=: they)"),
    *(r"(?<=the same patient): .*(?=\.$)", r" \(`.*`\)", r" \(`.*` and \d+ more\)"),
)
COLUMNS = ("path", "group", "label", "predicted")  # of predictions.csv; then the probabilities


@dataclass(frozen=True)
class RunFiles:
    """A run's folder. Files that are not there are `{}`, `[]` or a table without rows."""

    folder: Path

    def has(self, name: str) -> bool:
        """Whether the folder has a file, or a folder, of this name."""
        return (self.folder / name).exists()

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.yaml`; raises DataError where the folder is not one of a run."""
        if not self.has(CONFIG):
            raise DataError(f"{self.folder} is not the folder of a run: it has no {CONFIG}.")
        return dict(yaml.safe_load((self.folder / CONFIG).read_text(encoding="utf-8")))

    @cached_property
    def record(self) -> dict[str, Any]:
        """`run.json`: what ran."""
        return dict(self._json("run.json", {}))

    @cached_property
    def results(self) -> dict[str, Any]:
        """`metrics.json`, which a run writes last."""
        return dict(self._json("metrics.json", {}))

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """`calibration.json`; a run without validation images has none."""
        return dict(self._json("calibration.json", {}))

    @cached_property
    def ladder(self) -> list[dict[str, Any]]:
        """`ladder.json`: the null ladder's rungs."""
        return list(self._json("ladder.json", []))

    @cached_property
    def explanation(self) -> dict[str, Any]:
        """`explanation.json`: where the network looks, or the `reason` why nobody can say."""
        return dict(self._json("explanation.json", {}))

    @cached_property
    def external(self) -> dict[str, dict[str, Any]]:
        """`metrics.json` of each set of other hospitals' images, by its name."""
        files = sorted((self.folder / EXTERNAL).glob("*/metrics.json"))
        return {file.parent.name: dict(read_json(file)) for file in files}

    @cached_property
    def triage(self) -> dict[str, dict[str, Any]]:
        """What `cxr-triage` has written into this folder or one below it, by its place in it."""
        files = sorted([*self.folder.glob("triage.json"), *self.folder.glob("*/triage.json")])
        return {f.relative_to(self.folder).as_posix(): dict(read_json(f)) for f in files}

    @cached_property
    def curves(self) -> pd.DataFrame:
        """`curves.csv` by epoch."""
        return self._csv("curves.csv", index_col="epoch", encoding="utf-8")

    @cached_property
    def subgroups(self) -> pd.DataFrame:
        """`subgroups.csv`."""
        return self._csv("subgroups.csv", encoding="utf-8", keep_default_na=True)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """`predictions.csv`: one row per test image; the classes' columns are numbers."""
        frame = self._csv("predictions.csv", **TEXT)
        if frame.empty:
            return pd.DataFrame(columns=[*COLUMNS, *self.classes])
        return frame.astype(dict.fromkeys(self.classes, "float64"))

    @cached_property
    def split(self) -> pd.DataFrame:
        """`split.csv`: path and split of every image that was found."""
        return self._csv("split.csv", **TEXT)

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """The test's numbers by name (`accuracy`, `recall/k`); none of a run that is not tested."""
        return estimates_of(self.results)

    @cached_property
    def classes(self) -> list[str]:
        """In the order of the confusion matrix."""
        named = [name.partition("/") for name in self.estimates]
        return [of for metric, _, of in named if metric == "recall" and of] or list(
            self.images("train")
        )

    @property
    def is_phantom(self) -> bool:
        """Whether a program drew the images."""
        return bool(self.config["data"].get("name") == "phantom")

    @property
    def notes(self) -> list[str]:
        """What the index noted of the images, without the names of files and patients."""
        notes = [str(note) for note in self.record.get("notes", [])]
        return [re.sub("|".join(NAMES), "", note) for note in notes]

    @property
    def n_mistakes(self) -> int:
        """How many test images are called wrongly."""
        return int((self.predictions["label"] != self.predictions["predicted"]).sum())

    def images(self, split: str) -> dict[str, int]:
        """Images of each class in a split."""
        return dict(self.record.get("images", {}).get(split, {}))

    def _json(self, name: str, missing: Any) -> Any:
        return read_json(self.folder / name) if self.has(name) else missing

    def _csv(self, name: str, **given: Any) -> pd.DataFrame:
        if not self.has(name):
            return pd.DataFrame()
        try:
            frame: pd.DataFrame = pd.read_csv(self.folder / name, **given)
            return frame
        except pd.errors.EmptyDataError:
            return pd.DataFrame()
        except (ValueError, KeyError) as error:
            raise DataError(f"{self.folder / name} is damaged: {error}") from error


def estimates_of(results: dict[str, Any]) -> dict[str, Estimate]:
    """The numbers of a metrics.json, without the `test/` of their names."""
    metrics = results.get("metrics", {})
    return {name.removeprefix("test/"): Estimate(**value) for name, value in metrics.items()}

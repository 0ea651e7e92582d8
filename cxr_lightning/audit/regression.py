"""Logistic regression as the null ladder fits it: standardised, its strength chosen by patient."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

from cxr_lightning.metrics import Ints

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C, the inverse of the L2 penalty
FOLDS, ITERATIONS = 3, 200


@dataclass(frozen=True)
class Regression:
    """Logistic regressions on x (n, F), standardised, that tell `labels` (n,)."""

    x: npt.NDArray[np.float32]
    labels: Ints
    in_bins: bool  # also by eighths of each value: a class may have sizes between those of others

    def fitted(self, rows: Ints, strength: float) -> Pipeline:
        """The one that some rows give."""
        scale: Any = StandardScaler()
        if self.in_bins:
            bins = KBinsDiscretizer(
                8, encode="onehot-dense", quantile_method="averaged_inverted_cdf"
            )
            scale = FeatureUnion([("values", scale), ("bins", bins)])
        last = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "Bins whose width|Feature .* is constant")
            return make_pipeline(scale, last).fit(self.x[rows], self.labels[rows])

    def best_strength(self, groups: Any, watch: Callable[[], None]) -> tuple[float, float]:
        """The C with the smallest log loss in three folds of patients, and that loss by film.

        groups (n,): the patient of each row. Where they are too few: .01, and no loss (nan).
        """
        frame = pd.DataFrame({"label": self.labels, "group": groups})
        if frame.groupby("label")["group"].nunique().min() < FOLDS:
            return 0.01, float("nan")
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        losses = np.zeros(len(STRENGTHS))
        for train, held_out in folds.split(self.labels, self.labels, groups):
            for i, strength in enumerate(STRENGTHS):
                watch()
                model = self.fitted(train, strength)
                said = model.predict_proba(self.x[held_out])
                loss = log_loss(self.labels[held_out], said, labels=model.classes_)
                losses[i] += loss * len(held_out)
        return STRENGTHS[int(losses.argmin())], float(losses.min()) / len(self.labels)

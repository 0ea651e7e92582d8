"""The offsets of a trained classifier: given, or chosen on the validation images of its run."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import f1_score

from cxr_lightning.decisions.offsets import (
    adjusted,
    choose_tau,
    choose_thresholds,
    prior_offsets,
)
from cxr_lightning.errors import ConfigError
from cxr_lightning.models.ensemble import Shifted
from cxr_lightning.models.predictions import Predictions

if TYPE_CHECKING:
    from cxr_lightning.models.classifier import Classifier


PLAIN = ("none", "focal")


def with_tau(classifier: "Classifier", tau: float) -> Shifted:
    """The classifier's network with its log-probabilities shifted by -τ · log π."""
    say_if_balanced(classifier, tau)
    offsets = prior_offsets(classifier.hparams["class_counts"], tau)
    return Shifted(classifier.network, list(offsets))


def say_if_balanced(classifier: "Classifier", tau: float) -> None:
    """Print that the training has balanced the classes already, where it has."""
    name = classifier.hparams["imbalance"].get("name", "")
    if name not in PLAIN:
        print(
            f"This network was trained with imbalance={name}, which balances the classes already: "
            f"tau={tau} shifts its decisions further to the rare ones."
        )


def decide(
    classifier: "Classifier",
    tau: float | str | None,
    thresholds: str | None,
    validation: Predictions | None,
) -> dict[str, Any]:
    """Shift the classifier's log-probabilities as asked; returns what was chosen, for the record.

    `val` chooses on `validation`: τ for the mean recall, thresholds, after τ, for macro F1. Raises
    `ConfigError` where there are no validation images to choose on.
    """
    if "val" in (tau, thresholds) and (validation is None or not len(validation.labels)):
        raise ConfigError(
            "tau=val and thresholds=val choose on the validation images of the run, which has "
            "none (split.val_fraction=0). Give tau a number."
        )
    classes: list[str] = classifier.hparams["classes"]
    counts: list[int] = classifier.hparams["class_counts"]
    offsets = np.zeros(len(classes))
    chosen: dict[str, Any] = {}
    if isinstance(tau, float):
        say_if_balanced(classifier, tau)
    if tau == "val":
        assert validation is not None
        tau = choose_tau(validation.labels, validation.probabilities, counts)
    if tau is not None:
        offsets = prior_offsets(counts, float(tau))
        chosen["tau"] = tau
    if thresholds == "val":
        assert validation is not None
        after_tau = adjusted(validation.probabilities, offsets)
        further = choose_thresholds(
            validation.labels,
            after_tau,
            lambda labels, predicted: float(f1_score(labels, predicted, average="macro")),
        )
        offsets = offsets + further
    if not chosen and thresholds is None:
        return {}
    classifier.use(Shifted(classifier.network, list(offsets)))
    weights = np.exp(offsets - offsets.mean())
    chosen["class_weights"] = dict(zip(classes, weights.round(4).tolist(), strict=True))
    if validation is not None:
        chosen["chosen_on"] = {"split": "val", "n": len(validation.labels)}
    return chosen

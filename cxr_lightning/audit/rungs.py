"""The rungs of the null ladder: what they are called, and what they say."""

from dataclasses import dataclass

from cxr_lightning.contrasts import Interval, above_or_below
from cxr_lightning.metrics import Floats

NAMES = {
    "nothing": "nothing (the largest class)",
    "facts": "file facts (size, format, bytes)",
    "histogram": "grey levels",
    "thumbnail": "16×16 thumbnail",
    "border": "border alone",
    "untrained": "untrained network",
}


@dataclass(frozen=True)
class Rung:
    """What one sight alone says of n test films. strength: C of its regression, by validation.

    key: as in `NAMES`. probabilities: (n, C). seconds: what it took when it was computed.
    """

    key: str
    probabilities: Floats
    strength: float | None
    seconds: float

    @property
    def name(self) -> str:
        """For people."""
        return NAMES[self.key]


def beyond_nothing(network: str, rung: str, difference: Interval) -> str:
    """How far a network's accuracy is above that of a rung, and what follows, in two sentences."""
    verdict = "It has learnt more than that."
    if difference.low is None or difference.low <= 0:
        verdict = "That it has learnt more is not shown."
    if difference.high is not None and difference.high < 0:
        verdict = "It has learnt less than that."
    place = above_or_below(difference).replace(" it ", f" “{rung}” ")
    return f"{network} is {place}. {verdict}"

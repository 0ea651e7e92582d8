"""The rungs of the null ladder: what they are called, and what they say."""

from dataclasses import dataclass

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

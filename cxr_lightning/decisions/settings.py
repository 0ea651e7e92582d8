"""The schema of `conf/triage.yaml`."""

from typing import Annotated

from pydantic import Field

from cxr_lightning.config import Folder, Section, UserPath


class TargetConfig(Section):
    """What a triage test must reach."""

    sensitivity: Annotated[float, Field(gt=0, lt=1)]
    specificity: Annotated[float, Field(gt=0, lt=1)]


class TriageConfig(Section):
    """`conf/triage.yaml`."""

    name: str = Field(min_length=1)
    folder: Folder
    run: UserPath | None
    calibration: UserPath | None
    test: UserPath | None
    target: str
    sensitivity: Annotated[float, Field(gt=0, le=1)]
    threshold: Annotated[float, Field(ge=0, le=1)] | None
    temperature: Annotated[float, Field(gt=0)] | None
    targets: dict[str, TargetConfig]
    screening_profiles: bool
    prevalences: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    prices: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)] | None
    subgroups: list[str] | None

"""The schema of `conf/audit.yaml`."""

from pydantic import Field

from cxr_lightning.config import DataConfig, Folder, Section, SplitConfig, UserPath


class AuditConfig(Section):
    """`conf/audit.yaml`."""

    name: str = Field(min_length=1)
    folder: Folder
    data: DataConfig
    split: SplitConfig
    ckpt_path: UserPath | None
    trust: list[str]
    ladder_minutes: float = Field(ge=0)
    labels: bool
    shown: int = Field(ge=0)
    n_resamples: int = Field(ge=100)

"""The schema of `conf/export.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from cxr_lightning.config import CheckpointsConfig, UserPath


class ExportConfig(CheckpointsConfig):
    """`conf/export.yaml`."""

    tau: Annotated[float, Field(ge=0)] | None
    calibrate: bool
    formats: Annotated[list[Literal["onnx", "torch"]], Field(min_length=1)]
    input: UserPath | None
    n_images: int = Field(ge=1)
    batch_size: int = Field(ge=1)

"""The schema of every command's configuration: types, ranges, and errors in sentences.

Hydra composes `conf/*.yaml`; `parse` turns the result into the frozen models below. Nodes with a
`_target_` (transforms, optimizer, callbacks, logger) stay plain dictionaries: the class that is
named there checks its own arguments when `instantiate.build` calls it.
"""

import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from cxr_lightning.errors import CheckpointError, ConfigError
from cxr_lightning.schema_errors import sentences_of

Target = dict[str, Any]
UserPath = Annotated[Path, AfterValidator(lambda path: path.expanduser())]
Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
Fraction = Annotated[float, Field(ge=0, le=0.5)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnsConfig(Section):
    """Which manifest column holds what; the CSV may lack `split`, `group` and `source`."""

    path: str = "path"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    source: str = "source"


class PhantomConfig(Section):
    """How many synthetic images, drawn from which seed."""

    n_images: int = Field(ge=40)
    seed: int = 0


class DataConfig(Section):
    """Where images come from and how they are read (`conf/data`)."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # data.classes={0:[],1:[]}

    name: Literal["phantom", "kaggle", "folder"]
    root: UserPath | None = None
    manifest: UserPath | None = None
    columns: ColumnsConfig = ColumnsConfig()
    classes: dict[str, list[str]] | None = None
    subfolder: str | None = None
    group_pattern: str | None = None
    white: int | None = Field(default=None, ge=255, le=65535)
    unreadable: Literal["error", "skip"] = "error"
    download: bool = False
    phantom: PhantomConfig | None = None
    image_size: int = Field(ge=16)
    contrast: Literal["none", "stretch", "equalize", "clahe"] = "none"
    train_sizes: Annotated[list[Annotated[int, Field(ge=16)]], Field(min_length=1)] | None = None
    cache_dir: UserPath
    batch_size: int = Field(ge=1)
    num_workers: int | Literal["auto"] = "auto"

    @field_validator("train_sizes")
    @classmethod
    def _ends_at_image_size(cls, sizes: list[int] | None, info: ValidationInfo) -> list[int] | None:
        size = info.data.get("image_size")
        if sizes is not None and size is not None and (sizes[-1] != size or max(sizes) > size):
            raise ValueError(f"the last and largest size must be data.image_size={size}")
        return sizes


class SplitConfig(Section):
    """Which images train, validate and test (`conf/split`)."""

    name: Literal["official", "pooled", "kfold"]
    val_fraction: Fraction = 0.1
    test_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    n_folds: int = Field(default=5, ge=2)
    fold: int = Field(default=0, ge=0)
    seed: int = 0
    leak: Literal["error", "drop"] = "error"


def _last_part(target: Any) -> str:
    return str(target).rpartition(".")[2]


class ModelConfig(Section):
    """Which network, starting from which weights (`conf/model`)."""

    network: Target
    name: str = Field(default_factory=lambda data: _last_part(data["network"].get("_target_")))
    channels: int = Field(default=3, ge=1)
    weights: str | None = None
    mean: list[float] | None = None
    std: list[Annotated[float, Field(gt=0)]] | None = None
    num_classes: int | None = None
    channels_last: bool = True


class ImbalanceConfig(Section):
    """How the loss or the sampler answers unequal class sizes (`conf/imbalance`)."""

    loss: Target
    name: str = Field(default_factory=lambda data: _last_part(data["loss"].get("_target_")))
    balanced_sampler: bool = False


class OptimConfig(Section):
    """Optimizer and schedule (`conf/optim`)."""

    lr: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decay_norms_and_biases: bool = True
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    optimizer: Target
    scheduler: Target | None = None
    interval: Literal["step", "epoch"] = "epoch"
    monitor: str | None = None


class TrainerConfig(BaseModel):
    """Arguments of `pytorch_lightning.Trainer`; those not named here pass through to it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    max_epochs: int = Field(ge=1)
    accelerator: str
    devices: int | list[int] | str = 1
    num_nodes: int = Field(default=1, ge=1)
    strategy: str = "auto"
    precision: str | int = "auto"
    profiler: Literal["simple", "advanced", "pytorch"] | None = None
    deterministic: bool | Literal["warn"] | None = None


class SearchConfig(Section):
    """The trial of a search that a run is (set by the sweeper, `conf/hparams_search`)."""

    study: str
    storage: str
    trial: int
    objectives: dict[str, Literal["maximize", "minimize"]]
    pruner: Target = {}


def _as_section(given: Any) -> Any:
    """A path alone: a folder of class folders, or a manifest."""
    if isinstance(given, str | Path):
        return {"manifest" if Path(given).suffix.lower() == ".csv" else "root": given}
    return given


class ExternalSet(Section):
    """Images of another place, on which a trained network is tested and never chosen."""

    name: str = ""
    root: UserPath | None = None
    manifest: UserPath | None = None
    columns: ColumnsConfig = ColumnsConfig()
    classes: dict[str, list[str]] | None = None
    subfolder: str | None = None
    group_pattern: str | None = None


ExternalConfig = Annotated[ExternalSet, BeforeValidator(_as_section)]


class TrainConfig(Section):
    """`conf/train.yaml`."""

    name: str = Field(min_length=1)
    folder: Folder
    seed: int = Field(ge=0)
    ckpt_path: UserPath | None
    test_checkpoint: Literal["best", "last", "soup"]
    n_resamples: int = Field(ge=100)
    ladder_minutes: float = Field(default=0, ge=0)
    external: list[ExternalConfig] = []
    subgroups: list[str] | None = None
    data: DataConfig
    split: SplitConfig
    augment: dict[str, Target | None] = {}
    model: ModelConfig
    imbalance: ImbalanceConfig
    optim: OptimConfig
    trainer: TrainerConfig
    callbacks: dict[str, Target | None] = {}
    logger: dict[str, Target | None] = {}
    search: SearchConfig | None = None


class CheckpointsConfig(Section):
    """The networks that `cxr-evaluate`, `cxr-predict`, `cxr-export` use; where results go."""

    name: str = Field(min_length=1)
    folder: Folder
    ckpt_path: UserPath | Annotated[list[UserPath], Field(min_length=1)]
    combine: Literal["probabilities", "weights"] = "probabilities"
    tta: Literal["none", "flip", "flip_zoom"] = "none"
    trust: list[str] = []


class EvaluateConfig(CheckpointsConfig):
    """`conf/evaluate.yaml`: what is null in `data` and `split` is the training run's own."""

    tau: Annotated[float, Field(ge=0)] | Literal["val"] | None = None
    thresholds: Literal["val"] | None = None
    subset: Literal["train", "val", "test", "all"]
    n_resamples: int = Field(ge=100)
    subgroups: list[str] | None = None
    data: dict[str, Any]
    split: dict[str, Any]
    trainer: dict[str, Any]


class PredictConfig(CheckpointsConfig):
    """`conf/predict.yaml`."""

    tau: Annotated[float, Field(ge=0)] | None = None
    calibrate: bool
    input: UserPath
    output: UserPath
    explain: bool = False
    explain_limit: int = Field(default=100, ge=1)
    batch_size: int = Field(ge=1)
    num_workers: int | Literal["auto"]
    trainer: dict[str, Any]


class ReportConfig(Section):
    """`conf/report.yaml`."""

    run: UserPath | None
    sweep: UserPath | None


def conf_dir() -> Path:
    """The folder of YAML files: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose(command: str, *overrides: str) -> DictConfig:
    """What `cxr-<command> override …` would run with, for a script or a notebook.

    `train.run(compose("train", "model=resnet18", "name=mine"))` is the command, and returns its
    result.
    """
    import hydra

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, ["folder=outputs/${name}", *overrides])


def existing_checkpoints(files: Path | list[Path] | None) -> list[Path]:
    """Those of `ckpt_path`; raises `CheckpointError` where one is not there."""
    listed = files if isinstance(files, list) else [files] if files is not None else []
    for file in listed:
        if not file.is_file():
            own = "A run keeps its own in outputs/<name>/checkpoints/."
            raise CheckpointError(f"ckpt_path={file}: no such file. {own}")
    return listed


Schema = TypeVar("Schema", bound=BaseModel)


def parse(schema: type[Schema], cfg: DictConfig | dict[str, Any]) -> Schema:
    """The configuration as `schema`; raises `ConfigError` with one line for each wrong key."""
    if isinstance(cfg, DictConfig):
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            values = " ".join(f"{key}=…" for key in missing)
            raise ConfigError(f"Missing on the command line: {values}")
        cfg = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    try:
        return schema.model_validate(cfg)
    except ValidationError as error:
        raise ConfigError("\n".join(sentences_of(schema, error))) from None

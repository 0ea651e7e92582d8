"""Where images come from: the synthetic set, Kaggle's folder, any folder or a manifest."""

from pathlib import Path

from cxr_lightning.config import DataConfig
from cxr_lightning.data import names
from cxr_lightning.data.index import Index, index_folders, index_manifest
from cxr_lightning.data.phantom_set import write_phantoms
from cxr_lightning.data.store import cache_message
from cxr_lightning.errors import ConfigError, DataError

KAGGLE_DATASET = "jtiptj/chest-xray-pneumoniacovid19tuberculosis"
KAGGLE_URL = f"https://www.kaggle.com/datasets/{KAGGLE_DATASET}"
KAGGLE_NAMES = ("IM-0115-0001.jpeg", "NORMAL2-IM-0383-0001.jpeg", "person1_virus_6.jpeg")
BY_HAND = f"Or download {KAGGLE_URL} in a browser, unpack it, and set data.root=/path/to/it."


def load_index(config: DataConfig) -> Index:
    """The table of images that `data=…` names.

    Raises:
        ConfigError: `data.root` is not set where it is needed.
        DataError: the folder is missing or is not laid out as expected; see `index`.
    """
    names.listed_classes(config.classes)  # before anything is downloaded or searched
    works_on = KAGGLE_NAMES if config.name == "kaggle" else ()
    root = find_root(config)
    if config.manifest is not None:
        return index_manifest(
            config.manifest,
            root,
            config.classes,
            config.columns,
            group_pattern=config.group_pattern,
            pattern_works_on=works_on,
        )
    assert root is not None  # find_root returns None only with a manifest
    return index_folders(
        root,
        config.classes,
        config.group_pattern,
        subfolder=config.subfolder,
        pattern_works_on=works_on,
    )


def find_root(config: DataConfig) -> Path | None:
    """The existing folder of images; generates or downloads it where the configuration says so."""
    if config.phantom is not None:
        size, seed = config.phantom.n_images, config.phantom.seed
        folder = config.cache_dir / f"phantom-{size}-seed{seed}"
        try:
            return write_phantoms(config.root or folder, size, seed)
        except OSError as error:
            if error.errno is not None:  # the system's; else write_phantoms found other files
                raise DataError(cache_message((config.root or folder).parent, error)) from error
            if config.root is None:
                raise DataError(str(error)) from None
            raise DataError(
                f"{config.root} (data.root) holds other files than the synthetic images that "
                "data=phantom draws there. For X-rays of your own: data=kaggle or data=folder."
            ) from None
    if config.root is None and config.download:
        return _download()
    if config.root is None and config.manifest is None:
        raise ConfigError(
            f"data={config.name} needs data.root=/path/to/images" + _how_to_get(config.name)
        )
    if config.root is not None and not config.root.is_dir():
        if config.download:
            return _download()
        if config.root.exists():
            raise DataError(
                f"data.root={config.root} is a file. Unpack it, and set data.root to the folder."
            )
        raise DataError(
            f"No images at {config.root.absolute()} (data.root): the folder does not exist"
            + _how_to_get(config.name)
        )
    return config.root


def _how_to_get(name: str) -> str:
    if name != "kaggle":
        return "."
    return f". Download {KAGGLE_URL} and unpack it there, or add data.download=true."


def _download() -> Path:
    try:
        import kagglehub
    except ImportError:
        raise ConfigError(
            "data.download=true needs kagglehub: pip install 'cxr-lightning[kaggle]'. " + BY_HAND
        ) from None
    try:
        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except Exception as error:  # kagglehub raises requests', urllib3's and its own
        raise DataError(
            f"Kaggle's set could not be downloaded ({type(error).__name__}: {error}). " + BY_HAND
        ) from error

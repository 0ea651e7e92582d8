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
BY_HAND = f"Or download {KAGGLE_URL} in a browser, unpack it, and set data.root=/path/to/it."


def load_index(config: DataConfig) -> Index:
    """The table of images that `data=…` names; raises as `find_root` and `index`."""
    names.listed_classes(config.classes)  # before anything is downloaded or searched
    root, classes, pattern = find_root(config), config.classes, config.group_pattern
    if config.manifest is None:
        assert root is not None  # find_root returns None only with a manifest
        return index_folders(root, classes, pattern, subfolder=config.subfolder)
    return index_manifest(config.manifest, root, classes, config.columns, group_pattern=pattern)


def find_root(config: DataConfig) -> Path | None:
    """The existing folder of images, generated or downloaded where the configuration says so.

    Raises `ConfigError` where `data.root` is needed and not set, `DataError` where it is missing.
    """
    root = config.root
    if config.phantom is not None:
        size, seed = config.phantom.n_images, config.phantom.seed
        root = root or config.cache_dir / f"phantom-{size}-seed{seed}"
        try:
            return write_phantoms(root, size, seed)
        except OSError as error:
            raise DataError(cache_message(root.parent, error)) from error
    if config.download and not (root and root.is_dir()):
        return _download()
    fetch = f". Download {KAGGLE_URL} and unpack it there, or add data.download=true."
    how = fetch if config.name == "kaggle" else "."
    if root is None and config.manifest is None:
        raise ConfigError(f"data={config.name} needs data.root=/path/to/images{how}")
    if root and root.is_file():
        raise DataError(f"data.root={root} is a file. Unpack it, and set data.root to the folder.")
    if root and not root.is_dir():
        where = f"No images at {root.absolute()} (data.root)"
        raise DataError(f"{where}: the folder does not exist{how}")
    return root


def _download() -> Path:
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except ImportError:
        raise ConfigError(
            "data.download=true needs kagglehub: pip install 'cxr-lightning[kaggle]'. " + BY_HAND
        ) from None
    except Exception as error:  # kagglehub raises requests', urllib3's and its own
        raise DataError(
            f"Kaggle's set could not be downloaded ({type(error).__name__}: {error}). " + BY_HAND
        ) from error

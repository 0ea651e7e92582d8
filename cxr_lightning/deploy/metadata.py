"""What a program must know that runs an exported network: classes, and how films are read."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from cxr_lightning.config import DataConfig
from cxr_lightning.data import contrast
from cxr_lightning.deploy.formats import INPUT, OUTPUT
from cxr_lightning.deploy.settings import ExportConfig
from cxr_lightning.models.ensemble import Tempered

GREY = (
    "Colours become ITU-R 601 luma, EXIF rotation is applied, transparency lies over black. DICOM "
    "is read as a viewer shows it: rescaled, by its VOI LUT or first window, MONOCHROME1 inverted."
)
DEPTH = (
    "8 bits stay as they are. Of 16 bits, `white` and what is brighter becomes 255, the rest in "
    "proportion, rounded. If `white` is null, no film of 16 bits was trained on."
)
RESIZE = (
    "To size_px × size_px; the aspect ratio is not kept. Bilinear with antialiasing, as Pillow's "
    "Image.resize with Resampling.BILINEAR. Before it, Pillow may decode a JPEG at 1/2, 1/4 or 1/8 "
    "of its size (Image.draft)."
)
CONTRAST = {
    "none": "The grey levels stay as they are.",
    "stretch": "The darkest and the brightest 1% are cut off, and the rest is stretched to 0 to "
    "255: Pillow's ImageOps.autocontrast with cutoff=1.",
    "equalize": "Every grey level becomes equally frequent: Pillow's ImageOps.equalize.",
    "clahe": f"OpenCV's createCLAHE({contrast.CLIP_LIMIT}, ({contrast.TILES}, {contrast.TILES})).",
}


def metadata_of(
    network: nn.Module,
    data: DataConfig,
    classes: Sequence[str],
    checkpoints: Sequence[Path],
    config: ExportConfig,
) -> dict[str, Any]:
    """Plain values for JSON. network: as exported; data: of the training."""
    temperatures = [one.temperature for one in network.modules() if isinstance(one, Tempered)]
    size = data.image_size
    return {
        "classes": list(classes),
        "input": {"name": INPUT, "dtype": "uint8", "shape": ["batch", 1, size, size]},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", len(classes)]},
        "reading": {
            "grey": GREY,
            "depth": DEPTH,
            "white": data.white,
            "resize": RESIZE,
            "size_px": size,
            "contrast": data.contrast,
            "contrast_means": f"After resizing. {CONTRAST[data.contrast]}",
            "normalisation": "None: dividing by 255 and normalising are inside the network.",
        },
        "calibration": {"temperatures": temperatures},
        "network": {
            "checkpoints": [{"file": file.name, "sha256": _sha256(file)} for file in checkpoints],
            "combine": config.combine if len(checkpoints) > 1 else None,
            "tta": config.tta,
            "tau": config.tau,
        },
        "versions": {name: version(name) for name in ("cxr-lightning", "torch")},
        "warning": "Not a medical device. For research only.",
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

"""A classifier as ONNX and as a program of torch.export: grey pixels in, probabilities out."""

import copy
import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.models.classifier import Classifier

Pixels = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Runner = Callable[[Pixels], Probabilities]

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
INPUT, OUTPUT = "image", "probabilities"
METADATA = "metadata.json"  # inside model.pt2


class ToProbabilities(nn.Module):
    """A classifier's network, with the softmax that makes its logits probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, S, S) to float32 probabilities (B, C)."""
        return torch.softmax(self.network(image).float(), dim=1)


def check_available(formats: Iterable[str]) -> None:
    """Raises `ConfigError` where the libraries for ONNX are asked for and not installed."""
    if "onnx" not in formats:
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"formats=[onnx] needs {error.name}: pip install 'cxr-lightning[export]'. "
            "formats=[torch] needs no further library."
        ) from error


def program_of(classifier: Classifier, size_px: int) -> torch.export.ExportedProgram:
    """The program for batches of any size, on the CPU and in float32.

    Raises `ConfigError` where the network does what torch.export cannot follow.
    """
    network = copy.deepcopy(classifier.network).cpu().float().eval()
    example = torch.zeros(2, 1, size_px, size_px, dtype=torch.uint8)
    try:
        with torch.no_grad():
            return torch.export.export(
                ToProbabilities(network), (example,), dynamic_shapes=_any_batch(), strict=False
            )
    except Exception as error:  # torch raises many kinds, for whatever a network may do
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(
            f"torch.export cannot follow this network: {reason} Its forward must not depend on "
            "the values of the image, and must take a batch of any size."
        ) from error


def _any_batch() -> dict[str, Any]:
    return {INPUT: {0: torch.export.Dim("batch")}}


def write_onnx(program: torch.export.ExportedProgram, file: Path, metadata: dict[str, Any]) -> None:
    """One file with its weights inside; each key of the metadata is JSON in `metadata_props`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own code
        made = torch.onnx.export(
            program,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_any_batch(),  # the name of the axis
        )
    assert made is not None
    for key, value in metadata.items():
        made.model.metadata_props[key] = json.dumps(value, ensure_ascii=False)
    made.save(file, external_data=False)


def write_torch(
    program: torch.export.ExportedProgram, file: Path, metadata: dict[str, Any]
) -> None:
    """One `.pt2` file, for `torch.export.load`; the metadata is its extra file `METADATA`."""
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # torch 2.14, of any network
        torch.export.save(program, file, extra_files={METADATA: text})


def onnx_runner(file: Path) -> Runner:
    """The file in onnxruntime, on the CPU, with as many threads as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(images: Pixels) -> Probabilities:
        found: Probabilities = session.run([OUTPUT], {INPUT: images})[0]
        return found

    return run


def torch_runner(file: Path) -> Runner:
    """The file in torch, without any code of the network."""
    return module_runner(torch.export.load(file).module())


def module_runner(module: nn.Module) -> Runner:
    """A module in torch; `module` is as it is to run: in eval mode."""

    @torch.inference_mode()
    def run(images: Pixels) -> Probabilities:
        found: Probabilities = module(torch.from_numpy(images)).numpy()
        return found

    return run


WRITERS = {"onnx": write_onnx, "torch": write_torch}
RUNNERS = {"onnx": onnx_runner, "torch": torch_runner}

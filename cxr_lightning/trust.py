"""A checkpoint is data: which of the nodes in it are built, and with which arguments.

Whoever wrote a checkpoint chose the targets and arguments in it. Built unchecked, they could run
any function of any installed package.
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from cxr_lightning.errors import CheckpointError

ROOTS = ("torch.nn", "cxr_lightning.models", "torchvision.models")
# With none of these does a library read a file or an address.
TORCHVISION_ARGUMENTS = """
    name num_classes image_size aux_logits transform_input init_weights dropout attention_dropout
    stochastic_depth_prob width_mult zero_init_residual groups width_per_group drop_rate
    replace_stride_with_dilation memory_efficient
"""
TIMM_ARGUMENTS = """
    model_name num_classes in_chans img_size global_pool output_stride drop_rate drop_path_rate
    drop_block_rate attn_drop_rate proj_drop_rate pos_drop_rate patch_drop_rate patch_size embed_dim
    depth depths dims num_heads mlp_ratio window_size qkv_bias qk_norm init_values class_token
    reg_tokens dynamic_img_size dynamic_img_pad strict_img_size stem_width bn_momentum bn_eps
    zero_init_last norm_layer act_layer scriptable
"""


def check_node(key: str, node: Any, trust: Sequence[str] = ()) -> None:
    """Refuse a `_target_` node of a checkpoint before anything in it is imported or called.

    `key` is where the node is in the configuration; `trust` has packages, or full targets, that the
    user allows with any arguments. Raises `CheckpointError`, which names the key that allows it.
    """
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise CheckpointError(f"The checkpoint's {key} names no class (`_target_`): {node!r}.")
    # A reference, like `${oc.create:…}`, makes a further node of a text.
    if "${" in json.dumps(node, default=lambda value: "${"):
        raise CheckpointError(
            f"The checkpoint's {key} holds a reference (`${{…}}`) or a value that is not plain. "
            "cxr-train writes neither, so somebody changed the file: do not use it."
        )
    for inner in _nodes(node):
        target = str(inner.pop("_target_"))
        # Defined in a trusted package; what that has imported is not its own.
        trusted = (name for name in trust if target.startswith(f"{name}."))
        if target in trust or any(_find(target, name) is not None for name in trusted):
            continue
        allowed, wrong = _allowed_arguments(target, inner), [""]
        if allowed is not None:
            bad = (k for k, v in inner.items() if k not in allowed or not _is_harmless(k, v))
            wrong = [f" with {k}={inner[k]!r}" for k in bad]
        if wrong:
            package = target.partition(".")[0]
            libraries = ("torch", "torchvision", "timm", "cxr_lightning")
            whole = "" if package in libraries else f" or trust=[{package}]"
            raise CheckpointError(
                f"The checkpoint's {key} is `{target}`{wrong[0]}, which is not built without your "
                "consent: it could run code of whoever wrote the file. If you trust it, add "
                f"trust=[{target}]{whole}."
            )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """A copy of every dictionary with a `_target_`, the outer ones first."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield dict(value)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _nodes(item)


def _allowed_arguments(target: str, arguments: dict[str, Any]) -> list[str] | None:
    """The arguments that any checkpoint may give to a target; None: it may not name it."""
    if target == "timm.create_model":
        return TIMM_ARGUMENTS.split()
    root = next((root for root in ROOTS if target.startswith(f"{root}.")), None)
    found = root and _find(target, root)
    if isinstance(found, type):
        from torch.nn import Module

        return [*inspect.signature(found).parameters] if issubclass(found, Module) else None
    if not found or root != "torchvision.models":
        return None
    from torchvision import models

    # Classification only: others download a backbone where they are not told otherwise.
    name = arguments.get("name") if found is models.get_model else target.rpartition(".")[2]
    return TORCHVISION_ARGUMENTS.split() if name in models.list_models(module=models) else None


def _find(target: str, package: str) -> Any:
    """What the very module that `target` names defines, not imports, if that is in `package`."""
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return None
    return found if f"{getattr(found, '__module__', '')}.".startswith(f"{package}.") else None


def _is_harmless(name: str, value: Any) -> bool:
    """A number, a text or null, or a list of them; a model's name without an address in it."""
    if name == "model_name":
        return isinstance(value, str) and not set(value) & set(":/\\")
    items = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, int | float | str) for item in items)

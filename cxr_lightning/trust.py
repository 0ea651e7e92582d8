"""A checkpoint is data: which of the nodes in it are built, and with which arguments.

Whoever wrote a checkpoint chose the targets and arguments in it. Built unchecked, they could run
any function of any installed package.
"""

import inspect
import json
from collections.abc import Collection, Iterator, Sequence
from importlib import import_module
from typing import Any

from cxr_lightning.errors import CheckpointError

ROOTS = ("torch.nn", "cxr_lightning.models", "torchvision.models")
# With none of these does a library read a file or an address.
TORCHVISION_ARGUMENTS = (
    *("num_classes", "image_size", "aux_logits", "transform_input", "init_weights", "dropout"),
    *("attention_dropout", "stochastic_depth_prob", "width_mult", "zero_init_residual", "groups"),
    *("width_per_group", "replace_stride_with_dilation", "drop_rate", "memory_efficient"),
)
TIMM_ARGUMENTS = (
    *("model_name", "num_classes", "in_chans", "img_size", "global_pool", "output_stride"),
    *("drop_rate", "drop_path_rate", "drop_block_rate", "attn_drop_rate", "proj_drop_rate"),
    *("pos_drop_rate", "patch_drop_rate", "patch_size", "embed_dim", "depth", "depths", "dims"),
    *("num_heads", "mlp_ratio", "window_size", "qkv_bias", "qk_norm", "init_values", "class_token"),
    *("reg_tokens", "dynamic_img_size", "dynamic_img_pad", "strict_img_size", "stem_width"),
    *("bn_momentum", "bn_eps", "zero_init_last", "norm_layer", "act_layer", "scriptable"),
)


def check_node(key: str, node: Any, trust: Sequence[str] = ()) -> None:
    """Refuse a `_target_` node of a checkpoint before anything in it is imported or called.

    Args:
        key: where the node is in the configuration, for the message.
        node: as `instantiate.build` takes it.
        trust: packages, or full targets, that the user allows with any arguments.

    Raises:
        CheckpointError: a target or an argument is not allowed; it names the key that allows it.
    """
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise CheckpointError(f"The checkpoint's {key} names no class (`_target_`): {node!r}.")
    try:
        has_reference = "${" in json.dumps(node)  # `${oc.create:…}` makes a further node of a text
    except TypeError:
        has_reference = True
    if has_reference:
        raise CheckpointError(
            f"The checkpoint's {key} holds a reference (`${{…}}`) or a value that is not plain. "
            "cxr-train writes neither, so somebody changed the file: do not use it."
        )
    for inner in _nodes(node):
        target = str(inner["_target_"])
        if _is_trusted(target, trust):
            continue
        if (allowed := _allowed_arguments(inner)) is None:
            raise _refusal(key, f"is `{target}`", target)
        for name, value in inner.items():
            if name != "_target_" and (name not in allowed or not _is_harmless(name, value)):
                raise _refusal(key, f"is `{target}` with {name}={value!r}", target)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary with a `_target_`, the outer ones first."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _nodes(item)


def _is_trusted(target: str, trust: Sequence[str]) -> bool:
    """Named in full, or defined in a trusted package; what that has imported is not its own."""
    packages = [name for name in trust if target.startswith(f"{name}.")]
    return target in trust or any(_is_within(_find(target), name) for name in packages)


def _allowed_arguments(node: dict[str, Any]) -> Collection[str] | None:
    """The arguments that any checkpoint may give to a target; None: it may not name it."""
    target = str(node["_target_"])
    if target == "timm.create_model":
        return TIMM_ARGUMENTS
    root = next((root for root in ROOTS if target.startswith(f"{root}.")), None)
    if root is None or not _is_within(found := _find(target), root):
        return None
    if isinstance(found, type):
        from torch.nn import Module

        return set(inspect.signature(found).parameters) if issubclass(found, Module) else None
    from torchvision import models

    # Classification only: others download a backbone where they are not told otherwise.
    is_named = found is models.get_model
    name = node.get("name") if is_named else target.rpartition(".")[2]
    known = root == "torchvision.models" and name in models.list_models(module=models)
    return (*TORCHVISION_ARGUMENTS, *["name"] * is_named) if known else None


def _find(target: str) -> Any:
    """An attribute of the very module that `target` names: no walk through what that imported."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _is_within(found: Any, package: str) -> bool:
    return f"{getattr(found, '__module__', '')}.".startswith(f"{package}.")


def _is_harmless(name: str, value: Any) -> bool:
    """A number, a text or null, or a list of them; a model's name without an address in it."""
    if name == "model_name":
        return isinstance(value, str) and not set(value) & set(":/\\")
    items = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, int | float | str) for item in items)


def _refusal(key: str, what: str, target: str) -> CheckpointError:
    package = target.partition(".")[0]
    libraries = ("torch", "torchvision", "timm", "cxr_lightning")
    whole = "" if package in libraries else f" or trust=[{package}]"
    return CheckpointError(
        f"The checkpoint's {key} {what}, which is not built without your consent: it could run "
        f"code of whoever wrote the file. If you trust it, add trust=[{target}]{whole}."
    )

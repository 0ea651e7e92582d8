"""The one place that turns a `_target_` node into an object."""

import inspect
import pydoc
import typing
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pydantic import TypeAdapter, ValidationError

from cxr_lightning.errors import ConfigError, did_you_mean

PLAIN_TYPES = {int, float, bool, str, type(None)}


def build(node: dict[str, Any], **kwargs: Any) -> Any:
    """Call `node["_target_"]` with the node's other keys and `kwargs`, or raise `ConfigError`."""
    _check_plain_types(node)
    try:
        return instantiate(node, **kwargs, _convert_="all")
    except InstantiationException as error:
        reason = str(error.__cause__ or error).replace("\n", " ")
        raise ConfigError(f"`{node['_target_']}` cannot be built: {reason}") from error


def build_all(nodes: dict[str, dict[str, Any] | None]) -> list[Any]:
    """Every node that is not null, in the order of the configuration."""
    return [build(node) for node in nodes.values() if node is not None]


def parameters(node: dict[str, Any]) -> dict[str, inspect.Parameter]:
    """The arguments that the node's target names, by their names; none where it hides them."""
    try:
        return dict(inspect.signature(_locate(node)).parameters)
    except (TypeError, ValueError):  # not callable, or written in C
        return {}


def _locate(node: dict[str, Any]) -> Any:
    """The class or function of the node; raises `ConfigError` where it is not there."""
    if not node.get("_target_"):
        raise ConfigError(f"A node without `_target_` cannot be built: {node}")
    target = str(node["_target_"])
    module, _, name = target.rpartition(".")
    hint = " pip install 'cxr-lightning[timm]'" if target.startswith("timm.") else ""
    try:
        if (found := pydoc.locate(target)) is not None:
            return found
        parent = pydoc.locate(module)
        reason = f"there is no module `{module}`. Is it installed, or in this folder?{hint}"
        if parent is not None:
            reason = f"{module} has no `{name}`{did_you_mean(name, dir(parent))}"
    except pydoc.ErrorDuringImport as error:
        reason = f"importing it fails with {type(error.value).__name__}: {error.value}.{hint}"
    raise ConfigError(f"`{target}` cannot be built: {reason}")


def _check_plain_types(node: dict[str, Any]) -> None:
    """Refuse text where the target says number: YAML and Hydra let it through, to fail late."""
    found = _locate(node)
    try:
        is_class = isinstance(found, type)
        hints = typing.get_type_hints(found.__init__ if is_class else found)
    except Exception:  # hints that cannot be resolved: `instantiate` will tell
        return
    for key in node.keys() & hints.keys():
        if set(typing.get_args(hints[key]) or [hints[key]]) <= PLAIN_TYPES:
            try:
                TypeAdapter(hints[key]).validate_python(node[key])
            except ValidationError as error:
                given, reason = f"{key}={node[key]!r}", error.errors()[0]["msg"].lower()
                raise ConfigError(f"{given} of `{node['_target_']}`: {reason}.") from None

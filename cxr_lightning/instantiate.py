"""The one place that turns a `_target_` node into an object."""

import typing
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from pydantic import TypeAdapter, ValidationError

from cxr_lightning.errors import ConfigError

PLAIN_TYPES = {int, float, bool, str, type(None)}


def build(node: dict[str, Any], **kwargs: Any) -> Any:
    """Call the class `node["_target_"]` with the node's other keys and `kwargs`.

    Raises:
        ConfigError: the class does not exist, or its arguments do not fit; it names them.
    """
    target = node.get("_target_")
    if target is None:
        raise ConfigError(f"A node without `_target_` cannot be built: {node}")
    try:
        _check_plain_types(target, node)
        return instantiate(node, **kwargs, _convert_="all")
    except InstantiationException as error:
        reason = str(error.__cause__ or error).replace("\n", " ")
        raise ConfigError(f"`{target}` cannot be built: {reason}") from error


def build_all(nodes: dict[str, dict[str, Any] | None]) -> list[Any]:
    """Every node that is not null, in the order of the configuration."""
    return [build(node) for node in nodes.values() if node is not None]


def _check_plain_types(target: str, node: dict[str, Any]) -> None:
    """Refuse text where the class says number: YAML and Hydra let it through, and it fails late."""
    try:
        hints = typing.get_type_hints(get_class(target).__init__)  # type: ignore[misc]
    except Exception:  # a function, a missing class, unresolvable hints: `instantiate` will tell
        return
    for key in node.keys() & hints.keys():
        if set(typing.get_args(hints[key]) or [hints[key]]) <= PLAIN_TYPES:
            try:
                TypeAdapter(hints[key]).validate_python(node[key])
            except ValidationError as error:
                message = error.errors()[0]["msg"].lower()
                raise ConfigError(f"{key}={node[key]!r} of `{target}`: {message}.") from None

"""The one place that turns a `_target_` node into an object."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from cxr_lightning.errors import ConfigError


def build(node: dict[str, Any], **kwargs: Any) -> Any:
    """Call `node["_target_"]` with the node's other keys and `kwargs`.

    Raises `ConfigError` that names the target where its arguments do not fit.
    """
    target = node.get("_target_")
    if target is None:
        raise ConfigError(f"A node without `_target_` cannot be built: {node}")
    try:
        return instantiate(node, **kwargs, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise ConfigError(f"`{target}` cannot be built: {cause}") from error


def build_all(nodes: dict[str, dict[str, Any] | None]) -> list[Any]:
    """Every node that is not null, in the order of the configuration."""
    return [build(node) for node in nodes.values() if node is not None]

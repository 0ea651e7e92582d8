"""The templates of pages and notes, filled in."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

PACKAGES = ("audit", "decisions", "pages", "sweeps")


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """A template with its content, by the name `package/file`; in HTML, text is text."""
    environment = Environment(
        loader=PrefixLoader({p: PackageLoader(f"cxr_lightning.{p}", ".") for p in PACKAGES}),
        autoescape="html" in template,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)

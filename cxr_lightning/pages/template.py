"""The templates of pages and notes, filled in."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

from cxr_lightning.pages.markdown import escaped

PACKAGES = ("audit", "cards", "decisions", "pages", "sweeps")


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """A template with its content, by the name `package/file`; in HTML and Markdown, text is text.

    Markdown is a template whose name has `.md.`.
    """
    environment = Environment(
        loader=PrefixLoader({p: PackageLoader(f"cxr_lightning.{p}", ".") for p in PACKAGES}),
        autoescape="html" in template,
        finalize=escaped if ".md." in template else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)

"""What is wrong with a configuration, in sentences: one for each key."""

import typing

from pydantic import BaseModel, ValidationError

from cxr_lightning.errors import did_you_mean


def sentences_of(schema: type[BaseModel], error: ValidationError) -> list[str]:
    """One line for each wrong key, with what was given and what is possible."""
    sentences: dict[str, list[str]] = {}
    for detail in error.errors():
        names = [str(part) for part in detail["loc"]]
        section, depth = _deepest_section(schema, names)
        # Of a union (`int | "auto"`) pydantic reports one error a member, its name last.
        known = depth + 1
        key = ".".join(names[:known]) if section is not None else ".".join(names)
        if detail["type"] == "extra_forbidden" and section is not None:
            hint = did_you_mean(names[-1], section.model_fields)
            message = f"no such key{hint} The keys here: {', '.join(section.model_fields)}."
        elif detail["type"] == "missing":
            message = "is missing."
        else:
            message = f"{detail['msg'].lower()} (got {detail['input']!r})."
        sentences.setdefault(key, []).append(message)
    return [f"{key}: {' Or: '.join(messages)}" for key, messages in sentences.items()]


def _deepest_section(
    schema: type[BaseModel], names: list[str]
) -> tuple[type[BaseModel] | None, int]:
    """The innermost section on the way along `names`, and how many names lead to it."""
    section, depth = schema, 0
    for name in names[:-1]:
        field = section.model_fields.get(name)
        annotations = (
            () if field is None else (field.annotation, *typing.get_args(field.annotation))
        )
        inner = [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]
        if not inner:
            break
        section, depth = inner[0], depth + 1
    return section, depth

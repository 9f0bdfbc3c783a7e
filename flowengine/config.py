"""A node's config validated: pydantic's errors as findings with our slugs, places and remedies."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flowengine.errors import describe_value
from flowengine.node import NodeConfig

SLUGS = frozenset(
    {
        "bad-value",
        "bad-duration",
        "bad-expression",
        "bad-path",
        "bad-template",
        "bad-reference",
        "literal-secret",
        "limits-crossed",
        "missing-field",
        "mustache-template",
    }
)
"""Types of pydantic errors that are slugs already: `fields.fault` made them."""

_KINDS = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "finite_number": "a finite number",
}


class ConfigFault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a config: `path` leads to it from the config's own top."""

    slug: str
    path: tuple[str | int, ...]
    what: str
    mend: str = ""


def validate_config(
    model: type[NodeConfig], raw: Mapping[str, Any]
) -> tuple[NodeConfig | None, list[ConfigFault]]:
    """The config for `raw`, or every fault in it."""
    try:
        return model.model_validate(dict(raw)), []
    except ValidationError as err:
        details = err.errors(include_url=False)
        return None, _merged([_fault(model, raw, detail) for detail in details])


def _merged(faults: list[ConfigFault]) -> list[ConfigFault]:
    """The faults with those of one value as one: it fits none of several ways."""
    found: dict[tuple[str | int, ...], ConfigFault] = {}
    for fault in faults:
        first = found.get(fault.path)
        if first is None or fault.slug == "missing-field":
            found.setdefault(fault.path, fault)
        elif first.slug == fault.slug == "bad-value" and fault.mend.startswith("Give "):
            if first.mend.startswith("Give "):
                mend = f"{first.mend.removesuffix('.')}, or {fault.mend.removeprefix('Give ')}"
                found[fault.path] = msgspec.structs.replace(first, mend=mend)
        elif first.slug == "bad-value" and first.mend.startswith("Give "):
            found[fault.path] = fault  # it says more
    return list(found.values())


def _fault(model: type[NodeConfig], raw: Mapping[str, Any], detail: ErrorDetails) -> ConfigFault:
    path = _written_path(raw, detail["loc"], missing=detail["type"] == "missing")
    kind = detail["type"]
    context: dict[str, Any] = detail.get("ctx") or {}
    name = str(path[-1]) if path else "config"
    if kind in SLUGS:
        return ConfigFault(
            slug=kind,
            path=path,
            what=str(context.get("what", "")),
            mend=str(context.get("mend", "")),
        )
    if kind == "missing":
        return ConfigFault(
            slug="missing-field", path=path, what=f'"{name}" is missing.', mend=f'Add "{name}".'
        )
    if kind == "extra_forbidden":
        return ConfigFault(
            slug="unknown-key",
            path=path,
            what=f'there is no setting "{name}".',
            mend=_guess(name, _names_at(model, path[:-1])),
        )
    value = describe_value(detail.get("input"))
    if kind in _KINDS:
        return ConfigFault(
            slug="bad-value", path=path, what=f"{name} is {value}.", mend=f"Give {_KINDS[kind]}."
        )
    said = str(context.get("error") or detail["msg"])
    if kind in {"value_error", "assertion_error"}:
        what, mend = said, ""
    else:
        what, mend = f"{name} is {value}.", said.replace("Input should", "It should") + "."
    return ConfigFault(slug="bad-value", path=path, what=what, mend=mend)


def _written_path(raw: Any, steps: Sequence[str | int], *, missing: bool) -> tuple[str | int, ...]:
    """The path in the file; pydantic puts the names of a union's ways between its steps."""
    path: list[str | int] = []
    here = raw
    for number, step in enumerate(steps):
        is_last = number == len(steps) - 1
        if isinstance(here, Mapping) and (step in here or (missing and is_last)):
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and 0 <= step < len(here):
            here = here[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _names_at(model: type[NodeConfig], path: Sequence[str | int]) -> list[str]:
    at: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        found = getattr(at, "model_fields", {}).get(part)
        at = _model_in(found.annotation) if found is not None else None
    fields = getattr(at, "model_fields", {})
    return [info.alias or name for name, info in fields.items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, NodeConfig):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _guess(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Remove it; there are: {', '.join(known)}." if known else "Remove it."

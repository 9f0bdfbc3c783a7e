"""JSON Schema (draft 2020-12) for `json.decode`, by the jsonschema package of the extra `schema`.

Nothing is fetched: a `$ref` leads within the schema. Patterns are linear-time (re2), as what they
are matched with comes from a device.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from flowengine.errors import NodeError, PayloadError
from flowengine.fields import fault

_MEMORY = 1 << 18  # bytes of a pattern's program: (x{0,1000}){0,9} is too large

_DATA = frozenset({"const", "enum", "default", "examples"})
"""Keywords that hold values, not schemas."""


def checker(schema: dict[str, Any]) -> Callable[[Any], None]:
    """A function that raises PayloadError `schema` for a value that does not fit.

    Raises pydantic's error `bad-value` for a schema that is none, or without the package.
    """
    try:
        jsonschema = import_module("jsonschema")
        registry = import_module("referencing").Registry()
    except ImportError as err:
        raise fault(
            "bad-value",
            "schema needs a package that is not installed.",
            "Install it: pip install 'flowengine[schema]'.",
        ) from err
    draft = jsonschema.Draft202012Validator
    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as err:
        where = "/".join(str(part) for part in err.absolute_path)
        raise fault(
            "bad-value", f"the schema is none at {where or 'its top'}: {err.message[:200]}."
        ) from err
    _check_parts(schema, schema)
    linear = jsonschema.validators.extend(
        draft, {"pattern": _pattern, "patternProperties": _pattern_properties}
    )
    validator = linear(schema, registry=registry)
    best_match = jsonschema.exceptions.best_match

    def check(value: Any) -> None:
        try:
            worst = best_match(validator.iter_errors(value))
        except RecursionError as err:
            raise NodeError("the schema refers to itself without end.") from err
        if worst is not None:
            where = "".join(f"[{p}]" if type(p) is int else f".{p}" for p in worst.absolute_path)
            raise PayloadError(f"{where[1:] or 'it'}: {worst.message[:200]}", slug="schema")

    return check


def _check_parts(part: Any, schema: dict[str, Any]) -> None:
    """Raise for a pattern that re2 does not take and a reference that leads nowhere."""
    if isinstance(part, list):
        for one in part:
            _check_parts(one, schema)
    elif isinstance(part, dict):
        for name, one in part.items():
            if name in _DATA:
                continue
            if name == "pattern" and isinstance(one, str):
                _compiled(one)
            elif name == "patternProperties" and isinstance(one, dict):
                for pattern in one:
                    _compiled(pattern)
            elif name in {"$ref", "$dynamicRef"} and isinstance(one, str):
                _check_reference(one, schema)
            _check_parts(one, schema)


def _check_reference(reference: str, schema: dict[str, Any]) -> None:
    if not reference.startswith("#"):
        raise fault(
            "bad-value", f'the schema refers to "{reference[:100]}".', "Copy it into $defs."
        )
    if not reference.startswith("#/"):
        return
    at: Any = schema
    for step in unquote(reference[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and name.isdecimal() and int(name) < len(at):
            at = at[int(name)]
        elif isinstance(at, dict) and name in at:
            at = at[name]
        else:
            raise fault("bad-value", f'the schema holds no "{reference[:100]}".')


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    import re2  # noqa: PLC0415  # 20 ms that schemas without patterns need not pay

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as err:
        raise fault(
            "bad-value",
            f'the pattern "{pattern[:100]}" cannot be used.',
            "Patterns are RE2: no look-around, no back references.",
        ) from err


def _pattern(validator: Any, pattern: str, value: Any, _schema: Any) -> Any:
    if validator.is_type(value, "string") and not _compiled(pattern).search(value):
        yield import_module("jsonschema").ValidationError(
            f"{value[:60]!r} does not match {pattern!r}"
        )


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, _schema: Any) -> Any:
    if not validator.is_type(value, "object"):
        return
    for pattern, below in patterns.items():
        found = _compiled(pattern)
        for name, part in value.items():
            if found.search(name):
                yield from validator.descend(part, below, path=name, schema_path=pattern)

"""Types for config fields: durations, sizes, expressions, templates, paths, secrets, connections.

Each is written in a flow file as text (or a reference) and arrives in the node ready to use: a
`Duration` as nanoseconds, an `ExpressionField` compiled. A value that does not fit raises a
pydantic error whose type is the finding's slug (`bad-duration`, `bad-expression`), so `check` needs
no table.

A default is written as the file would have it (`Field(default="5s")`) and read as the node has it.
No static type says both, so to a type checker the fields that change their shape are `Any`.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from flowengine.errors import SyntaxFault, describe_value
from flowengine.expression import Expression, compile_expression
from flowengine.moments import parse_duration, parse_size
from flowengine.path import Path, compile_path
from flowengine.template import Template, compile_template

__all__ = [
    "ConnectionField",
    "Duration",
    "ExpressionField",
    "Host",
    "NodeList",
    "PathField",
    "PathTemplate",
    "Port",
    "Secret",
    "SecretField",
    "Size",
    "TemplateField",
    "TopicFilter",
    "TopicTemplate",
    "UriTemplate",
    "connection",
    "fault",
]


def fault(slug: str, what: str, mend: str = "") -> PydanticCustomError:
    """A validation error that becomes a finding with this slug, what and mend."""
    return PydanticCustomError(slug, "{what} {mend}", {"what": what, "mend": mend})


def _field(check: Callable[[Any], Any], schema: dict[str, Any]) -> tuple[Any, Any]:
    return PlainValidator(check), WithJsonSchema(schema)


def _duration(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise fault(
            "bad-duration",
            f"{describe_value(value)} is no duration.",
            'Write it with a unit, as "5s" or "250ms".',
        )
    if not isinstance(value, str):
        raise fault(
            "bad-duration",
            f"{value} has no unit.",
            f'Write "{value}s" for seconds, or "{value}ms".',
        )
    try:
        return parse_duration(value)
    except ValueError as err:
        raise fault(
            "bad-duration", str(err), 'Durations look like "250ms", "5s" or "1h30m".'
        ) from err


def _size(value: Any) -> int:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as err:
            raise fault("bad-value", str(err), 'Sizes look like "64KB" or "10MiB".') from err
    raise fault(
        "bad-value",
        f"{describe_value(value)} is no size with a unit.",
        'Write it with a unit, as "10MB".',
    )


def _compiled(kind: type, compile_text: Callable[[Any], Any], lines: bool) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        is_lines = lines and isinstance(value, list) and all(isinstance(x, str) for x in value)
        if not isinstance(value, str) and not is_lines:
            raise fault("bad-value", f"{describe_value(value)} is not text.", "Put it in quotes.")
        try:
            return compile_text(value)
        except SyntaxFault as err:
            raise fault(err.slug, err.what, err.mend) from err

    return check


def template_in(place: str) -> Callable[[Any], Any]:
    """The validator of a template whose text stands in a `place`: text, topic, path or uri (R8)."""
    return _compiled(Template, lambda text: compile_template(text, where=place), lines=True)  # type: ignore[arg-type]  # the four places are literals in template.py


Duration = Annotated[
    Any,
    *_field(
        _duration,
        {
            "type": "string",
            "format": "duration",
            "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$",
        },
    ),
]
"""Text such as `"5s"`; nanoseconds in the node (R30)."""

Size = Annotated[
    Any,
    *_field(_size, {"type": "string", "format": "size", "pattern": r"^\d+(\.\d+)?\s*[kKMGT]?i?B$"}),
]
"""Text such as `"10MB"`; bytes in the node (R30)."""

ExpressionField = Annotated[
    Any,
    *_field(
        _compiled(Expression, compile_expression, lines=False),
        {"type": "string", "format": "expression"},
    ),
]
"""An expression (R7), compiled."""

PathField = Annotated[
    Any, *_field(_compiled(Path, compile_path, lines=False), {"type": "string", "format": "path"})
]
"""A field path (R9), compiled."""

TemplateField = Annotated[
    Any,
    *_field(
        template_in("text"),
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "format": "template",
        },
    ),
]
"""Text with `{expression}` holes (R8), compiled."""

TopicTemplate = Annotated[
    Any, *_field(template_in("topic"), {"type": "string", "format": "topic-template"})
]
"""A template whose filled text is an MQTT topic: no hole can add a level or a wildcard."""

PathTemplate = Annotated[
    Any, *_field(template_in("path"), {"type": "string", "format": "path-template"})
]
"""A template whose filled text is a file path: no hole can leave its folder."""

UriTemplate = Annotated[
    Any, *_field(template_in("uri"), {"type": "string", "format": "uri-template"})
]
"""A template whose filled text is a URI: holes are percent-encoded."""


def _topic_filter(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise fault(
            "bad-value",
            f"{describe_value(value)} is no topic filter.",
            'Write it as "device/+/telemetry".',
        )
    if "\0" in value or len(value.encode("utf-8", "replace")) > 65535:
        raise fault("bad-value", "a topic filter holds no NUL and at most 65,535 bytes.")
    levels = value.split("/")
    for index, level in enumerate(levels):
        if "#" in level and (level != "#" or index != len(levels) - 1):
            raise fault("bad-value", f'"#" in "{value}" must be a whole level and the last one.')
        if "+" in level and level != "+":
            raise fault("bad-value", f'"+" in "{value}" must be a whole level.')
    return value


TopicFilter = Annotated[str, *_field(_topic_filter, {"type": "string", "format": "topic-filter"})]
"""An MQTT topic filter (MQTT 5.0 §4.7)."""


class Secret:
    """A resolved secret; only `reveal` shows it, and nothing prints it."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value or ""

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.name, self._value) == (other.name, other._value)

    def __hash__(self) -> int:
        return hash(self.name)


def _secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    raise fault(
        "literal-secret",
        "a secret stands here in plain text.",
        'Store it with "flowengine secrets set NAME" and write {"$secret": "NAME"}.',
    )


SecretField = Annotated[
    Secret,
    *_field(
        _secret,
        {
            "type": "object",
            "format": "secret",
            "properties": {"$secret": {"type": "string"}},
            "required": ["$secret"],
            "additionalProperties": False,
        },
    ),
]
"""A secret; a flow file holds only `{"$secret": name}`."""


class ConnectionField:
    """Marks a field as the id of a connection of one of `types`."""

    def __init__(self, *types: str) -> None:
        self.types = types


def connection(*types: str, description: str, optional: bool = False) -> Any:
    """A config field that names a connection of one of `types`; annotate it as `str`.

    `broker: str = connection("mqtt.broker", description="The broker.")`
    """
    extra: dict[str, Any] = {"x-connection": list(types)}
    if optional:
        return Field(default=None, description=description, json_schema_extra=extra)
    return Field(description=description, json_schema_extra=extra)


def _host(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._:%\[\]-]{1,255}", value):
        raise fault(
            "bad-value",
            f"{describe_value(value)} is no host name or address.",
            "Give the name alone; the port has its own field.",
        )
    return value


Host = Annotated[str, *_field(_host, {"type": "string", "format": "host"})]
"""A host name or address without scheme and port."""

Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP or UDP port."""


def _slug_list(value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise fault("bad-value", f"{describe_value(value)} is no list of node ids.")


NodeList = Annotated[
    list[str],
    *_field(_slug_list, {"type": "array", "items": {"type": "string"}, "format": "nodes"}),
]
"""Ids of nodes of the same flow; `check` finds the ones that are not there."""

"""From a config's JSON Schema to a form: what kind of value each field is, and what belongs to it.

A field says its kind of value (`duration`, `expression`), not an HTML control; what is not known
becomes JSON. A field's own `x-ui` wins over what is derived.
"""

from collections.abc import Mapping
from typing import Any

from flowengine.check.types import KnownType, book_of
from flowengine.config import validate_config
from flowengine.flow.model import reference_of
from flowengine.flow.schema_paths import Schema
from flowengine.registry import REGISTRY, Registry
from flowengine.web.problem import not_found
from flowengine.web.typenames import shown_key, title

_DEEPEST = 6
_FEW = 4
_FORMATS = {
    "duration": "duration",
    "size": "size",
    "expression": "expression",
    "path": "path",
    "template": "template",
    "topic-template": "topic-template",
    "path-template": "template",
    "uri-template": "template",
    "topic-filter": "topic-filter",
    "secret": "secret",
    "host": "host",
    "nodes": "nodes",
}
_PLACEHOLDERS = {
    "duration": "5s",
    "size": "10MB",
    "expression": "payload.temperature > 8",
    "path": "payload.temperature",
    "template": "{payload.temperature:.1f} °C",
    "topic-template": "site/{key}/set",
    "topic-filter": "device/+/telemetry",
    "host": "127.0.0.1",
}
_ADVANCED = frozenset(
    {"batch", "retry", "spool", "order", "forget", "max_ahead", "time_format", "time", "precision"}
    | {"client_id", "keepalive", "session_expiry", "clean_start", "receive_maximum", "will"}
    | {"birth", "expiry", "integers", "compress", "min_count", "min_spread"}
)
_FROM = {"connection": "connections", "nodes": "nodes", "topic-filter": "topics"}
_CONNECTION = "x-connection"


def form(name: str, registry: Registry = REGISTRY) -> dict[str, Any]:
    """The form of a type; 404 for one that is not known."""
    known = known_type(name, registry)
    schema = known.schema or {}
    return {
        "type": name,
        "title": title(name),
        "summary": known.type.summary,
        "doc": known.type.doc,
        "fields": _fields(schema, schema, 0),
    }


def known_type(name: str, registry: Registry = REGISTRY) -> KnownType:
    """A type of the registry; 404 for none."""
    found = book_of(registry).known(name)
    if found is None:
        raise not_found(f'node type "{name}"')
    return found


def _fields(schema: Schema, root: Schema, depth: int) -> list[dict[str, Any]]:
    required = set(schema.get("required", ()))
    return [
        _field(key, inner, root, depth, is_required=key in required)
        for key, inner in schema.get("properties", {}).items()
    ]


def _field(
    key: str, schema: Schema, root: Schema, depth: int, *, is_required: bool
) -> dict[str, Any]:
    ways, nullable = _ways(schema, root)
    shape: dict[str, Any] = dict(ways[0]) if len(ways) == 1 else {}
    merged = {**shape, **{k: v for k, v in schema.items() if k not in {"anyOf", "oneOf", "$ref"}}}
    ui = merged.get("x-ui") or {}
    widget = ui.get("widget") or _widget(merged, ways)
    if depth >= _DEEPEST and widget in {"group", "rows", "map", "union"}:
        widget = "json"
    has_default = "default" in schema and schema["default"] is not None
    found: dict[str, Any] = {
        "name": key,
        "label": ui.get("label") or label(key),
        "help": schema.get("description") or merged.get("description") or "",
        "widget": widget,
        "required": is_required,
        "advanced": bool(ui.get("advanced", _is_advanced(key, widget))) and not is_required,
        "group": ui.get("group") or (key if key in {"batch", "retry", "spool"} else None),
        "default": schema.get("default"),
        "has_default": has_default,
        "nullable": nullable,
        "references": ["secret"] if widget == "secret" else _references(widget),
        "unit": ui.get("unit"),
        "placeholder": ui.get("placeholder") or _PLACEHOLDERS.get(widget),
        "examples": list(merged.get("examples", [])),
        "min": merged.get("minimum", merged.get("exclusiveMinimum")),
        "max": merged.get("maximum", merged.get("exclusiveMaximum")),
        "step": 1 if widget == "integer" else None,
        "min_length": merged.get("minLength", merged.get("minItems")),
        "max_length": merged.get("maxLength", merged.get("maxItems")),
        "pattern": merged.get("pattern"),
        "lines": widget == "code" or (widget == "template" and "anyOf" in schema),
        "options": _options(merged, ways),
        "options_from": ui.get("options_from") or _FROM.get(widget),
        "connection_types": list(schema.get(_CONNECTION, [])),
        "show_if": ui.get("show_if"),
        "item": None,
        "key_label": None,
        "fields": None,
        "ways": None,
    }
    return found | _inside(widget, merged, ways, root, depth)


def _is_advanced(key: str, widget: str) -> bool:
    """What is seldom set: such names, and the expression that says what a device is."""
    return key in _ADVANCED or (key == "key" and widget == "expression")


def _inside(
    widget: str, merged: Schema, ways: list[Schema], root: Schema, depth: int
) -> dict[str, Any]:
    """What a field with parts holds."""
    if widget == "rows":
        item = merged.get("items") if isinstance(merged.get("items"), Mapping) else {}
        return {"item": _field("", item or {}, root, depth + 1, is_required=True)}
    if widget == "map":
        values = merged.get("additionalProperties")
        inner = values if isinstance(values, Mapping) else {}
        return {
            "item": _field("", inner, root, depth + 1, is_required=True),
            "key_label": (merged.get("x-ui") or {}).get("key_label") or "name",
        }
    if widget == "group":
        return {"fields": _fields(merged, root, depth + 1)}
    if widget == "union":
        return {
            "ways": [
                {
                    "label": _way_label(way),
                    "field": _field("", way, root, depth + 1, is_required=True),
                }
                for way in ways
            ]
        }
    return {}


def _ways(schema: Schema, root: Schema) -> tuple[list[Schema], bool]:
    """A schema's alternatives with `$ref` followed, and whether null is one of them."""
    waiting: list[Schema] = [schema]
    found: list[Schema] = []
    nullable = False
    for _ in range(50):
        if not waiting:
            break
        way = waiting.pop(0)
        target = way.get("$ref")
        if isinstance(target, str):
            waiting.insert(0, root.get("$defs", {}).get(target.rpartition("/")[2], {}))
        elif "anyOf" in way or "oneOf" in way:
            told = {key: way[key] for key in ("format",) if key in way}
            inner = [*way.get("anyOf", ()), *way.get("oneOf", ())]
            waiting[:0] = [{**told, **each} for each in inner]
        elif way.get("type") == "null":
            nullable = True
        else:
            found.append(way)
    formats = {way.get("format") for way in found}
    if len(found) > 1 and len(formats) == 1 and None not in formats:
        found = found[:1]  # a template as text or as a list of lines: one kind of value
    return found or [{}], nullable


def _widget(merged: Schema, ways: list[Schema]) -> str:  # noqa: PLR0911  # a table in order
    if _CONNECTION in merged:
        return "connection"
    if len(ways) > 1:
        texts = [way.get("type") for way in ways]
        if sorted(map(str, texts)) == ["integer", "number"]:
            return "number"
        return "code" if _is_lines(ways) else "union"
    known = _FORMATS.get(str(merged.get("format")))
    if known is not None:
        return known
    choices = merged.get("enum")
    if choices is not None or "const" in merged:
        return "segmented" if len(choices or [0]) <= _FEW else "select"
    kind = merged.get("type")
    if kind == "array":
        items = merged.get("items")
        if isinstance(items, Mapping) and "enum" in items:
            return "checks"
        return "rows"
    if kind == "object":
        return "group" if "properties" in merged else "map"
    simple = {"boolean": "switch", "integer": "integer", "number": "number", "string": "text"}
    return simple.get(str(kind), "json")


def _is_lines(ways: list[Schema]) -> bool:
    """Whether a value is text, or its lines: no kind of text with rules of its own."""
    kinds = [{key: way.get(key) for key in ("type", "format", "pattern")} for way in ways]
    text = {"type": "string", "format": None, "pattern": None}
    lines = [way.get("items") or {} for way in ways if way.get("type") == "array"]
    return len(ways) == 2 and text in kinds and [line.get("type") for line in lines] == ["string"]


def _options(merged: Schema, ways: list[Schema]) -> list[dict[str, Any]] | None:
    choices = merged.get("enum")
    items = merged.get("items")
    if choices is None and isinstance(items, Mapping):
        choices = items.get("enum")
    if choices is None and "const" in merged:
        choices = [merged["const"]]
    if choices is None:
        return None
    return [{"value": value, "label": str(value).replace("_", " ")} for value in choices]


def _references(widget: str) -> list[str]:
    """Which references may stand in place of a value (R19)."""
    return [] if widget in {"connection", "nodes", "group"} else ["param", "env"]


_WAYS = {"string": "text", "object": "map", "array": "list", "boolean": "yes or no"}


def _way_label(way: Schema) -> str:
    kind = str(way.get("format") or way.get("type") or "anything")
    return str(way.get("title") or _WAYS.get(kind, kind))


def label(key: str) -> str:
    """`max_ahead` as "Max ahead"."""
    text = key.replace("_", " ")
    return text[:1].upper() + text[1:]


def judged(
    name: str,
    config: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    registry: Registry = REGISTRY,
) -> dict[str, Any]:
    """A config tried against its type: faults by path, the outputs it gives, what the card shows.

    `params` are values of the flow's params. Another reference is taken to fit: the flow as a whole
    is checked elsewhere.
    """
    known = known_type(name, registry)
    bare, left_out = _without_references(config, params or {})
    model, faults = validate_config(known.type.config, bare)
    errors = [
        {"path": list(fault.path), "slug": fault.slug, "what": fault.what, "mend": fault.mend}
        for fault in faults
        if not (left_out and not fault.path)
        and not any(tuple(fault.path[: len(p)]) == p for p in left_out)
    ]
    outputs = known.type.outputs
    if callable(outputs):
        outputs = outputs(model) if model is not None else _outputs_of_rest(known, bare)
    entry = {"config": known.schema, "connections": known.connections}
    key = shown_key(entry)
    value = config.get(key) if key is not None else None
    return {
        "errors": errors,
        "outputs": list(outputs),
        "shows": None if value is None or isinstance(value, dict) else str(value)[:200],
    }


def _outputs_of_rest(known: KnownType, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The outputs that a config with faults would have, as far as it can be told."""
    outputs = known.type.outputs
    assert callable(outputs)  # noqa: S101  # the caller looked
    for tried in (dict(config), {}):
        model, _ = validate_config(known.type.config, tried)
        if model is not None:
            return outputs(model)
    names = [rule.get("to") for rule in config.get("rules", []) if isinstance(rule, Mapping)]
    return tuple(dict.fromkeys(str(name) for name in names if isinstance(name, str) and name))


Path = tuple[str | int, ...]


def _without_references(
    value: Any, params: Mapping[str, Any], path: Path = ()
) -> tuple[Any, list[Path]]:
    """A config with the values of params, and the paths of references whose value is not known."""
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        left_out: list[Path] = []
        for key, inner in value.items():
            here = (*path, key)
            if reference_of(inner) is not None and inner.get("$param") not in params:
                left_out.append(here)
                continue
            kept[key], more = _without_references(_value(inner, params), params, here)
            left_out += more
        return kept, left_out
    if isinstance(value, list):
        pairs = [
            (None, [(*path, number)])
            if reference_of(inner) is not None and inner.get("$param") not in params
            else _without_references(_value(inner, params), params, (*path, number))
            for number, inner in enumerate(value)
        ]
        return [row for row, _ in pairs], [place for _, places in pairs for place in places]
    return value, []


def _value(value: Any, params: Mapping[str, Any]) -> Any:
    return value if reference_of(value) is None else params[value["$param"]]

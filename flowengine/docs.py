"""Reference pages, README's table and the editor's palette, all made from the node types.

What a type is stands in its class or function and its config model, and nowhere else: here it is
only arranged.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flowengine.check.types import config_schema
from flowengine.flow.schema_paths import Schema, ways
from flowengine.node import NodeType
from flowengine.registry import Registry

BEGIN = "<!-- node types: made by flowengine docs --readme README.md -->"
END = "<!-- end of node types -->"
ERROR = "error"

_KINDS = {
    "source": "source: lets messages in",
    "transform": "works within the flow",
    "sink": "sink: lets messages out",
    "note": "takes no part in the flow",
    "connection": "connection: shared by the nodes that name it",
}
_FORMATS = {
    "duration": 'duration, as `"5s"`',
    "size": 'size, as `"10MB"`',
    "expression": "expression",
    "path": "field path",
    "template": "template",
    "topic-template": "template of a topic",
    "path-template": "template of a file path",
    "uri-template": "template of a URI",
    "topic-filter": "topic filter",
    "secret": 'secret: `{"$secret": "name"}`',
    "host": "host name or address",
    "nodes": "list of node ids",
}
_TYPES = {
    "number": "number",
    "integer": "whole number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "map",
    "null": "",
}


_PART = re.compile(r"^(?:In|Out|State|Raises|Identity)\b[^.\n]*:", re.MULTILINE)
"""Lines of a docstring that each stand for themselves: `In: a finite number.`"""


def palette(registry: Registry) -> list[dict[str, Any]]:
    """Every type as the editor needs it: JSON, sorted by name.

    `config` is the JSON Schema of the form, null for a config that has none. `outputs` are those of
    an empty config where they depend on it, and `outputs_vary` says so.
    """
    types, _ = registry.everything()
    return [_entry(kind) for kind in types.values()]


def _entry(kind: NodeType) -> dict[str, Any]:
    return {
        "name": kind.name,
        "family": kind.name.partition(".")[0],
        "kind": kind.kind,
        "summary": kind.summary,
        "doc": kind.doc,
        "outputs": list(_outputs(kind)),
        "outputs_vary": callable(kind.outputs),
        "optional": sorted(kind.optional),
        "has_input": _has_input(kind),
        "connections": {key: list(types) for key, types in kind.connection_fields().items()},
        "identity": kind.identity,
        "config": config_schema(kind.config),
        "origin": kind.origin,
    }


def _outputs(kind: NodeType) -> tuple[str, ...]:
    if not callable(kind.outputs):
        return kind.outputs
    try:
        return kind.outputs(kind.config())
    except Exception:  # noqa: BLE001  # there is no empty config, and so there are no outputs yet
        return ()


def _has_input(kind: NodeType) -> bool:
    return kind.kind in {"transform", "sink"}


def page(kind: NodeType) -> str:
    """The reference page of a type, Markdown."""
    doc = _PART.sub(r"- \g<0>", kind.doc) or "No description."
    lines = [f"# {kind.name}", "", doc, "", *_facts(kind)]
    schema = config_schema(kind.config)
    tables = list(_tables("Settings", schema, schema)) if schema is not None else []
    if not tables:
        lines += ["", "It has no settings."]
    for title, rows in tables:
        lines += ["", f"## {title}", "", *_markdown(("key", "value", "default", ""), rows)]
    return "\n".join(lines) + "\n"


def _facts(kind: NodeType) -> list[str]:
    facts = [f"- {_KINDS[kind.kind]}"]
    if callable(kind.outputs):
        facts.append("- outputs: as the settings name them" + _and_error(kind))
    elif kind.outputs:
        named = [
            f"`{name}`" + (" (may stay unwired)" if name in kind.optional else "")
            for name in kind.outputs
        ]
        facts.append(f"- outputs: {', '.join(named)}{_and_error(kind)}")
    elif _has_input(kind):
        facts.append(f"- output: `{ERROR}`")
    if kind.scope == "keyed":
        facts.append("- state: one for each key")
    elif kind.scope == "singleton" and kind.kind == "transform":
        facts.append("- state: one")
    if kind.kind == "sink" and not kind.outputs:
        repeat = f"harmless; identity: {kind.identity}" if kind.identity else "a second record"
        facts.append(f"- a message that comes twice is {repeat}")
    if kind.time_keyed:
        facts.append('- records are told apart by time: set the source\'s "time" for exactly-once')
    if kind.origin != "flowengine":
        facts.append(f"- from the package {kind.origin}")
    return facts


def _and_error(kind: NodeType) -> str:
    return f", and `{ERROR}`" if _has_input(kind) else ""


Rows = list[tuple[str, str, str, str]]


def _tables(title: str, schema: Schema, root: Schema) -> Iterator[tuple[str, Rows]]:
    """A table of a model's keys, then one for each model within it."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    if not properties:
        return
    required = schema.get("required", ())
    rows: Rows = []
    inner: list[tuple[str, Schema]] = []
    for key, value in properties.items():
        found = ways(value, root)
        rows.append(
            (
                f"`{key}`",
                _kind_text(value, found, root),
                "required" if key in required else _default(value),
                str(value.get("description", "")),
            )
        )
        inner += [(f"{key}", model) for model in _models(found, root)]
    yield title, rows
    for key, model in inner:
        start = "" if title == "Settings" else f"{title.strip('`')}."
        yield from _tables(f"`{start}{key}`", model, root)


def _models(found: list[Schema], root: Schema) -> list[Schema]:
    """The models in a value: itself, or the items of a list or map."""
    models = []
    for way in found:
        inside = [way]
        for word in ("items", "additionalProperties"):
            if isinstance(way.get(word), Mapping):
                inside += ways(way[word], root)
        models += [item for item in inside if item.get("properties") and not _is_secret(item)]
    return models


def _is_secret(schema: Schema) -> bool:
    return schema.get("format") == "secret"


def _default(value: Schema) -> str:
    if value.get("default") is None:
        return ""
    return f"`{json.dumps(value['default'], ensure_ascii=False)}`"


def _kind_text(value: Schema, found: list[Schema], root: Schema) -> str:
    if "x-connection" in value:
        return "id of a connection: " + " or ".join(f"`{t}`" for t in value["x-connection"])
    texts = [_way_text(way, root) for way in found]
    return " or ".join(dict.fromkeys(text for text in texts if text)) or "any value"


def _way_text(way: Schema, root: Schema) -> str:
    if "enum" in way or "const" in way:
        values = way.get("enum", [way.get("const")])
        return ", ".join(f"`{json.dumps(v, ensure_ascii=False)}`" for v in values)
    if way.get("format") in _FORMATS:
        return _FORMATS[way["format"]] if way.get("type") != "array" else "lines of it"
    text = _TYPES.get(str(way.get("type", "")), "")
    inside = way.get("items", way.get("additionalProperties"))
    if isinstance(inside, Mapping) and text and inside:
        of = _kind_text(inside, ways(inside, root), root)
        return f"{text} of {of}"
    limits = [
        f"{word} {way[key]:g}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if isinstance(way.get(key), int | float)
    ]
    return " ".join([text, *limits])


def _markdown(head: tuple[str, ...], rows: Rows | list[tuple[str, ...]]) -> list[str]:
    lines = [_row(head), _row(tuple("---" for _ in head))]
    return lines + [_row(row) for row in rows]


def _row(cells: tuple[str, ...]) -> str:
    safe = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(safe) + " |"


def index(registry: Registry) -> str:
    """A page that lists every type with a link to its own, and what cannot be used with why."""
    types, broken = registry.everything()
    lines = ["# Node types", ""]
    rows: list[tuple[str, ...]] = [
        (f"[`{kind.name}`]({kind.name}.md)", kind.kind, kind.summary) for kind in types.values()
    ]
    lines += _markdown(("type", "kind", "does"), rows)
    if broken:
        lines += ["", "## Cannot be used here", ""]
        lines += [f"- `{family}`: {why}" for family, why in sorted(broken.items())]
    return "\n".join(lines) + "\n"


def readme_table(registry: Registry) -> str:
    """The table of README: every type of this package, one family a row group."""
    types, _ = registry.everything()
    own = [kind for kind in types.values() if kind.origin == "flowengine"]
    rows: list[tuple[str, ...]] = [
        (f"`{kind.name}`", ", ".join(f"`{o}`" for o in _outputs(kind)), kind.summary)
        for kind in own
    ]
    return "\n".join(_markdown(("type", "outputs", "does"), rows)) + "\n"


def fill_readme(text: str, registry: Registry) -> str:
    """README with today's table between its markers; raises ValueError if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers are missing: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{readme_table(registry)}\n{END}{after}"

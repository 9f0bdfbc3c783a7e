"""JSON Schemas of flow files and of their tests, made from the node types of a registry.

An IDE that reads `"$schema": "./flow.schema.json"` completes types, settings and connections, and
marks what is wrong; nothing is fetched. The schema says what one value may be; what several say
together (wires, cycles, limits) is for `flowengine check`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from flowengine.check.types import config_schema
from flowengine.flow.model import FORMAT, PARAM_TYPES, SLUG, WHEN_FULL
from flowengine.node import NodeType
from flowengine.registry import Registry
from flowengine.schema.cases import cases_schema

__all__ = ["cases_schema", "flow_schema", "with_references"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SLUG = f"^{SLUG.pattern}$"
_NOTES: dict[str, Any] = {"^x-": {}}
_DOC = {
    "description": "Markdown; several lines as a list.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}
_TITLE = {"type": "string", "description": "What people see; the id stays when it changes."}

_PARAM_REFERENCE = {
    "type": "object",
    "description": "The value of one of the flow's params.",
    "properties": {"$param": {"type": "string"}},
    "required": ["$param"],
    "additionalProperties": False,
}
_ENV_REFERENCE = {
    "type": "object",
    "description": "The value of an environment variable, read as the field's type.",
    "properties": {"$env": {"type": "string"}, "default": {}},
    "required": ["$env"],
    "additionalProperties": False,
}
_WIRE = {
    "anyOf": [
        {
            "type": "string",
            "description": "from -> to, or from.output -> to",
            "pattern": r"^\s*[a-z][a-z0-9-]*(\.[A-Za-z0-9_-]+)?\s*->\s*[a-z][a-z0-9-]*\s*$",
        },
        {
            "type": "object",
            "description": "A wire with settings: messages wait in it.",
            "properties": {
                "from": {"type": "string", "pattern": r"^[a-z][a-z0-9-]*(\.[A-Za-z0-9_-]+)?$"},
                "to": {"type": "string", "pattern": _SLUG},
                "capacity": {"type": "integer", "minimum": 1, "description": "Messages."},
                "bytes": {"type": "string", "description": "Size, as 64MB."},
                "when_full": {"enum": list(WHEN_FULL)},
                "doc": _DOC,
            },
            "required": ["from", "to"],
            "minProperties": 3,
            "patternProperties": _NOTES,
            "additionalProperties": False,
        },
    ]
}
_PLACE = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}


def flow_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a flow file, with every type that the registry can give."""
    types, _ = registry.everything()
    configs, definitions = _configs(types)
    nodes = [t for t in types.values() if t.kind != "connection"]
    links = [t for t in types.values() if t.kind == "connection"]
    own = {
        "$schema": {"type": "string"},
        "format": {"const": FORMAT, "description": "Version of the format of flow files."},
        "title": _TITLE,
        "doc": _DOC,
        "params": _map_of({"$ref": "#/$defs/flow.param"}, r"^[A-Za-z_][A-Za-z0-9_-]*$"),
        "connections": _map_of({"$ref": "#/$defs/flow.connection"}, _SLUG),
        "nodes": _map_of({"$ref": "#/$defs/flow.node"}, _SLUG),
        "wires": {"type": "array", "items": _WIRE},
        "layout": _map_of(_PLACE, _SLUG),
        "tests": {"type": "array", "items": {"type": "object"}},
    }
    return {
        "$schema": DIALECT,
        "title": "A flow of flowengine",
        "type": "object",
        "properties": own,
        "required": ["format", "nodes"],
        "patternProperties": _NOTES,
        "additionalProperties": False,
        "$defs": {
            "flow.param": _param(),
            "flow.node": _spec(nodes, configs, {"disabled": {"type": "boolean"}}),
            "flow.connection": _spec(links, configs, {}),
            "reference.param": _PARAM_REFERENCE,
            "reference.env": _ENV_REFERENCE,
            **definitions,
        },
    }


def _map_of(schema: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {pattern: schema}, "additionalProperties": False}


def _param() -> dict[str, Any]:
    values: dict[str, Any] = {
        "number": {"type": "number"},
        "integer": {"type": "integer"},
        "text": {"type": "string"},
        "boolean": {"type": "boolean"},
        "duration": {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"},
        "list": {"type": "array"},
        "map": {"type": "object"},
    }
    return {
        "type": "object",
        "properties": {
            "type": {"enum": list(PARAM_TYPES)},
            "default": {"description": "Left out: a site must give the value."},
            "unit": {"type": "string"},
            "doc": _DOC,
        },
        "required": ["type"],
        "patternProperties": _NOTES,
        "additionalProperties": False,
        "allOf": [_when(kind, {"default": values[kind]}) for kind in PARAM_TYPES],
    }


def _when(kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"properties": dict(properties)},
    }


def _spec(
    types: list[NodeType], configs: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """A node or connection: its config is judged by its type."""
    conditions = []
    for kind in types:
        then = _when(kind.name, {"config": configs[kind.name]})
        if _needs_config(kind):
            then["then"]["required"] = ["config"]
        conditions.append(then)
    return {
        "type": "object",
        "properties": {
            "type": {
                "enum": [kind.name for kind in types],
                "enumDescriptions": [kind.summary for kind in types],
            },
            "title": _TITLE,
            "doc": _DOC,
            **more,
            "config": {"type": "object"},
        },
        "required": ["type"],
        "patternProperties": _NOTES,
        "additionalProperties": False,
        "allOf": conditions,
    }


def _needs_config(kind: NodeType) -> bool:
    return any(info.is_required() for info in kind.config.model_fields.values())


def _configs(types: Mapping[str, NodeType]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema for each type's config, and the definitions they share."""
    sound = {name: kind for name, kind in types.items() if config_schema(kind.config) is not None}
    models = sorted({kind.config for kind in sound.values()}, key=lambda model: model.__name__)
    found, whole = models_json_schema([(model, "validation") for model in models])
    definitions = {
        name: with_references(definition) for name, definition in whole.get("$defs", {}).items()
    }
    tops = {reference["$ref"] for reference in found.values()}
    for name, definition in definitions.items():
        if f"#/$defs/{name}" in tops and "properties" in definition:
            definition["patternProperties"] = _NOTES
    by_model: dict[Any, Any] = {model: reference for (model, _), reference in found.items()}
    configs = {
        name: by_model.get(kind.config, {"type": "object"}) for name, kind in sorted(types.items())
    }
    return configs, definitions


_TOLD = ("description", "default", "x-connection")
_REFERENCES = ({"$ref": "#/$defs/reference.param"}, {"$ref": "#/$defs/reference.env"})


def with_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A model's schema in which every value below may be a `$param` or `$env`, too (R19)."""
    found = dict(schema)
    found.pop("title", None)
    for word in ("properties", "patternProperties"):
        if word in schema:
            found[word] = {key: _or_reference(value) for key, value in schema[word].items()}
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            found[word] = _or_reference(schema[word])
    if "prefixItems" in schema:
        found["prefixItems"] = [_or_reference(value) for value in schema["prefixItems"]]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            found[word] = [with_references(value) for value in schema[word]]
    return found


def _or_reference(schema: Mapping[str, Any]) -> dict[str, Any]:
    inner = with_references(schema)
    if _is_secret(schema):
        return inner  # only {"$secret": name} may stand there, and the schema says so
    told: dict[str, Any] = {key: inner.pop(key) for key in _TOLD if key in inner}
    if not inner:
        return told  # anything may stand there
    return {**told, "anyOf": [inner, *_REFERENCES]}


def _is_secret(schema: Mapping[str, Any]) -> bool:
    ways = [schema, *schema.get("anyOf", ())]
    return any(way.get("format") == "secret" for way in ways)

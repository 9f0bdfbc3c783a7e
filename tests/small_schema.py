"""A validator for the part of JSON Schema 2020-12 that our schemas use; tests need no library."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    *("$ref", "$defs", "$schema", "type", "enum", "const", "pattern", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "items", "prefixItems"),
    *("minItems", "maxItems", "properties", "patternProperties", "additionalProperties"),
    *("required", "minProperties", "anyOf", "oneOf", "allOf", "if", "then", "format", "title"),
    *("description", "default", "enumDescriptions", "x-connection", "uniqueItems", "examples"),
    *("contentMediaType", "maxProperties", "propertyNames", "discriminator"),
}


def faults(value: Any, schema: Any, root: Any, path: str = "") -> Iterator[str]:
    """What is wrong with `value`; raises AssertionError for a keyword this does not know."""
    if schema is True or schema == {}:
        return
    odd = {word for word in schema if word not in KNOWN and not word.startswith("x-")}
    assert not odd, f"{path}: {odd}"
    if "$ref" in schema:
        yield from faults(value, target(schema["$ref"], root), root, path)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_kind(value, kind) for kind in kinds):
        yield f"{path}: {value!r} is no {kinds}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{path}: {value!r} is not {schema['const']!r}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if is_kind(value, "number"):
        yield from number_faults(value, schema, path)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from faults(item, schema.get("items", True), root, f"{path}[{index}]")
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path}: {len(value)} items"
    if isinstance(value, dict):
        yield from object_faults(value, schema, root, path)
    yield from ways_faults(value, schema, root, path)


def is_kind(value: Any, kind: str) -> bool:
    if kind in {"number", "integer"}:
        fits = isinstance(value, int if kind == "integer" else int | float)
        return fits and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def target(reference: str, root: Any) -> Any:
    assert reference.startswith("#/"), f"{reference} leads out of the file"
    here = root
    for step in reference[2:].split("/"):
        here = here[step]
    return here


def number_faults(value: float, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        yield f"{path}: {value} is out of range"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{path}: {value} is not above {schema['exclusiveMinimum']}"


def object_faults(value: Any, schema: Any, root: Any, path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}: {name} is missing"
    if len(value) < schema.get("minProperties", 0):
        yield f"{path}: {len(value)} properties"
    patterns = schema.get("patternProperties", {})
    for key, item in value.items():
        here = f"{path}.{key}"
        inside = [schema["properties"][key]] if key in schema.get("properties", {}) else []
        inside += [found for pattern, found in patterns.items() if re.search(pattern, key)]
        if not inside:
            more = schema.get("additionalProperties", True)
            if more is False:
                yield f"{here}: no such key"
                continue
            inside = [more]
        for found in inside:
            yield from faults(item, found, root, here)


def ways_faults(value: Any, schema: Any, root: Any, path: str) -> Iterator[str]:
    for word in ("anyOf", "oneOf"):
        if word in schema:
            each = [list(faults(value, way, root, path)) for way in schema[word]]
            if all(each):
                yield f"{path}: none of {len(each)} ways: {min(each, key=len)[0]}"
    for way in schema.get("allOf", ()):
        yield from faults(value, way, root, path)
    if "if" in schema and not list(faults(value, schema["if"], root, path)):
        yield from faults(value, schema.get("then", True), root, path)

"""Node types as checking, comparing and formatting see them: each looked up once, its schema kept.

A flow of 10,000 nodes has a dozen types; what is asked of a type again and again stands here.
"""

import weakref
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from flowengine.errors import describe_value
from flowengine.flow.references import FieldType, Kind, schema_field_type
from flowengine.flow.schema_paths import Schema, at
from flowengine.node import NodeType
from flowengine.registry import BrokenFamily, Registry, UnknownType


class NoType(msgspec.Struct, frozen=True):
    """Why there is no such type: what and mend, as a finding says them."""

    what: str
    mend: str


class KnownType(msgspec.Struct, frozen=True):
    """A type with what is often asked of it.

    `connections` maps config keys to the connection types they take; `node_lists` are config keys
    that list nodes of the flow; `schema` is the config's JSON Schema, None if it has none.
    """

    type: NodeType
    schema: Schema | None
    connections: dict[str, tuple[str, ...]]
    node_lists: tuple[str, ...]


class TypeBook:
    """The types of a registry; get it with `book_of`, which keeps one for each registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._found: dict[str, KnownType | NoType] = {}
        self.field_type: FieldType = schema_field_type(self._schema_for)
        """What kind of value a config field takes, for `references.resolve`."""

    def find(self, name: str) -> KnownType | NoType:
        """The type, or why there is none."""
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._look_up(name)
        return found

    def known(self, name: str) -> KnownType | None:
        """The type, None if there is none."""
        found = self.find(name)
        return found if isinstance(found, KnownType) else None

    def schema(self, name: str) -> Schema | None:
        """The JSON Schema of a type's config: also what `canonical` wants for the order of keys."""
        found = self.known(name)
        return None if found is None else found.schema

    def first_output(self, name: str) -> str | None:
        """The first output, None if the type is not known or its outputs depend on its config."""
        found = self.known(name)
        if found is None or callable(found.type.outputs):
            return None
        return found.type.outputs[0] if found.type.outputs else None

    def _schema_for(self, _kind: Kind, name: str) -> Schema | None:
        return self.schema(name)

    def _look_up(self, name: str) -> KnownType | NoType:
        try:
            kind = self.registry.find(name)
        except (UnknownType, BrokenFamily) as err:
            return NoType(err.what, err.mend)
        schema = config_schema(kind.config)
        return KnownType(
            type=kind,
            schema=schema,
            connections=_written(kind.config, kind.connection_fields()),
            node_lists=_node_lists(schema),
        )


_BOOKS: weakref.WeakKeyDictionary[Registry, TypeBook] = weakref.WeakKeyDictionary()


def book_of(registry: Registry) -> TypeBook:
    """The one book of a registry."""
    book = _BOOKS.get(registry)
    if book is None:
        book = _BOOKS[registry] = TypeBook(registry)
    return book


def field_type_of(registry: Registry) -> FieldType:
    """What kind of value each config field of the registry's types takes, for `resolve`."""
    return book_of(registry).field_type


def config_schema(model: type[BaseModel]) -> Schema | None:
    """The JSON Schema of a config model; None for one that has no JSON form."""
    try:
        return model.model_json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return None


def wrong_kind(kind: NodeType, home: Kind) -> NoType | None:
    """Why a type may not stand among the nodes (or connections), None if it may."""
    name = describe_value(kind.name).replace("'", '"')
    if home == "node" and kind.kind == "connection":
        return NoType(
            f"{name} is a connection type, not a node type.",
            'Put it under "connections", and name it in the config of the nodes that use it.',
        )
    if home == "connection" and kind.kind != "connection":
        return NoType(
            f"{name} is a node type, not a connection type.",
            'Put it under "nodes".',
        )
    return None


def _written(
    model: type[BaseModel], fields: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The same fields by the key that stands in a flow file (`from`, not `from_`)."""
    infos: dict[str, Any] = dict(model.model_fields)
    return {infos[name].alias or name: types for name, types in fields.items()}


def _node_lists(schema: Schema | None) -> tuple[str, ...]:
    if schema is None:
        return ()
    keys = schema.get("properties", {})
    return tuple(
        key for key in keys if any(way.get("format") == "nodes" for way in at(schema, (key,)))
    )


def formats_at(schema: Schema | None, path: tuple[str | int, ...]) -> set[str]:
    """The formats (`duration`, `size`, `template`) that a value at `path` may have."""
    if schema is None:
        return set()
    return {str(way["format"]) for way in at(schema, path) if "format" in way}


def types_at(schema: Schema | None, path: tuple[str | int, ...]) -> set[str]:
    """The JSON types that a value at `path` may have; empty when nothing is said."""
    if schema is None:
        return set()
    return {str(way["type"]) for way in at(schema, path) if "type" in way}

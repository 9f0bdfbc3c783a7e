"""What a config's JSON Schema says of a place in it: its type, and the order of its keys."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]


def below(schema: Schema, root: Schema, step: str | int) -> list[Schema]:
    """The schemas that may hold for one step into a value; none when nothing is said of it."""
    found: list[Schema] = []
    for way in ways(schema, root):
        if isinstance(step, int):
            items = way.get("items")
            prefix = way.get("prefixItems", ())
            inside = prefix[step] if step < len(prefix) else items
        else:
            inside = way.get("properties", {}).get(step, way.get("additionalProperties"))
        if isinstance(inside, Mapping):
            found.append(inside)
    return found


def at(root: Schema, path: Sequence[str | int]) -> list[Schema]:
    """The schemas that may hold at `path`."""
    here: list[Schema] = [root]
    for step in path:
        here = [inside for schema in here for inside in below(schema, root, step)]
    return [way for schema in here for way in ways(schema, root)]


def ways(schema: Schema, root: Schema) -> list[Schema]:
    """A schema with `$ref` followed and its alternatives apart."""
    found: list[Schema] = []
    waiting = [schema]
    for _ in range(100):  # a schema may lead round in a circle
        if not waiting:
            break
        way = waiting.pop(0)
        target = way.get("$ref")
        if isinstance(target, str):
            waiting.insert(0, _resolve(root, target))
            continue
        alternatives = [
            inner for word in ("anyOf", "oneOf", "allOf") for inner in way.get(word, ())
        ]
        if alternatives:
            told = {key: way[key] for key in ("format",) if key in way}
            waiting[:0] = [{**told, **inner} for inner in alternatives]
            continue
        found.append(way)
    return found


def _resolve(root: Schema, target: str) -> Schema:
    here: Any = root
    for step in target.removeprefix("#/").split("/"):
        here = here.get(step, {}) if isinstance(here, Mapping) else {}
    return here if isinstance(here, Mapping) else {}


def keys_in_order(schemas: Sequence[Schema], root: Schema, keys: Sequence[str]) -> list[str]:
    """`keys` of one map: a model's in its order, a free map's sorted, any value's as they are.

    `x-` keys of a model come last, sorted; keys a model does not know before them, as they are.
    """
    is_map = False
    for schema in schemas:
        for way in ways(schema, root):
            known = way.get("properties")
            if known is not None:
                return by_model(list(known), keys)
            is_map = is_map or isinstance(way.get("additionalProperties"), Mapping)
    return sorted(keys) if is_map else list(keys)


def by_model(known: Sequence[str], keys: Sequence[str]) -> list[str]:
    """`keys` in the order of a model: `known` first, others as they are, then sorted `x-` keys."""
    order = {name: index for index, name in enumerate(known)}
    first = sorted((key for key in keys if key in order), key=order.__getitem__)
    rest = [key for key in keys if key not in order]
    notes = sorted(key for key in rest if key.startswith("x-"))
    return first + [key for key in rest if not key.startswith("x-")] + notes

"""Whether two values of a flow file mean the same, and where two configs differ.

By the type of the field: `"60s"` is `"1m"`, `8` is `8.0`, a template's lines are its text (R39).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import UNSET

from flowengine.check.types import formats_at, types_at
from flowengine.flow.model import reference_of
from flowengine.flow.schema_paths import Schema
from flowengine.moments import parse_duration, parse_size

ConfigPath = tuple[str | int, ...]
_TEXTS = frozenset({"template", "topic-template", "path-template", "uri-template"})


class Difference(NamedTuple):
    """A place where two values differ; UNSET where one of them has nothing."""

    path: ConfigPath
    old: Any
    new: Any


def same(old: Any, new: Any, schema: Schema | None = None, path: ConfigPath = ()) -> bool:
    """Whether two values mean the same at `path` of a config with this schema."""
    if type(old) is dict and type(new) is dict:
        return old.keys() == new.keys() and all(
            same(value, new[key], schema, (*path, key)) for key, value in old.items()
        )
    if type(old) is list and type(new) is list:
        pairs = enumerate(zip(old, new, strict=False))
        is_same = len(old) == len(new) and all(
            same(one, other, schema, (*path, index)) for index, (one, other) in pairs
        )
        return is_same or _same_text(old, new, schema, path)
    if _is_number(old) and _is_number(new):
        # an integer field refuses 8.0, so there the two are not the same (R34)
        is_same_kind = type(old) is type(new) or types_at(schema, path) != {"integer"}
        return bool(old == new) and is_same_kind
    if type(old) is type(new):
        return bool(old == new) or _same_amount(old, new, formats_at(schema, path))
    return _same_text(old, new, schema, path)


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _same_amount(old: Any, new: Any, formats: set[str]) -> bool:
    """Whether two texts are the same duration or size, in a field for such."""
    for form, read in (("duration", parse_duration), ("size", parse_size)):
        if form in formats:
            try:
                return read(old) == read(new)
            except ValueError:
                continue
    return False


def _same_text(old: Any, new: Any, schema: Schema | None, path: ConfigPath) -> bool:
    """Whether a text and a list of lines, or two lists of lines, are one text."""
    if not formats_at(schema, path) & _TEXTS:
        return False
    texts = [_joined(value) for value in (old, new)]
    return texts[0] is not None and texts[0] == texts[1]


def _joined(value: Any) -> str | None:
    if type(value) is list and all(type(line) is str for line in value):
        return "\n".join(value)
    return value if type(value) is str else None


def differences(
    old: Any, new: Any, schema: Schema | None = None, path: ConfigPath = ()
) -> Iterator[Difference]:
    """Where two values differ: maps key by key, lists of one length item by item, else as a whole.

    A reference is one value. Texts that differ in lists of lines are told as the whole list.
    """
    if same(old, new, schema, path):
        return
    if _is_map(old) and _is_map(new):
        for key in [*old, *(key for key in new if key not in old)]:
            one, other = old.get(key, UNSET), new.get(key, UNSET)
            if one is UNSET or other is UNSET:
                yield Difference((*path, key), one, other)
            else:
                yield from differences(one, other, schema, (*path, key))
    elif _is_list_of_maps(old) and _is_list_of_maps(new) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, schema, (*path, index))
    else:
        yield Difference(path, old, new)


def _is_map(value: Any) -> bool:
    return type(value) is dict and reference_of(value) is None


def _is_list_of_maps(value: Any) -> bool:
    return type(value) is list and all(_is_map(item) for item in value)

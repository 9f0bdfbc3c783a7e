"""JSON as a person keeps it under version control: one fact a line, two spaces, UTF-8, LF.

Numbers are written as R34 says: integers as integers, floats as Python's `repr`. Lists stand one
element a line, but for up to eight numbers; references stand on one line.
"""

from json.encoder import encode_basestring
from typing import Any

from flowengine.flow.model import reference_of

INLINE_NUMBERS = 8


class Inline:
    """Marks a value that is written on one line."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def to_lines(value: Any) -> str:
    """The text of a JSON file, with a final newline."""
    parts: list[str] = []
    _write(value, "\n", parts)
    parts.append("\n")
    return "".join(parts)


def to_line(value: Any) -> str:
    """A value on one line."""
    kind = type(value)
    if kind is dict:
        inside = [f"{encode_basestring(key)}: {to_line(item)}" for key, item in value.items()]
        return "{" + ", ".join(inside) + "}"
    if kind is list:
        return "[" + ", ".join([to_line(item) for item in value]) + "]"
    if kind is Inline:
        return to_line(value.value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return encode_basestring(value)
    return repr(value)


def _write(value: Any, line: str, parts: list[str]) -> None:
    """Append the text of `value`; `line` is a line end with the indent of its owner."""
    kind = type(value)
    deeper = line + "  "
    if kind is dict and value and reference_of(value) is None:
        sign = "{"
        for key, item in value.items():
            parts.append(f"{sign}{deeper}{encode_basestring(key)}: ")
            _write(item, deeper, parts)
            sign = ","
        parts.append(line + "}")
    elif kind is list and value and not _is_short(value):
        sign = "["
        for item in value:
            parts.append(sign + deeper)
            if _is_flat(item):
                parts.append(to_line(item))
            else:
                _write(item, deeper, parts)
            sign = ","
        parts.append(line + "]")
    else:
        parts.append(to_line(value))


def _is_short(value: list[Any]) -> bool:
    return len(value) <= INLINE_NUMBERS and all(type(item) in {int, float} for item in value)


def _is_flat(value: Any) -> bool:
    """Whether an element of a list holds nothing but scalars, references and few numbers."""
    kind = type(value)
    if kind is dict:
        value = list(value.values())
    elif kind is not list:
        return True
    for item in value:
        if type(item) is dict and item and reference_of(item) is None:
            return False
        if type(item) is list and not _is_short(item):
            return False
    return True

"""Messages made small enough to show: cut while they are copied, so that size costs nothing.

A payload may be changed in place as soon as it travels on, and may be megabytes; what is shown of
it is copied at once and at most so much of it.
"""

import base64
import json
import math
from typing import Any

import msgspec

from flowengine.message import Message, message_to_json, rfc3339

MOST = 4_000
"""Bytes of JSON of one sample."""
_KINDS = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    dict: "map",
    type(None): "null",
}


class _Full(Exception):  # it never leaves this file
    """There is no more room."""


def sample_json(message: Message, most: int = MOST) -> bytes:
    """A message as JSON (R15) of at most about `most` bytes; a larger one as a preview of it."""
    size = _weight(message.payload, most) + _weight(message.meta, most)
    if size <= most:
        try:
            found = msgspec.json.encode(message_to_json(message))
        except (TypeError, ValueError, RecursionError):
            found = b""
        if 0 < len(found) <= most:
            return found
    text = short(message.payload, most // 2)
    known = len(message.payload) if isinstance(message.payload, str | bytes) else None
    return msgspec.json.encode(
        {
            "id": message.id,
            "time": rfc3339(message.time),
            "topic": message.topic[:300],
            "key": message.key[:300],
            "preview": text,
            "bytes": known,
        }
    )


def _weight(value: Any, room: int) -> int:
    """About the bytes of a value as JSON; stops counting once it is more than `room`."""
    total = 0
    waiting = [value]
    while waiting and total <= room:
        part = waiting.pop()
        kind = type(part)
        if kind is str or kind is bytes:
            total += len(part) + 2
        elif kind is dict:
            total += 2 + 4 * len(part)
            if total <= room:
                waiting += part.values()
                total += sum(len(name) for name in part if type(name) is str)
        elif kind is list or kind is tuple:
            total += 2 + len(part)
            if total <= room:
                waiting += part
        else:
            total += 8
    return total


def short(value: Any, room: int) -> str:
    """The start of a value as compact JSON (a text as it is), at most `room` characters."""
    if isinstance(value, str):
        return value if len(value) <= room else value[: room - 1] + "…"
    parts: list[str] = []
    try:
        _write(value, parts, [room], 0)
    except _Full:
        return "".join(parts)[: room - 1] + "…"
    return "".join(parts)


def _write(value: Any, parts: list[str], room: list[int], depth: int) -> None:
    def add(text: str) -> None:
        parts.append(text)
        room[0] -= len(text)
        if room[0] < 0:
            raise _Full

    kind = type(value)
    if depth > 20:
        add("…")
    elif kind is dict:
        add("{")
        for number, (name, part) in enumerate(value.items()):
            add(("," if number else "") + json.dumps(str(name)[:200], ensure_ascii=False) + ":")
            _write(part, parts, room, depth + 1)
        add("}")
    elif kind is list or kind is tuple:
        add("[")
        for number, part in enumerate(value):
            if number:
                add(",")
            _write(part, parts, room, depth + 1)
        add("]")
    elif kind is str:
        add(json.dumps(value[: room[0] + 1], ensure_ascii=False))
    elif kind is bytes:
        add(base64.b64encode(value[: room[0] + 1]).decode())
    elif kind is float and not math.isfinite(value):
        add(repr(value))
    elif kind is int and value.bit_length() > 4_000:
        add("…")
    else:
        add(json.dumps(value) if kind in _KINDS else str(value)[: room[0] + 1])


def kind_of(value: Any) -> str:
    """What a value is, in one word."""
    return _KINDS.get(type(value), "map")

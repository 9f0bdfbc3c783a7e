"""Functions of expressions for maps, times, bytes and encodings (R7)."""

import base64
import binascii
import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from flowengine import moments
from flowengine.errors import ExpressionError
from flowengine.values import bounded, bounded_text, json_text, number, show, text, whole

MAX_BYTES = 64 * 1024


def keys(x: Any) -> list[Any]:
    """The keys of a map, as a list."""
    return list(_map(x, "keys()"))


def values(x: Any) -> list[Any]:
    """The values of a map, as a list."""
    return list(_map(x, "values()").values())


def iso(t: Any) -> str:
    """Seconds since 1970 as RFC 3339 text in UTC."""
    try:
        return moments.format_time(moments.seconds_to_ns(number(t, "iso()")))
    except ValueError as err:
        raise ExpressionError(f"iso(): {err}", slug="bad-time") from err


def parse_time(t: Any, format: Any = "auto") -> float:  # noqa: A002  # R7 calls it format
    """RFC 3339 text, or a number in the unit of its size or `format`, as seconds since 1970."""
    try:
        return moments.ns_to_seconds(moments.parse_time(t, text(format, "parse_time(): format")))
    except ValueError as err:
        raise ExpressionError(f"parse_time(): {err}", slug="bad-time") from err


def hour(t: Any, tz: Any = None) -> int:
    """The hour of the day, 0 to 23, in UTC or the named time zone."""
    return _moment(t, tz, "hour()").hour


def weekday(t: Any, tz: Any = None) -> int:
    """The day of the week, Monday 0 to Sunday 6, in UTC or the named time zone."""
    return _moment(t, tz, "weekday()").weekday()


def u16(data: Any, at: Any, order: Any = "big") -> int:
    """Two bytes from `at` on as an unsigned integer, `'big'` or `'little'`."""
    return int(_unpack("u16()", "H", data, at, order))


def i16(data: Any, at: Any, order: Any = "big") -> int:
    """Two bytes from `at` on as a signed integer, `'big'` or `'little'`."""
    return int(_unpack("i16()", "h", data, at, order))


def u32(data: Any, at: Any, order: Any = "big") -> int:
    """Four bytes from `at` on as an unsigned integer, `'big'` or `'little'`."""
    return int(_unpack("u32()", "I", data, at, order))


def i32(data: Any, at: Any, order: Any = "big") -> int:
    """Four bytes from `at` on as a signed integer, `'big'` or `'little'`."""
    return int(_unpack("i32()", "i", data, at, order))


def f32(data: Any, at: Any, order: Any = "big") -> float:
    """Four bytes from `at` on as an IEEE 754 float, `'big'` or `'little'`."""
    return float(_unpack("f32()", "f", data, at, order))


def to_json(x: Any) -> str:
    """Anything as compact JSON text."""
    return bounded_text(json_text(x))


def parse_json(s: Any) -> Any:
    """JSON text as its value; refuses keys that come twice, NaN, and integers above 256 bits."""
    try:
        return json.loads(
            text(s, "parse_json()"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_int=lambda digits: bounded(int(digits)),
        )
    except ValueError as err:
        raise ExpressionError(f"parse_json(): {err}.", slug="not-json") from err
    except RecursionError as err:
        raise ExpressionError("parse_json(): nested too deep.", slug="too-large") from err


def b64(x: Any) -> str:
    """Text (as UTF-8) or bytes in base64."""
    return bounded_text(base64.b64encode(_bytes(x, "b64()")).decode())


def unb64(s: Any) -> bytes:
    """The bytes of a base64 text."""
    try:
        return base64.b64decode(text(s, "unb64()"), validate=True)
    except (binascii.Error, ValueError) as err:
        raise ExpressionError(f"unb64(): {show(s)} is no base64.") from err


def sha256(x: Any) -> str:
    """The SHA-256 of text (as UTF-8) or bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(_bytes(x, "sha256()")).hexdigest()


def _map(x: Any, who: str) -> dict[Any, Any]:
    if isinstance(x, dict):
        return x
    raise ExpressionError(f"{who} needs a map, not {show(x)}.")


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    # KeyError of an unknown name; ValueError and OSError of names that are paths or folders
    except (KeyError, ValueError, OSError) as err:
        raise ExpressionError(
            f"no time zone {show(name)}.", mend="Write a name such as 'Europe/Berlin'."
        ) from err


def _moment(t: Any, tz: Any, who: str) -> datetime:
    zone = UTC if tz is None else _zone(text(tz, who))
    try:
        ns = moments.seconds_to_ns(number(t, who))
    except ValueError as err:
        raise ExpressionError(f"{who}: {err}", slug="bad-time") from err
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // moments.SECOND)
    return moment.astimezone(zone)


def _unpack(who: str, code: str, data: Any, at: Any, order: Any) -> Any:
    if isinstance(data, list) and len(data) <= MAX_BYTES:
        data = bytes(whole(item, f"{who}: a byte", 0, 255) for item in data)
    if not isinstance(data, bytes):
        raise ExpressionError(f"{who} needs bytes or a list of them, not {show(data)}.")
    if order not in ("big", "little"):
        raise ExpressionError(f"{who}: the order is 'big' or 'little', not {show(order)}.")
    start = whole(at, f"{who}: at", 0, MAX_BYTES)
    try:
        return struct.unpack_from((">" if order == "big" else "<") + code, data, start)[0]
    except struct.error as err:
        raise ExpressionError(f"{who}: {len(data)} bytes end before byte {start}.") from err


def _bytes(x: Any, who: str) -> bytes:
    if isinstance(x, bytes):
        if len(x) > MAX_BYTES:
            raise ExpressionError(f"{who} of more than 64 KiB.", slug="too-large")
        return x
    return text(x, who).encode("utf-8", "surrogatepass")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

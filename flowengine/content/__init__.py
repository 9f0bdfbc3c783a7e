"""Payloads between bytes and values: JSON, CBOR, text and bytes, by name or by looking (R11).

    bytes --decode--> bytes, a scalar, or a tree of maps and lists --encode--> bytes

A tree that comes in holds finite numbers, integers of at most 64 bits (-2^63 to 2^64 - 1), text
keys and at most 64 levels, so nothing behind has to ask again. What is larger than 16 MiB is not
parsed at all. Everything refused raises PayloadError with a slug: `not-json`, `not-cbor`,
`not-utf8`, `duplicate-key`, `too-deep`, `too-large`, `not-a-number`.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import msgspec

from flowengine.content.limits import (
    LEAST_INTEGER,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    MOST_INTEGER,
    check_writable,
    too_deep,
    too_large,
)
from flowengine.errors import PayloadError, describe_value
from flowengine.values import text_of

How = Literal["auto", "json", "text", "bytes", "cbor"]
Decoder = Callable[[bytes, str | None], Any]

_LARGE = 256 * 1024  # only above this can there be more than MAX_VALUES with a comma between each
_JSON_STARTS = frozenset(b'{["-0123456789tfn \t\r\n')

CONTENT_TYPES: dict[str, How] = {
    "application/json": "json",
    "application/senml+json": "json",
    "application/cbor": "cbor",
    "application/senml+cbor": "cbor",
    "text/plain": "text",
    "application/octet-stream": "bytes",
}
"""What `auto` believes of a content type (MQTT 5.0 §3.3.2.3.9); others are as good as none."""


def decode(raw: bytes, how: How = "auto", content_type: str | None = None) -> Any:
    """The value that `raw` stands for; `auto` never fails, the others raise PayloadError.

    Args:
        raw: what arrived.
        how: `auto` goes by `content_type` where it is known and true, then takes JSON if the whole
            is JSON, then text if it is UTF-8, then bytes.
        content_type: as the sender gave it, parameters and all; only `auto` reads it.
    """
    return _DECODERS[how](raw, content_type)


def decoder(how: How) -> Decoder:
    """The function `(raw, content_type) -> value` for a hot loop."""
    return _DECODERS[how]


def encode(payload: Any, how: How = "auto") -> bytes:
    """The bytes of a payload; PayloadError for what `how` cannot carry.

    `auto`: text and bytes as they are, null as nothing, all else compact JSON in UTF-8 with its
    keys in order. Bytes inside JSON are base64 text (RFC 8949 §6.1). NaN is never written.
    """
    return _ENCODERS[how](payload)


def encoder(how: How) -> Callable[[Any], bytes]:
    """The function `payload -> bytes` for a hot loop."""
    return _ENCODERS[how]


# -- JSON -----------------------------------------------------------------------------------------


def parse_json(raw: bytes | str, *, unique: bool = False) -> Any:
    """Read JSON strictly (RFC 8259, R33): no NaN, no more than 64 levels or 64-bit integers.

    0.7 us for a reading of five fields, 0.9 us with `unique`, which refuses duplicate keys.
    """
    try:
        data = raw if type(raw) is bytes else raw.encode()  # type: ignore[union-attr]  # type() does not narrow
        if len(data) > _LARGE:
            _check_size(data)
        value = _read_json(data)
        _check_tree(value, 1)
        if unique:
            kind = type(value)
            if kind is list or (kind is dict and data.count(b":") != len(value)):
                _check_unique(data, value)
    except PayloadError:
        raise
    except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
        raise _not_json(raw, err) from err
    return value


_read_json = msgspec.json.Decoder().decode


def _check_size(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise too_large(f"it has {len(data):,} bytes")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise too_large("it holds too many values")


def _check_tree(value: Any, level: int) -> None:
    """Raise PayloadError for what msgspec reads and R33 refuses; `level` counts from 1."""
    kind = type(value)
    if kind is dict:
        parts = value.values()
    elif kind is list:
        parts = value
    elif kind is int:
        parts = (value,)
        level = 0
    else:
        return
    if level > MAX_DEPTH:
        raise too_deep()
    for part in parts:
        kind = type(part)
        if kind is float or kind is str:
            continue
        if kind is int:
            if not LEAST_INTEGER <= part <= MOST_INTEGER:
                raise PayloadError(
                    f"the integer {describe_value(part)} has more than 64 bits.", slug="not-json"
                )
        elif kind is dict or kind is list:
            _check_tree(part, level + 1)


def _check_unique(data: bytes, value: Any) -> None:
    """Raise PayloadError if an object names a key twice; `value` is what was read.

    Every member has one colon outside of texts. Where the colons of `data` are all found again in
    what was read, nothing was lost; else the slow reader decides.
    """
    if b"\\" not in data and data.count(b":") == _colons(value):
        return
    try:
        json.loads(data, object_pairs_hook=_no_duplicates, parse_int=len, parse_float=len)
    except (ValueError, RecursionError) as err:
        raise _not_json(data, err) from err


def _colons(value: Any) -> int:
    """How many colons JSON text for `value` has, in texts and behind keys."""
    if type(value) is dict:
        count = len(value) + "".join(value).count(":")
        parts = value.values()
    else:
        count, parts = 0, value
    for part in parts:
        kind = type(part)
        if kind is str:
            count += part.count(":")
        elif kind is dict or kind is list:
            count += _colons(part)
    return count


def _no_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise PayloadError(
                f"the key {describe_value(name)} stands twice.", slug="duplicate-key"
            )
        seen.add(name)


def _not_json(raw: bytes | str, err: Exception) -> PayloadError:
    if isinstance(err, RecursionError):
        return too_deep()
    try:
        raw.decode() if isinstance(raw, bytes) else raw.encode()
    except UnicodeError as unicode_err:
        return _not_utf8(unicode_err)
    return PayloadError(f"{_shown(raw)} is not JSON: {err}.", slug="not-json")


def _not_utf8(err: UnicodeError) -> PayloadError:
    where = f" at byte {err.start}" if isinstance(err, UnicodeDecodeError) else ""
    return PayloadError(f"it is not UTF-8{where}.", slug="not-utf8")


def _shown(raw: Any) -> str:
    """A payload as an error message quotes it, without reading all of a large one."""
    return describe_value(raw[:100] if isinstance(raw, bytes | str) else raw)


# -- CBOR -----------------------------------------------------------------------------------------


def parse_cbor(raw: bytes) -> Any:
    """Read one CBOR item (RFC 8949) as a tree of JSON's kinds and bytes.

    Keys that are integers become text (`payload.0`), `undefined` null, and a tag its plain value: a
    time stays the number or text it is. Refused: duplicate keys, shared values (they can be
    circles), NaN and infinity, integers beyond 64 bits, bytes behind the item.
    """
    if len(raw) > MAX_BYTES:
        _check_size(raw)
    from flowengine.content.cbor import read  # noqa: PLC0415  # cbor2: only in flows that use it (R35)

    return read(raw)


def write_cbor(payload: Any) -> bytes:
    """One CBOR item for a payload; PayloadError for NaN and for what has no CBOR."""
    from flowengine.content.cbor import write  # noqa: PLC0415  # cbor2: only in flows that use it (R35)

    return write(payload)


# -- one decoder and one encoder a name -----------------------------------------------------------


def _decode_auto(raw: bytes, content_type: str | None = None) -> Any:
    if len(raw) > MAX_BYTES:
        return raw
    if content_type is not None:
        how = CONTENT_TYPES.get(content_type) or _by_type(content_type)
        if how is not None:
            try:
                return _DECODERS[how](raw, None)
            except PayloadError:
                pass  # the type is not true; what it is shows below
    if raw and raw[0] in _JSON_STARTS:
        try:
            if len(raw) > _LARGE:
                _check_size(raw)
            value = _read_json(raw)
            _check_tree(value, 1)
        except (msgspec.DecodeError, UnicodeError, RecursionError, PayloadError):
            pass  # not JSON, or none that fits: then text
        else:
            return value
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@lru_cache(maxsize=256)  # senders write it in few ways; 1 us otherwise
def _by_type(content_type: str) -> How | None:
    return CONTENT_TYPES.get(content_type.partition(";")[0].strip().lower())


def _decode_json(raw: bytes, _content_type: str | None = None) -> Any:
    return parse_json(raw)


def _decode_text(raw: bytes, _content_type: str | None = None) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as err:
        raise _not_utf8(err) from err


def _decode_bytes(raw: bytes, _content_type: str | None = None) -> bytes:
    return raw


def _decode_cbor(raw: bytes, _content_type: str | None = None) -> Any:
    return parse_cbor(raw)


def _encode_auto(payload: Any) -> bytes:
    kind = type(payload)
    if kind is bytes:
        return payload  # type: ignore[no-any-return]  # its type was just compared
    if kind is str:
        return _encode_text(payload)
    return b"" if payload is None else _encode_json(payload)


def _encode_json(payload: Any) -> bytes:
    try:
        data = _write_json(payload)
    except (TypeError, ValueError, RecursionError) as err:
        raise PayloadError(f"{_kind(payload)} has no JSON: {err}.", slug="not-json") from err
    # msgspec writes NaN as null; so a null in the text is looked at again
    if b"null" in data:
        check_writable(payload)
    return data


_write_json = msgspec.json.Encoder().encode


def _encode_text(payload: Any) -> bytes:
    if payload is None:
        return b""
    check_writable(payload)
    try:
        return text_of(payload).encode()
    except UnicodeEncodeError as err:
        raise PayloadError("the text holds half a surrogate pair.", slug="not-utf8") from err


def _encode_bytes(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return _encode_text(payload)
    raise PayloadError(
        f"payload is {_kind(payload)}, not bytes.", slug="not-bytes", mend="Encode it before."
    )


def _kind(payload: Any) -> str:
    return f"a {type(payload).__name__}"


_DECODERS: dict[str, Decoder] = {
    "auto": _decode_auto,
    "json": _decode_json,
    "text": _decode_text,
    "bytes": _decode_bytes,
    "cbor": _decode_cbor,
}
_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "auto": _encode_auto,
    "json": _encode_json,
    "text": _encode_text,
    "bytes": _encode_bytes,
    "cbor": write_cbor,
}

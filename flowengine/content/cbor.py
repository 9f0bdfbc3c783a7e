"""CBOR (RFC 8949) as payloads: only JSON's kinds and bytes come out, whatever the tags say.

cbor2 reads; its makers of dates, patterns, sets and shared values are switched off, as a device
could make a pattern that never ends or a list that holds itself.
"""

import io
import math
from collections.abc import Callable
from typing import Any

import cbor2

from flowengine.content.limits import (
    LEAST_INTEGER,
    MAX_DEPTH,
    MAX_VALUES,
    MOST_INTEGER,
    check_writable,
    too_deep,
    too_large,
)
from flowengine.errors import PayloadError, describe_value


def read(raw: bytes) -> Any:
    """Read exactly one item; PayloadError for everything else."""
    if len(raw) > MAX_VALUES:  # each value takes a byte or more
        _check_count(raw)
    source = cbor2.CBORDecoder(
        io.BytesIO(raw),
        semantic_decoders=_TAGS,
        tag_hook=_plain_tag,
        max_depth=MAX_DEPTH,
        allow_duplicate_keys=False,
    )
    try:
        value = source.decode()
    except cbor2.CBORDecodeError as err:
        raise _not_cbor(err) from err
    except (ValueError, OverflowError, TypeError, MemoryError) as err:
        raise PayloadError(f"it is not CBOR: {err}.", slug="not-cbor") from err
    if not _at_end(source):
        raise PayloadError("more bytes follow the CBOR item.", slug="not-cbor")
    return _tree(value)


def write(payload: Any) -> bytes:
    """One item for a payload, maps in order; PayloadError for NaN and for what has no CBOR."""
    check_writable(payload)  # its depth too: cbor2 6.3 crashes the process on a very deep list
    try:
        return cbor2.dumps(payload)
    except (cbor2.CBOREncodeError, UnicodeError, ValueError, TypeError) as err:
        raise PayloadError(f"there is no CBOR for it: {err}.", slug="not-cbor") from err


def _check_count(raw: bytes) -> None:
    """Raise PayloadError for too many values, told by their heads (RFC 8949 §3) before reading.

    An empty list is one byte here and 64 in memory: 16 MiB of them would take a gigabyte.
    """
    at = count = 0
    while at < len(raw):
        count += 1
        if count > MAX_VALUES:
            raise too_large("it holds too many values")
        major, info = raw[at] >> 5, raw[at] & 31
        more = 1 << (info - 24) if 24 <= info <= 27 else 0
        if major in {2, 3} and info != 31:  # bytes and text, of a known length
            at += int.from_bytes(raw[at + 1 : at + 1 + more], "big") if more else info
        at += 1 + more


def _at_end(source: cbor2.CBORDecoder) -> bool:
    try:
        source.read(1)
    except cbor2.CBORDecodeEOF:
        return True
    return False


def _not_cbor(err: Exception) -> PayloadError:
    said = str(err)
    if "Duplicate map key" in said:
        return PayloadError(f"it is refused: {said}.", slug="duplicate-key")
    if "nesting depth" in said:
        return too_deep()
    return PayloadError(f"it is not CBOR: {said}.", slug="not-cbor")


# -- tags: each gives its plain value -------------------------------------------------------------


def _plain(value: Any, _immutable: bool) -> Any:
    return value


def _plain_tag(tag: cbor2.CBORTag, _immutable: bool) -> Any:
    return tag.value


def _shared(_value: Any, _immutable: bool) -> Any:
    raise ValueError("shared values are refused")


def _bignum(value: Any, _immutable: bool) -> int:
    """RFC 8949 §3.4.3, as far as 64 bits go."""
    digits = value.lstrip(b"\0") if isinstance(value, bytes) else b"?" * 9
    if len(digits) > 8:
        raise ValueError("an integer has more than 64 bits")
    return int.from_bytes(digits, "big")


def _negative_bignum(value: Any, immutable: bool) -> int:
    return -1 - _bignum(value, immutable)


def _decimal(value: Any, _immutable: bool) -> float:
    """RFC 8949 §3.4.4: [exponent, mantissa], base ten; rounded once, to the nearest float."""
    exponent, mantissa = _two_integers(value)
    return float(f"{mantissa}e{exponent}")


def _bigfloat(value: Any, _immutable: bool) -> float:
    """RFC 8949 §3.4.4: [exponent, mantissa], base two."""
    exponent, mantissa = _two_integers(value)
    return math.ldexp(mantissa, max(-5000, min(5000, exponent)))


def _two_integers(value: Any) -> tuple[int, int]:
    if isinstance(value, list | tuple) and [type(part) for part in value] == [int, int]:
        return value[0], value[1]
    raise ValueError("a decimal fraction is no pair of integers")


_TAGS: dict[int, Callable[[Any, bool], Any]] = {
    # dates, rationals, patterns, MIME, UUIDs, sets, addresses: their plain value
    **dict.fromkeys((0, 1, 30, 35, 36, 37, 52, 54, 100, 258, 260, 261, 1004, 43000, 55799), _plain),
    # shared values (28, 29) and strings (25, 256)
    **dict.fromkeys((25, 28, 29, 256), _shared),
    2: _bignum,
    3: _negative_bignum,
    4: _decimal,
    5: _bigfloat,
}


# -- the tree -------------------------------------------------------------------------------------


def _tree(value: Any) -> Any:
    """The value in JSON's kinds and bytes; PayloadError for what is none of them."""
    kind = type(value)
    if kind is str or kind is bytes or kind is bool or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise PayloadError(f"it holds {value}, which is no number.", slug="not-a-number")
    if kind is int:
        if LEAST_INTEGER <= value <= MOST_INTEGER:
            return value
        raise PayloadError("an integer has more than 64 bits.", slug="not-cbor")
    if kind is dict:
        tree = {_key(name): _tree(part) for name, part in value.items()}
        if len(tree) != len(value):
            raise PayloadError("an integer key and a text key are equal.", slug="duplicate-key")
        return tree
    if kind is list or kind is tuple:
        return [_tree(part) for part in value]
    if value is cbor2.undefined:
        return None
    what = describe_value(value)
    raise PayloadError(f"it holds {what}, which no payload holds.", slug="not-cbor")


def _key(name: Any) -> str:
    if type(name) is str:
        return name
    if type(name) is int and LEAST_INTEGER <= name <= MOST_INTEGER:
        return str(name)
    raise PayloadError("a key is neither text nor an integer.", slug="not-cbor")

"""SenML packs (RFC 8428): a pack resolved into records, and records put into a pack. Pure.

    pack (JSON or CBOR) --read--> list of maps --resolve--> Record, Record, ...
    Record, Record, ... --pack--> list of maps --write--> JSON text or CBOR bytes

The maps have the labels of JSON (`bn`, `n`, `v`); CBOR's numbers become these (§6, table 4).
"""

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from flowengine import decode, encode, parse_json
from flowengine.errors import NodeError, PayloadError, describe_value

VERSION = 10
SECOND = 1_000_000_000
ABSOLUTE = (1 << 28) * SECOND  # §4.5.3: below, a time counts from now

_LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6}
_LABELS |= {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}
_FROM_CBOR = {str(number): label for label, number in _LABELS.items()}
_BASES = ("bver", "bn", "bt", "bu", "bv", "bs")
_TEXTS = frozenset({"bn", "bu", "n", "u", "vs"})
_NUMBERS = frozenset({"bt", "bv", "bs", "v", "s", "t", "ut"})
_VALUES = ("v", "vs", "vb", "vd")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")  # §4.5.1, with "-"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One resolved record (§4.6).

    Attributes:
        name: base name and name together.
        base: the base name alone, `""` if there was none.
        unit: as `Cel` or `%RH`; None if there was none.
        time: nanoseconds since 1970 UTC.
        value: number, text, true or false, bytes; None where there is only a sum.
        sum: the integrated value, in unit × seconds.
        update: seconds until the next reading at the latest (`ut`).
    """

    name: str
    base: str = ""
    unit: str | None = None
    time: int = 0
    value: Any = None
    sum: float | None = None
    update: float | None = None


def read(content: Any) -> list[dict[str, Any]]:
    """The records of a pack as they stand: of JSON text, of bytes (JSON or CBOR), or of a list.

    Raises PayloadError: what JSON and CBOR raise, `not-senml` for what is no list of maps.
    """
    if isinstance(content, str):
        content = parse_json(content, unique=True)
    elif isinstance(content, bytes):
        # an array of CBOR begins with 0x80 to 0x9f, which no JSON text does
        is_cbor = content[:1] >= b"\x80"
        content = decode(content, "cbor") if is_cbor else parse_json(content, unique=True)
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise _not_senml("a pack is a list of records")
    return [_labelled(record) for record in content]


def resolve(pack: Sequence[dict[str, Any]], now: int) -> list[Record]:
    """The records of a pack with its base fields applied, in the order of time (§4.6).

    Args:
        pack: what `read` gave.
        now: what relative times count from, nanoseconds since 1970.

    Raises PayloadError `not-senml`: a newer version, a label that must be understood (§4.4), a name
    outside §4.5.1, a record without a value or with two.
    """
    base: dict[str, Any] = {}
    version = pack[0].get("bver", VERSION) if pack else VERSION
    records = []
    for fields in pack:
        given = {label: fields[label] for label in _BASES if label in fields}
        if given.get("bver", version) != version:
            raise _not_senml("the records of a pack have one version")
        base |= given
        if len(given) < len(fields):  # base fields alone only set what follows
            records.append(_resolved(fields, base, now))
    return sorted(records, key=lambda record: record.time)


def pack(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The shortest plain pack for the records, in their order: base name, time and unit said once.

    The base name is the name up to its last `/` or `:` and stays until another device's record.
    Raises NodeError for a name, time or value that SenML cannot carry.
    """
    units = {record.unit for record in records}
    base_unit = units.pop() if len(units) == 1 and len(records) > 1 else None
    base_name, base_time = "", records[0].time if records else 0
    made: list[dict[str, Any]] = []
    for record in records:
        _check(record)
        fields: dict[str, Any] = {}
        device = device_of(record.name) if len(records) > 1 else ""
        if device == record.name:
            device = ""
        if device != base_name:
            fields["bn"] = base_name = device
        if not made:
            fields["bt"] = _seconds(base_time)
            if base_unit is not None:
                fields["bu"] = base_unit
        fields["n"] = record.name[len(device) :]
        if record.unit is not None and record.unit != base_unit:
            fields["u"] = record.unit
        if record.value is not None:
            fields[_label_of(record)] = record.value
        if record.sum is not None:
            fields["s"] = record.sum
        if record.time != base_time:
            fields["t"] = _seconds(record.time - base_time)
        if record.update is not None:
            fields["ut"] = record.update
        made.append(fields)
    return made


def write(fields: Sequence[dict[str, Any]], form: Literal["json", "cbor"]) -> str | bytes:
    """A pack as JSON text or CBOR bytes; PayloadError `not-a-number` for NaN."""
    if form == "cbor":
        return encode([{_LABELS[k]: v for k, v in record.items()} for record in fields], "cbor")
    plain = [{k: _base64url(v) if k == "vd" else v for k, v in record.items()} for record in fields]
    return encode(plain, "json").decode()


def device_of(name: str) -> str:
    """A name up to its last `/` or `:`; the whole name if there is none."""
    at = max(name.rfind("/"), name.rfind(":"))
    return name[:at] if at > 0 else name


# -- one record -----------------------------------------------------------------------------------


def _labelled(record: dict[str, Any]) -> dict[str, Any]:
    """The known fields under JSON's labels, their kinds checked; unknown ones are left out."""
    fields: dict[str, Any] = {}
    for given, value in record.items():
        label = _FROM_CBOR.get(given, given)
        if label not in _LABELS:
            if label.endswith("_"):
                raise _not_senml(f'"{label[:60]}" must be understood, and is not')
            continue
        if label in fields:
            raise _not_senml(f'"{label}" stands twice in a record')
        fields[label] = _checked(label, value)
    return fields


def _checked(label: str, value: Any) -> Any:
    kind = type(value)
    if label in _TEXTS:
        good = kind is str
    elif label in _NUMBERS:
        good = kind is int or (kind is float and math.isfinite(value))
    elif label == "vb":
        good = kind is bool
    elif label == "bver":
        good = kind is int and 0 < value <= VERSION
    else:
        if kind is str and _BASE64URL.fullmatch(value):
            return _from_base64url(value)
        good = kind is bytes
    if not good:
        raise _not_senml(f'"{label}" is {describe_value(_short(value))}')
    return value


def _resolved(fields: dict[str, Any], base: dict[str, Any], now: int) -> Record:
    name = base.get("bn", "") + fields.get("n", "")
    if not _NAME.fullmatch(name):
        raise _not_senml(f"{describe_value(_short(name))} is no name")
    values = [label for label in _VALUES if label in fields]
    has_sum = "s" in fields or "bs" in base
    if len(values) > 1 or not (values or has_sum or "bv" in base):
        count = "two values" if values else "no value"
        raise _not_senml(f"the record of {describe_value(_short(name))} has {count}")
    value = fields[values[0]] if values else None
    if values == ["v"] or not (values or has_sum):
        value = _finite(fields.get("v", 0) + base.get("bv", 0))
    time = _nanoseconds(base.get("bt", 0)) + _nanoseconds(fields.get("t", 0))
    time = time if time >= ABSOLUTE else now + time
    if not -(1 << 63) <= time < 1 << 63:
        raise _not_senml("a time lies outside the years 1677 to 2262")
    return Record(
        name=name,
        base=base.get("bn", ""),
        unit=fields.get("u", base.get("bu")),
        time=time,
        value=value,
        sum=_finite(fields.get("s", 0) + base.get("bs", 0)) if has_sum else None,
        update=fields.get("ut"),
    )


def _check(record: Record) -> None:
    if not _NAME.fullmatch(record.name):
        raise NodeError(
            f"{describe_value(record.name[:60])} is no SenML name.",
            slug="bad-value",
            mend="Names hold letters, digits and - : . / _ only, and begin with one of the first.",
        )
    if record.time < ABSOLUTE:
        raise NodeError(
            "the time lies before July 1978, which SenML reads as a time from now.",
            slug="bad-value",
            path="time",
        )


def _label_of(record: Record) -> str:
    kind = type(record.value)
    if kind is float or kind is int:
        _writable(record.value, record.name)
        return "v"
    labels = {str: "vs", bool: "vb", bytes: "vd"}
    if kind in labels:
        return labels[kind]
    raise NodeError(
        f"the value of {record.name} is {describe_value(_short(record.value))}, "
        "neither number, text, true, false nor bytes.",
        slug="bad-value",
    )


def _writable(value: float, name: str) -> None:
    if not math.isfinite(value):
        raise NodeError(f"the value of {name} is {value}.", slug="not-a-number")


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise _not_senml("a sum of base value and value is too large for a number")


def _nanoseconds(seconds: float) -> int:
    # to the microsecond that a float carries; int(seconds * 1e9) would be early by up to 0.2 us
    return seconds * SECOND if type(seconds) is int else round(seconds * 1e6) * 1000


def _seconds(ns: int) -> float:
    return ns // SECOND if ns % SECOND == 0 else ns / SECOND


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    plain = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError) as err:
        raise _not_senml(f'"vd" is no base64url: {err}') from err


def _short(value: Any) -> Any:
    return value[:60] if isinstance(value, str | bytes | list) else value


def _not_senml(why: str) -> PayloadError:
    return PayloadError(f"{why}.", slug="not-senml")

"""Times, durations and sizes, between the text people write and the integers the engine counts in.

Times are nanoseconds since 1970-01-01 UTC (R2), durations are nanoseconds, sizes are bytes (R30).
What cannot be read raises ValueError with what was found and how to mend it.
"""

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

SECOND = 1_000_000_000
TIME_FORMATS = ("auto", "unix", "unix_ms", "unix_us", "unix_ns", "rfc3339")

_NS_PER = {"unix": SECOND, "unix_ms": 1_000_000, "unix_us": 1_000, "unix_ns": 1}
_LIMIT = 1 << 63  # years 1677 to 2262: what a signed 64-bit count of nanoseconds holds
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# RFC 3339 §5.6; its note allows lower case and a space for the T
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,64}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,32}(?:\.[0-9]{0,32})?")

_UNITS = {"d": 86400 * SECOND, "h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 1_000_000}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kKMGT]?i?B)")
_SIZE_UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}


def seconds_to_ns(seconds: float) -> int:
    """Seconds as nanoseconds, to the microsecond a float can carry: `round(s * 1e6) * 1000` (R2).

    Never `int(s * 1e9)`: 1795449204.25 would become …249999872 ns, a millisecond early for a
    database that cuts. Raises ValueError for NaN, infinity and what 64 bits cannot hold.
    """
    if type(seconds) is int:
        return _bounded(seconds * SECOND, seconds)
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is no time.")
    return _bounded(round(seconds * 1e6) * 1000, seconds)


def ns_to_seconds(ns: int) -> float:
    """Nanoseconds as seconds; exact to the microsecond until the year 2106."""
    # integer division of integers rounds once; `ns / 1e9` would round twice
    return ns / SECOND


def parse_time(value: Any, format: str = "auto") -> int:  # noqa: A002  # the fields call it format
    """Read a time as a device sends it, into nanoseconds since 1970 UTC (R2).

    Args:
        value: RFC 3339 text, or a number in the unit that `format` names; for the `unix` formats
            also a number written as text.
        format: one of `TIME_FORMATS`. `auto` takes text as RFC 3339 and a number by its size:
            below 1e11 seconds, below 1e14 ms, below 1e17 us, else ns.
    """
    if format not in TIME_FORMATS:
        raise ValueError(f'"{format}" is no time format. Write one of {", ".join(TIME_FORMATS)}.')
    if isinstance(value, str):
        if format in {"auto", "rfc3339"}:
            return _parse_rfc3339(value)
        if not _DECIMAL.fullmatch(value.strip()):
            raise ValueError(f'"{value[:60]}" is no number of {format}.')
        return _bounded(round(Decimal(value.strip()) * _NS_PER[format]), value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{str(value)[:60]} ({type(value).__name__}) is no time.")  # noqa: TRY004
    if format == "rfc3339":
        raise ValueError(f'{value} is a number, not RFC 3339 text such as "2026-01-01T00:00:00Z".')
    if not math.isfinite(value):
        raise ValueError(f"{value} is no time.")
    unit = _NS_PER[_guess(value) if format == "auto" else format]
    if isinstance(value, int):
        return _bounded(value * unit, value)
    if unit == 1:
        return _bounded(round(value), value)
    return _bounded(round(value * (unit / 1000)) * 1000, value)


def format_time(ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 UTC with `Z`, the fraction as long as needed."""
    seconds, fraction = divmod(ns, SECOND)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError as err:
        raise ValueError(f"{ns} ns is outside the years 1 to 9999.") from err
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return moment.isoformat()[:19] + tail + "Z"


def parse_duration(text: Any) -> int:
    """Read `"250ms"`, `"5s"`, `"1h30m"` (largest unit first) as nanoseconds (R30)."""
    if not isinstance(text, str):
        raise ValueError(f'{text} has no unit. Write "{text}s" for seconds.')  # noqa: TRY004
    if len(text) > 64 or not _DURATION.fullmatch(text):
        hint = f'Write "{text}s".' if _DECIMAL.fullmatch(text) else 'Write it like "5s" or "1h30m".'
        raise ValueError(f'"{text[:60]}" is no duration. {hint}')
    total, last = Decimal(0), None
    for number, unit in _DURATION_PART.findall(text):
        if last is not None and _UNITS[unit] >= _UNITS[last]:
            raise ValueError(f'"{text}": the larger unit comes first, each once, as in "1h30m".')
        total += Decimal(number) * _UNITS[unit]
        last = unit
    return _bounded(round(total), text)


def format_duration(ns: int) -> str:
    """Nanoseconds as a duration people read: `"1h30m"`, `"12.5s"`, `"250ms"`, `"0s"`."""
    if ns < 0:
        raise ValueError(f"{ns} ns is below zero; a duration is not.")
    if ns == 0:
        return "0s"
    if ns < SECOND:
        return _short(ns, _UNITS["ms"]) + "ms"
    text = ""
    for unit in ("d", "h", "m"):
        count, ns = divmod(ns, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return text + (_short(ns, SECOND) + "s" if ns else "")


def parse_size(text: Any) -> int:
    """Read `"64KB"`, `"10MB"` (steps of 1000) or `"1MiB"` (steps of 1024) as bytes (R30)."""
    if not isinstance(text, str):
        raise ValueError(f'{text} has no unit. Write "{text}B" for bytes, or "{text}KB".')  # noqa: TRY004
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _SIZE_UNITS:
        hint = (
            f'Write "{text}B".' if _DECIMAL.fullmatch(text) else 'Write it like "64KB" or "1MiB".'
        )
        raise ValueError(f'"{text[:60]}" is no size. {hint}')
    size = Decimal(match[1]) * _SIZE_UNITS[match[2]]
    if size != int(size):
        raise ValueError(f'"{text}" is no whole number of bytes.')
    return int(size)


def _bounded(ns: int, value: Any) -> int:
    if -_LIMIT <= ns < _LIMIT:
        return ns
    raise ValueError(f"{str(value)[:60]} lies outside the years 1677 to 2262.")


def _guess(value: float) -> str:
    size = abs(value)
    if size < 1e11:
        return "unix"
    if size < 1e14:
        return "unix_ms"
    return "unix_us" if size < 1e17 else "unix_ns"


def _parse_rfc3339(text: str) -> int:
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text[:60]}" is no RFC 3339 time such as "2026-01-01T00:00:00Z".')
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, off_hour, off_minute = match.groups()[6:]
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError as err:
        raise ValueError(f'"{text[:60]}": {err}.') from err
    # second 60 is a leap second (§5.7); Unix time gives it the number of the next second
    if (
        hour > 23
        or minute > 59
        or second > 60
        or int(off_hour or 0) > 23
        or int(off_minute or 0) > 59
    ):
        raise ValueError(f'"{text[:60]}" is no time of day.')
    seconds = days * 86400 + hour * 3600 + minute * 60 + second
    if sign:
        offset = int(off_hour) * 3600 + int(off_minute) * 60
        seconds += offset if sign == "-" else -offset
    return _bounded(seconds * SECOND + int((fraction or "")[:9].ljust(9, "0")), text)


def _short(amount: int, unit: int) -> str:
    """`amount / unit` as a decimal without trailing zeros; `unit` is a power of ten."""
    whole, rest = divmod(amount, unit)
    digits = len(str(unit)) - 1
    return f"{whole}" + (f".{rest:0{digits}d}".rstrip("0") if rest else "")

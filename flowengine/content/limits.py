"""What a payload may hold, whichever codec reads or writes it."""

import math
from typing import Any

from flowengine.errors import PayloadError

MAX_BYTES = 16 * 1024 * 1024
"""Larger contents are not parsed at all."""

MAX_VALUES = 500_000
"""A tree of more takes a small box's memory (50-100 bytes a value) and stops its loop."""

MAX_DEPTH = 64
"""Levels of maps and lists; the outermost is level 1."""

LEAST_INTEGER, MOST_INTEGER = -(1 << 63), (1 << 64) - 1


def too_deep() -> PayloadError:
    """The error for more than 64 levels."""
    return PayloadError(f"it is nested deeper than {MAX_DEPTH} levels.", slug="too-deep")


def too_large(what: str) -> PayloadError:
    """The error for more than 16 MiB, or more than half a million values."""
    return PayloadError(
        f"{what}; the limit is {MAX_BYTES >> 20} MiB and {MAX_VALUES:,} values.", slug="too-large"
    )


def check_writable(value: Any, level: int = 1) -> None:
    """Raise PayloadError for NaN, infinity and more than 64 levels: no codec may write them."""
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise PayloadError(f"{value} is no number that can be sent.", slug="not-a-number")
    elif kind is dict or kind is list or kind is tuple:
        if level > MAX_DEPTH:
            raise too_deep()
        for part in value.values() if kind is dict else value:
            check_writable(part, level + 1)

"""The values that expressions work on: which are numbers and texts, their bounds, their text form.

true and false are no numbers here (R7). Bounds: integers of 256 bits, texts of 64 KiB in UTF-8,
exponents of 1,000. What does not fit raises ExpressionError.
"""

import json
from typing import Any

from flowengine.errors import ExpressionError

MAX_BITS = 256
MAX_TEXT = 64 * 1024
MAX_EXPONENT = 1000

Number = int | float


def is_number(value: Any) -> bool:
    """Whether `value` is an int or float; true and false are not."""
    return type(value) is float or type(value) is int


def show(value: Any) -> str:
    """A value as an error message names it, on one short line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value[:40] + ("…" if len(value) > 40 else ""), ensure_ascii=False)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, int | float):
        return repr(value)
    names: dict[type, str] = {list: "a list", dict: "a map", bytes: "bytes"}
    return names.get(type(value), f"of type {type(value).__name__}")


def number(value: Any, who: str) -> Number:
    """`value` if it is a number, else ExpressionError `not-a-number` said by `who`."""
    if type(value) is float or type(value) is int:
        return value
    raise ExpressionError(f"{who} needs a number, not {show(value)}.", slug="not-a-number")


def whole(value: Any, who: str, least: int, most: int) -> int:
    """`value` if it is an integer from `least` to `most`, else ExpressionError said by `who`."""
    if type(value) is int and least <= value <= most:
        return value
    raise ExpressionError(f"{who} needs a whole number from {least} to {most}, not {show(value)}.")


def text(value: Any, who: str) -> str:
    """`value` if it is text of at most 64 KiB, else ExpressionError said by `who`."""
    if not isinstance(value, str):
        raise ExpressionError(f"{who} needs text, not {show(value)}.", slug="not-text")
    return bounded_text(value)


def bounded_text(value: str) -> str:
    """`value` if it takes at most 64 KiB in UTF-8, else ExpressionError `too-large`."""
    if len(value) * 4 <= MAX_TEXT or len(value.encode("utf-8", "surrogatepass")) <= MAX_TEXT:
        return value
    raise ExpressionError("a text is longer than 64 KiB.", slug="too-large")


def bounded(value: Any) -> Any:
    """A number if it is a float or an int of at most 256 bits, else ExpressionError `too-large`."""
    if type(value) is int and value.bit_length() > MAX_BITS:
        raise ExpressionError(f"the result is {show(value)}; the limit is 256.", slug="too-large")
    return value


def power(base: Number, exponent: Number) -> Number:
    """`base ** exponent` within the bounds; no negative power of zero, no root of a negative."""
    if abs(exponent) > MAX_EXPONENT:
        raise ExpressionError(f"the exponent {exponent} is above 1,000.", slug="too-large")
    if type(base) is int and type(exponent) is int and exponent > 0:
        # decide before the work: 9 ** 1000 has at least 1000 × (bits − 1) bits
        if (base.bit_length() - 1) * exponent > MAX_BITS:
            raise ExpressionError("the result has more than 256 bits.", slug="too-large")
        return bounded(base**exponent)  # type: ignore[no-any-return]  # a number stays one
    try:
        result = base**exponent
    except ZeroDivisionError as err:
        raise ExpressionError("zero has no negative power.", slug="divide-by-zero") from err
    except OverflowError as err:
        raise ExpressionError(f"{base} ** {exponent} is too large.", slug="too-large") from err
    if isinstance(result, complex):
        raise ExpressionError(f"{base} ** {exponent} is no real number.", slug="not-a-number")
    return result


def text_of(value: Any) -> str:
    """A value as templates and `text()` put it: text as it is, all else as compact JSON (R8).

    Numbers are in shortest form (`21.0`, `21`), null, true and false as JSON; bytes must be UTF-8.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]  # its type was just compared
    if kind is float:
        return repr(value)
    if kind is int:
        return str(bounded(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as err:
            raise ExpressionError(
                "bytes that are not UTF-8 have no text.", slug="not-text", mend="Write b64(...)."
            ) from err
    return json_text(value)


def json_text(value: Any) -> str:
    """A value as compact JSON; ExpressionError for NaN, bytes and what else JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as err:
        raise ExpressionError(f"no JSON for this: {err}.") from err
    except RecursionError as err:
        raise ExpressionError("no JSON for this: it is nested too deep.", slug="too-large") from err

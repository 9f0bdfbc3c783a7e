"""Functions of expressions that work on numbers (R7): rounding, roots, limits, bits."""

import math
from typing import Any

from flowengine.errors import ExpressionError
from flowengine.values import MAX_BITS, Number, bounded, number, power, show, whole


def absolute(x: Any) -> Any:
    """The number without its sign."""
    return abs(number(x, "abs()"))


def _several(values: tuple[Any, ...], who: str) -> list[Any]:
    """The arguments themselves, or the one list among them; all numbers."""
    items = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    return [number(item, who) for item in items]


def _comparable(values: tuple[Any, ...], who: str) -> list[Any]:
    items = list(values[0] if len(values) == 1 and isinstance(values[0], list) else values)
    if not items:
        raise ExpressionError(f"{who} of an empty list.", mend="Test len(...) first.")
    if all(isinstance(item, str) for item in items):
        return items
    return [number(item, who) for item in items]


def smallest(*values: Any) -> Any:
    """The smallest of the arguments or of one list: all numbers, or all texts."""
    return min(_comparable(values, "min()"))


def largest(*values: Any) -> Any:
    """The largest of the arguments or of one list: all numbers, or all texts."""
    return max(_comparable(values, "max()"))


def total(*values: Any) -> Any:
    """The sum of the arguments or of one list; 0 for an empty list."""
    return bounded(sum(_several(values, "sum()")))


def rounded(x: Any, n: Any = None) -> Any:
    """Rounded to `n` digits (a float stays one) or to an integer; halves to even, as in Python."""
    value = number(x, "round()")
    if n is not None:
        return bounded(round(value, whole(n, "round(): n", -300, 300)))
    return bounded(round(_finite(value, "round()")))


def floor(x: Any) -> int:
    """The next integer at or below."""
    return bounded(math.floor(_finite(x, "floor()")))  # type: ignore[no-any-return]  # an int stays one


def ceil(x: Any) -> int:
    """The next integer at or above."""
    return bounded(math.ceil(_finite(x, "ceil()")))  # type: ignore[no-any-return]  # an int stays one


def sqrt(x: Any) -> float:
    """The square root of a number that is not negative."""
    return _real("sqrt", math.sqrt, x)


def exp(x: Any) -> float:
    """The power of e to x."""
    return _real("exp", math.exp, x)


def log(x: Any, base: Any = None) -> float:
    """The natural logarithm, or the one to `base`."""
    if base is None:
        return _real("log", math.log, x)
    return _real("log", math.log, x, base)


def log10(x: Any) -> float:
    """The logarithm to base 10."""
    return _real("log10", math.log10, x)


def raised(x: Any, y: Any) -> Number:
    """The power of x to y, as x ** y."""
    return power(number(x, "pow()"), number(y, "pow()"))


def sin(x: Any) -> float:
    """The sine of an angle in radians."""
    return _real("sin", math.sin, x)


def cos(x: Any) -> float:
    """The cosine of an angle in radians."""
    return _real("cos", math.cos, x)


def tan(x: Any) -> float:
    """The tangent of an angle in radians."""
    return _real("tan", math.tan, x)


def atan2(y: Any, x: Any) -> float:
    """The angle of the point (x, y) in radians, from -pi to pi."""
    return _real("atan2", math.atan2, y, x)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """The number, or the limit that it lies beyond."""
    value, low, high = (number(item, "clamp()") for item in (x, low, high))
    if low > high:
        raise ExpressionError(
            f"clamp(): the limits {low} and {high} are crossed.", mend="Swap them."
        )
    # NaN lies beyond neither limit and stays
    return low if value < low else high if value > high else value  # noqa: FURB136


def between(x: Any, low: Any, high: Any) -> bool:
    """Whether x lies from low to high, both included."""
    value, low, high = (number(item, "between()") for item in (x, low, high))
    return bool(low <= value <= high)


def is_nan(x: Any) -> bool:
    """Whether a number is NaN."""
    return math.isnan(number(x, "isnan()"))


def to_hex(n: Any) -> str:
    """An integer in hexadecimal, as `0xff`; bytes as pairs of digits without prefix."""
    if isinstance(n, bytes):
        if len(n) > 32 * 1024:
            raise ExpressionError("hex() of more than 32 KiB.", slug="too-large")
        return n.hex()
    if type(n) is not int:
        raise ExpressionError(f"hex() needs a whole number or bytes, not {show(n)}.")
    return hex(bounded(n))


def bits(n: Any, start: Any, count: Any) -> int:
    """`count` bits of an integer from bit `start` on, counted from the lowest, as an integer."""
    value = bounded(number(n, "bits()"))
    if type(value) is not int or value < 0:
        raise ExpressionError(f"bits() needs a whole number of at least 0, not {show(n)}.")
    shift = whole(start, "bits(): from", 0, MAX_BITS)
    return value >> shift & (1 << whole(count, "bits(): count", 1, MAX_BITS)) - 1


def _finite(x: Any, who: str) -> Number:
    value = number(x, who)
    if not math.isfinite(bounded(value)):
        raise ExpressionError(f"{who} of {value}.", slug="not-a-number")
    return value


def _real(name: str, function: Any, *values: Any) -> float:
    try:
        result: float = function(*(number(value, f"{name}()") for value in values))
    except OverflowError as err:
        raise ExpressionError(f"{name}() is too large.", slug="too-large") from err
    except (ValueError, ZeroDivisionError) as err:
        shown = ", ".join(show(value) for value in values)
        raise ExpressionError(f"{name}({shown}) is no real number.", slug="not-a-number") from err
    return result

"""The function library of expressions (R7): every name, what it takes and what it gives.

The functions themselves stand in `functions_number`, `functions_text` and `functions_data`; each
checks its arguments and raises ExpressionError. `get`, `has` and `default` are forms of the
language (their arguments are not always evaluated) and are compiled by `expression_*`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from flowengine.functions import data
from flowengine.functions import number as numbers
from flowengine.functions import text as texts

Kind = Literal["number", "text", "truth", "list", "any"]

CONSTANTS: dict[str, Any] = {
    "True": True,
    "true": True,
    "False": False,
    "false": False,
    "None": None,
    "null": None,
    "pi": math.pi,
}
"""Names that are values."""

FORMS = {
    "get": "get('payload.a.b'[, default])",
    "has": "has('payload.a.b')",
    "default": "default(x, y)",
}
"""Forms of the language that look like functions, and how they are written."""


class Function(msgspec.Struct, frozen=True):
    """One function of the library.

    Attributes:
        call: the function; raises ExpressionError for what it cannot take.
        usage: how it is written, as `round(x[, n])`.
        least: the fewest arguments.
        most: the most arguments; None for any number.
        gives: the kind of its result.
        quick: a builtin with the same result where every argument is known to be a number.
    """

    call: Callable[..., Any]
    usage: str
    least: int
    most: int | None
    gives: Kind
    quick: Callable[..., Any] | None = None

    @property
    def help(self) -> str:
        """One sentence for the editor and the reference page."""
        return (self.call.__doc__ or "").strip()


def _function(
    usage: str, call: Callable[..., Any], gives: Kind, quick: Callable[..., Any] | None = None
) -> tuple[str, Function]:
    """Count the arguments in the usage: those in brackets may be left out, `...` is any number."""
    name, _, rest = usage.partition("(")
    needed, _, optional = rest.rstrip(")").partition("[")
    least = len([part for part in needed.split(",") if part.strip()])
    most = (
        None
        if "..." in optional
        else least + len([part for part in optional.split(",") if part.strip(" ]")])
    )
    return name, Function(call, usage, least, most, gives, quick)


FUNCTIONS: dict[str, Function] = dict(
    (
        _function("abs(x)", numbers.absolute, "number", abs),
        _function("min(x[, ...])", numbers.smallest, "any", min),
        _function("max(x[, ...])", numbers.largest, "any", max),
        _function("sum(x[, ...])", numbers.total, "number"),
        _function("round(x[, n])", numbers.rounded, "number"),
        _function("floor(x)", numbers.floor, "number"),
        _function("ceil(x)", numbers.ceil, "number"),
        _function("sqrt(x)", numbers.sqrt, "number", math.sqrt),
        _function("exp(x)", numbers.exp, "number", math.exp),
        _function("log(x[, base])", numbers.log, "number"),
        _function("log10(x)", numbers.log10, "number", math.log10),
        _function("pow(x, y)", numbers.raised, "number"),
        _function("sin(x)", numbers.sin, "number", math.sin),
        _function("cos(x)", numbers.cos, "number", math.cos),
        _function("tan(x)", numbers.tan, "number", math.tan),
        _function("atan2(y, x)", numbers.atan2, "number", math.atan2),
        _function("clamp(x, low, high)", numbers.clamp, "number"),
        _function("between(x, low, high)", numbers.between, "truth"),
        _function("isnan(x)", numbers.is_nan, "truth", math.isnan),
        _function("hex(n)", numbers.to_hex, "text"),
        _function("bits(n, from, count)", numbers.bits, "number"),
        _function("len(x)", texts.length, "number"),
        _function("text(x)", texts.to_text, "text"),
        _function("number(x[, default])", texts.to_number, "any"),
        _function("int(x)", texts.to_int, "number"),
        _function("bool(x)", texts.to_bool, "truth"),
        _function("lower(s)", texts.lower, "text"),
        _function("upper(s)", texts.upper, "text"),
        _function("strip(s)", texts.strip, "text"),
        _function("replace(s, old, new)", texts.replace, "text"),
        _function("split(s, separator)", texts.split, "list"),
        _function("join(list, separator)", texts.join, "text"),
        _function("startswith(s, start)", texts.starts_with, "truth"),
        _function("endswith(s, end)", texts.ends_with, "truth"),
        _function("contains(x, item)", texts.contains, "truth"),
        _function("match(s, pattern)", texts.match, "truth"),
        _function("sub(s, pattern, new)", texts.sub, "text"),
        _function("keys(map)", data.keys, "list"),
        _function("values(map)", data.values, "list"),
        _function("iso(t)", data.iso, "text"),
        _function("parse_time(text[, format])", data.parse_time, "number"),
        _function("hour(t[, tz])", data.hour, "number"),
        _function("weekday(t[, tz])", data.weekday, "number"),
        _function("u16(bytes, at[, order])", data.u16, "number"),
        _function("i16(bytes, at[, order])", data.i16, "number"),
        _function("u32(bytes, at[, order])", data.u32, "number"),
        _function("i32(bytes, at[, order])", data.i32, "number"),
        _function("f32(bytes, at[, order])", data.f32, "number"),
        _function("json(x)", data.to_json, "text"),
        _function("parse_json(s)", data.parse_json, "any"),
        _function("b64(x)", data.b64, "text"),
        _function("unb64(s)", data.unb64, "any"),
        _function("sha256(x)", data.sha256, "text"),
    )
)
"""Every function by its name."""

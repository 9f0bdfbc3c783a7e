"""Units (pint): the exact line between two units, found once, or a function where there is none.

A line is kept as (factor, addend, divisor) of `(x × factor + addend) / divisor` with whole numbers
where they are small: 9, 160, 5 from degC to degF. So 100 degC are 212 degF and 9 mm 0.009 m to the
last digit, which 1.8 and 0.001 do not give.
"""

import difflib
import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import pint

from flowengine.errors import FlowengineError

Line = tuple[float, float, float]

_EXACT = 1 << 53  # up to here every whole number is a float
_ALIKE = re.compile(r"[A-Za-z_]\w*")
# pint reckons the numbers in a unit: 9**9**9 would not end
_TOO_MUCH = re.compile(r"\d{4}|(?:\*\*|\^)[^*/ ]*(?:\*\*|\^)")


class UnitFault(FlowengineError):
    """A unit that is not known, or two that measure different things."""


def conversion(source: str, target: str) -> Line | Callable[[float], float]:
    """The line from `source` to `target`, or a function; raises UnitFault."""
    if known(source).dimensionality != known(target).dimensionality:
        raise _different(source, target)
    try:
        line = _line(source, target)
        if line is None:
            convert = _by_pint(source, target)
            convert(1.0)
    except pint.DimensionalityError as err:
        raise _different(source, target) from err
    except Exception as err:  # pint lets errors of many kinds through
        raise UnitFault(f'"{source}" cannot be converted to "{target}": {err}.') from err
    return line or convert


@cache
def _floats() -> Any:
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


@cache
def _fractions() -> Any:
    return pint.UnitRegistry(non_int_type=Fraction)


def known(unit: str) -> Any:
    """The unit of that name; raises UnitFault with the nearest name there is."""
    if not unit.strip() or len(unit) > 100 or _TOO_MUCH.search(unit):
        raise UnitFault(f'"{unit[:60]}" is no unit.', "Write one like degC, kPa or m**3/h.")
    try:
        return _floats().parse_units(unit)
    except pint.UndefinedUnitError as err:
        missing = err.unit_names if isinstance(err.unit_names, str) else str(err.unit_names[0])
        raise UnitFault(f'there is no unit "{missing}".', _guess(missing)) from err
    except Exception as err:
        raise UnitFault(
            f'"{unit}" is no unit.', "Write one like degC, kPa or m**3/h, without a number."
        ) from err


def _guess(name: str) -> str:
    names = [one for one in dir(_floats()) if _ALIKE.fullmatch(one)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f'Did you mean "{near[0]}"?' if near else "Units are those of pint: degC, kPa, m**3/h."


def _different(source: str, target: str) -> UnitFault:
    return UnitFault(
        f'"{source}" and "{target}" measure different things.',
        "Absolute temperatures are degC, differences are delta_degC."
        if "deg" in source + target
        else f'Choose units of the same kind as "{source}".',
    )


def _line(source: str, target: str) -> Line | None:
    """The line, if exact arithmetic finds that there is one."""
    registry = _fractions()

    def exactly(value: int) -> Any:
        return registry.Quantity(Fraction(value), source).to(target).magnitude

    try:
        points = [exactly(value) for value in (0, 1, 7)]
    except (ValueError, TypeError):
        return None  # no logarithm of nothing
    if not all(isinstance(point, Fraction) for point in points):
        return None  # a logarithm came in between
    addend, factor = points[0], points[1] - points[0]
    if points[2] != factor * 7 + addend:
        return None
    divisor = factor.denominator * addend.denominator
    whole = (factor * divisor, addend * divisor, Fraction(divisor))
    common = math.gcd(*(part.numerator for part in whole))
    parts = [part.numerator // common for part in whole]
    if all(abs(part) < _EXACT for part in parts):
        return float(parts[0]), float(parts[1]), float(parts[2])
    return float(factor), float(addend), 1.0


def _by_pint(source: str, target: str) -> Callable[[float], float]:
    quantity = _floats().Quantity
    unit = _floats().Unit(target)

    def convert(value: float) -> float:
        return float(quantity(float(value), source).to(unit).magnitude)

    return convert

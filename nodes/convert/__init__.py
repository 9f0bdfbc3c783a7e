"""Convert: put a reading into another unit, as degC to degF or psi to kPa."""

from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from flowengine import node
from flowengine.fields import fault
from flowengine.nodes.onefield import LARGEST, FieldConfig, NumberChange, writes

Line = tuple[float, float, float]


def _units() -> Any:
    try:
        from flowengine.nodes.convert import units  # noqa: PLC0415  # pint takes 0.3 s (R35)
    except ImportError as err:
        raise fault(
            "bad-value", "units need pint, which is not installed.", "pip install pint"
        ) from err
    return units


def _known(name: str) -> str:
    units = _units()
    try:
        units.known(name)
    except units.UnitFault as err:
        raise fault("bad-value", err.what, err.mend) from err
    return name


Unit = Annotated[str, AfterValidator(_known)]


class ConvertConfig(FieldConfig):
    """Two units of the same thing, by their pint names."""

    from_: Unit = Field(alias="from", description="Unit that arrives: degC, psi, km/h, kWh.")
    to: Unit = Field(description="Unit that leaves; delta_degC for a difference of temperatures.")

    @model_validator(mode="after")
    def _units_fit(self) -> Self:
        conversion(self.from_, self.to)
        return self


@node("convert", writes=writes)
class Convert(NumberChange[ConvertConfig]):
    """Put a number into another unit.

    In: a finite number at `field`, in the unit `from`.
    Out: the message with the number in the unit `to`. degC to degF takes absolute temperatures.
    Raises: PayloadError `not-a-number` for anything else, and for a number that has no such value
    (0 mW in dBm); NodeError `missing` where there is nothing.
    """

    def setup(self) -> None:
        """Work out the line, once; units without one (dBm) are asked each time."""
        found = conversion(self.config.from_, self.config.to)
        if isinstance(found, tuple):
            self.line = (*found, -LARGEST, LARGEST)
            self._convert = _straight(*found)
        else:
            self._convert = found
        super().setup()

    def change(self, value: float) -> float:
        """The number in the other unit."""
        return self._convert(value)


def _straight(factor: float, addend: float, divisor: float) -> Callable[[float], float]:
    return lambda value: (value * factor + addend) / divisor


def conversion(source: str, target: str) -> Line | Callable[[float], float]:
    """Factor, addend and divisor of a line, or a function; a pydantic error if there is neither."""
    units = _units()
    try:
        return units.conversion(source, target)  # type: ignore[no-any-return]  # imported late
    except units.UnitFault as err:
        raise fault("bad-value", err.what, err.mend) from err

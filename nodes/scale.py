"""Scale: put a reading on another scale, as raw counts to degrees Celsius."""

import math
from typing import Self

from pydantic import Field, model_validator

from flowengine import node
from flowengine.fields import fault
from flowengine.nodes.onefield import LARGEST, FieldConfig, NumberChange, writes


class ScaleConfig(FieldConfig):
    """A straight line: through two points (`from`, `to`), or out = in × factor + offset."""

    from_: list[float] | None = Field(
        default=None,
        alias="from",
        min_length=2,
        max_length=2,
        description="Two values of the reading, low and high.",
    )
    to: list[float] | None = Field(
        default=None, min_length=2, max_length=2, description="What they become."
    )
    clamp: bool = Field(default=False, description="Keep the result within `to`.")
    factor: float | None = Field(default=None, description="Output units per input unit.")
    offset: float | None = Field(
        default=None, description="Added after the factor, in output units."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        points = self.from_ is not None or self.to is not None
        line = self.factor is not None or self.offset is not None
        if points == line:
            raise fault(
                "bad-value",
                "scale takes two ranges or a line." if points else "scale does not know the line.",
                'Give either "from" and "to", or "factor" and "offset".',
            )
        if points and (self.from_ is None or self.to is None):
            missing = "from" if self.from_ is None else "to"
            raise fault("bad-value", f'"{missing}" is missing.', f'Add "{missing}": [low, high].')
        if self.from_ is not None and self.from_[0] == self.from_[1]:
            raise fault(
                "limits-crossed",
                f"both ends of from are {self.from_[0]}.",
                "Give two different values.",
            )
        if line and self.clamp:
            raise fault("bad-value", "clamp needs a range to stay in.", 'Give "from" and "to".')
        if not all(math.isfinite(part) for part in self.line()):
            raise fault("bad-value", "the ranges are too large to reckon with.")
        return self

    def line(self) -> tuple[float, float, float]:
        """Factor, addend and divisor; both ends of `from` become the ends of `to`."""
        if self.from_ is None or self.to is None:
            return 1.0 if self.factor is None else self.factor, self.offset or 0.0, 1.0
        (low, high), (to_low, to_high) = self.from_, self.to
        return to_high - to_low, to_low * (high - low) - low * (to_high - to_low), high - low


@node("scale", writes=writes)
class Scale(NumberChange[ScaleConfig]):
    """Put a number on another scale.

    In: a finite number at `field`.
    Out: the message with the scaled number there; with `clamp` never outside `to`.
    Raises: PayloadError `not-a-number` for anything else, and for a result too large; NodeError
    `missing` where there is nothing.
    """

    def setup(self) -> None:
        """Work out the line."""
        self._factor, self._addend, self._divisor = self.config.line()
        to = self.config.to if self.config.clamp else None
        self._least, self._most = (-LARGEST, LARGEST) if to is None else (min(to), max(to))
        self.line = (self._factor, self._addend, self._divisor, self._least, self._most)
        super().setup()

    def change(self, value: float) -> float:
        """The scaled number."""
        scaled = (value * self._factor + self._addend) / self._divisor
        return min(max(scaled, self._least), self._most) if self.config.clamp else scaled

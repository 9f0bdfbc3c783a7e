"""The results: pairs of one measure, taken in alternation, and the table of bars and ratios."""

import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


class Measure(msgspec.Struct, kw_only=True):
    """One quantity, measured several times in flowengine and, in turn, in the peer.

    `bar` is what it must not exceed, None where only the ratio is of interest. Element i of `ours`
    and of `peer` are a pair: taken one after the other.
    """

    name: str
    unit: str
    bar: float | None = None
    ours: list[float] = msgspec.field(default_factory=list)
    peer: list[float] = msgspec.field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median over the pairs of the peer's figure by ours; None without pairs."""
        pairs = [p / o for p, o in zip(self.peer, self.ours, strict=False) if o > 0]
        return statistics.median(pairs) if pairs else None

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps to the bar; None without a bar or a figure."""
        if self.bar is None or not self.ours:
            return None
        return statistics.median(self.ours) <= self.bar


class Results:
    """Every measure of a run, in the order in which they were first named."""

    def __init__(self) -> None:
        self.measures: dict[str, Measure] = {}
        self.troubles: list[str] = []
        self.remarks: list[str] = []

    def note(
        self, name: str, unit: str, bar: float | None, ours: float | None, peer: float | None
    ) -> None:
        """Add one figure of ours, of the peer, or a pair of both."""
        found = self.measures.get(name)
        if found is None:
            found = self.measures[name] = Measure(name=name, unit=unit, bar=bar)
        if ours is not None:
            found.ours.append(ours)
        if peer is not None:
            found.peer.append(peer)

    def table(self) -> str:
        """The measures as lines of text: bar, peer, ours, ratio."""
        head = ("measure", "unit", "bar", "peer", "flowengine", "ratio", "")
        rows = [head, *(_row(measure) for measure in self.measures.values())]
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if at in {0, 1, 6} else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(len(line) for line in lines))
        return "\n".join([*lines, *self.remarks, *(f"! {t}" for t in self.troubles)])

    def write(self, path: Path, settings: dict[str, Any]) -> None:
        """Write every figure and what it was measured on as JSON."""
        machine = {
            "system": platform.platform(),
            "python": platform.python_version(),
            "processors": _processors(),
        }
        told = {
            "machine": machine,
            **settings,
            "measures": [
                {**msgspec.to_builtins(m), "ratio": m.ratio, "holds": m.holds}
                for m in self.measures.values()
            ],
            "remarks": self.remarks,
            "troubles": self.troubles,
        }
        path.write_text(json.dumps(told, indent=2) + "\n")


def _row(measure: Measure) -> tuple[str, ...]:
    said = {None: "", True: "holds", False: "MISSED"}[measure.holds]
    ratio = measure.ratio
    return (
        measure.name,
        measure.unit,
        "" if measure.bar is None else _figure(measure.bar),
        _median(measure.peer),
        _median(measure.ours),
        "" if ratio is None else f"{ratio:.1f}x",
        said,
    )


def _median(figures: Sequence[float]) -> str:
    return _figure(statistics.median(figures)) if figures else "-"


def _figure(value: float) -> str:
    """Three significant digits, no exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def _processors() -> list[str]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names or [platform.processor()]

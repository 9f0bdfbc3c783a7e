"""The results: pairs of one measure, taken in alternation, and the table of bars and ratios."""

import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


class Bar(msgspec.Struct, frozen=True):
    """What a measure must keep to: at most so much, and so many times less than the peer.

    `most` was set on a slower machine than most; `times` holds on any.
    """

    most: float | None = None
    times: float | None = None


NO_BAR = Bar()


class Measure(msgspec.Struct, kw_only=True):
    """One quantity, measured several times in flowengine and, in turn, in the peer.

    Element i of `ours` and of `peer` are a pair: taken one after the other.
    """

    name: str
    unit: str
    bar: Bar = NO_BAR
    ours: list[float] = msgspec.field(default_factory=list)
    peer: list[float] = msgspec.field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median over the pairs of the peer's figure by ours; None without pairs."""
        pairs = [p / o for p, o in zip(self.peer, self.ours, strict=False) if o > 0]
        return statistics.median(pairs) if pairs else None

    @property
    def missed(self) -> list[str]:
        """Which parts of the bar are missed: `most`, `times`."""
        found = []
        if self.bar.most is not None and self.ours and statistics.median(self.ours) > self.bar.most:
            found.append("most")
        if self.bar.times is not None and self.ratio is not None and self.ratio < self.bar.times:
            found.append("times")
        return found


class Results:
    """Every measure of a run, in the order in which they were first named."""

    def __init__(self) -> None:
        self.measures: dict[str, Measure] = {}
        self.troubles: list[str] = []
        self.remarks: list[str] = []

    def note(self, name: str, unit: str, bar: Bar, ours: float, peer: float | None = None) -> None:
        """Add one figure of ours, and of the peer where there is one."""
        found = self.measures.get(name)
        if found is None:
            found = self.measures[name] = Measure(name=name, unit=unit, bar=bar)
        found.ours.append(ours)
        if peer is not None:
            found.peer.append(peer)

    def table(self) -> str:
        """The measures as lines of text: what is allowed, the peer, ours, the ratio."""
        head = ("measure", "unit", "at most", "peer", "flowengine", "ratio", "at least", "")
        rows = [head, *(_row(measure) for measure in self.measures.values())]
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if at in {0, 1, 7} else cell.rjust(width)
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
                {**msgspec.to_builtins(m), "ratio": m.ratio, "missed": m.missed}
                for m in self.measures.values()
            ],
            "remarks": self.remarks,
            "troubles": self.troubles,
        }
        path.write_text(json.dumps(told, indent=2) + "\n")


def _row(measure: Measure) -> tuple[str, ...]:
    bar, ratio, missed = measure.bar, measure.ratio, measure.missed
    said = {"most": "over the bar", "times": "under the ratio"}
    verdict = ", ".join(said[part] for part in missed) if missed else "holds"
    return (
        measure.name,
        measure.unit,
        "" if bar.most is None else _figure(bar.most),
        _median(measure.peer),
        _median(measure.ours),
        "" if ratio is None else f"{ratio:.1f}x",
        "" if bar.times is None else f"{bar.times:g}x",
        "" if bar == NO_BAR else verdict,
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

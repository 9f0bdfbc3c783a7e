"""The table of faults: what was run of each row and what was seen, for the console and as a page.

Input is the report that a test run with `--faults-report FILE` has written: a JSON line for each
test that has a row. The page tells no day, no path and no machine.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.catalogue import ROWS, Row, rows_of

HEADER = ("Row", "Fault", "Tests", "Runs", "Lost", "Twice", "Back in", "Seen")


class Outcome(NamedTuple):
    """What was seen of one row, over all its tests.

    Attributes:
        tests: how many passed.
        failed: names of those that did not.
        skipped: how many could not run here.
        runs: how often the fault was met; a test that does not say counts once.
        lost, duplicates: sums of acknowledged messages, None where no test counts them.
        recovery: the longest, in seconds.
        figures: what the tests named themselves, `name value`, each once.
    """

    tests: int = 0
    failed: tuple[str, ...] = ()
    skipped: int = 0
    runs: int = 0
    lost: int | None = None
    duplicates: int | None = None
    recovery: float | None = None
    figures: tuple[str, ...] = ()


def read_report(path: Path) -> dict[str, Outcome]:
    """What was seen, by row; a test of two rows counts for both."""
    by_row: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines():
        test = json.loads(line)
        for row in rows_of(test["test"]):
            by_row.setdefault(row, []).append(test)
    return {row: _outcome(tests) for row, tests in by_row.items()}


def _outcome(tests: list[dict[str, Any]]) -> Outcome:
    passed = [test for test in tests if test["outcome"] == "passed"]
    said = [run for test in passed for run in test["said"]]
    lost = [run["lost"] for run in said if run["lost"] is not None]
    twice = [run["duplicates"] for run in said if run["duplicates"] is not None]
    back = [run["recovery"] for run in said if run["recovery"] is not None]
    return Outcome(
        tests=len(passed),
        failed=tuple(sorted(_name(t) for t in tests if t["outcome"] == "failed")),
        skipped=sum(test["outcome"] == "skipped" for test in tests),
        runs=sum(run["runs"] for run in said) + sum(not test["said"] for test in passed),
        lost=sum(lost) if lost else None,
        duplicates=sum(twice) if twice else None,
        recovery=max(back) if back else None,
        figures=tuple(_figures(said)),
    )


def _name(test: dict[str, Any]) -> str:
    return str(test["test"]).rpartition("::")[2]


def _figures(said: list[dict[str, Any]]) -> Iterable[str]:
    """Each named figure once: the largest of numbers, every text."""
    numbers: dict[str, float] = {}
    texts: dict[str, list[str]] = {}
    for run in said:
        for name, value in run["figures"].items():
            if value is None:
                continue
            if isinstance(value, int | float) and not isinstance(value, bool):
                numbers[name] = max(value, numbers.get(name, value))
            elif str(value) not in texts.setdefault(name, []):
                texts[name].append(str(value))
    for name in sorted({*numbers, *texts}):
        value = _short(numbers[name]) if name in numbers else ", ".join(sorted(texts[name]))
        yield f"{name.replace('_', ' ')} {value}"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def headline(outcomes: dict[str, Outcome]) -> str:
    """`41 faults, 612 runs, 0 acknowledged messages lost`."""
    met = [seen for seen in outcomes.values() if seen.tests and not seen.failed]
    lost = sum(seen.lost or 0 for seen in outcomes.values())
    return (
        f"{len(met)} faults, {sum(seen.runs for seen in met):,} runs, "
        f"{lost:,} acknowledged messages lost"
    )


def state(row: Row, seen: Outcome | None) -> str:
    """Why a row has nothing to show, or that it failed; empty if all is well."""
    if seen is not None and seen.failed:
        return f"FAILED: {', '.join(seen.failed)}"
    if seen is not None and seen.tests:
        return ""
    if seen is not None and seen.skipped:
        return "could not run on this machine"
    if row.absent:
        return f"there is no such part yet: {row.absent}"
    return "not run"


def cells(row: Row, seen: Outcome | None) -> tuple[str, ...]:
    """The cells of a row, in the order of HEADER."""
    found = seen or Outcome()
    told = [state(row, seen), *found.figures]
    if found.tests and found.skipped:
        told.append(f"{found.skipped} more could not run on this machine")
    return (
        row.id,
        row.fault,
        str(found.tests or ""),
        _short(found.runs or None),
        _short(found.lost),
        _short(found.duplicates),
        "" if found.recovery is None else f"{found.recovery:.1f} s",
        "; ".join(filter(None, told)),
    )


def table(outcomes: dict[str, Outcome], rows: Iterable[Row] = ROWS) -> str:
    """The table for the console, with the headline under it."""
    lines = [HEADER, *(cells(row, outcomes.get(row.id)) for row in rows)]
    lines = [(*line[:1], line[1][:58], *line[2:7], line[7][:90]) for line in lines]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADER))]
    shown = (
        "  ".join(
            cell.rjust(width) if 2 <= at <= 6 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return "\n".join([*shown, "", headline(outcomes)])


INTRODUCTION = """\
# What was broken on purpose

<!-- Made by `make faults`; edit the tests, not this page. -->

**{headline}.**

Each row is a fault that flowengine must survive, met by tests with real parts wherever there are
any: processes that are really killed and stopped, a real mosquitto, a real InfluxDB, real disks
that fill up. Of every row, unless it says otherwise: no message that was acknowledged to a device
or a broker is lost, a crash repeats at most what was in flight, every message is accounted for, and
nothing ends in a traceback.

*Runs* is how often the fault was met, *lost* counts acknowledged messages, *twice* those that a
store holds more than once, and *back in* is the longest time until work went on. An empty cell: not
a figure of that fault, or not counted by its tests. Times and memory are of one ordinary machine
with other work to do; `make faults` shows yours.
"""


def page(outcomes: dict[str, Outcome]) -> str:
    """The page for users: every row of the catalogue, family by family."""
    parts = [INTRODUCTION.format(headline=headline(outcomes))]
    for family in dict.fromkeys(row.family for row in ROWS):
        lines = [
            f"## {family}\n",
            "| Row | Fault | What must happen | Tests | Runs | Lost | Twice | Back in | Seen |",
            "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        ]
        for row in ROWS:
            if row.family != family:
                continue
            name, fault, *rest = cells(row, outcomes.get(row.id))
            must = f"{row.must} ({row.limit})" if row.limit else row.must
            shown = (name, f"{fault}: {row.how}", must, *rest)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in shown) + " |")
        parts.append("\n".join(lines) + "\n")
    missing = [row for row in ROWS if state(row, outcomes.get(row.id))]
    parts.append("## Not shown to hold\n")
    parts.append(
        "".join(f"- {row.id} {row.fault}: {state(row, outcomes.get(row.id))}.\n" for row in missing)
        or "Nothing.\n"
    )
    return "\n".join(parts)

"""`flowengine ledger` says what became of every message, whoever is looking and whenever (R16)."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowengine.cli import main
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.accounts import fold
from flowengine.engine.ledger import MINUTE
from flowengine.message import rfc3339
from tests.engine.rigs import BINS, TAPS, Rig

FLOW = {
    "in": "tap",
    "range": {"type": "filter.range", "config": {"max": 10}},
    "brittle": "stubborn",
    "out": "bin",
}
WIRES = ["in -> brittle", "brittle -> range", "range -> out"]
Story = Callable[[Rig], Coroutine[Any, Any, None]]


@pytest.fixture
def told_clock(monkeypatch: pytest.MonkeyPatch) -> ToldClock:
    """The clock of the box, for the engine and for the command."""
    clock = ToldClock()
    for module in ("ledger", "folder"):
        monkeypatch.setattr(f"flowengine.commands.{module}.RealClock", lambda: clock)
    return clock


def lived(folder: Path, story: Story, clock: ToldClock | None = None) -> Path:
    """The data folder as a kill in the middle of it leaves it."""

    async def scene() -> None:
        async with Rig(folder / "live", clock) as rig:
            await rig.deploy(FLOW, WIRES)
            await story(rig)
            shutil.copytree(folder / "live", folder / "killed")

    asyncio.run(scene())
    return folder / "killed"


def ledger(capsys: pytest.CaptureFixture[str], data: Path, *args: str) -> tuple[int, Any]:
    """Exit code and what `--json` shows."""
    code = main(["ledger", "--data", str(data), "--json", *args])
    return code, json.loads(capsys.readouterr().out)


async def some(rig: Rig) -> None:
    """Three written, two filtered, one set aside."""
    TAPS["in"].turn(1, 2, 3, 20, 30, "bad")
    await rig.pass_time(3 * SECOND)


def test_every_message_stands_at_its_fate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = ledger(capsys, lived(tmp_path, some))
    flow = shown["flows"]["test"]
    assert (code, shown["balanced"]) == (0, True)
    assert flow["sources"] == {"in": {"received": 6, "redelivered": 0, "acknowledged": 6}}
    assert (flow["received"], flow["delivered"], flow["filtered"]) == (6, 3, 2)
    assert (flow["quarantined"], flow["quarantined_by"]) == (1, {"brittle": 1})
    assert (flow["filtered_by"], flow["dropped_by"]) == ({"range": 2}, {})
    assert [flow[name] for name in ("spooled", "in_flight", "dropped", "missing")] == [0] * 4
    assert flow["sinks"]["out"]["written"] == 3


def test_what_waits_is_in_flight_and_a_spool_says_since_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(rig: Rig) -> None:
        BINS["out"].is_up = False
        TAPS["in"].turn(1, 2)
        await rig.pass_time(3 * SECOND)
        assert TAPS["in"].acks == [1, 2]

    code, shown = ledger(capsys, lived(tmp_path, story))
    flow = shown["flows"]["test"]
    assert (code, flow["spooled"], flow["sinks"]["out"]["spooled"]) == (0, 2, 2)
    assert flow["sinks"]["out"]["oldest"].startswith("20")


def test_a_range_of_time_counts_what_came_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told_clock: ToldClock
) -> None:
    clock, began = told_clock, told_clock.now()

    async def story(rig: Rig) -> None:
        await some(rig)
        await rig.pass_time(300 * SECOND)
        TAPS["in"].turn(4)
        await rig.pass_time(3 * SECOND)

    data = lived(tmp_path, story, clock)
    later = rfc3339(began + 200 * SECOND)
    assert ledger(capsys, data, "--since", later)[1]["flows"]["test"]["received"] == 1
    assert ledger(capsys, data, "--until", later)[1]["flows"]["test"]["received"] == 6
    assert ledger(capsys, data)[1]["flows"]["test"]["received"] == 7
    assert ledger(capsys, data)[1]["from"] == rfc3339(began)


def test_of_a_quiet_time_it_shows_zeros(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told_clock: ToldClock
) -> None:
    data = lived(tmp_path, some, told_clock)
    told_clock.advance(7200 * SECOND)
    code, shown = ledger(capsys, data, "--since", "1h", "--flow", "test")
    flow = shown["flows"]["test"]
    assert (code, flow["received"], flow["delivered"], flow["in_flight"]) == (0, 0, 0, 0)
    assert flow["sources"] == {"in": {"received": 0, "redelivered": 0, "acknowledged": 0}}


@pytest.mark.parametrize(
    ("days", "counted"),
    [(1, ("00:30:00Z", "00:32:00Z")), (3, ("00:00:00Z", "01:00:00Z"))],
    ids=["minutes", "hours once they are two days old"],
)
def test_bounds_are_rounded_outward_and_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    told_clock: ToldClock,
    days: int,
    counted: tuple[str, str],
) -> None:
    """What was folded into hours stands at the beginning of its hour: it is found all the same."""

    async def story(rig: Rig) -> None:
        await rig.pass_time(1800 * SECOND)
        await some(rig)

    data = lived(tmp_path, story, told_clock)
    told_clock.advance(days * 86_400 * SECOND)
    with closing(sqlite3.connect(data / "state.db")) as db, db:
        fold(told_clock.now() // MINUTE)(db)
    args = ("--since", "2026-01-01T00:30:40Z", "--until", "2026-01-01T00:31:10Z")
    shown = ledger(capsys, data, *args)[1]
    assert (shown["from"][11:], shown["to"][11:]) == counted
    assert shown["flows"]["test"]["received"] == 6
    assert shown["flows"]["test"]["sinks"]["out"]["written"] == 3
    assert main(["ledger", "--data", str(data), *args]) == 0
    said = capsys.readouterr().out
    assert f"from {shown['from']} to {shown['to']} (whole minutes" in said


def test_what_nobody_knows_of_is_no_balance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lived(tmp_path, some)
    with closing(sqlite3.connect(data / "state.db")) as db, db:
        db.execute("update ledger set item = 'missing', n = 1 where item = 'delivered'")
    code, shown = ledger(capsys, data)
    assert (code, shown["balanced"], shown["flows"]["test"]["missing"]) == (1, False, 1)
    assert main(["ledger", "--data", str(data)]) == 1
    out = capsys.readouterr()
    assert "NOT BALANCED" in out.out
    assert "doctor" in out.err


def test_more_fates_than_messages_are_no_balance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lived(tmp_path, some)
    with closing(sqlite3.connect(data / "state.db")) as db, db:
        db.execute("update ledger set n = n + 5 where item = 'delivered'")
    code, shown = ledger(capsys, data)
    assert (code, shown["balanced"], shown["flows"]["test"]["in_flight"]) == (1, False, -5)
    assert main(["ledger", "--data", str(data)]) == 1
    said = capsys.readouterr().out
    assert "more fates than messages" in said
    assert "in flight" not in said


def test_for_people_it_says_where_messages_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", "--data", str(lived(tmp_path, some)), "--flow", "test"]) == 0
    said = capsys.readouterr().out
    assert "test: balanced" in said
    assert "filtered               2   33.3 %  held back by range 2" in said
    assert "quarantined            1   16.7 %  set aside by brittle 1" in said
    assert "quarantine list" in said
    assert "sink out: 3 of 3 records written" in said


@pytest.mark.parametrize(
    "args",
    [["--flow", "another"], ["--since", "yesterday"], ["--since", "1h", "--until", "2h"]],
    ids=["a flow that is not known", "no time", "bounds the wrong way round"],
)
def test_a_wrong_question_is_answered_with_2(tmp_path: Path, args: list[str]) -> None:
    assert main(["ledger", "--data", str(lived(tmp_path, some)), *args]) == 2


@pytest.mark.parametrize("there", [False, True], ids=["none", "one that cannot be read"])
def test_a_folder_without_a_ledger_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], there: bool
) -> None:
    if there:
        (tmp_path / "state.db").mkdir()
    assert main(["ledger", "--data", str(tmp_path)]) == 3
    assert str(tmp_path / "state.db") in capsys.readouterr().err

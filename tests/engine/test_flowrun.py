"""A running flow loses and repeats nothing, when it is changed, when it fails and when it stops."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from flowengine import Message
from flowengine.clock import SECOND
from flowengine.engine.fates import SPOOLED
from flowengine.errors import FindingsError
from tests.engine.rigs import BINS, TAPS, Rig

Story = Callable[[Rig], Coroutine[Any, Any, None]]


def play(folder: Path, story: Story) -> None:
    async def scene() -> None:
        async with Rig(folder) as rig:
            await story(rig)

    asyncio.run(scene())


def test_a_message_is_acknowledged_when_its_sink_has_written_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        BINS["out"].hangs = asyncio.Event()
        TAPS["in"].turn(1, 2)
        await rig.settle()
        assert TAPS["in"].acks == []
        BINS["out"].hangs.set()
        await rig.settle()
        assert BINS["out"].got == [1, 2]
        assert TAPS["in"].acks == [1, 2]

    play(tmp_path, story)


def test_r31_with_one_sink_away_the_other_is_served_and_all_is_acknowledged(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "a": "bin", "b": "bin"}, ["in -> a", "in -> b"])
        BINS["a"].is_up = False
        for n in range(3):
            TAPS["in"].turn(n)
            await rig.pass_time(SECOND)
        assert BINS["b"].got == [0, 1, 2]
        assert TAPS["in"].acks == [0, 1, 2]
        BINS["a"].is_up = True
        await rig.pass_time(100 * SECOND)
        assert BINS["a"].got == [0, 1, 2]

    play(tmp_path, story)


def test_a_deploy_restarts_what_changed_and_keeps_the_rest(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        wires = ["in -> total", "total -> out"]
        await rig.deploy({"in": "tap", "total": "total", "out": "bin"}, wires)
        TAPS["in"].turn(1, 2)
        await rig.settle()
        tap = TAPS["in"]
        change = await rig.deploy(
            {
                "in": "tap",
                "total": "total",
                "out": {"type": "bin", "config": {"label": "changed"}},
            },
            wires,
        )
        assert (change.restarted, sorted(change.kept)) == (["out"], ["in", "total"])
        assert TAPS["in"] is tap
        TAPS["in"].turn(3)
        await rig.pass_time(2 * SECOND)  # the sum is saved
        assert BINS["out"].got == [1, 3, 6]
        assert tap.acks == [1, 2, 3]

    play(tmp_path, story)


def test_a_restarted_node_keeps_its_state(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        nodes = {"in": "tap", "total": "total", "out": "bin"}
        await rig.deploy(nodes, ["in -> total", "total -> out"])
        TAPS["in"].turn(5)
        changed = {**nodes, "total": {"type": "total", "config": {"forget": "1d"}}}
        change = await rig.deploy(changed, ["in -> total", "total -> out"])
        assert change.restarted == ["total"]
        TAPS["in"].turn(5)
        await rig.settle()
        assert BINS["out"].got == [5, 10]

    play(tmp_path, story)


def test_messages_waiting_for_a_sink_survive_its_restart(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        slow = {"type": "bin", "config": {"batch": {"age": "1h"}}}
        await rig.deploy({"in": "tap", "out": slow}, ["in -> out"])
        TAPS["in"].turn(1, 2)
        await rig.settle()
        assert BINS["out"].got == []
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        await rig.settle()
        assert BINS["out"].got == [1, 2]
        assert TAPS["in"].acks == [1, 2]

    play(tmp_path, story)


def test_a_version_that_cannot_be_built_leaves_the_old_one_running(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        with pytest.raises(RuntimeError, match="cannot be made"):
            await rig.deploy(
                {"in": "tap", "x": "unbuildable", "out": "bin"}, ["in -> x", "x -> out"]
            )
        TAPS["in"].turn(1)
        await rig.settle()
        assert BINS["out"].got == [1]

    play(tmp_path, story)


def test_a_bad_config_is_a_finding_with_its_place() -> None:
    from tests.engine.rigs import plan  # noqa: PLC0415

    with pytest.raises(FindingsError) as caught:
        plan({"in": {"type": "tap", "config": {"labell": "x"}}}, [])
    [finding] = caught.value.findings
    assert (finding.slug, finding.where.node, finding.where.field) == (
        "unknown-key",
        "in",
        "config.labell",
    )
    assert finding.mend == 'Did you mean "label"?'


def test_r40_a_disabled_node_is_absent_and_its_wires_end(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {"in": "tap", "off": {"type": "stubborn", "disabled": True}, "out": "bin"},
            ["in -> off", "off -> out", "in -> out"],
        )
        TAPS["in"].turn(1)
        await rig.settle()
        assert BINS["out"].got == [1]
        assert "off" not in rig.engine.flows["test"].nodes

    play(tmp_path, story)


def test_r6_an_error_goes_to_the_wired_output_first(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {"in": "tap", "x": "stubborn", "errors": "bin", "out": "bin", "catch": "catch"},
            ["in -> x", "x -> out", "x.error -> errors", "catch -> out"],
        )
        TAPS["in"].turn("bad", 1)
        await rig.settle()
        assert (BINS["errors"].got, BINS["out"].got) == (["bad"], [1])
        assert TAPS["in"].acks == ["bad", 1]

    play(tmp_path, story)


def test_r6_an_unwired_error_goes_to_every_catch_in_whose_scope_the_node_is(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {
                "in": "tap",
                "x": "stubborn",
                "all": "catch",
                "mine": {"type": "catch", "config": {"nodes": ["x"]}},
                "other": {"type": "catch", "config": {"nodes": ["out"]}},
                "a": "bin",
                "b": "bin",
                "c": "bin",
                "out": "bin",
            },
            ["in -> x", "x -> out", "all -> a", "mine -> b", "other -> c"],
        )
        TAPS["in"].turn("bad")
        await rig.settle()
        assert (BINS["a"].got, BINS["b"].got, BINS["c"].got) == (["bad"], ["bad"], [])
        assert TAPS["in"].acks == ["bad"]

    play(tmp_path, story)


def test_r6_an_error_without_a_handler_and_an_error_in_a_handler_are_quarantined(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {"in": "tap", "x": "stubborn", "catch": "catch", "y": "stubborn", "out": "bin"},
            ["in -> x", "x -> out", "catch -> y", "y -> out"],
        )
        TAPS["in"].turn("bad")
        await rig.settle()
        rows = rig.engine.folder.store.select("select node, slug, what from quarantine")
        assert rows == [("y", "text", "text: bad")]
        assert TAPS["in"].acks == ["bad"]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("spec", "payloads"),
    [
        ({"type": "filter.range", "config": {"min": 0, "max": 9}}, [10, None]),
        ({"type": "filter.duplicate"}, [1, 1]),
        ({"type": "throttle", "config": {"per": "1m"}}, [1, 2]),
        ({"type": "json.decode"}, ["{"]),
        ("stubborn", ["bad"]),
    ],
    ids=["refused", "a repeat", "a full throttle", "not decoded", "quarantined"],
)
def test_r38_what_is_judged_away_is_acknowledged_and_not_sent_again(
    tmp_path: Path, spec: Any, payloads: list[Any]
) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "it": spec, "out": "bin"}, ["in -> it", "it -> out"])
        BINS["out"].hangs = asyncio.Event()  # nothing is acknowledged for having been delivered
        for payload in payloads:
            TAPS["in"].turn(payload)
        await rig.settle()
        await rig.pass_time(2 * SECOND)  # states are saved
        passed = [1] if spec != "stubborn" and 1 in payloads else []
        assert TAPS["in"].acks == ([] if passed else payloads)  # acknowledgements keep their order
        BINS["out"].hangs.set()
        await rig.pass_time(2 * SECOND)
        assert TAPS["in"].acks == payloads
        assert BINS["out"].got == passed

    play(tmp_path, story)


def test_r38_a_late_message_is_acknowledged_though_nobody_looks_at_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        window = {"type": "window", "config": {"every": "1m", "fields": ["payload"]}}
        await rig.deploy({"in": "tap", "w": window, "out": "bin"}, ["in -> w", "w -> out"])
        now = rig.clock.now()
        TAPS["in"].emit([Message(1, "", now, "k")], lambda: TAPS["in"].acks.append("in time"))
        await rig.pass_time(60 * SECOND)
        TAPS["in"].emit([Message(2, "", now, "k")], lambda: TAPS["in"].acks.append("late"))
        await rig.pass_time(2 * SECOND)
        assert TAPS["in"].acks == ["in time", "late"]
        assert [row["count"] for row in BINS["out"].got] == [1]

    play(tmp_path, story)


def test_r10_idle_state_is_forgotten(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        total = {"type": "total", "config": {"forget": "20m"}}
        await rig.deploy({"in": "tap", "x": total, "out": "bin"}, ["in -> x", "x -> out"])
        TAPS["in"].turn(1, key="idle")
        TAPS["in"].turn(1, key="busy")
        for _ in range(6):
            await rig.pass_time(600 * SECOND)
            TAPS["in"].turn(1, key="busy")
        TAPS["in"].turn(1, key="idle")
        await rig.settle()
        assert BINS["out"].got == [1, 1, 2, 3, 4, 5, 6, 7, 1]

    play(tmp_path, story)


def test_r65_a_status_node_tells_when_a_node_waits_and_runs_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {
                "in": "tap",
                "out": "bin",
                "status": {"type": "status", "config": {"nodes": ["out"]}},
                "log": "bin",
            },
            ["in -> out", "status -> log"],
        )
        BINS["out"].is_up = False
        TAPS["in"].turn(1)
        await rig.pass_time(2 * SECOND)
        BINS["out"].is_up = True
        await rig.pass_time(100 * SECOND)
        told = [(s["node"], s["state"], s["what"]) for s in BINS["log"].got]
        assert ("out", "waiting", "the bin is away") in told
        assert told[-1] == ("out", "running", "")
        assert set(BINS["log"].got[0]) == {"node", "state", "what", "since"}

    play(tmp_path, story)


@pytest.mark.parametrize(
    "nodes",
    [
        {"in": "tap", "out": "bin"},
        {"in": "tap", "q": {"type": "queue", "config": {"capacity": 50}}, "out": "bin"},
    ],
    ids=["sink", "queue before it"],
)
def test_a_full_wire_pauses_the_source_and_loses_nothing(
    tmp_path: Path, nodes: dict[str, Any]
) -> None:
    async def story(rig: Rig) -> None:
        wires = ["in -> q", "q -> out"] if "q" in nodes else ["in -> out"]
        await rig.deploy(nodes, wires)
        BINS["out"].hangs = asyncio.Event()
        tap, sent = TAPS["in"], 0
        while not tap.is_paused:
            tap.turn(*range(sent, sent + 500))
            sent += 500
            await rig.settle()
            assert sent < 100_000
        assert len(tap.acks) == 0
        BINS["out"].hangs.set()
        await rig.pass_time(SECOND)
        assert not tap.is_paused
        assert BINS["out"].got == list(range(sent)) == tap.acks

    play(tmp_path, story)


def test_r24_a_queue_that_spills_takes_everything_and_keeps_it_over_a_restart(
    tmp_path: Path,
) -> None:
    nodes = {
        "in": "tap",
        "q": {"type": "queue", "config": {"capacity": 10, "when_full": "spill"}},
        "out": "bin",
    }
    on_disk: list[int] = []

    async def first(rig: Rig) -> None:
        await rig.deploy(nodes, ["in -> q", "q -> out"])
        BINS["out"].hangs = asyncio.Event()
        for start in range(0, 30_000, 500):
            TAPS["in"].turn(*range(start, start + 500))
            await rig.settle()
        assert not TAPS["in"].is_paused
        assert TAPS["in"].acks == []  # in order of receipt, and the first is in memory
        assert BINS["out"].got == []
        on_disk.append(rig.engine.flows["test"].intakes["in"].fates[SPOOLED])

    async def second(rig: Rig) -> None:
        await rig.deploy(nodes, ["in -> q", "q -> out"])
        for _ in range(50):
            await rig.pass_time(SECOND)
        got = BINS["out"].got
        assert got == sorted(set(got))
        assert len(got) == on_disk[0]  # what was in memory was not settled: it comes again

    play(tmp_path, first)
    play(tmp_path, second)


def test_r41_a_wire_with_a_capacity_is_a_boundary_that_drops_as_told(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        wire = {"from": "in", "to": "x", "capacity": 3, "when_full": "drop-oldest"}
        await rig.deploy({"in": "tap", "x": "stubborn", "out": "bin"}, [wire, "x -> out"])
        TAPS["in"].turn(*range(10))
        await rig.settle()
        assert BINS["out"].got == [7, 8, 9]
        assert TAPS["in"].acks == list(range(10))

    play(tmp_path, story)


def test_branches_that_write_do_not_see_each_other(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {
                "in": "tap",
                "a": {"type": "dict-writer", "config": {"label": "a"}},
                "b": {"type": "dict-writer", "config": {"label": "b"}},
                "qa": "queue",
                "out-a": "bin",
                "out-b": "bin",
                "raw": "bin",
            },
            ["in -> qa", "qa -> a", "in -> b", "in -> raw", "a -> out-a", "b -> out-b"],
        )
        TAPS["in"].turn({"n": 1})
        await rig.settle()
        assert BINS["raw"].got == [{"n": 1}]
        assert BINS["out-a"].got == [{"n": 1, "by": "a"}]
        assert BINS["out-b"].got == [{"n": 1, "by": "b"}]

    play(tmp_path, story)


def test_held_messages_are_acknowledged_once_their_state_is_on_disk(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "g": "gather", "out": "bin"}, ["in -> g", "g -> out"])
        TAPS["in"].turn(1, 2, 3)
        await rig.settle()
        assert TAPS["in"].acks == []
        await rig.pass_time(2 * SECOND)
        assert TAPS["in"].acks == [1, 2, 3]
        intake = rig.engine.flows["test"].intakes["in"]
        assert intake.in_flight == 3
        await rig.pass_time(700 * SECOND)
        assert BINS["out"].got == [3]
        assert intake.fates[1] == 3

    play(tmp_path, story)


def test_state_and_what_it_holds_survive_a_restart_of_the_engine(tmp_path: Path) -> None:
    nodes = {"in": "tap", "g": "gather", "t": "total", "out": "bin", "sum": "bin"}
    wires = ["in -> g", "g -> out", "in -> t", "t -> sum"]

    async def first(rig: Rig) -> None:
        await rig.deploy(nodes, wires)
        TAPS["in"].turn(1, 2, 3)
        await rig.pass_time(2 * SECOND)

    async def second(rig: Rig) -> None:
        await rig.deploy(nodes, wires)
        TAPS["in"].turn(4)
        await rig.pass_time(700 * SECOND)
        assert BINS["out"].got == [4]
        assert BINS["sum"].got == [10]

    play(tmp_path, first)
    play(tmp_path, second)


def test_stopping_writes_what_waits_and_closes_every_node(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        slow = {"type": "bin", "config": {"batch": {"age": "1h"}}}
        await rig.deploy({"in": "tap", "out": slow}, ["in -> out"])
        TAPS["in"].turn(1, 2)
        await rig.settle()

    play(tmp_path, story)
    assert BINS["out"].got == [1, 2]
    assert TAPS["in"].acks == [1, 2]
    assert not TAPS["in"].is_open


def test_f11_a_second_engine_on_the_folder_is_refused_by_pid(tmp_path: Path) -> None:
    import os  # noqa: PLC0415

    from flowengine.engine.folder import DataFolder  # noqa: PLC0415
    from flowengine.errors import StartError  # noqa: PLC0415

    first = DataFolder(tmp_path)
    with pytest.raises(StartError, match=f"in use by pid {os.getpid()}"):
        DataFolder(tmp_path)
    first.close()
    DataFolder(tmp_path).close()

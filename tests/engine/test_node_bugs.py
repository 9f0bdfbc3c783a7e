"""A bug in a node, a source or a sink costs no message and ends nothing else (F-10)."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from flowengine import KeyedConfig, Message, Node, NodeConfig, NodeState, Sink, node
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.fates import DROPPED, FATES
from flowengine.engine.idle import forget_idle
from flowengine.engine.quarantine import as_text
from flowengine.engine.state import Entries
from flowengine.engine.store import Store
from flowengine.errors import NodeError, RecordRefused
from flowengine.testing import NodeBench
from tests.engine import rigs
from tests.engine.rigs import BINS, TAPS, BinConfig, Gather, Rig

Story = Callable[[Rig], Coroutine[Any, Any, None]]


def play(folder: Path, story: Story) -> None:
    """Run a story in an engine."""

    async def scene() -> None:
        async with Rig(folder) as rig:
            await story(rig)

    asyncio.run(scene())


@node("half-known", outputs=("left", "right"))
def half_known(message: Message) -> Any:
    """Answer by an output that there is and one that there is not."""
    return {"left": message.with_payload("l"), "middle": message.with_payload("m")}


@node("odd-list")
def odd_list(message: Message) -> Any:
    """Answer with a list that holds something else."""
    return [message.with_payload(1), 2]


@pytest.mark.parametrize("bad", [half_known, odd_list])
def test_an_answer_that_is_wrong_in_part_fails_as_a_whole(bad: Any) -> None:
    bench = NodeBench(bad)
    out = bench.send(7)
    assert set(out) == {"error"}
    assert (bench.unsettled, bench.unacknowledged) == (0, 0)
    assert sum(bench.fates.values()) == 1


@node("bursting")
class Bursting(Node[NodeConfig]):
    """Fail one message of a batch, then break over the rest."""

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Break."""
        self.context.fail(messages[0], NodeError("the first", slug="first"))
        raise RuntimeError("the rest")


@node("misnaming")
class Misnaming(Node[NodeConfig]):
    """Answer a batch by an output that it has not."""

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Answer."""
        return {"out": messages[:1], "nowhere": messages[1:]}


@pytest.mark.parametrize(
    ("bad", "slugs"),
    [
        (Bursting, ["first", "failed", "failed"]),
        (Misnaming, ["unknown-output", "unknown-output", "unknown-output"]),
    ],
)
def test_a_batch_that_a_node_breaks_over_takes_the_error_route(bad: Any, slugs: list[str]) -> None:
    bench = NodeBench(bad)
    out = bench.send_many([Message(n) for n in range(3)])
    assert [m.meta["error"]["slug"] for m in out["error"]] == slugs
    assert set(out) == {"error"}
    assert bench.unsettled == 0


@node("breaks-late", scope="keyed")
class BreaksLate(Node[KeyedConfig]):
    """Keep one message; at the next, or when woken, take it out again and break."""

    class State(NodeState):
        """What waits."""

        waiting: int | None = None

    def receive(self, message: Message, *states: Any) -> Message | None:
        """Keep, or break."""
        if states[0].waiting is not None:
            return self.wake(message.key, states[0])
        states[0].waiting = message.payload
        self.context.keep(message, message.key)
        self.context.wake_at(message.key, self.clock.monotonic() + SECOND)
        return None

    def wake(self, key: str, state: Any) -> Message | None:
        """Break with what was kept in hand."""
        given = self.context.give(Message(state.waiting, key=key), key)
        state.waiting = None
        raise RuntimeError(f"broke over {given.payload}")


def test_what_a_node_had_in_hand_when_it_broke_takes_the_error_route() -> None:
    bench = NodeBench(BreaksLate)
    bench.send(1)
    out = bench.send(2)
    assert [m.payload for m in out["error"]] == [1, 2]
    assert bench.unsettled == 0


def test_what_a_node_had_in_hand_when_its_timer_broke_takes_the_error_route() -> None:
    bench = NodeBench(BreaksLate)
    bench.send(1)
    assert [m.payload for m in bench.advance("2s")["error"]] == [1]
    assert bench.unsettled == 0


def test_a_source_that_cannot_acknowledge_does_not_end_the_sink(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])

        def broken() -> None:
            raise RuntimeError("no acknowledgement")

        TAPS["in"].emit([Message(1)], broken)
        await rig.settle()
        TAPS["in"].turn(2)
        await rig.settle()
        assert (BINS["out"].got, TAPS["in"].acks) == ([1, 2], [2])

    play(tmp_path, story)


def test_a_source_that_cannot_pause_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(rig: Rig) -> None:
        nodes = {"in": "tap", "q": {"type": "queue", "config": {"capacity": 2}}, "out": "bin"}
        await rig.deploy(nodes, ["in -> q", "q -> out"])

        def broken() -> None:
            raise RuntimeError("cannot pause")

        monkeypatch.setattr(TAPS["in"], "pause", broken)
        TAPS["in"].turn(*range(9))
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == list(range(9))

    play(tmp_path, story)


def test_who_looks_on_does_not_hold_up_what_travels(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        step = rig.engine.flows["test"].nodes["in"].step
        assert step is not None
        step.outlets["out"].taps.append(lambda messages: messages[99])  # type: ignore[arg-type]
        TAPS["in"].turn(1)
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == [1]

    play(tmp_path, story)


@node("odd-sink", outputs=("out",))
class OddSink(Sink[BinConfig]):
    """A sink that is wrong in one of many ways; `label` says which."""

    batch_age = 0

    async def write(self, records: list[Message]) -> Any:
        """Be wrong."""
        how = self.config.label
        if how == "refuses what was not given":
            raise RecordRefused("no", refused={0: "bad", 7: "worse"})
        if how == "is broken off from within":
            self.tries = getattr(self, "tries", 0) + 1
            if self.tries == 1:
                raise asyncio.CancelledError
        answers: dict[str, Any] = {
            "answers too often": [*records, records[0]],
            "answers by another output": [{"nowhere": m} for m in records],
            "answers with numbers": [1] * len(records),
        }
        return answers.get(how, [m.with_payload("answer") for m in records])


rigs.OWN.append(OddSink)


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        ("refuses what was not given", []),
        ("is broken off from within", ["answer", "answer"]),
        ("answers too often", []),
        ("answers by another output", []),
        ("answers with numbers", []),
    ],
)
def test_a_sink_that_is_wrong_goes_on_and_settles_everything(
    tmp_path: Path, how: str, answers: list[str]
) -> None:
    async def story(rig: Rig) -> None:
        odd = {"type": "odd-sink", "config": {"label": how}}
        await rig.deploy({"in": "tap", "odd": odd, "out": "bin"}, ["in -> odd", "odd -> out"])
        TAPS["in"].turn(1)
        await rig.pass_time(5 * SECOND)
        TAPS["in"].turn(2)
        await rig.pass_time(5 * SECOND)
        assert TAPS["in"].acks == [1, 2]
        assert rig.engine.flows["test"].intakes["in"].in_flight == 0
        assert BINS["out"].got == answers

    play(tmp_path, story)


def test_a_sink_whose_store_cannot_be_opened_is_begun_anew_until_it_can(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        spool = tmp_path / "spool" / "test"
        spool.mkdir(parents=True)
        (spool / "out").write_text("a file where the folder should be")
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        TAPS["in"].turn(1)
        await rig.pass_time(SECOND // 2)
        assert rig.engine.flows["test"].nodes["out"].state == "failed"
        (spool / "out").unlink()
        await rig.pass_time(2 * SECOND)
        assert BINS["out"].got == TAPS["in"].acks == [1]

    play(tmp_path, story)


class Opaque:
    """A payload that shows nothing of itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "payload",
    ["\ud800", {"a": {1, 2}}, 10**5000, Opaque(), {"b": b"\0"}],
    ids=lambda p: str(type(p)),
)
def test_a_message_that_json_cannot_hold_is_quarantined_like_any_other(
    tmp_path: Path, payload: Any
) -> None:
    @node("fails")
    def fails(message: Message) -> Message:
        """Fail."""
        raise NodeError("no", slug="no")

    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "x": "fails"}, ["in -> x"])
        TAPS["in"].turn(payload)
        TAPS["in"].turn("next")
        await rig.settle()
        rows = rig.engine.folder.store.select("select message from quarantine")
        assert len(rows) == 2
        assert len(TAPS["in"].acks) == 2
        json.loads(rows[0][0])

    rigs.OWN.append(fails)
    play(tmp_path, story)


def test_a_time_beyond_the_calendar_can_be_shown() -> None:
    assert '"key": "k"' in as_text(Message(1, time=10**30, key="k"))


def test_a_state_that_cannot_be_saved_keeps_no_other_from_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        nodes = {"in": "tap", "d": {"type": "debounce", "config": {"for": "1h"}}, "out": "bin"}
        await rig.deploy(nodes, ["in -> d", "d -> out"])
        TAPS["in"].turn("good", key="a")
        TAPS["in"].turn(2**70, key="b")
        TAPS["in"].turn("good too", key="c")
        await rig.pass_time(3 * SECOND)
        rows = rig.engine.folder.store.select("select key from node_state order by key")
        assert rows == [("a",), ("c",)]
        assert TAPS["in"].acks == ["good"]  # the next waits for its message to leave
        await rig.pass_time(3700 * SECOND)
        assert TAPS["in"].acks == ["good", 2**70, "good too"]

    play(tmp_path, story)


def test_a_state_that_waits_for_a_timer_is_not_idle(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        config = {"for": "1h", "forget": "1m"}
        await rig.deploy(
            {"in": "tap", "d": {"type": "delay", "config": config}, "out": "bin"},
            ["in -> d", "d -> out"],
        )
        TAPS["in"].turn(1)
        await rig.pass_time(3700 * SECOND)
        assert BINS["out"].got == [1]

    play(tmp_path, story)


def test_what_a_forgotten_state_held_is_dropped_and_counted() -> None:
    bench = NodeBench(Gather, {"forget": "1m"})
    assert bench.step.entries is not None
    bench.step.entries.on_forget = bench.step.forget
    bench.send_many([Message(1, key="a"), Message(2, key="a"), Message(3, key="b")])
    bench.context.cancel_timers()
    bench.told.advance(90 * SECOND)
    bench.send_many([Message(4, key="b")])
    bench.context.cancel_timers()
    forget_idle([bench.step], bench.clock)
    assert bench.fates[FATES[DROPPED]] == bench.counts["forgotten"] == 2
    assert bench.unsettled == 2


def test_the_longest_untouched_states_make_room_for_new_ones() -> None:
    class Seen(NodeState):
        """A state."""

    gone: list[str] = []
    entries = Entries(Seen, max_keys=100)
    entries.on_forget = gone.extend
    for n in range(100):
        entries.touch(f"k{n}", n)
    entries.touch("k0", 1000)
    entries.touch("new", 1001)
    assert (gone, len(entries)) == (["k1"], 100)


@node("no-resume", scope="keyed")
class NoResume(Node[KeyedConfig]):
    """Cannot go on with a state."""

    class State(NodeState):
        """A state."""

        seen: int = 0

    def receive(self, message: Message, *states: Any) -> Message:
        """Count."""
        states[0].seen += 1
        return message.with_payload(states[0].seen)

    def resume(self, key: str, state: Any) -> None:
        """Break over one key."""
        if key == "bad":
            raise RuntimeError("cannot go on")


rigs.OWN.append(NoResume)


def test_a_state_that_a_node_cannot_go_on_with_keeps_no_flow_from_running(tmp_path: Path) -> None:
    nodes = {"in": "tap", "x": "no-resume", "out": "bin"}

    async def story(rig: Rig) -> None:
        await rig.deploy(nodes, ["in -> x", "x -> out"])
        TAPS["in"].turn(0, key="bad")
        TAPS["in"].turn(0, key="good")
        await rig.settle()
        assert BINS["out"].got in ([1, 1], [2, 2])

    play(tmp_path, story)
    play(tmp_path, story)
    assert BINS["out"].got == [2, 2]


def test_a_transaction_that_fails_at_its_end_does_not_block_the_next() -> None:
    class FullAtCommit:
        """A database whose disk fills at the first commit."""

        def __init__(self, db: sqlite3.Connection) -> None:
            self.db, self.is_full = db, True

        def execute(self, sql: str, *values: Any) -> Any:
            if sql == "commit" and self.is_full:
                self.is_full = False
                raise sqlite3.OperationalError("database or disk is full")
            return self.db.execute(sql, *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.db, name)

    store: Any = Store(None)
    store._db = FullAtCommit(store._db)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        asyncio.run(store.run(lambda db: None))
    asyncio.run(store.run(store.quarantine([("f", "n", 0, "s", "w", "{}")])))
    assert store.select("select count(*) from quarantine") == [(1,)]
    store.close()


def test_a_node_that_is_closed_sets_no_more_timers() -> None:
    bench = NodeBench(Gather, clock=ToldClock())
    bench.close()
    bench.send(1)
    assert bench.told.next_timer() is None

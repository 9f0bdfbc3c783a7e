"""A deploy hands on all that waits, and what has nowhere to go is counted (P4, F-85)."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from flowengine import Connection, Message, Node, NodeConfig, Source, connection_type, node
from flowengine.clock import SECOND
from flowengine.engine.fates import DROPPED
from flowengine.fields import connection
from flowengine.node import Sink
from tests.engine import rigs
from tests.engine.rigs import BINS, TAPS, BinConfig, Rig

Story = Callable[[Rig], Coroutine[Any, Any, None]]
STRAIGHT = {"in": "tap", "x": "stubborn", "out": "bin"}


def play(folder: Path, story: Story) -> None:
    """Run a story in an engine."""

    async def scene() -> None:
        async with Rig(folder) as rig:
            await story(rig)

    asyncio.run(scene())


def fates(rig: Rig) -> list[int]:
    """What became of the messages of `in`."""
    return rig.engine.flows["test"].intakes["in"].fates


def wire(capacity: int, **settings: Any) -> dict[str, Any]:
    """A wire in front of x where messages wait."""
    return {"from": "in", "to": "x", "capacity": capacity, **settings}


@pytest.mark.parametrize(
    "after",
    [
        wire(20),
        wire(20, when_full="drop-oldest"),
        wire(20, when_full="spill"),
        "in -> x",
    ],
    ids=["more room", "another policy", "to disk", "none"],
)
@pytest.mark.parametrize("policy", ["block", "spill"])
def test_a_wire_with_other_settings_keeps_what_waits_in_it(
    tmp_path: Path, after: Any, policy: str
) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(STRAIGHT, [wire(30, when_full=policy), "x -> out"])
        [(made, feeder)] = rig.engine.flows["test"].settings_wires.values()
        feeder.full_wires.add(made)  # as if something behind were full
        TAPS["in"].turn(*range(9))
        await rig.settle()
        assert BINS["out"].got == []
        await rig.deploy(STRAIGHT, [after, "x -> out"])
        await rig.settle()
        TAPS["in"].turn(9)
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == list(range(10))

    play(tmp_path, story)


def test_a_spilled_wire_keeps_what_waits_when_it_is_no_more(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(STRAIGHT, [wire(2, when_full="spill"), "x -> out"])
        [(made, feeder)] = rig.engine.flows["test"].settings_wires.values()
        feeder.full_wires.add(made)
        for n in range(9):
            TAPS["in"].turn(n)
        await rig.settle()
        assert TAPS["in"].acks == []  # the first two are in memory, and acknowledged first
        await rig.deploy(STRAIGHT, [wire(2), "x -> out"])
        await rig.pass_time(SECOND)
        assert BINS["out"].got == TAPS["in"].acks == list(range(9))

    play(tmp_path, story)


def test_a_wire_that_is_gone_gives_what_waits_to_the_node_it_led_to(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(STRAIGHT, [wire(30), "x -> out"])
        [(made, feeder)] = rig.engine.flows["test"].settings_wires.values()
        feeder.full_wires.add(made)
        TAPS["in"].turn(1, 2)
        await rig.settle()
        await rig.deploy(STRAIGHT, ["x -> out"])
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == [1, 2]

    play(tmp_path, story)


def test_a_queue_takes_its_new_settings_at_once(tmp_path: Path) -> None:
    def flow(**config: Any) -> Any:
        return {"in": "tap", "q": {"type": "queue", "config": config}, "out": "bin"}

    async def story(rig: Rig) -> None:
        await rig.deploy(flow(capacity=50), ["in -> q", "q -> out"])
        feeder = rig.engine.flows["test"].nodes["q"].feeder
        made = rig.engine.flows["test"].nodes["q"].wire
        assert feeder is not None
        assert made is not None
        feeder.full_wires.add(made)
        TAPS["in"].turn(*range(9))
        await rig.deploy(flow(capacity=2, when_full="drop-newest"), ["in -> q", "q -> out"])
        await rig.settle()
        TAPS["in"].turn(*range(9, 19))
        await rig.settle()
        assert BINS["out"].got == list(range(11))
        assert TAPS["in"].acks == list(range(19))

    play(tmp_path, story)


@pytest.mark.parametrize("kind", ["stubborn", "bin", "delay"])
def test_a_queue_that_becomes_another_node_hands_on_what_waits(tmp_path: Path, kind: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "q": "queue", "out": "bin"}, ["in -> q", "q -> out"])
        running = rig.engine.flows["test"].nodes["q"]
        assert running.feeder is not None
        assert running.wire is not None
        running.feeder.full_wires.add(running.wire)
        TAPS["in"].turn(1, 2)
        settings = {"config": {"for": "1s"}} if kind == "delay" else {}
        nodes = {"in": "tap", "q": {"type": kind, **settings}, "out": "bin"}
        await rig.deploy(nodes, ["in -> q"] if kind == "bin" else ["in -> q", "q -> out"])
        await rig.pass_time(2 * SECOND)
        assert TAPS["in"].acks == [1, 2]
        assert BINS["q" if kind == "bin" else "out"].got == [1, 2]

    play(tmp_path, story)


def test_what_waits_in_a_node_that_is_gone_is_dropped_and_counted(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        slow = {"type": "bin", "config": {"batch": {"age": "1h"}}}
        await rig.deploy({"in": "tap", "gone": slow, "out": "bin"}, ["in -> gone", "in -> out"])
        BINS["gone"].hangs = asyncio.Event()
        TAPS["in"].turn(1, 2)
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        TAPS["in"].turn(3)
        await rig.settle()
        assert TAPS["in"].acks == [1, 2, 3]  # what came later does not wait for ever behind it
        assert fates(rig)[DROPPED] == 2

    play(tmp_path, story)


def test_what_a_node_that_is_gone_held_stays_in_its_saved_state(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        nodes = {"in": "tap", "d": {"type": "delay", "config": {"for": "10s"}}, "out": "bin"}
        await rig.deploy(nodes, ["in -> d", "d -> out"])
        TAPS["in"].turn(1, 2)
        await rig.settle()
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        TAPS["in"].turn(3)
        await rig.pass_time(2 * SECOND)
        assert TAPS["in"].acks == [1, 2, 3]
        assert rig.engine.flows["test"].intakes["in"].in_flight == 2
        await rig.deploy(nodes, ["in -> d", "d -> out"])
        await rig.pass_time(20 * SECOND)
        assert BINS["out"].got == [3, 1, 2]

    play(tmp_path, story)


def test_a_node_that_comes_back_before_its_state_was_saved_goes_on_with_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        nodes = {"in": "tap", "d": {"type": "delay", "config": {"for": "10s"}}, "out": "bin"}
        await rig.deploy(nodes, ["in -> d", "d -> out"])
        TAPS["in"].turn(1, 2)
        await rig.settle()
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        await rig.deploy(nodes, ["in -> d", "d -> out"])
        await rig.pass_time(20 * SECOND)
        assert BINS["out"].got == TAPS["in"].acks == [1, 2]

    play(tmp_path, story)


def test_a_node_of_another_type_does_not_take_the_state_for_its_own(tmp_path: Path) -> None:
    def flow(kind: str) -> Any:
        held = {"type": kind, "config": {"for": "1h"}} if kind == "debounce" else {"type": kind}
        return {"in": "tap", "x": held, "out": "bin"}

    async def story(rig: Rig) -> None:
        await rig.deploy(flow("debounce"), ["in -> x", "x -> out"])
        TAPS["in"].turn(1)
        await rig.pass_time(2 * SECOND)
        await rig.deploy(flow("total"), ["in -> x", "x -> out"])
        TAPS["in"].turn(5)
        await rig.pass_time(2 * SECOND)
        assert BINS["out"].got == [5]
        assert fates(rig)[DROPPED] == 1
        await rig.deploy(flow("debounce"), ["in -> x", "x -> out"])
        await rig.pass_time(4000 * SECOND)
        assert BINS["out"].got == [5]

    play(tmp_path, story)


def test_a_type_that_was_changed_while_the_engine_was_down_begins_anew(tmp_path: Path) -> None:
    def flow(kind: str, **config: str) -> Any:
        return {"in": "tap", "x": {"type": kind, "config": config}, "out": "bin"}

    async def before(rig: Rig) -> None:
        await rig.deploy(flow("debounce", **{"for": "1h"}), ["in -> x", "x -> out"])
        TAPS["in"].turn(1)

    async def after(rig: Rig) -> None:
        await rig.deploy(flow("throttle", per="1s", excess="latest"), ["in -> x", "x -> out"])
        await rig.pass_time(10 * SECOND)
        assert BINS["out"].got == []

    play(tmp_path, before)
    play(tmp_path, after)


@node("closes-slowly")
class ClosesSlowly(Node[rigs.LabelConfig]):
    """Fail once closed."""

    def setup(self) -> None:
        """It is open."""
        self.is_closed = False

    async def close(self) -> None:
        """Take a while."""
        self.is_closed = True
        await asyncio.sleep(0.01)

    def receive(self, message: Message, *_states: Any) -> Message:
        """Pass on."""
        if self.is_closed:
            raise RuntimeError("it is closed")
        return message


rigs.OWN.append(ClosesSlowly)


def test_no_message_meets_a_node_that_is_closed(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        def flow(label: str) -> Any:
            return {
                "in": "tap",
                "x": {"type": "closes-slowly", "config": {"label": label}},
                "out": {"type": "bin", "config": {"label": label}},
            }

        await rig.deploy(flow("a"), ["in -> x", "x -> out"])
        deploying = asyncio.create_task(rig.deploy(flow("b"), ["in -> x", "x -> out"]))
        sent = 0
        while not deploying.done():
            TAPS["in"].turn(sent)
            sent += 1
            await asyncio.sleep(0.001)
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == list(range(sent))

    play(tmp_path, story)


def test_deploys_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        def flow(label: str) -> Any:
            return {"in": "tap", "out": {"type": "bin", "config": {"label": label}}}

        plans = [rigs.plan(flow(label), ["in -> out"]) for label in "abcd"]
        changes = await asyncio.gather(*(rig.engine.deploy(plan) for plan in plans))
        assert [change.restarted for change in changes] == [[], ["out"], ["out"], ["out"]]
        assert len(rig.engine.flows) == 1
        TAPS["in"].turn(1)
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == [1]

    play(tmp_path, story)


def test_a_deploy_whose_caller_is_gone_is_made_to_its_end(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        slow = {"type": "bin", "config": {"label": "changed"}}
        deploying = asyncio.create_task(
            rig.engine.deploy(rigs.plan({"in": "tap", "out": slow}, ["in -> out"]))
        )
        await asyncio.sleep(0)
        deploying.cancel()
        await asyncio.gather(deploying, return_exceptions=True)
        await rig.settle()
        TAPS["in"].turn(1)
        await rig.settle()
        assert BINS["out"].got == TAPS["in"].acks == [1]
        assert BINS["out"].config.label == "changed"

    play(tmp_path, story)


def test_two_catches_do_not_see_what_the_other_changes(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy(
            {
                "in": "tap",
                "x": "fails-always",
                "one": "catch",
                "two": "catch",
                "w": {"type": "dict-writer", "config": {"label": "one"}},
                "a": "bin",
                "b": "bin",
            },
            ["in -> x", "one -> w", "w -> a", "two -> b"],
        )
        TAPS["in"].turn({"n": 1})
        await rig.settle()
        assert BINS["a"].got == [{"n": 1, "by": "one"}]
        assert BINS["b"].got == [{"n": 1}]

    @node("fails-always")
    def fails_always(message: Message) -> Message:
        """Fail."""
        raise RuntimeError("no")

    rigs.OWN.append(fails_always)
    play(tmp_path, story)


@node("countdown", outputs=("again", "done"))
def countdown(message: Message) -> dict[str, Message]:
    """Go round until nothing is left."""
    if message.payload:
        return {"again": message.with_payload(message.payload - 1)}
    return {"done": message}


rigs.OWN.append(countdown)


def test_f82_a_loop_of_full_wires_goes_on(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        small = {"type": "queue", "config": {"capacity": 2}}
        await rig.deploy(
            {"in": "tap", "q": small, "p": small, "x": "countdown", "out": "bin"},
            ["in -> q", "q -> p", "p -> x", "x.again -> q", "x.done -> out"],
        )
        TAPS["in"].turn(*[3] * 1000)  # more than a feeder takes at once
        for _ in range(10):
            await rig.settle()
        assert BINS["out"].got == [0] * 1000
        assert TAPS["in"].acks == [3] * 1000
        assert not TAPS["in"].is_paused

    play(tmp_path, story)


def test_f82_a_message_may_go_round_as_often_as_it_likes(tmp_path: Path) -> None:
    """Each round through a state answers for the one before: that must not grow into a tower."""

    async def story(rig: Rig) -> None:
        wait = {"type": "delay", "config": {"for": "10ms"}}
        await rig.deploy(
            {"in": "tap", "w": wait, "x": "countdown", "out": "bin"},
            ["in -> w", "w -> x", "x.again -> w", "x.done -> out"],
        )
        rounds = 700
        TAPS["in"].turn(rounds)
        for _ in range(rounds + 50):
            rig.clock.advance(SECOND // 100)
            for _ in range(6):
                await asyncio.sleep(0)
        await rig.settle()
        assert BINS["out"].got == [0]
        assert TAPS["in"].acks == [rounds]

    play(tmp_path, story)


def test_a_full_wire_behind_a_catch_stops_the_source_of_the_errors(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        small = {"type": "queue", "config": {"capacity": 2}}
        await rig.deploy(
            {"in": "tap", "x": "stubborn", "c": "catch", "q": small, "out": "bin"},
            ["in -> x", "c -> q", "q -> out"],
        )
        running = rig.engine.flows["test"].nodes["q"]
        assert running.feeder is not None
        assert running.wire is not None
        running.feeder.full_wires.add(running.wire)
        TAPS["in"].turn("a", "b", "c")
        await rig.settle()
        assert TAPS["in"].is_paused
        running.feeder.full_wires.clear()
        running.feeder.go_on()
        await rig.settle()
        assert not TAPS["in"].is_paused
        assert BINS["out"].got == TAPS["in"].acks == ["a", "b", "c"]

    play(tmp_path, story)


class LinkedConfig(NodeConfig):
    """Which link."""

    link: str = connection("link", description="The link.")


CLOSED: list[str] = []


@connection_type("link")
class Link(Connection[NodeConfig]):
    """A link that is noted when it closes."""

    async def close(self) -> None:
        """Close."""
        CLOSED.append("link")


@node("linked")
class Linked(Source[LinkedConfig]):
    """A source that acknowledges by its link."""

    def setup(self) -> None:
        """Be found."""
        LINKED[:] = [self]

    def turn(self, *payloads: Any) -> None:
        """Let one read in."""
        messages = [Message(payload, "", 1, "k") for payload in payloads]
        self.emit(messages, lambda: CLOSED.append("acknowledged"))


LINKED: list[Linked] = []
rigs.OWN += [Link, Linked]


def test_f05_a_stop_acknowledges_what_it_saved_before_links_close(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        CLOSED.clear()
        text = {"in": {"type": "linked", "config": {"link": "far"}}, "g": "gather", "out": "bin"}
        await rig.engine.deploy(linked_plan(text, ["in -> g", "g -> out"]))
        await rig.settle()
        LINKED[0].turn(1, 2)

    play(tmp_path, story)
    assert CLOSED == ["acknowledged", "link"]


def linked_plan(nodes: dict[str, Any], wires: list[str]) -> Any:
    """A plan with the link."""
    return rigs.plan(nodes, wires, connections={"far": {"type": "link"}})


def test_f22_a_sink_tries_at_once_when_a_link_of_its_flow_is_up_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        text = {"in": {"type": "linked", "config": {"link": "far"}}, "out": "bin"}
        await rig.engine.deploy(linked_plan(text, ["in -> out"]))
        await rig.settle()
        (flow,) = rig.engine.flows.values()
        flow.set_status("far", "connecting", "it went away")
        BINS["out"].is_up = False
        LINKED[0].turn(1)
        await rig.pass_time(300 * SECOND)  # tries are a minute apart by now
        BINS["out"].is_up = True
        await rig.settle()
        assert BINS["out"].got == []
        flow.set_status("far", "running", "connected")
        await rig.settle()
        assert BINS["out"].got == [1]

    play(tmp_path, story)


def test_f05_a_stop_lets_what_is_on_its_way_arrive(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        slow = {"type": "bin", "config": {"batch": {"age": "1h"}}}
        small = {"type": "queue", "config": {"capacity": 3}}
        await rig.deploy(
            {"in": "tap", "q": small, "p": small, "x": "stubborn", "c": "catch", "out": slow},
            ["in -> q", "q -> p", "p -> x", "x -> out", "c -> out"],
        )
        TAPS["in"].turn(*range(50), "bad")

    play(tmp_path, story)
    assert sorted(map(str, BINS["out"].got)) == sorted(map(str, [*range(50), "bad"]))
    assert TAPS["in"].acks == [*range(50), "bad"]


@node("wide-bin")
class WideBin(Sink[BinConfig]):
    """A sink that takes two writes at once, and hangs while it is told to."""

    batch_age = 0
    batch_size = 1
    concurrency = 2
    hangs: asyncio.Event | None = None
    is_up = True

    async def write(self, records: list[Message]) -> None:
        """Keep, once it does not hang."""
        if WideBin.hangs is not None:
            await WideBin.hangs.wait()
        if not WideBin.is_up:
            from flowengine.errors import Unavailable  # noqa: PLC0415

            raise Unavailable("away")
        WIDE.extend(record.payload for record in records)


@node("wide-bare")
class WideBare(WideBin):
    """The same without a store on disk."""

    spools = False


WIDE: list[Any] = []
rigs.OWN += [WideBin, WideBare]


def test_a_sink_of_many_writes_that_is_made_anew_loses_none_of_them(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        WIDE.clear()
        WideBin.hangs = asyncio.Event()
        await rig.deploy({"in": "tap", "out": "wide-bin"}, ["in -> out"])
        TAPS["in"].turn(*range(6))
        await rig.settle()
        changed = {"type": "wide-bin", "config": {"label": "changed"}}
        await rig.deploy({"in": "tap", "out": changed}, ["in -> out"])
        WideBin.hangs.set()
        await rig.pass_time(SECOND)
        assert sorted(WIDE) == TAPS["in"].acks == list(range(6))

    play(tmp_path, story)
    WideBin.hangs = None


def test_what_was_being_written_from_the_store_is_written_by_the_sink_made_anew(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        BINS["out"].is_up = False
        TAPS["in"].turn(*range(6))
        await rig.pass_time(SECOND)
        assert TAPS["in"].acks == list(range(6))  # all in the store
        BINS["out"].is_up, BINS["out"].hangs = True, asyncio.Event()
        await rig.pass_time(30 * SECOND)  # it writes from there, and hangs
        changed = {"type": "bin", "config": {"label": "changed"}}
        await rig.deploy({"in": "tap", "out": changed}, ["in -> out"])
        await rig.pass_time(SECOND)
        assert BINS["out"].got == list(range(6))

    play(tmp_path, story)


def test_a_sink_of_many_writes_tries_again_what_it_put_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        WIDE.clear()
        WideBin.is_up = False
        await rig.deploy({"in": "tap", "out": "wide-bare"}, ["in -> out"])
        TAPS["in"].turn(1)
        await rig.pass_time(SECOND // 2)
        WideBin.is_up = True
        await rig.pass_time(5 * SECOND)
        assert WIDE == TAPS["in"].acks == [1]

    play(tmp_path, story)
    WideBin.is_up = True

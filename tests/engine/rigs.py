"""Node types for tests of running flows, and an engine over a folder with a told clock."""

import asyncio
from pathlib import Path
from typing import Any

from pydantic import Field

from flowengine import (
    KeyedConfig,
    Message,
    Node,
    NodeConfig,
    NodeState,
    Sink,
    SinkConfig,
    Source,
    node,
)
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.folder import DataFolder
from flowengine.engine.plan import Plan, make_plan
from flowengine.engine.runtime import Engine
from flowengine.errors import NodeError, Unavailable
from flowengine.flow import parse_flow
from flowengine.flow.references import resolve
from flowengine.node import MARK, NodeType
from flowengine.registry import REGISTRY, Registry

TAPS: dict[str, "Tap"] = {}
BINS: dict[str, "Bin"] = {}


class LabelConfig(NodeConfig):
    """Any text, so that a changed config can be told."""

    label: str = Field(default="", description="Any text.")


@node("tap")
class Tap(Source[LabelConfig]):
    """A source that the test opens and turns."""

    def setup(self) -> None:
        """Be found by the test."""
        TAPS[self.context.node] = self
        self.is_open = False
        self.is_paused = False
        self.acks: list[Any] = []

    async def open(self) -> None:
        """Open."""
        self.is_open = True

    async def close(self) -> None:
        """Close."""
        self.is_open = False

    def pause(self) -> None:
        """The flow is full."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """The flow has room."""
        self.is_paused = False

    def turn(self, *payloads: Any, key: str = "k") -> None:
        """Let one read in."""
        now = self.clock.now()
        self.emit(
            [Message(payload, "", now, key) for payload in payloads],
            lambda: self.acks.extend(payloads),
        )


class BinConfig(SinkConfig):
    """A sink's settings, and any text."""

    label: str = Field(default="", description="Any text.")


@node("bin")
class Bin(Sink[BinConfig]):
    """A sink in memory."""

    batch_age = 0

    def setup(self) -> None:
        """Take over what a former self got."""
        before = BINS.get(self.context.node)
        self.got: list[Any] = before.got if before else []
        self.is_up: bool = before.is_up if before else True
        self.hangs: asyncio.Event | None = None
        BINS[self.context.node] = self

    async def write(self, records: list[Any]) -> None:
        """Keep the payloads."""
        if self.hangs is not None:
            await self.hangs.wait()
        if not self.is_up:
            raise Unavailable("the bin is away")
        self.got += [record.payload for record in records]


@node("total", scope="keyed")
class Total(Node[KeyedConfig]):
    """The sum of what came, per key."""

    class State(NodeState):
        """The sum."""

        sum: float = 0

    def receive(self, message: Message, *states: Any) -> Message:
        """The new sum."""
        states[0].sum += message.number()
        return message.with_payload(states[0].sum)


@node("gather", scope="keyed")
class Gather(Node[KeyedConfig]):
    """Hold everything for ten minutes of silence, then tell how many."""

    class State(NodeState):
        """How many are held."""

        held: int = 0

    def receive(self, message: Message, *states: Any) -> None:
        """Hold."""
        states[0].held += 1
        self.context.keep(message, message.key)
        self.resume(message.key, states[0])

    def resume(self, key: str, state: Any) -> None:
        """Wait on."""
        self.context.wake_at(key, self.clock.monotonic() + 600 * SECOND)

    def wake(self, key: str, state: Any) -> Message:
        """Tell."""
        held, state.held = state.held, 0
        return self.context.give(Message(held, key=key), key)


@node("stubborn", outputs=("out",))
def stubborn(message: Message, config: LabelConfig) -> Message:
    """Fail on text, pass numbers on."""
    if isinstance(message.payload, str):
        raise NodeError(f"text: {message.payload}", slug="text")
    return message


@node("unbuildable")
class Unbuildable(Node[LabelConfig]):
    """Cannot be made."""

    def setup(self) -> None:
        """Fail."""
        raise RuntimeError("cannot be made")


@node("dict-writer", writes="top")
def dict_writer(message: Message, config: LabelConfig) -> Message:
    """Change the payload in place."""
    message.payload["by"] = config.label
    return message


OWN: list[Any] = [Tap, Bin, Total, Gather, stubborn, Unbuildable, dict_writer]
"""The types that `TestRegistry` knows; a test module may add its own."""


class TestRegistry(Registry):
    """The types of these tests beside the shipped ones."""

    __test__ = False

    def find(self, name: str) -> NodeType:
        """A type of these tests, else a shipped one."""
        for target in OWN:
            mark: NodeType = getattr(target, MARK)
            if mark.name == name:
                return mark
        return REGISTRY.find(name)


def plan(
    nodes: dict[str, Any],
    wires: list[Any],
    flow_id: str = "test",
    connections: dict[str, Any] | None = None,
) -> Plan:
    """A plan from nodes (`{"id": "type"}` or the node as in a file) and wires."""
    import json  # noqa: PLC0415

    full = {
        name: {"type": value} if isinstance(value, str) else value for name, value in nodes.items()
    }
    text = json.dumps(
        {"format": 1, "connections": connections or {}, "nodes": full, "wires": wires}
    )
    flow, findings = parse_flow(text, flow_id=flow_id)
    assert flow is not None
    assert not findings, findings
    resolved = resolve(flow, params={}, env={}, secrets=lambda _name: None)
    return make_plan(flow, resolved, TestRegistry())


class Rig:
    """An engine over a folder, with a told clock."""

    def __init__(self, folder: Path, clock: ToldClock | None = None) -> None:
        TAPS.clear()
        BINS.clear()
        self.clock = clock or ToldClock()
        self.engine = Engine(DataFolder(folder), self.clock)
        self.engine.around.disk = None  # the spool's fsync in the test's own turn

    async def __aenter__(self) -> "Rig":
        self.engine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.stop()

    async def deploy(self, *args: Any, **kwargs: Any) -> Any:
        """Deploy nodes and wires."""
        change = await self.engine.deploy(plan(*args, **kwargs))
        await self.settle()
        return change

    async def settle(self) -> None:
        """Let tasks, and the store's thread, do their work: until the store has no more to write.

        What is written after something else was is asked for in the turns in between.
        """
        before, changes = -1, 0
        while before != changes:
            for _ in range(20):
                await asyncio.sleep(0)
            before = changes
            changes = await self.engine.folder.store.run(lambda db: db.total_changes)
        for _ in range(20):
            await asyncio.sleep(0)

    async def pass_time(self, duration: int) -> None:
        """Let told time pass, timer by timer."""
        until = self.clock.monotonic() + duration
        await self.settle()
        while self.clock.step(until):
            await self.settle()
        await self.settle()

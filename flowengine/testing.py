"""Helpers for tests of nodes and flows: a node in memory, and a clock that is told the time.

bench = NodeBench("threshold", {"above": 8, "hold": "2m"})
bench.send(9.1, key="dev-1")
out = bench.advance("2m")
assert [m.payload for m in out["raised"]] == [9.1]
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowengine.clock import Clock, ToldClock
from flowengine.config import validate_config
from flowengine.engine.arrivals import Arrivals
from flowengine.engine.context import NodeContext
from flowengine.engine.delivery import Intake, settle_all
from flowengine.engine.fates import DELIVERED, FATES
from flowengine.engine.loops import set_work
from flowengine.engine.outlet import ERROR, Outlet
from flowengine.engine.quarantine import error_fact
from flowengine.engine.region import Region
from flowengine.engine.step import Step, entries_for
from flowengine.errors import Finding, FindingsError, Where
from flowengine.fields import Secret
from flowengine.message import NO_RECEIPT, Message
from flowengine.moments import parse_duration
from flowengine.node import MARK, NodeType, Read, Recogniser, Sink, Source
from flowengine.registry import REGISTRY

__all__ = ["NodeBench", "ToldClock"]

Outputs = dict[str, list[Message]]


class _Collected:
    """A target that keeps what reaches it, and settles it as delivered."""

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages

    def put(self, messages: list[Message]) -> None:
        for message in messages:
            self._messages.append(message)
            message.receipt.settle(DELIVERED)
            message.receipt = NO_RECEIPT


class NodeBench:
    """One node of any type, run in memory the way the engine runs it.

    `node_type` is a type's name, or a class or function marked with `@node`. Connections are any
    objects, by id. Clock: told, from 2026-01-01T00:00:00Z.

    Attributes:
        told: the told clock.
        node: the node object (the function, for function nodes).
        counts: what the node counted under a reason.
        records: what a sink was given to write, in order.
        statuses: (state, what) as the node told them.
    """

    def __init__(
        self,
        node_type: Any,
        config: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        clock: ToldClock | None = None,
        connections: Mapping[str, Any] | None = None,
        node_id: str = "node",
        folder: str = ".",
        files: str = "files",
        data: str = "data",
    ) -> None:
        self.id = "bench"
        self.told = clock or ToldClock()
        self.clock: Clock = self.told
        self.params: Mapping[str, Any] = params or {}
        self.folder, self.files, self.data, self.install_id = folder, files, data, "0a1b2c3d"
        self.eco = self.insecure_bind = False
        self.connections = dict(connections or {})
        self.statuses: list[tuple[str, str]] = []
        self.records: list[Any] = []
        self.type: NodeType = (
            REGISTRY.find(node_type) if isinstance(node_type, str) else getattr(node_type, MARK)
        )
        self._raw = dict(config or {})
        self._node_id = node_id
        self._out: Outputs = {}
        self._lists: Outputs = {}
        self._kept: list[Message] = []
        self.intake = Intake()
        self.region = Region(self.clock, self._failed)
        self._build()

    def _build(self) -> None:
        valid, faults = validate_config(self.type.config, self._raw)
        if valid is None:
            raise FindingsError(
                [
                    Finding(
                        slug=fault.slug,
                        what=fault.what,
                        mend=fault.mend,
                        where=Where(
                            node=self._node_id,
                            field="config"
                            + "".join(
                                f"[{p}]" if isinstance(p, int) else f".{p}" for p in fault.path
                            ),
                        ),
                    )
                    for fault in faults
                ]
            )
        self.config = valid
        self.context = NodeContext(self, self._node_id)
        self.node = (
            self.type.target if self.type.is_function else self.type.target(valid, self.context)
        )
        self.step = Step(self._node_id, self.type, self.node, valid)
        self.context.step = self.step
        outputs = self.type.outputs_of(valid)
        for name in (*outputs, ERROR):
            outlet = self.step.outlets[name] = Outlet(name)
            outlet.connect(_Collected(self._lists.setdefault(name, [])), "nothing")
        self.step.first = self.step.outlets[outputs[0]] if outputs else Outlet("")
        self.step.entries = entries_for(self.type, self.node)
        self.step.again = self._kept.extend
        set_work(self.step)
        self.region.set_steps([self.step])

    # -- what the node's context asks for

    def connection(self, name: str, _node: str) -> Any:
        """A connection given to the bench."""
        return self.connections[name]

    def take_in(
        self,
        step: Step,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]],
        read: Read | None = None,
    ) -> None:
        """Messages of a source."""
        self.intake.let_in([*messages, *(message for message, _ in failed)], settled)
        for message, error in failed:
            step.fail(message, error)
        step.first.put(messages)

    def arrivals(self, _node: str) -> Recogniser:
        """Nothing comes again here."""
        return Arrivals(self.intake.ledger)

    def run_region(self) -> None:
        """Run what waits."""
        self.region.run()

    def set_status(self, node: str, state: str, what: str) -> None:
        """The node told its state."""
        self.statuses.append((state, what))

    def behind(self, _node: str, _asked_for: int) -> int | None:
        """Nothing waits in front of a node on the bench."""
        return None

    def _failed(self, step: Step, message: Message, error: Exception) -> None:
        handled = message.with_meta(error=error_fact(step.id, self.type.name, error))
        self.step.outlets[ERROR].put([handled])

    # -- what a test does

    def send(
        self,
        payload: Any = None,
        *,
        key: str = "dev-1",
        topic: str = "",
        time: int | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Outputs:
        """Hand the node one message; returns what left, by output."""
        at = self.clock.now() if time is None else time
        return self.send_many([Message(payload, topic, at, key, dict(meta or {}))])

    def send_many(self, messages: list[Message]) -> Outputs:
        """Hand the node a batch; returns what left, by output (`error` holds what failed)."""
        self.intake.let_in(messages, None)
        if isinstance(self.node, Sink):
            asyncio.run(self._write(messages))
        else:
            self.step.put(list(messages))
            self.region.run()
        return self._left()

    async def _write(self, messages: list[Message]) -> None:
        records, good = [], []
        for message in messages:
            try:
                records.append(self.node.prepare(message))
                good.append(message)
            except Exception as err:  # noqa: BLE001  # as the engine does (R6)
                self.step.fail(message, err)
        if not records:
            return
        results = await self.node.write(records)
        self.records += records
        for message, result in zip(good, results or [None] * len(good), strict=True):
            if result is None:
                settle_all([message], DELIVERED)
                continue
            outs: Outputs = {}
            self.step.sort(message, result, outs)
            for name, sent in outs.items():
                self.step.outlets[name].put(sent)

    def open(self) -> Outputs:
        """Open the node (a source begins); returns what left."""
        asyncio.run(self.node.open())
        return self._left()

    def close(self) -> None:
        """Close the node."""
        self.context.cancel_timers()
        asyncio.run(self.node.close())

    def advance(self, duration: str | int) -> Outputs:
        """Let time pass (`"2m"`, or nanoseconds), timers firing; returns what left."""
        until = self.told.monotonic() + (
            parse_duration(duration) if isinstance(duration, str) else duration
        )
        is_going = True
        while is_going:
            is_going = self.told.step(until)
            kept, self._kept[:] = list(self._kept), []
            if kept:  # what a sink kept for later is written in its time
                asyncio.run(self._write(kept))
        self.region.run()
        return self._left()

    def _left(self) -> Outputs:
        left = {name: list(messages) for name, messages in self._lists.items() if messages}
        for messages in self._lists.values():
            messages.clear()
        return left

    def restart(self) -> None:
        """Stop the node and start it anew from what a checkpoint kept of its state."""
        self.context.cancel_timers()
        saved: list[tuple[str, int, bytes]] = []
        if self.step.entries is not None:
            for key in self.step.entries.keys():  # noqa: SIM118  # entries are no map
                self.step.entries.dirty.add(key)
            changed, _ = self.step.entries.checkpoint()
            saved = [(key, self.step.entries.state.version, data) for key, data in changed]
        for receipts in self.step.held.values():
            for receipt in receipts:
                receipt.secure()
        self._build()
        if self.step.entries is not None:
            self.step.entries.restore(saved, self.clock.monotonic())
            for key in self.step.entries.keys():  # noqa: SIM118  # entries are no map
                self.node.resume(key, self.step.entries.get(key))

    def state(self, key: str = "") -> Any:
        """The node's state for a key, None if there is none."""
        return self.step.entries.get(key) if self.step.entries is not None else None

    @property
    def filtered(self) -> int:
        """How many messages were held back here."""
        return self.step.filtered

    @property
    def counts(self) -> Counter[str]:
        """What the node counted."""
        return self.step.counts

    @property
    def unsettled(self) -> int:
        """Messages whose fate is open: held by the node, or forgotten by it (a fault)."""
        return self.intake.in_flight

    @property
    def unacknowledged(self) -> int:
        """Messages that their source may not acknowledge yet."""
        return self.intake.unacknowledged

    @property
    def fates(self) -> dict[str, int]:
        """What became of the messages."""
        return dict(zip(FATES, self.intake.fates, strict=True))

    @staticmethod
    def secret(value: str) -> Secret:
        """A resolved secret for a config."""
        return Secret("test", value)

    @property
    def is_source(self) -> bool:
        """Whether the node lets messages in."""
        return isinstance(self.node, Source)

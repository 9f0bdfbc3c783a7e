"""One flow at work: its nodes opened, linked by wires, swapped by a deploy, closed again.

    Plan --build--> connections, nodes, steps --link--> outlets, wires, feeders --open--> running

A deploy builds what is new first; only when that worked is anything stopped. Steps are relinked
between two batches, so nothing is lost or repeated: kept nodes keep their connection, their wire
with what waits in it, and their state.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from flowengine.clock import SECOND, Clock
from flowengine.engine.backlog import Backlog
from flowengine.engine.context import NodeContext
from flowengine.engine.delivery import DROPPED, SPOOLED, Intake, settle_all
from flowengine.engine.feeder import Feeder, SourcePort, WireFeeder
from flowengine.engine.leaving import Leaving
from flowengine.engine.loops import set_work
from flowengine.engine.outlet import ERROR, Outlet, Target
from flowengine.engine.plan import Change, Plan, PlannedNode, PlannedWire, compare
from flowengine.engine.quarantine import Quarantine, error_fact, error_text
from flowengine.engine.region import Region
from flowengine.engine.sink import SinkRunner
from flowengine.engine.spill import SpillWire
from flowengine.engine.spool import Spool
from flowengine.engine.step import Step, entries_for
from flowengine.engine.store import Store
from flowengine.engine.wire import CAPACITY, MAX_BYTES, Wire
from flowengine.errors import NodeError
from flowengine.message import Message, copy_tree
from flowengine.node import Connection, Node, NodeType, SpoolConfig

LOG = logging.getLogger("flowengine.flow")
FIRST_RETRY = SECOND
LONGEST_RETRY = 60 * SECOND
DIFFERENT = 10
"""Failures of one kind at one node that are logged for their different topics and texts."""
OPEN_WITHIN = 1.0
"""Seconds that a deploy waits for its sources to open."""
WRITE_OUT = 1.2
CLOSE_WITHIN = 1.6
"""Seconds at a stop for what is on its way, again for what sinks have left, and to close."""


class Surroundings(msgspec.Struct, kw_only=True):
    """What the engine gives every flow: clock, disk, quarantine."""

    clock: Clock
    store: Store
    quarantine: Quarantine
    data: str = ""
    files: str = ""
    install_id: str = "00000000"
    insecure_bind: bool = False
    session: str = ""
    spool_folder: Callable[[str, str], Path] | None = None
    disk: Executor | None = None
    hurry: Callable[[], None] = lambda: None


_NOTHING_TO_OPEN = asyncio.Event()  # one for all: an event of its own weighs 0.8 kB a node
_NOTHING_TO_OPEN.set()


def _opens(kind: NodeType, thing: Any) -> bool:
    """Whether a node has something of its own to open; most have not, and need no task."""
    own = not kind.is_function and type(thing).open is not Node.open
    return own or kind.kind == "sink"


class Running:
    """One node or connection at work."""

    def __init__(self, planned: PlannedNode, context: NodeContext, thing: Any) -> None:
        self.planned = planned
        self.context = context
        self.thing: Node[Any] | Connection[Any] = thing
        self.state = "starting"
        self.what = ""
        self.since = context.clock.now()
        self.step: Step | None = None
        self.wire: Wire | None = None
        self.feeder: Feeder | None = None
        self.runner: SinkRunner | None = None
        self.opened = asyncio.Event() if _opens(planned.type, thing) else _NOTHING_TO_OPEN
        self.task: asyncio.Task[None] | None = None


class RunningFlow:
    """A flow that runs."""

    def __init__(self, plan: Plan, around: Surroundings) -> None:
        self.id = plan.flow
        self.around = around
        self.clock = around.clock
        self.plan: Plan | None = None
        self.params: Mapping[str, Any] = plan.params
        self.folder = plan.folder
        self.data = around.data
        self.files = around.files
        self.install_id = around.install_id
        self.insecure_bind = around.insecure_bind
        self.region = Region(around.clock, self.fail)
        self.nodes: dict[str, Running] = {}
        self.connections: dict[str, Running] = {}
        self.intakes: dict[str, Intake] = {}
        self.settings_wires: dict[PlannedWire, tuple[Wire, WireFeeder]] = {}
        self._catches: dict[str, list[Step]] = {}
        self._watchers: dict[str, list[Step]] = {}
        self._said: dict[tuple[str, str], int] = {}
        self._texts: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self._building: dict[str, Running] = {}
        self._changing = asyncio.Lock()
        self._left_over: list[SpillWire] = []
        self._gone: dict[str, Step] = {}
        self.leaving = Leaving()

    # -- what contexts ask for

    def connection(self, name: str, _node: str) -> Any:
        """The connection object with this id."""
        found = self._building.get(name) or self.connections.get(name)
        if found is None:
            raise NodeError(f'there is no connection "{name}"', slug="bad-reference")
        return found.thing

    def take_in(
        self,
        step: Step,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]],
    ) -> None:
        """Messages of a source enter by its port."""
        running = self.nodes.get(step.id)  # None: it is gone, and what it still reads comes again
        if running is not None and isinstance(running.feeder, SourcePort):
            running.feeder.receive(messages, settled, failed)

    def run_region(self) -> None:
        """Run what waits in the inboxes."""
        self.region.run()

    def set_status(self, name: str, state: str, what: str = "") -> None:
        """Note a node's (or connection's) state; tell the flow's `status` nodes of a change."""
        running = self.nodes.get(name) or self.connections.get(name)
        if running is None or (running.state, running.what) == (state, what):
            return
        if running.state != state:
            running.since = self.clock.now()
        running.state, running.what = state, what
        level = logging.WARNING if state in {"failed", "waiting"} else logging.INFO
        if running.task is None:
            level = logging.DEBUG  # it had nothing to open: no news
        facts = {"flow": self.id, "node": name, "state": state}
        LOG.log(level, "%s%s", state, f": {what}" if what else "", extra={"facts": facts})
        told = {"node": name, "state": state, "what": what, "since": running.since}
        for step in self._watchers.get(name, []):
            watcher = self.nodes.get(step.id)
            port = watcher.feeder if watcher is not None else None
            if isinstance(port, SourcePort):
                port.receive([Message(dict(told), "", self.clock.now(), name)], None)

    # -- errors (R6)

    def fail(self, step: Step, message: Message, error: Exception) -> None:
        """Send a message by the error route: its `error` output, each `catch`, the quarantine."""
        kind = step.type.name
        self._say_once(step.id, message, error)
        if "error" not in message.meta:
            handler = message.with_meta(error=error_fact(step.id, kind, error))
            handler.payload = copy_tree(message.payload)
            outlet = step.outlets.get(ERROR)
            if outlet is not None and outlet.branches:
                outlet.put([handler])
                return
            catches = self._catches.get(step.id, [])
            if catches:
                message.receipt.take(len(catches) - 1)
                for catch in catches:
                    catch.received += 1
                    copy = handler.copy()
                    if len(catches) > 1:  # what is behind one must not change another's
                        copy.payload = copy_tree(handler.payload)
                    catch.first.put([copy])
                return
        self.around.quarantine.put(self.id, step.id, message, error)

    def _say_once(self, node: str, message: Message, error: Exception) -> None:
        """Log what is new of a kind of failure, ten lines at most, and its tenth, hundredth...

        The counters have them all.
        """
        slug = error.slug if isinstance(error, NodeError) else type(error).__name__
        times = self._said[node, slug] = self._said.get((node, slug), 0) + 1
        what, seen = error_text(error), self._texts.setdefault((node, slug), set())
        if len(seen) < DIFFERENT and (message.topic, what) not in seen:
            seen.add((message.topic, what))
        elif str(times).strip("0") != "1":
            return
        known = isinstance(error, NodeError)
        facts = {"flow": self.id, "node": node, "slug": slug}
        if message.topic or message.key:
            facts |= {"topic": message.topic} if message.topic else {"key": message.key}
        if isinstance(error, NodeError) and error.path and error.path not in what:
            facts["field"] = error.path
        LOG.warning(
            "%s%s",
            what,
            "" if times == 1 else f" ({times} times)",
            extra={"facts": facts},
            exc_info=None if known or not LOG.isEnabledFor(logging.DEBUG) else error,
        )

    # -- building

    def build(self, plan: Plan, change: Change) -> dict[str, Running]:
        """Make every node and connection that is new or changed; touches nothing that runs."""
        self._building = built = {}
        try:
            for name, planned in plan.connections.items():
                if name not in change.connections_kept:
                    built[name] = self._make_connection(planned)
            for name, planned in plan.nodes.items():
                if name not in change.kept:
                    built[f"node:{name}"] = self._make(planned)
        finally:
            self._building = {}
        return built

    def _make_connection(self, planned: PlannedNode) -> Running:
        context = NodeContext(self, planned.id)
        return Running(planned, context, planned.type.target(planned.config, context))

    def _make(self, planned: PlannedNode) -> Running:
        context = NodeContext(self, planned.id)
        kind = planned.type
        node = kind.target if kind.is_function else kind.target(planned.config, context)
        running = Running(planned, context, node)
        step = running.step = Step(planned.id, kind, node, planned.config)
        context.step = step
        step.region = self.region
        outputs = kind.outputs_of(planned.config)
        for output in (*outputs, ERROR):
            step.outlets[output] = Outlet(output)
        step.first = step.outlets[outputs[0]] if outputs else Outlet("")
        step.leaving = self.leaving
        step.entries = entries_for(kind, node)
        if step.entries is not None:
            step.entries.on_forget = step.forget
        return running

    # -- deploying

    async def deploy(self, plan: Plan) -> Change:
        """Run `plan` from now on; what is unchanged goes on untouched."""
        async with self._changing:
            return await self._deploy(plan)

    async def _deploy(self, plan: Plan) -> Change:
        change = compare(self.plan, plan)
        previous = (self.params, self.folder)
        self.params, self.folder = plan.params, plan.folder
        try:
            built = self.build(plan, change)
        except BaseException:
            self.params, self.folder = previous
            raise
        stopped = [self.nodes[name] for name in change.stopped]
        gone = [*stopped, *(self.nodes[name] for name in change.restarted)]
        gone_connections = [
            running
            for name, running in self.connections.items()
            if name not in change.connections_kept
        ]
        old_connections = dict(self.connections)
        for link in _links(old_connections.values()):
            link.hold()
        await self._retire(gone)
        # From here to `_restore` nothing is awaited: messages meet the old flow, or the new one.
        is_first = self.plan is None
        old_nodes = dict(self.nodes)
        self.nodes = {
            name: built[f"node:{name}"] if f"node:{name}" in built else old_nodes[name]
            for name in plan.nodes
        }
        self.connections = {
            name: built[name] if name in built else old_connections[name]
            for name in plan.connections
        }
        for name in change.restarted:
            self._inherit(self.nodes[name], old_nodes[name])
        for name in change.started:
            self._come_back(self.nodes[name])
        self._link(plan)
        self.plan = plan
        for running in stopped:
            self._leave(running)
        for name, running in self.nodes.items():
            if name not in change.kept:
                self._restore(running)
        if is_first:
            self._let_out_again()
        within = [r for r in gone if r.planned.type.kind == "transform"]
        for running in within:
            running.context.cancel_timers()
            if running.step is not None:
                running.step.region = self.region  # what it still lets out finds its way
        await _close_all(within)
        await self._forget_types(change.restarted, old_nodes)
        for running in gone_connections:
            await _close(running)
        await self._start(change)
        for link in _links(self.connections[name] for name in change.connections_kept):
            link.release()
        self.region.run()
        return change

    def _inherit(self, new: Running, old: Running) -> None:
        """A changed node takes over what its former self held: state, receipts, messages."""
        if new.step is None or old.step is None:
            return
        kind, rest = new.planned.type, list[Message]()
        new.step.take_over(old.step, same=kind.name == old.planned.type.name)
        if isinstance(old.feeder, SourcePort):
            if kind.kind == "source":
                old.feeder.move_to(new.step)
                new.feeder = old.feeder
            else:
                rest += old.feeder.take_all()
        if old.wire is not None:
            if kind.boundary:
                new.wire = self._inherit_wire(old.wire, new.planned.id, *_inbox_bounds(new))
                new.feeder = old.feeder if isinstance(old.feeder, WireFeeder) else None
            else:
                new.step.inbox += self._empty(old.wire)
        if kind.kind != "transform":
            waiting, new.step.inbox = new.step.inbox, []
            if kind.kind == "source":
                rest += waiting
            elif waiting:
                new.wire = new.wire or self._inbox(new)
                new.wire.put_back(waiting)
        self._drop(new.planned.id, rest)

    def _inherit_wire(
        self, old: Wire, name: str, capacity: int, max_bytes: int, when_full: str
    ) -> Wire:
        """A wire with its new settings and what waits in it; the same one where that can be."""
        if isinstance(old, SpillWire) == (when_full == "spill" and self._spills):
            policy = "block" if when_full == "spill" else when_full
            old.bound_anew(capacity, max_bytes, policy)  # type: ignore[arg-type]  # checked before
            return old
        new = self._make_wire(name, capacity, max_bytes, when_full)
        if waiting := self._empty(old):
            new.put(waiting)
        return new

    def _empty(self, wire: Wire) -> list[Message]:
        """Take everything out of a wire that is no more."""
        if isinstance(wire, SpillWire):
            self._left_over.append(wire)  # its records stay on disk until they are settled
        return wire.take_all()

    def _drop(self, name: str, messages: list[Message]) -> None:
        """What waited in front of a node that is no more is dropped, and counted."""
        if messages:
            settle_all(messages, DROPPED)
            facts = {"flow": self.id, "node": name, "number": len(messages)}
            LOG.warning("dropped what waited: the node is gone", extra={"facts": facts})

    def _leave(self, old: Running) -> None:
        """A node is gone from the flow: nothing leads to it, and nothing leaves it any more."""
        waiting = self._empty(old.wire) if old.wire is not None else []
        if isinstance(old.feeder, SourcePort):
            waiting += old.feeder.take_all()
        if old.step is not None:
            waiting += old.step.inbox
            old.step.inbox = []
            for outlet in old.step.outlets.values():
                outlet.branches.clear()
            if old.step.entries is not None:
                self._gone[old.step.id] = old.step
        self._drop(old.planned.id, waiting)

    def steps(self) -> list[Step]:
        """All steps with something to save: those at work, and those of nodes just removed."""
        return [*(r.step for r in self.nodes.values() if r.step is not None), *self._gone.values()]

    def saved(self, steps: list[Step]) -> None:
        """These are in a checkpoint: what removed nodes hold is safe there, should they return."""
        for step in steps:
            if self._gone.get(step.id) is step:
                del self._gone[step.id]
                if number := step.let_go(SPOOLED):
                    facts = {"flow": self.id, "node": step.id, "number": number}
                    LOG.warning("messages that it held stay in its state", extra={"facts": facts})

    def _come_back(self, new: Running) -> None:
        """A node that was removed, and whose state is not saved yet, is here again."""
        old = self._gone.pop(new.planned.id, None)
        if old is not None and new.step is not None:
            new.step.take_over(old, same=old.type.name == new.planned.type.name)

    async def _forget_types(self, names: Sequence[str], old: Mapping[str, Running]) -> None:
        """The saved states of nodes that are of another type now are nobody's."""
        for name in names:
            if old[name].planned.type.name != self.nodes[name].planned.type.name:
                try:
                    await self.around.store.run(self.around.store.drop_states(self.id, name))
                except sqlite3.Error as err:  # the type is saved with a state, so none is mistaken
                    LOG.warning("old states cannot be removed: %s", err)

    def _let_out_again(self) -> None:
        """What had left a state when the engine ended, and was not committed, leaves again."""
        try:
            rows = self.around.store.load_leaving(self.id)
        except sqlite3.Error as err:
            LOG.error("what was on its way cannot be read: %s", err)  # noqa: TRY400
            return
        for row, message in self.leaving.restore(rows):
            running = self.nodes.get(row.node)
            step = running.step if running is not None else None
            outlet = step.outlets.get(row.output) if step is not None else None
            if message is None:
                LOG.error("a message on its way from %s cannot be read", row.node)
            elif outlet is not None and row.output != ERROR:
                outlet.put([message])
            else:
                cause = NodeError("it was on its way from here when the engine ended")
                if step is not None:
                    self.fail(step, message, cause)
                else:
                    self.around.quarantine.put(self.id, row.node, message, cause)

    def _link(self, plan: Plan) -> None:
        """Connect outlets to inboxes and wires as the plan says."""
        for running in self.nodes.values():
            step = running.step
            assert step is not None  # noqa: S101  # every node has one
            for outlet in step.outlets.values():
                outlet.branches.clear()
            running.feeder = self._feeder(running, step)
        settings_wires: dict[PlannedWire, tuple[Wire, WireFeeder]] = {}
        former = {_ends(wire): kept for wire, kept in self.settings_wires.items()}
        for wire in plan.wires:
            source, target = self.nodes[wire.source].step, self.nodes[wire.target].step
            assert source is not None  # noqa: S101
            assert target is not None  # noqa: S101
            writes = plan.writes[wire.target]
            goal: Target = self.nodes[wire.target].wire or target
            if wire.is_boundary:
                kept = self._wire(wire, goal, former.pop(_ends(wire), None))
                settings_wires[wire] = kept
                goal = kept[0]
            source.outlets[wire.output].connect(goal, writes)
        self.settings_wires = settings_wires
        for (_, _, name), (gone, _) in former.items():
            waiting = self._empty(gone)
            goes_on = self.nodes.get(name)
            if goes_on is None or goes_on.step is None:
                self._drop(name, waiting)
            elif waiting:
                (goes_on.wire or goes_on.step).put(waiting)
        for name, running in self.nodes.items():
            if running.step is not None:
                set_work(running.step, in_order=name in plan.meets)
        order = [self.nodes[name] for name in plan.order]
        self.region.set_steps(
            [r.step for r in order if r.step is not None and r.planned.type.kind == "transform"]
        )
        self._listeners(plan)
        self._push_back(plan)

    def _feeder(self, running: Running, step: Step) -> Feeder | None:
        kind = running.planned.type
        if kind.kind == "source":
            if isinstance(running.feeder, SourcePort):
                return running.feeder
            intake = self.intakes.setdefault(step.id, Intake(self.around.hurry))
            intake.window = getattr(running.thing, "window", None)
            prefix = f"{self.install_id}-{self.around.session}-{self.id}-{step.id}-"
            return SourcePort(self.region, step, intake, prefix)
        if kind.boundary:
            if running.wire is None:
                running.wire = self._inbox(running)
            step.again = running.wire.put
            if kind.kind == "transform":
                feeder = running.feeder
                if isinstance(feeder, WireFeeder) and feeder.wire is running.wire:
                    feeder.target = step
                    return feeder
                return WireFeeder(self.region, step, running.wire)
        return None

    def _inbox(self, running: Running) -> Wire:
        """The wire in front of a boundary node."""
        return self._make_wire(running.planned.id, *_inbox_bounds(running))

    def _wire(
        self, wire: PlannedWire, target: Target, former: tuple[Wire, WireFeeder] | None
    ) -> tuple[Wire, WireFeeder]:
        """A wire with settings, made or kept, and what empties it."""
        name = f"{wire.source}.{wire.output}-{wire.target}"
        bounds = wire.capacity or CAPACITY, wire.bytes or MAX_BYTES, wire.when_full or "block"
        if former is None:
            made = self._make_wire(name, *bounds)
            return made, WireFeeder(self.region, target, made)
        old, feeder = former
        kept = self._inherit_wire(old, name, *bounds)
        if kept is not old:
            feeder = WireFeeder(self.region, target, kept)
        feeder.target = target
        return kept, feeder

    @property
    def _spills(self) -> bool:
        return self.around.spool_folder is not None

    def _make_wire(self, name: str, capacity: int, max_bytes: int, when_full: str) -> Wire:
        if when_full != "spill" or not self._spills:
            policy = "block" if when_full == "spill" else when_full
            return Wire(
                self.clock,
                capacity=capacity,
                max_bytes=max_bytes,
                when_full=policy,  # type: ignore[arg-type]  # checked with the flow
            )
        settings = SpoolConfig()
        backlog = Backlog(
            self._spool(f"{name}.wire", settings),
            settings,
            self.clock,
            self.around.disk,
            status=lambda state, what: self.set_status(name, state, what),
            log=NodeContext(self, name).log,
        )
        return SpillWire(self.clock, backlog, capacity=capacity, max_bytes=max_bytes)

    def _spool(self, name: str, settings: SpoolConfig) -> Spool:
        folder = self.around.spool_folder
        assert folder is not None  # noqa: S101  # only asked for where there is one
        return Spool(
            folder(self.id, name),
            max_bytes=settings.size,
            max_age_ns=settings.age,
            now=self.clock.now,
        )

    def _listeners(self, plan: Plan) -> None:
        self._catches, self._watchers = {}, {}
        for name, running in self.nodes.items():
            listens = getattr(running.thing, "listens", "")
            if not listens or running.step is None:
                continue
            table = self._catches if listens == "errors" else self._watchers
            scope = getattr(running.planned.config, "nodes", None) or [
                other for other in plan.nodes if other != name
            ]
            for other in scope:
                table.setdefault(other, []).append(running.step)

    def _push_back(self, plan: Plan) -> None:
        """Tell every wire which feeders stand still while it is full: those that lead into it."""
        into: dict[str, list[PlannedWire]] = {}
        for wire in plan.wires:
            into.setdefault(wire.target, []).append(wire)
        for wire, (made, _) in self.settings_wires.items():
            made.on_level = _leveller(self._feeders_before(wire.source, into))
        for name, running in self.nodes.items():
            if running.wire is not None:
                feeders: dict[Feeder, None] = {}
                for wire in into.get(name, []):
                    kept = self.settings_wires.get(wire)
                    feeders |= {kept[1]: None} if kept else self._feeders_before(wire.source, into)
                running.wire.on_level = _leveller(feeders)
        self._level_anew()

    def _level_anew(self) -> None:
        """Wires and feeders may be linked otherwise than before: who stands still is told anew."""
        wires = [kept[0] for kept in self.settings_wires.values()]
        wires += [running.wire for running in self.nodes.values() if running.wire is not None]
        feeders: list[Feeder] = [kept[1] for kept in self.settings_wires.values()]
        feeders += [r.feeder for r in self.nodes.values() if r.feeder is not None]
        for feeder in feeders:
            feeder.full_wires.clear()
        for wire in wires:
            if wire.blocked:
                wire.on_level(wire)
        for feeder in feeders:
            feeder.go_on()

    def _feeders_before(
        self, name: str, into: Mapping[str, list[PlannedWire]]
    ) -> dict[Feeder, None]:
        """The feeders that a node's messages come from, up to the boundaries before it."""
        found: dict[Feeder, None] = {}  # a set in order, so that a run can be repeated
        seen: set[str] = set()
        todo = [name]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            running = self.nodes[at]
            if running.feeder is not None:
                found[running.feeder] = None
                continue
            for wire in into.get(at, []):
                kept = self.settings_wires.get(wire)
                if kept is not None:
                    found[kept[1]] = None
                else:
                    todo.append(wire.source)
        return found

    # -- starting and stopping

    async def _start(self, change: Change) -> None:
        """Open what is new: connections, then sinks, then the nodes within, sources last."""
        for name, running in self.connections.items():
            if name not in change.connections_kept:
                running.task = asyncio.create_task(self._open(running))
        rank = {"sink": 0, "transform": 1, "source": 2}
        fresh = [r for name, r in self.nodes.items() if name not in change.kept]
        # All in one turn of the loop: no connection brings anything before its sources are there.
        for running in sorted(fresh, key=lambda r: rank[r.planned.type.kind]):
            if running.opened is _NOTHING_TO_OPEN:
                self.set_status(running.planned.id, "running")
                continue
            running.task = asyncio.create_task(self._open(running))
        opening = [
            asyncio.ensure_future(running.opened.wait())
            for running in fresh
            if running.planned.type.kind == "source"
        ]
        if opening:  # most open at once; one that fails is tried again in its own time
            _, late = await asyncio.wait(opening, timeout=OPEN_WITHIN)
            for wait in late:
                wait.cancel()

    def _restore(self, running: Running) -> None:
        """Give a node its saved state, and let it set its timers again."""
        step = running.step
        if step is None or step.entries is None:
            return

        def lost(key: str, why: str) -> None:
            running.context.log("error", f'the state of "{key}" cannot be read: {why}', key=key)

        if not len(step.entries):
            try:
                rows = self.around.store.load_states(self.id, step.id, step.type.name)
            except sqlite3.Error as err:
                running.context.log("error", f"the saved states cannot be read: {err}")
                rows = []
            step.entries.restore(rows, self.clock.monotonic(), lost)
        for key in step.entries.keys():  # noqa: SIM118  # entries are no map
            try:
                step.node.resume(key, step.entries.get(key))
            except Exception as err:  # noqa: BLE001  # one state must not keep the flow from running
                lost(key, error_text(err))

    async def _open(self, running: Running) -> None:
        """Open one node or connection, again and again until it works."""
        pause = FIRST_RETRY
        kind = running.planned.type.kind
        name = running.planned.id
        while True:
            try:
                if not running.planned.type.is_function:
                    await running.thing.open()
                break
            except Exception as err:  # noqa: BLE001  # supervised: said, and tried again
                self.set_status(name, "failed", error_text(err))
            await self.clock.sleep(int(pause * self.clock.random.uniform(0.8, 1.2)))
            pause = min(2 * pause, LONGEST_RETRY)
        running.opened.set()
        if running.state in {"starting", "failed"} and kind != "connection":
            self.set_status(name, "running")
        if kind == "sink":
            await self._run_sink(running)

    async def _run_sink(self, running: Running) -> None:
        step, wire = running.step, running.wire
        assert step is not None  # noqa: S101
        assert wire is not None  # noqa: S101
        while running.runner is None or not running.runner.is_stopping:
            running.runner = SinkRunner(
                step,
                wire,
                self.region,
                self.clock,
                open_spool=partial(self._spool, step.id) if self.around.spool_folder else None,
                disk=self.around.disk,
                status=running.context.status,
                log=running.context.log,
            )
            try:
                await running.runner.run()
            except Exception as err:  # noqa: BLE001  # supervised: said, and begun anew
                running.context.status("failed", error_text(err))
                await self.clock.sleep(FIRST_RETRY)

    def hurry(self) -> None:
        """A source is about to stall: sinks write what they have."""
        for running in self.nodes.values():
            if running.runner is not None:
                running.runner.hurry()

    def holds_receipts(self) -> bool:
        """Whether a node holds receipts that a checkpoint would secure."""
        is_held = any(r.step is not None and r.step.held for r in self.nodes.values())
        return is_held or bool(self.leaving.open)

    async def ready(self) -> None:
        """Wait until every node is open and every connection has answered."""
        for running in self.connections.values():
            await running.opened.wait()
            if isinstance(running.thing, Connection):
                await running.thing.ready()
        for running in self.nodes.values():
            if not running.opened.is_set():
                await running.opened.wait()

    def waiting_for(self) -> list[str]:
        """Ids of connections and nodes that are not there yet."""
        return [
            name
            for name, running in [*self.connections.items(), *self.nodes.items()]
            if not running.opened.is_set() or running.state in {"starting", "connecting", "failed"}
        ]

    async def _retire(self, gone: list[Running]) -> None:
        """Close sources, then sinks once they have written; what is within works on meanwhile."""
        await _close_all([r for r in gone if r.planned.type.kind == "source"])
        sinks = [r for r in gone if r.planned.type.kind == "sink"]
        await _stop_sinks(sinks)
        await _close_all(sinks)

    async def stop(
        self, *, for_good: bool = False, save: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Stop intake, let sinks write or store what waits, save, close everything.

        `save` is awaited while connections are still there to acknowledge what it makes safe.
        Brokers go on to collect messages for the next start, unless the flow stops `for_good`.
        """
        async with self._changing:
            await self._stop(for_good, save)

    async def _stop(self, for_good: bool, save: Callable[[], Awaitable[None]] | None) -> None:
        if not for_good:
            for link in _links(self.connections.values()):
                link.hold()
        kinds = {
            kind: [r for r in self.nodes.values() if r.planned.type.kind == kind]
            for kind in ("source", "transform", "sink")
        }
        await _close_all(kinds["source"])
        await self._write_out(kinds["sink"])
        await _stop_sinks(kinds["sink"])
        self.region.run()
        spilling = [*self._spilling(), *self._left_over]
        for wire in spilling:
            await wire.flush()
        if save is not None:
            await save()
        await _close_all([*kinds["transform"], *kinds["sink"]])
        await _close_all(self.connections.values())
        for wire in spilling:
            wire.close()

    async def _write_out(self, sinks: list[Running]) -> None:
        """Let what is on its way reach the sinks, and these write it, as far as they can."""
        runners = [r.runner for r in sinks if r.runner is not None]
        feeders: list[Feeder] = [kept[1] for kept in self.settings_wires.values()]
        feeders += [r.feeder for r in self.nodes.values() if r.feeder is not None]
        for runner in runners:
            runner.flush()
        loop = asyncio.get_running_loop()
        until = loop.time() + WRITE_OUT
        while loop.time() < until:
            for feeder in feeders:
                feeder.kick()
            self.region.run()
            await asyncio.sleep(0)
            if not any(f.has_work for f in feeders):
                if not any(runner.is_busy for runner in runners):
                    break
                await asyncio.sleep(0.002)

    def _spilling(self) -> list[SpillWire]:
        wires = [r.wire for r in self.nodes.values()]
        wires += [wire for wire, _ in self.settings_wires.values()]
        return [wire for wire in wires if isinstance(wire, SpillWire)]


def _leveller(feeders: Iterable[Feeder]) -> Callable[[Wire], None]:
    def level(wire: Wire) -> None:
        for feeder in feeders:
            feeder.level(wire)

    return level


def _ends(wire: PlannedWire) -> tuple[str, str, str]:
    """What tells a wire from the others of its flow."""
    return wire.source, wire.output, wire.target


def _inbox_bounds(running: Running) -> tuple[int, int, str]:
    """Capacity, bytes and policy of the wire in front of a boundary node."""
    config = running.planned.config
    return (
        getattr(config, "capacity", None) or CAPACITY,
        getattr(config, "bytes", None) or MAX_BYTES,
        getattr(config, "when_full", None) or "block",
    )


async def _stop_sinks(sinks: list[Running]) -> None:
    """Let sinks write or store what waits, all at once, for a while."""
    tasks = set()
    for running in sinks:
        if running.runner is not None and running.task is not None:
            running.runner.stop()
            tasks.add(running.task)
    if tasks:
        await asyncio.wait(tasks, timeout=WRITE_OUT)


def _links(connections: Iterable[Running]) -> list[Connection[Any]]:
    """The connections themselves; in flow tests others stand in for them."""
    return [r.thing for r in connections if isinstance(r.thing, Connection)]


async def _close_all(all_of_them: Iterable[Running]) -> None:
    """Close nodes or connections together: one that hangs does not hold up the others."""
    await asyncio.gather(*(_close(running) for running in all_of_them))


async def _close(running: Running) -> None:
    """Close one node or connection within 1.6 s, whatever it does."""
    running.context.cancel_timers()
    if running.task is not None:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
    if running.planned.type.is_function or type(running.thing).close is Node.close:
        running.state = "stopped"
        return
    try:
        await asyncio.wait_for(running.thing.close(), CLOSE_WITHIN)
    except TimeoutError:
        running.context.log("warning", f"did not close within {CLOSE_WITHIN:g} s")
    except Exception as err:  # noqa: BLE001  # closing goes on with the next
        running.context.log("error", f"closing failed: {error_text(err)}")
    running.state = "stopped"

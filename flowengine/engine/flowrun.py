"""One flow at work: its nodes opened, linked by wires, swapped by a deploy, closed again.

    Plan --build--> connections, nodes, steps --link--> outlets, wires, feeders --open--> running

A deploy builds what is new first; only when that worked is anything stopped. Steps are relinked
between two batches, so nothing is lost or repeated: kept nodes keep their connection, their wire
with what waits in it, and their state.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from flowengine.clock import SECOND, Clock
from flowengine.engine.context import NodeContext
from flowengine.engine.delivery import Intake
from flowengine.engine.feeder import Feeder, SourcePort, WireFeeder
from flowengine.engine.plan import Change, Plan, PlannedNode, PlannedWire, compare
from flowengine.engine.quarantine import Quarantine, error_fact, error_text
from flowengine.engine.region import ERROR, Outlet, Region, Step
from flowengine.engine.sink import SinkRunner
from flowengine.engine.spool import Spool
from flowengine.engine.state import Entries, NoState
from flowengine.engine.store import Store
from flowengine.engine.wire import CAPACITY, MAX_BYTES, Wire
from flowengine.errors import NodeError
from flowengine.message import Message, copy_tree
from flowengine.node import Connection, Node, SpoolConfig

LOG = logging.getLogger("flowengine.flow")
FIRST_RETRY = SECOND
LONGEST_RETRY = 60 * SECOND


class Surroundings(msgspec.Struct, kw_only=True):
    """What the engine gives every flow: clock, disk, quarantine."""

    clock: Clock
    store: Store
    quarantine: Quarantine
    data: str = ""
    files: str = ""
    install_id: str = "00000000"
    session: str = ""
    spool_folder: Callable[[str, str], Path] | None = None
    disk: Executor | None = None
    hurry: Callable[[], None] = lambda: None


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
        self.opened = asyncio.Event()
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
        self.region = Region(around.clock, self.fail)
        self.nodes: dict[str, Running] = {}
        self.connections: dict[str, Running] = {}
        self.intakes: dict[str, Intake] = {}
        self.settings_wires: dict[PlannedWire, tuple[Wire, WireFeeder]] = {}
        self._catches: dict[str, list[Step]] = {}
        self._watchers: dict[str, list[Step]] = {}
        self._said: dict[tuple[str, str], int] = {}
        self._building: dict[str, Running] = {}

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
        feeder = self.nodes[step.id].feeder
        if isinstance(feeder, SourcePort):
            feeder.receive(messages, settled, failed)

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
        facts = {"flow": self.id, "node": name, "state": state}
        LOG.log(level, "%s%s", state, f": {what}" if what else "", extra={"facts": facts})
        told = {"node": name, "state": state, "what": what, "since": running.since}
        for step in self._watchers.get(name, []):
            port = self.nodes[step.id].feeder
            if isinstance(port, SourcePort):
                port.receive([Message(dict(told), "", self.clock.now(), name)], None)

    # -- errors (R6)

    def fail(self, step: Step, message: Message, error: Exception) -> None:
        """Send a message by the error route: its `error` output, each `catch`, the quarantine."""
        kind = step.type.name
        self._say_once(step.id, error)
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
                    catch.first.put([handler.copy()])
                return
        self.around.quarantine.put(self.id, step.id, message, error)

    def _say_once(self, node: str, error: Exception) -> None:
        """Log the first, tenth, hundredth... failure of a kind; the counters have them all."""
        slug = error.slug if isinstance(error, NodeError) else type(error).__name__
        times = self._said[node, slug] = self._said.get((node, slug), 0) + 1
        if str(times).strip("0") != "1":
            return
        known = isinstance(error, NodeError)
        LOG.warning(
            "%s%s",
            error_text(error),
            "" if times == 1 else f" ({times} times)",
            extra={"facts": {"flow": self.id, "node": node, "slug": slug}},
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
        if kind.scope in {"keyed", "singleton"} and kind.kind == "transform":
            step.entries = Entries(getattr(node, "State", None) or NoState)
        return running

    # -- deploying

    async def deploy(self, plan: Plan) -> Change:
        """Run `plan` from now on; what is unchanged goes on untouched."""
        change = compare(self.plan, plan)
        previous = (self.params, self.folder)
        self.params, self.folder = plan.params, plan.folder
        try:
            built = self.build(plan, change)
        except BaseException:
            self.params, self.folder = previous
            raise
        gone = [self.nodes[name] for name in (*change.stopped, *change.restarted)]
        gone_connections = [
            running
            for name, running in self.connections.items()
            if name not in change.connections_kept
        ]
        await self._retire(gone)
        old_nodes = dict(self.nodes)
        self.nodes = {
            name: built[f"node:{name}"] if f"node:{name}" in built else old_nodes[name]
            for name in plan.nodes
        }
        old_connections = dict(self.connections)
        self.connections = {
            name: built[name] if name in built else old_connections[name]
            for name in plan.connections
        }
        for name in change.restarted:
            self._inherit(self.nodes[name], old_nodes[name])
        self._link(plan)
        self.plan = plan
        for running in gone_connections:
            await _close(running)
        await self._start(change)
        self.region.run()
        return change

    def _inherit(self, new: Running, old: Running) -> None:
        """A changed node takes over what its former self held: state, receipts, messages."""
        if new.step is None or old.step is None:
            return
        new.wire = old.wire if new.planned.type.boundary else None
        new.step.inbox, old.step.inbox = old.step.inbox, []
        if (
            new.step.entries is not None
            and old.step.entries is not None
            and new.planned.type.name == old.planned.type.name
        ):
            new.step.entries = old.step.entries
            new.step.held = old.step.held
        if isinstance(old.feeder, SourcePort):
            old.feeder.move_to(new.step)
            new.feeder = old.feeder

    def _link(self, plan: Plan) -> None:
        """Connect outlets to inboxes and wires as the plan says."""
        for running in self.nodes.values():
            step = running.step
            assert step is not None  # noqa: S101  # every node has one
            for outlet in step.outlets.values():
                outlet.branches.clear()
            running.feeder = self._feeder(running, step)
        settings_wires: dict[PlannedWire, tuple[Wire, WireFeeder]] = {}
        for wire in plan.wires:
            source, target = self.nodes[wire.source].step, self.nodes[wire.target].step
            assert source is not None  # noqa: S101
            assert target is not None  # noqa: S101
            writes = plan.writes[wire.target]
            goal: Step | Wire = self.nodes[wire.target].wire or target
            if wire.is_boundary and isinstance(goal, Step):
                settings_wires[wire] = kept = self.settings_wires.get(wire) or self._wire(
                    wire, target
                )
                kept[1].step = target
                goal = kept[0]
            source.outlets[wire.output].connect(goal, writes)
        self.settings_wires = settings_wires
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
            if kind.kind == "transform":
                return WireFeeder(self.region, step, running.wire)
        return None

    def _inbox(self, running: Running) -> Wire:
        """The wire in front of a boundary node."""
        config = running.planned.config
        return Wire(
            self.clock,
            capacity=getattr(config, "capacity", None) or CAPACITY,
            max_bytes=getattr(config, "bytes", None) or MAX_BYTES,
            when_full=getattr(config, "when_full", None) or "block",
        )

    def _wire(self, wire: PlannedWire, target: Step) -> tuple[Wire, WireFeeder]:
        made = Wire(
            self.clock,
            capacity=wire.capacity or CAPACITY,
            max_bytes=wire.bytes or MAX_BYTES,
            when_full=wire.when_full or "block",  # type: ignore[arg-type]  # checked with the flow
        )
        return made, WireFeeder(self.region, target, made)

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
                feeders = {
                    f
                    for wire in into.get(name, [])
                    for f in self._feeders_before(wire.source, into)
                }
                running.wire.on_level = _leveller(feeders)

    def _feeders_before(self, name: str, into: Mapping[str, list[PlannedWire]]) -> set[Feeder]:
        """The feeders that a node's messages come from, up to the boundaries before it."""
        found: set[Feeder] = set()
        seen: set[str] = set()
        todo = [name]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            running = self.nodes[at]
            if running.feeder is not None:
                found.add(running.feeder)
                continue
            for wire in into.get(at, []):
                kept = self.settings_wires.get(wire)
                if kept is not None:
                    found.add(kept[1])
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
        for running in sorted(fresh, key=lambda r: rank[r.planned.type.kind]):
            self._restore(running)
            running.task = asyncio.create_task(self._open(running))
            if running.planned.type.kind != "source":
                await asyncio.sleep(0)

    def _restore(self, running: Running) -> None:
        """Give a node its saved state, and let it set its timers again."""
        step = running.step
        if step is None or step.entries is None:
            return

        def lost(key: str, why: str) -> None:
            running.context.log("error", f'the state of "{key}" cannot be read: {why}', key=key)

        if not len(step.entries):
            rows = self.around.store.load_states(self.id, step.id)
            step.entries.restore(rows, self.clock.monotonic(), lost)
        for key in step.entries.keys():  # noqa: SIM118  # entries are no map
            step.node.resume(key, step.entries.get(key))

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

        def spool(settings: SpoolConfig) -> Spool:
            folder = self.around.spool_folder
            assert folder is not None  # noqa: S101  # only given with a folder
            return Spool(
                folder(self.id, step.id),
                max_bytes=settings.size,
                max_age_ns=settings.age,
                now=self.clock.now,
            )

        running.runner = SinkRunner(
            step,
            wire,
            self.region,
            self.clock,
            open_spool=spool if self.around.spool_folder is not None else None,
            disk=self.around.disk,
            status=running.context.status,
            log=running.context.log,
        )
        await running.runner.run()

    def hurry(self) -> None:
        """A source is about to stall: sinks write what they have."""
        for running in self.nodes.values():
            if running.runner is not None:
                running.runner.hurry()

    def holds_receipts(self) -> bool:
        """Whether a node holds receipts that a checkpoint would secure."""
        return any(r.step is not None and r.step.held for r in self.nodes.values())

    async def ready(self) -> None:
        """Wait until every node is open and every connection has answered."""
        for running in [*self.connections.values(), *self.nodes.values()]:
            await running.opened.wait()
            if isinstance(running.thing, Connection):
                await running.thing.ready()

    def waiting_for(self) -> list[str]:
        """Ids of connections and nodes that are not there yet."""
        return [
            name
            for name, running in [*self.connections.items(), *self.nodes.items()]
            if not running.opened.is_set() or running.state in {"starting", "connecting", "failed"}
        ]

    async def _retire(self, gone: list[Running]) -> None:
        """Close nodes: sources first, then what is within, then sinks once they have written."""
        rank = {"source": 0, "transform": 1, "sink": 2}
        for running in sorted(gone, key=lambda r: rank[r.planned.type.kind]):
            if running.runner is not None and running.task is not None:
                running.runner.stop()
                await asyncio.wait({running.task}, timeout=3)
            await _close(running)

    async def stop(self) -> None:
        """Stop intake, let sinks write or store what waits, close everything."""
        kinds = {
            kind: [r for r in self.nodes.values() if r.planned.type.kind == kind]
            for kind in ("source", "transform", "sink")
        }
        for running in kinds["source"]:
            await _close(running)
        for running in self.nodes.values():
            if running.feeder is not None:
                running.feeder.kick()
        self.region.run()
        tasks = set()
        for running in kinds["sink"]:
            if running.runner is not None and running.task is not None:
                running.runner.stop()
                tasks.add(running.task)
        if tasks:
            await asyncio.wait(tasks, timeout=3)
        self.region.run()
        for running in [*kinds["transform"], *kinds["sink"], *self.connections.values()]:
            await _close(running)


def _leveller(feeders: set[Feeder]) -> Callable[[Wire], None]:
    def level(wire: Wire) -> None:
        for feeder in feeders:
            feeder.level(wire)

    return level


async def _close(running: Running) -> None:
    """Close one node or connection within 2 s, whatever it does."""
    running.context.cancel_timers()
    if running.task is not None:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
    if running.planned.type.is_function:
        return
    try:
        await asyncio.wait_for(running.thing.close(), 2)
    except Exception as err:  # noqa: BLE001  # closing goes on with the next
        running.context.log("error", f"closing failed: {error_text(err)}")
    running.state = "stopped"

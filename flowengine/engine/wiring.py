"""A flow's nodes linked: outlets to inboxes and wires, and who stands still while a wire is full.

    outlet --> step                            synchronous
    outlet --> wire --> feeder --> step        a boundary: messages wait, bounded
    outlet --> wire --> sink runner

Linking touches nothing that waits: a kept wire keeps its messages, a changed one hands them on.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from flowengine.engine.backlog import Backlog
from flowengine.engine.calm import Calm
from flowengine.engine.context import LEVELS
from flowengine.engine.delivery import Intake, settle_all
from flowengine.engine.fates import DROPPED, fate_at
from flowengine.engine.feeder import Feeder, SourcePort, WireFeeder
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.gate import Gate
from flowengine.engine.loops import set_work
from flowengine.engine.outlet import ERROR, Target
from flowengine.engine.plan import Plan, PlannedWire
from flowengine.engine.region import Region
from flowengine.engine.running import Running, Surroundings
from flowengine.engine.spill import SpillWire
from flowengine.engine.spool import Spool
from flowengine.engine.step import Step
from flowengine.engine.wire import CAPACITY, MAX_BYTES, Wire
from flowengine.message import Message
from flowengine.node import SpoolConfig

LOG = logging.getLogger("flowengine.flow")


class Wiring:
    """The nodes of one flow and the wires between them."""

    def __init__(self, flow_id: str, around: Surroundings) -> None:
        self.id = flow_id
        self.around = around
        self.clock = around.clock
        self.install_id = around.install_id
        self.region = Region(around.clock, self.fail)
        journal = around.journals / f"{flow_id}.log" if around.journals is not None else None
        self.gate = Gate()
        self.accounts = FlowAccounts(flow_id, around.clock, journal, self.gate)
        self.ledger = self.accounts.ledger
        self.nodes: dict[str, Running] = {}
        self.intakes: dict[str, Intake] = {}
        self.settings_wires: dict[PlannedWire, tuple[Wire, WireFeeder]] = {}
        self._catches: dict[str, list[Step]] = {}
        self._watchers: dict[str, list[Step]] = {}
        self._scopes: dict[str, list[str]] = {}
        self._left_over: list[SpillWire] = []
        self._into: dict[str, list[PlannedWire]] = {}
        self._calms: dict[str, Calm] = {}

    def fail(self, step: Step, message: Message, error: Exception) -> None:
        """Send a message by the error route."""
        raise NotImplementedError

    def set_status(self, name: str, state: str, what: str = "") -> None:
        """A node's state has changed."""
        raise NotImplementedError

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
            intake = self.intakes.get(step.id)
            if intake is None:
                account = self.accounts.source(step.id)
                intake = self.intakes[step.id] = Intake(self.around.hurry, account, self.gate)
            intake.window = getattr(running.thing, "window", None)
            prefix = f"{self.install_id}-{self.id}-{step.id}-"
            return SourcePort(self.region, step, intake, prefix, self.accounts)
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
        return self._make_wire(running.planned.id, *inbox_bounds(running))

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
        for old in self._left_over:
            if old.name == name:  # it has the files open still, and is not done with them
                self._left_over.remove(old)
                old.bound_anew(capacity, max_bytes, "block")
                old.blocked = False
                return old
        settings = SpoolConfig()
        backlog = Backlog(
            self._spool(f"{name}.wire", settings),
            settings,
            self.clock,
            self.around.disk,
            status=lambda state, what: self.set_status(name, state, what),
            log=partial(self._say, name),
            name=f"{name}.wire",
            ledger=self.ledger,
            gate=self.gate,
        )
        backlog.scan_now()
        return SpillWire(name, self.clock, backlog, capacity=capacity, max_bytes=max_bytes)

    def _say(self, name: str, level: str, what: str, **facts: Any) -> None:
        LOG.log(
            LEVELS[level], "%s", what, extra={"facts": {"flow": self.id, "node": name, **facts}}
        )

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
        self._catches, self._watchers, self._scopes = {}, {}, {}
        for name, running in self.nodes.items():
            listens = getattr(running.thing, "listens", "")
            if not listens or running.step is None:
                continue
            table = self._catches if listens == "errors" else self._watchers
            scope = getattr(running.planned.config, "nodes", None) or [
                other for other in plan.nodes if other != name
            ]
            if listens == "errors":
                self._scopes[name] = scope
            for other in scope:
                table.setdefault(other, []).append(running.step)

    def _push_back(self, plan: Plan) -> None:
        """Tell every wire which feeders stand still while it is full: those that lead into it.

        A feeder that its own wire leads back to goes on all the same: in a loop, each would wait
        for the other for ever. So a wire in a loop has a bound of its own (`Wire.is_over`).
        """
        into: dict[str, list[PlannedWire]] = {}
        out_of: dict[str, list[PlannedWire]] = {}
        for wire in plan.wires:
            into.setdefault(wire.target, []).append(wire)
            out_of.setdefault(wire.source, []).append(wire)
        self._into, self._calms = into, {}
        handlers = _behind(self._scopes, out_of)
        for catch, scope in self._scopes.items():  # an error leads from any of these to the catch
            into[catch] = [
                PlannedWire(source=name, output=ERROR, target=catch)
                for name in scope
                if name in self.nodes and name not in handlers
            ]
        for wire, (made, feeder) in self.settings_wires.items():
            behind = {feeder, *self._feeders_behind(wire.target, out_of)}
            feeders = self._feeders_before(wire.source, into)
            made.on_level = _leveller([f for f in feeders if f not in behind])
            is_loop = wire.source in _behind([wire.target], out_of)
            made.on_refused = self._loop_alarm(wire.target) if is_loop else None
        for name, running in self.nodes.items():
            if running.wire is not None:
                feeders = {}
                for wire in into.get(name, []):
                    kept = self.settings_wires.get(wire)
                    feeders |= {kept[1]: None} if kept else self._feeders_before(wire.source, into)
                behind = self._feeders_behind(name, out_of)
                running.wire.on_level = _leveller([f for f in feeders if f not in behind])
                around = _behind([name], out_of)
                is_loop = any(wire.source in around for wire in into.get(name, []))
                running.wire.on_refused = self._loop_alarm(name) if is_loop else None
        self._level_anew()

    def _loop_alarm(self, name: str) -> Callable[[int], None]:
        """What tells, at the first, tenth, hundredth... time, that a loop makes more and more."""
        times = total = 0

        def refused(number: int) -> None:
            nonlocal times, total
            times, total = times + 1, total + number
            if str(times).strip("0") == "1":
                what = (
                    "the loop through here makes more messages than leave it: its wire is full, "
                    f"and {total} were dropped as loop-full."
                )
                mend = (
                    "Let messages leave the loop, or make fewer of one in it; if no more are made, "
                    "give this node more capacity."
                )
                self._say(name, "warning", what, mend=mend)

        return refused

    def behind(self, name: str, asked_for: int) -> int | None:
        """None if nothing waits in front of a node; else after how many ns to ask again."""
        calm = self._calms.get(name)
        if calm is None:
            calm = self._calms[name] = self._calm_of(name)
        return calm.behind(asked_for)

    def _calm_of(self, name: str) -> Calm:
        """What a node's messages come through, from the sources on."""
        before: dict[str, list[str]] = {}
        wires: list[Wire] = []
        for target, planned in self._into.items():
            before[target] = [wire.source for wire in planned]
        seen, todo = set[str](), [name]
        while todo:
            at = todo.pop()
            if at in seen or at not in self.nodes:
                continue
            seen.add(at)
            todo += before.get(at, [])
            inbox = self.nodes[at].wire
            wires += [inbox] if inbox is not None else []
            kept = [self.settings_wires.get(wire) for wire in self._into.get(at, [])]
            wires += [wire for wire, _ in filter(None, kept)]
        chosen = [self.nodes[at] for at in sorted(seen)]
        sources = [(r.context, r.feeder) for r in chosen if isinstance(r.feeder, SourcePort)]
        return Calm(self.clock, sources, wires)

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
            if running.feeder is not None and at not in self._scopes:
                found[running.feeder] = None
                continue
            for wire in into.get(at, []):
                kept = self.settings_wires.get(wire)
                if kept is not None:
                    found[kept[1]] = None
                else:
                    todo.append(wire.source)
        return found

    def _feeders_behind(self, name: str, out_of: Mapping[str, list[PlannedWire]]) -> set[Feeder]:
        """The feeders that what waits in front of a node comes to, its own among them."""
        found: set[Feeder] = set()
        for at in _behind([name], out_of):
            feeder = self.nodes[at].feeder
            if feeder is not None:
                found.add(feeder)
            for wire in out_of.get(at, []):
                kept = self.settings_wires.get(wire)
                if kept is not None:
                    found.add(kept[1])
        return found

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
            settle_all(messages, fate_at(DROPPED, "node-removed"))
            facts = {"flow": self.id, "node": name, "number": len(messages)}
            LOG.warning("dropped what waited: the node is gone", extra={"facts": facts})

    def _spilling(self) -> list[SpillWire]:
        wires = [r.wire for r in self.nodes.values()]
        wires += [wire for wire, _ in self.settings_wires.values()]
        return [wire for wire in wires if isinstance(wire, SpillWire)]


def _leveller(feeders: Iterable[Feeder]) -> Callable[[Wire], None]:
    def level(wire: Wire) -> None:
        for feeder in feeders:
            feeder.level(wire)

    return level


def _behind(names: Iterable[str], out_of: Mapping[str, list[PlannedWire]]) -> set[str]:
    """These nodes, and all that wires lead to from them."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            todo += [wire.target for wire in out_of.get(at, [])]
    return seen


def _ends(wire: PlannedWire) -> tuple[str, str, str]:
    """What tells a wire from the others of its flow."""
    return wire.source, wire.output, wire.target


def inbox_bounds(running: Running) -> tuple[int, int, str]:
    """Capacity, bytes and policy of the wire in front of a boundary node."""
    config = running.planned.config
    return (
        getattr(config, "capacity", None) or CAPACITY,
        getattr(config, "bytes", None) or MAX_BYTES,
        getattr(config, "when_full", None) or "block",
    )

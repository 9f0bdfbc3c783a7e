"""One flow at work: its nodes opened, linked by wires, swapped by a deploy, closed again.

    Plan --build--> connections, nodes, steps --link--> outlets, wires, feeders --open--> running

A deploy builds what is new first; only when that worked is anything stopped. Steps are relinked
between two batches, so nothing is lost or repeated: kept nodes keep their connection, their wire
with what waits in it, and their state.
"""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from flowengine.clock import SECOND
from flowengine.engine.accounts import (
    read_applied,
    read_entering,
    read_held,
    read_held_elsewhere,
    read_minute,
    read_sources,
)
from flowengine.engine.backlog import Backlog
from flowengine.engine.context import NodeContext
from flowengine.engine.feeder import Feeder, SourcePort, WireFeeder
from flowengine.engine.heldstore import FormerReceipts
from flowengine.engine.leaving import Leaving
from flowengine.engine.origins import decode_message, split_entering, split_record
from flowengine.engine.outlet import ERROR, Outlet
from flowengine.engine.plan import Change, Plan, PlannedNode, compare
from flowengine.engine.quarantine import error_fact, error_text
from flowengine.engine.running import (
    NOTHING_TO_OPEN,
    WRITE_OUT,
    Running,
    Surroundings,
    close,
    close_all,
    links_of,
    stop_sinks,
)
from flowengine.engine.sink import SinkRunner
from flowengine.engine.step import Step, entries_for
from flowengine.engine.wiring import Wiring, inbox_bounds
from flowengine.errors import NodeError
from flowengine.message import Message, copy_tree
from flowengine.node import Connection, Read, Recogniser

LOG = logging.getLogger("flowengine.flow")
FIRST_RETRY = SECOND
LONGEST_RETRY = 60 * SECOND
DIFFERENT = 10
"""Failures of one kind at one node that are logged for their different topics and texts."""
OPEN_WITHIN = 1.0
"""Seconds that a deploy waits for its sources to open."""


class RunningFlow(Wiring):
    """A flow that runs."""

    def __init__(self, plan: Plan, around: Surroundings) -> None:
        super().__init__(plan.flow, around)
        self.plan: Plan | None = None
        self.params: Mapping[str, Any] = plan.params
        self.folder = plan.folder
        self.data = around.data
        self.files = around.files
        self.eco = around.eco
        self.insecure_bind = around.insecure_bind
        self.connections: dict[str, Running] = {}
        self._said: dict[tuple[str, str], int] = {}
        self._texts: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self._building: dict[str, Running] = {}
        self._changing = asyncio.Lock()
        self._gone: dict[str, Step] = {}
        self.leaving = Leaving()
        self._former = FormerReceipts(self.ledger)
        self._is_explained = False
        self.accounts.look_up = lambda name, minute: around.store.look(
            lambda db: read_minute(db, plan.flow, name, minute)
        )

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
        read: Read | None = None,
    ) -> None:
        """Messages of a source enter by its port."""
        running = self.nodes.get(step.id)  # None: it is gone, and what it still reads comes again
        if running is not None and isinstance(running.feeder, SourcePort):
            running.feeder.receive(messages, settled, failed, read)

    def arrivals(self, node: str) -> Recogniser:
        """What of a source's messages may come again."""
        return self.accounts.arrivals_of(node)

    def run_region(self) -> None:
        """Run what waits in the inboxes."""
        self.region.run()

    def set_status(self, name: str, state: str, what: str = "") -> None:
        """Note a node's (or connection's) state; tell the flow's `status` nodes of a change."""
        running = self.nodes.get(name) or self.connections.get(name)
        if running is None or (running.state, running.what) == (state, what):
            return
        is_back = state == "running" and running.state in {"waiting", "failed", "connecting"}
        if running.state != state:
            running.since = self.clock.now()
        running.state, running.what = state, what
        level = logging.WARNING if state in {"failed", "waiting"} else logging.INFO
        if running.task is None:
            level = logging.DEBUG  # it had nothing to open: no news
        facts = {"flow": self.id, "node": name, "state": state}
        LOG.log(level, "%s%s", state, f": {what}" if what else "", extra={"facts": facts})
        told = {"node": name, "state": state, "what": what, "since": running.since}
        if is_back:
            self._reach(running)
        for step in self._watchers.get(name, []):
            watcher = self.nodes.get(step.id)
            port = watcher.feeder if watcher is not None else None
            if isinstance(port, SourcePort):
                port.receive([Message(dict(told), "", self.clock.now(), name)], None)

    def _reach(self, back: Running) -> None:
        """A connection is up, or a sink writes again: others that wait for the same try now.

        A connection's link tells of the way out that all of them share.
        """
        is_link = back.planned.type.kind == "connection"
        if not is_link and not back.planned.connections:
            return
        for other in self.nodes.values():
            shared = other.planned.connections & back.planned.connections
            if other.runner is not None and other is not back and (is_link or shared):
                other.runner.reach()

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
        self.accounts.before_write()
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
            step.outlets[output] = Outlet(output, planned.id)
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
        is_first = self.plan is None
        if is_first:
            self._restore_accounts()
        for link in links_of(old_connections.values()):
            link.hold()
        await self._retire(gone)
        # From here to `_set_gate` nothing is awaited: messages meet the old flow, or the new one.
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
        for running in stopped:
            self._leave(running)
        self.plan = plan
        self._restore_all([r for name, r in self.nodes.items() if name not in change.kept])
        if is_first:
            self._enter_again()
            self.accounts.explain(self._held_since_before)
        self._set_gate()
        within = [r for r in gone if r.planned.type.kind == "transform"]
        for running in within:
            running.context.cancel_timers()
            if running.step is not None:
                running.step.region = self.region  # what it still lets out finds its way
        await close_all(within)
        await self._forget_types(change.restarted, old_nodes)
        for running in gone_connections:
            await close(running)
        await self._start(change)
        for link in links_of(self.connections[name] for name in change.connections_kept):
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
                new.wire = self._inherit_wire(old.wire, new.planned.id, *inbox_bounds(new))
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
            if self._gone.get(step.id) is step and not step.has_news:
                del self._gone[step.id]
                number = sum(map(len, step.held.values()))
                step.held.clear()  # not settled: they are in that state, should the node return
                if number:
                    facts = {"flow": self.id, "node": step.id, "number": number}
                    LOG.warning("messages that it held stay in its state", extra={"facts": facts})
                self._set_gate()

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

    def _restore_accounts(self) -> None:
        """Take up the ledger of a former run."""
        store = self.around.store
        try:
            saved = store.look(lambda db: read_sources(db, self.id))
        except (sqlite3.Error, ValueError) as err:
            LOG.error("the ledger cannot be read: %s", err)  # noqa: TRY400
            saved = {}
        self.accounts.restore(saved)

    def _enter_again(self) -> None:
        """What was on its way into a state that does not have it yet enters it now."""
        try:
            rows = self.around.store.look(lambda db: read_entering(db, self.id))
        except sqlite3.Error as err:
            LOG.error("what was on its way cannot be read: %s", err)  # noqa: TRY400
            return
        for node, data in rows:
            running = self.nodes.get(node)
            step = running.step if running is not None else None
            try:
                identity, record = split_entering(data)
                origins, encoded = split_record(record)
                message = decode_message(encoded)
            except ValueError as err:
                LOG.error("a message on its way to %s cannot be read: %s", node, err)  # noqa: TRY400
                continue
            message.receipt = self.leaving.enter(self._former.receipts(origins))
            if step is not None and step.entries is not None:
                for origin, numbers in identity.items():
                    step.applied.setdefault(origin, Counter()).update(numbers)
            if step is None:
                cause = NodeError("it was on its way here when the engine ended")
                self.around.quarantine.put(self.id, node, message, cause)
            elif running is not None and running.wire is not None:
                running.wire.put([message])
            else:
                step.put([message])

    def _held_since_before(self, source: str) -> list[int]:
        """Messages of a source that states hold since a former run, of nodes now gone too."""
        try:
            elsewhere = self.around.store.look(
                lambda db: read_held_elsewhere(db, self.id, set(self.nodes))
            )
        except (sqlite3.Error, ValueError):
            elsewhere = []
        gone = [
            n for part in elsewhere for origins in part.origins for n in origins.get(source, ())
        ]
        return [*self._former.open(source), *gone]

    def _set_gate(self) -> None:
        """Whether acknowledgements have a state to wait for."""
        steps = [step for step in self.steps() if step.entries is not None]
        was_open, self.gate.is_open = self.gate.is_open, not steps
        if self.gate.is_open and not was_open:
            for intake in self.intakes.values():
                intake.acknowledge()
            for backlog in self.backlogs():
                backlog.covered()

    def backlogs(self) -> list[Backlog]:
        """The spools that are open."""
        sinks = [r.runner.backlog for r in self.nodes.values() if r.runner is not None]
        return [b for b in sinks if b is not None] + [w.backlog for w in self._spilling()]

    def has_news(self) -> bool:
        """Whether a cut has something to write or to acknowledge."""
        return (
            any(intake.waits for intake in self.intakes.values())
            or self.accounts.has_news
            or any(step.has_news for step in self.steps())
            or any(backlog.waits for backlog in self.backlogs())
        )

    def gauges(self) -> list[tuple[str, str, int]]:
        """(name, item, number): what waits on disk now, and up to where each spool was filled."""
        found: list[tuple[str, str, int]] = []
        for name, running in self.nodes.items():
            backlog = running.runner.backlog if running.runner is not None else None
            if backlog is not None:
                found.append((name, "spooled", backlog.depth))
                found.append((name, "oldest", backlog.spool.oldest_ns or 0))
        found += [(b.name.lstrip("\0"), "filled", b.spool.synced) for b in self.backlogs()]
        return found

    def explain_spooled(self) -> None:
        """Once every spool was read: what none of them has was written, or is missing."""
        if self._is_explained:
            return
        runners = [r.runner for r in self.nodes.values() if r.planned.type.kind == "sink"]
        backlogs = self.backlogs()
        opening = any(r is None or not r.has_opened for r in runners)
        if opening or not all(backlog.is_scanned for backlog in backlogs):
            return
        self._is_explained = True
        filled = self.around.store.look(
            lambda db: dict(
                db.execute(
                    "select name, n from ledger"
                    " where flow = ? and kind = 'gauge' and item = 'filled'",
                    (self.id,),
                ).fetchall()
            )
        )
        there = {b.name.lstrip("\0"): b for b in backlogs}
        lost: int | None = sum(sum(map(len, b.spool.lost)) for b in backlogs)
        for name, upto in filled.items():
            if name not in there:
                lost = None  # its node is gone from the flow: what it holds waits there
                break
            lost += max(0, upto - there[name].spool.synced)
        self.accounts.explain_spooled(lost)

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
            if running.opened is NOTHING_TO_OPEN:
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

    def _restore_all(self, fresh: Iterable[Running]) -> None:
        for running in fresh:
            self._restore(running)

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
            self._restore_held(step)
        for key in step.entries.keys():  # noqa: SIM118  # entries are no map
            try:
                step.node.resume(key, step.entries.get(key))
            except Exception as err:  # noqa: BLE001  # one state must not keep the flow from running
                lost(key, error_text(err))

    def _restore_held(self, step: Step) -> None:
        """Let a step's states answer for the messages that they hold."""
        store = self.around.store
        try:
            self._former.restore(step, store.look(lambda db: read_held(db, self.id, step.id)))
            step.applied = store.look(lambda db: read_applied(db, self.id, step.id))
        except (sqlite3.Error, ValueError) as err:
            LOG.error("what the states of %s answer for cannot be read: %s", step.id, err)  # noqa: TRY400

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
                accounts=self.accounts,
                gate=self.gate if step.entries is not None else None,
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
        await close_all([r for r in gone if r.planned.type.kind == "source"])
        sinks = [r for r in gone if r.planned.type.kind == "sink"]
        await stop_sinks(sinks)
        await close_all(sinks)

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
            for link in links_of(self.connections.values()):
                link.hold()
        kinds = {
            kind: [r for r in self.nodes.values() if r.planned.type.kind == kind]
            for kind in ("source", "transform", "sink")
        }
        await close_all(kinds["source"])
        await self._write_out(kinds["sink"])
        await stop_sinks(kinds["sink"])
        self.region.run()
        spilling = [*self._spilling(), *self._left_over]
        for wire in spilling:
            await wire.flush()
        # Closing may still settle what a sink stored, and change its state: both are to be saved.
        await close_all([*kinds["transform"], *kinds["sink"]])
        self.region.run()
        if save is not None:
            await save()
        await close_all(self.connections.values())
        for wire in spilling:
            wire.close()
        self.accounts.close()

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

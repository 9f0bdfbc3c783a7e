"""The engine: runs flows over one data folder, deploys them, saves their state, stops them.

engine = Engine(folder)
await engine.start()
await engine.deploy(plan)     # again with a changed plan: only what changed restarts
await engine.ready(5.0)
await engine.stop()
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flowengine.clock import SECOND, Clock, RealClock
from flowengine.engine.accounts import fold
from flowengine.engine.feeder import SourcePort
from flowengine.engine.flowrun import RunningFlow
from flowengine.engine.folder import DataFolder
from flowengine.engine.idle import forget_idle
from flowengine.engine.keeper import Keeper
from flowengine.engine.ledger import MINUTE
from flowengine.engine.memory import MemoryGuard
from flowengine.engine.plan import Change, Plan
from flowengine.engine.quarantine import Quarantine
from flowengine.engine.replay import Replay
from flowengine.engine.running import Running, Surroundings
from flowengine.engine.timekeeping import Timekeeper
from flowengine.engine.watch import LoopWatch
from flowengine.node import Node

LOG = logging.getLogger("flowengine.engine")
CUT_EVERY = SECOND
SAVE_WITHIN = 1.0
"""Seconds that a stop waits for what is on its way, before its last cut is given up."""
FORGET_EVERY = 60 * SECOND
BLOCKED_AFTER = SECOND // 20


class Engine:
    """Flows at work over one data folder."""

    def __init__(self, folder: DataFolder, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or RealClock()
        self.flows: dict[str, RunningFlow] = {}
        self.started = self.clock.now()
        self._disk = ThreadPoolExecutor(4, thread_name_prefix="flowengine-disk")
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._keepers: dict[str, Keeper] = {}
        self._watch = LoopWatch(self._working)
        self.memory: MemoryGuard | None = None
        self._is_stopped = False
        self._replay = Replay(folder.store)
        self._timekeeper = Timekeeper(self.clock, folder.path / "clock.json", self._nodes)
        self._deploys: set[asyncio.Task[Change]] = set()
        self._changing = asyncio.Lock()
        self.around = Surroundings(
            clock=self.clock,
            store=folder.store,
            quarantine=Quarantine(folder.store, self.clock, self._trouble),
            data=str(folder.path),
            files=str(folder.files),
            install_id=folder.install_id,
            spool_folder=folder.spool,
            journals=folder.path / "journal",
            disk=self._disk,
            hurry=self._hurry,
        )

    def start(self) -> None:
        """Begin to keep state; flows come by `deploy`."""
        self._keeper = asyncio.create_task(self._keep())
        self._timekeeper.start()
        self._watch.start()

    def keep_below(self, cap: int) -> None:
        """Hold the sources when the process nears `cap` bytes; from now on, on the event loop."""
        self.memory = MemoryGuard(self.clock, cap, self._hold, self._is_draining)
        self.memory.start()

    def _hold(self, is_held: bool) -> None:
        for running in self._running():
            if isinstance(running.feeder, SourcePort):
                running.feeder.hold(is_held)

    def _is_draining(self) -> bool:
        """Whether messages wait that go on by themselves: at a source, in a wire, at a sink."""
        return any(
            (isinstance(r.feeder, SourcePort) and r.feeder.depth)
            or (r.wire is not None and r.wire.depth)
            or (r.runner is not None and r.runner.is_busy)
            for r in self._running()
        )

    def _running(self) -> Iterator[Running]:
        for flow in list(self.flows.values()):
            yield from list(flow.nodes.values())

    async def deploy(self, plan: Plan) -> Change:
        """Run a plan, new or changed; raises before anything is touched if it cannot be built.

        Once begun it goes on to its end, also where its caller is cancelled.
        """
        task = asyncio.ensure_future(self._deploy(plan))
        self._deploys.add(task)
        task.add_done_callback(self._deploys.discard)
        return await asyncio.shield(task)

    async def _deploy(self, plan: Plan) -> Change:
        async with self._changing:  # two first deploys of one flow would make two of it
            flow = self.flows.get(plan.flow) or RunningFlow(plan, self.around)
            if plan.flow not in self._keepers:
                self._keepers[plan.flow] = self._keeper_of(flow)
            change = await flow.deploy(plan)
            self.flows[plan.flow] = flow
            return change

    async def remove(self, flow_id: str) -> None:
        """Stop one flow."""
        async with self._changing:
            flow = self.flows.pop(flow_id, None)
            if flow is not None:
                await flow.stop(for_good=True, save=partial(self._save, flow))

    async def ready(self, within: float) -> list[str]:
        """Wait until everything runs, `within` seconds at most; returns what is missing."""
        waits = [asyncio.ensure_future(flow.ready()) for flow in self.flows.values()]
        if not waits:
            return []
        try:
            _, late = await asyncio.wait(waits, timeout=within)
        finally:  # also when this is cancelled: nobody else would hear of their end
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if not late:
            return []
        return sorted({name for flow in self.flows.values() for name in flow.waiting_for()})

    async def stop(self) -> None:
        """Stop every flow, save every state, let the folder go; harmless when called twice."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self.memory is not None:
            self.memory.stop()
        self._watch.stop()
        self._timekeeper.stop()
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await asyncio.gather(*self._deploys, return_exceptions=True)
        await asyncio.gather(
            *(flow.stop(save=partial(self._save, flow)) for flow in self.flows.values())
        )
        self._disk.shutdown(wait=False, cancel_futures=True)
        self.folder.close()

    async def _save(self, flow: RunningFlow) -> None:
        """Before a flow's connections close: what is set aside, and its states, on disk."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.around.quarantine.flush(), 1)
        keeper = self._keepers.pop(flow.id, None) or self._keeper_of(flow)
        await keeper.stop()
        await keeper.once(SAVE_WITHIN)
        with contextlib.suppress(sqlite3.Error):  # what is left there is replayed once more
            await self._replay.flush()

    # -- keeping

    def _hurry(self) -> None:
        """A source is about to stall: write now, and save now if that secures something."""
        for flow in self.flows.values():
            flow.hurry()
            if not flow.gate.is_open:
                self._wake.set()

    def _nodes(self) -> list[Node[Any]]:
        running = [r for flow in self.flows.values() for r in flow.nodes.values()]
        return [r.thing for r in running if isinstance(r.thing, Node)]

    def _working(self) -> str | None:
        """The node that is at work now, asked from another thread."""
        for flow in list(self.flows.values()):
            step = flow.region.working
            if step is not None:
                return f"{flow.id}/{step.id}"
        return None

    async def _keep(self) -> None:
        """Save changed states every second, or at once when a source waits for it."""
        forget_at = self.clock.monotonic() + FORGET_EVERY
        while True:
            timer = self.clock.call_at(self.clock.monotonic() + CUT_EVERY, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            if not any(keeper.is_busy for keeper in self._keepers.values()):
                await self._look_for_replays()  # what was let in again before is in a cut by now
            for flow in list(self.flows.values()):
                flow.explain_spooled()
                if flow.has_news():
                    self._keepers[flow.id].begin()
            if self.clock.monotonic() >= forget_at:
                forget_at = self.clock.monotonic() + FORGET_EVERY
                self._forget()
                await self._fold_ledger()

    async def _look_for_replays(self) -> None:
        try:
            await self._replay.look(self.flows)
        except Exception as err:  # noqa: BLE001  # a full disk: said, and tried again in a second
            self._trouble(f"the quarantine cannot be replayed: {err}")

    async def _fold_ledger(self) -> None:
        """Keep what is old of the ledger by the hour."""
        try:
            await self.folder.store.run(fold(self.clock.now() // MINUTE))
        except sqlite3.Error as err:
            self._trouble(f"the ledger cannot be folded: {err}")

    def _forget(self) -> None:
        for flow in self.flows.values():
            try:
                forget_idle([r.step for r in flow.nodes.values() if r.step], self.clock)
            except Exception:  # states must be saved all the same
                LOG.exception("idle states cannot be forgotten")

    def _keeper_of(self, flow: RunningFlow) -> Keeper:
        return Keeper(flow, self.folder.store, self._disk, self._trouble)

    def _trouble(self, what: str) -> None:
        LOG.error("%s", what)

"""Keeps one flow: takes cuts, writes them, and acknowledges what they cover."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol

from flowengine.engine.accounts import Call, write_entering, write_held, write_late
from flowengine.engine.cut import Cut, CutFlow
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.step import Step
from flowengine.engine.store import Store

LOG = logging.getLogger("flowengine.engine")


class KeptFlow(CutFlow, Protocol):
    """What a keeper needs of the flow."""

    accounts: FlowAccounts

    def hurry(self) -> None:
        """Sinks write what they have."""

    def saved(self, steps: list[Step]) -> None:
        """These steps are in a cut that is on disk."""

    def gauges(self) -> list[tuple[str, str, int]]:
        """(name, item, number) of what is neither received nor written: what waits now."""


class Keeper:
    """The cuts of one flow: one at a time."""

    def __init__(
        self,
        flow: KeptFlow,
        store: Store,
        disk: Executor | None,
        trouble: Callable[[str], None],
    ) -> None:
        self._flow = flow
        self._store = store
        self._disk = disk
        self._trouble = trouble
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[bool] | None = None
        self._is_wanted = False
        flow.gate.want = self.begin

    @property
    def is_busy(self) -> bool:
        """Whether a cut is under way."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Take a cut soon: now, or when the one under way is written."""
        if self.is_busy:
            self._is_wanted = True
            return
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> bool:
        while True:
            self._is_wanted = False
            done = await self.once()
            if not (self._is_wanted and done):
                return done

    async def once(self, within: float | None = None) -> bool:
        """Take a cut and write it; whether it is on disk.

        `within` so many seconds what is on its way must come to its end, else nothing is written:
        the cut before stands, and what came since comes again.
        """
        async with self._lock:
            flow = self._flow
            # What came before what it changed: else it would not be known, and change it again.
            flow.accounts.before_write()
            cut = Cut(flow)
            if any(intake.pressed for intake in flow.intakes.values()):
                flow.hurry()  # what the cut waits for
            news = flow.accounts.news(flow.gauges())  # of the same moment
            try:
                async with asyncio.timeout(within):
                    await cut.barrier.wait()
            except BaseException as err:
                cut.failed()
                flow.accounts.failed()
                if isinstance(err, TimeoutError):
                    return False
                raise
            return await self._write(cut, news)

    async def _write(self, cut: Cut, news: Call | None) -> bool:
        flow, states = self._flow, cut.states
        calls: list[Call] = []
        if states:
            calls.append(self._store.save_states(states.rows, states.gone))
        is_bound = not flow.gate.is_open
        if states or is_bound:
            calls.append(write_held(flow.id, states.held, states.let_go, states.applied))
            calls.append(write_entering(flow.id, cut.barrier.entering))
        if news is not None:
            calls.append(news)
        if late := cut.late.take():
            calls.append(write_late(flow.id, late))
        try:
            if calls:
                await self._store.run(_all(calls))
            await self._sync_journal()
        except BaseException as err:
            cut.failed()
            flow.accounts.failed()
            if not isinstance(err, Exception):
                raise
            self._trouble(f"node states and the ledger cannot be saved: {err}")
            return False
        cut.took_effect()
        flow.saved(cut.steps)
        return True

    async def _sync_journal(self) -> None:
        job = self._flow.accounts.sync_job()
        if job is None:
            return
        if self._disk is None:
            job()
        else:
            await asyncio.get_running_loop().run_in_executor(self._disk, job)

    async def stop(self) -> None:
        """End what is under way."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _all(calls: list[Call]) -> Callable[[sqlite3.Connection], Any]:
    def call(db: sqlite3.Connection) -> None:
        for one in calls:
            one(db)

    return call

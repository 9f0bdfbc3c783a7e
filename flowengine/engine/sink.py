"""The engine around a sink: batches, retries, the store on disk while the far side is away.

A sink only knows `write`. Everything a write can meet is met here:

    wire --batch--> write --ok--> settled as delivered
                      |-- Unavailable ---> backlog (settled once fsynced) --drain--> write
                      |-- RecordRefused -> bisected; the bad record takes the error route
                      '-- a bug ---------> the same
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any

from flowengine.clock import SECOND, Clock
from flowengine.engine.backlog import DISK_RETRY, Backlog
from flowengine.engine.delivery import settle_all
from flowengine.engine.fates import DELIVERED
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.gate import Gate
from flowengine.engine.halves import Halves, Part
from flowengine.engine.pace import Pace
from flowengine.engine.region import Region
from flowengine.engine.spool import Spool, SpoolBroken
from flowengine.engine.step import Step
from flowengine.engine.wire import Wire
from flowengine.errors import BatchTooLarge, NodeError, RecordRefused, Unavailable
from flowengine.message import Message
from flowengine.node import BatchConfig, Result, RetryConfig, Sink, SpoolConfig

BATCH_BYTES = 4_000_000
"""About what a batch may weigh; one message may be more."""
SYNC_EVERY = SECOND // 20
"""Between two fsyncs (ns) while the far side is away: each wears a flash card, whatever it covers.
A source that is about to stall for want of acknowledgements does not wait for it."""
SETTLE_WITHIN = 1.0
"""Seconds that a stop waits for the fate of records that failed."""


class _Away(Exception):
    """The far side went away; `rest` is what was not written, in order."""

    def __init__(self, cause: Unavailable, rest: list[Message]) -> None:
        super().__init__(cause.what)
        self.cause = cause
        self.rest = rest


class SinkRunner:
    """Runs one sink node over its wire.

    It writes straight from the wire while the far side answers and the backlog is empty. Else a
    second task drains the backlog, and what comes meanwhile is stored behind it.
    """

    def __init__(
        self,
        step: Step,
        wire: Wire,
        region: Region,
        clock: Clock,
        *,
        open_spool: Callable[[SpoolConfig], Spool] | None,
        disk: Executor | None,
        status: Callable[[str, str], None],
        log: Callable[..., None],
        accounts: FlowAccounts | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`gate` holds back the cursor of a spool from which a state of the flow is changed."""
        node: Sink[Any] = step.node
        config = step.config
        batch: BatchConfig | None = getattr(config, "batch", None)
        self.step = step
        self.node = node
        self.wire = wire
        self.region = region
        self.clock = clock
        self.size = batch.size if batch else node.batch_size
        self.age = batch.age if batch else node.batch_age
        self.retry: RetryConfig = getattr(config, "retry", None) or RetryConfig()
        self.is_live_first = getattr(config, "order", "oldest-first") == "live-first"
        self.written = 0
        self.retries = 0
        self.is_away = False
        self.backlog: Backlog | None = None
        self.has_opened = False
        self._spool: SpoolConfig = getattr(config, "spool", None) or SpoolConfig()
        self._pace = Pace(self._spool.drain_rate, self.size, clock)
        self._accounts = accounts or FlowAccounts("", clock, None)
        self.account = self._accounts.ledger.sink(step.id)
        self._gate = gate
        self._open_spool = open_spool if node.spools else None
        self._disk = disk
        self._status = status
        self._log = log
        self._wake = asyncio.Event()
        self._stopping = False
        self._hurried = False
        self._is_flushing = False
        self._busy = 0
        self._halt = asyncio.Event()
        self._turn: AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if node.concurrency == 1 else nullcontext()
        )
        self._slots = asyncio.Semaphore(node.concurrency)
        self._drainer: asyncio.Task[None] | None = None
        self._writers: dict[asyncio.Task[None], None] = {}
        self._away_since = 0
        self._store_at = 0
        self._is_biding = False  # the time before the next try may be cut short
        self._holds = 0
        self._waits_for_age = False
        wire.on_data = self._data

    def _data(self) -> None:
        """Messages came: not worth a wake-up (20 us) while a batch grows that is not due yet."""
        if not self._waits_for_age or self.wire.depth >= self.size:
            self._wake.set()

    # -- from outside

    def hurry(self) -> None:
        """Write what waits now: a source is about to stall for want of acknowledgements."""
        if self.wire.depth:
            self._hurried = True
            self._wake.set()

    @property
    def stored(self) -> int:
        """Records that wait on disk."""
        return self.backlog.depth if self.backlog is not None else 0

    @property
    def is_busy(self) -> bool:
        """Whether something waits here that could be written or stored now."""
        is_held = bool(self._holds) and self.backlog is None
        return not is_held and bool(self.wire.depth or self._busy)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def reach(self) -> None:
        """Something tells that the far side may be back: try now, not at the end of the wait.

        Not where the far side itself has said when to come again.
        """
        if self._is_biding:
            self._is_biding = False
            self._halt.set()
            self._wake.set()

    def flush(self) -> None:
        """From now on, write what comes at once: the flow is about to stop."""
        self._is_flushing = True
        self._wake.set()

    def stop(self) -> None:
        """Write or store what waits, then end `run`."""
        self._stopping = True
        self._wake.set()
        self._halt.set()

    async def run(self) -> None:
        """Run until stopped."""
        self._open_backlog()
        try:
            if self.backlog is not None:
                await self.backlog.scan()
            await self._work()
        finally:
            tasks = [*self._writers, *([self._drainer] if self._drainer else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.backlog is not None:
                # Better once more than never: who runs next writes or stores it.
                self.wire.put_back(self.backlog.close())

    def _open_backlog(self) -> None:
        self.has_opened = True
        if self._open_spool is None:
            return
        self.backlog = Backlog(
            self._open_spool(self._spool),
            self._spool,
            self.clock,
            self._disk,
            status=self._status,
            log=self._log,
            refuse=self.step.fail,
            name=self.step.id,
            ledger=self._accounts.ledger,
            gate=self._gate,
        )
        self.is_away = self.backlog.depth > 0

    # -- the loop

    async def _work(self) -> None:
        while True:
            if not self._may_write():
                if not await self._store_waiting():
                    break
                continue
            messages = await self._next_batch()
            if not messages:
                if self._may_write():
                    break
                continue
            if self.node.concurrency == 1:
                await self._deliver(messages)
            else:
                await self._deliver_beside(messages)
            messages = []  # else they would stay in memory until the next batch
            if self._stopping and self.is_away and self.backlog is None:
                break  # nowhere to put it: it stays unacknowledged, and comes again
        if self._writers:
            await asyncio.wait(set(self._writers))
        if self._drainer is not None:  # it ends with the write that is under way
            await asyncio.wait({self._drainer})
        if self.backlog is not None and self.backlog.open:
            with contextlib.suppress(TimeoutError):  # what failed is on its way to the quarantine
                await asyncio.wait_for(self.backlog.settled(), SETTLE_WITHIN)

    async def _deliver_beside(self, messages: list[Message]) -> None:
        """Write a batch in a task of its own, once there is a slot for it."""
        try:
            await self._slots.acquire()
        except asyncio.CancelledError:
            self.wire.put_back(messages)
            raise
        unbegun = [messages]

        async def deliver() -> None:
            await self._deliver(unbegun.pop())

        task = asyncio.create_task(deliver())
        self._writers[task] = None
        task.add_done_callback(partial(self._written, unbegun))

    def _written(self, unbegun: list[list[Message]], task: asyncio.Task[None]) -> None:
        for messages in unbegun:  # cancelled before it ran at all
            self.wire.put_back(messages)
        self._writers.pop(task, None)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            self._log("error", f"the sink failed: {task.exception()}")

    def _may_write(self) -> bool:
        """Whether what comes is written straight away; starts the drain of a backlog."""
        if not self.is_away or self.backlog is None:
            return True
        is_draining = self._drainer is not None and not self._drainer.done()
        if self.backlog.depth and not is_draining and not self._stopping:
            self._drainer = asyncio.create_task(self._drain(0))
            is_draining = True
        available = not self._away_since
        if available and not is_draining and not self.backlog.depth:
            self.is_away = False
        return not self.is_away or (self.is_live_first and available)

    async def _next_batch(self) -> list[Message]:
        """The next batch: full, or old enough, or hurried; empty when stopping or gone away."""
        wire = self.wire
        while self._may_write():
            depth = wire.depth
            is_pressed = self._hurried or self._stopping or self._is_flushing or not self.age
            if depth >= self.size or (depth and is_pressed):
                break
            if self._stopping:
                return []
            oldest = wire.oldest
            due = None if oldest is None else oldest + self.age
            if due is not None and self.clock.monotonic() >= due:
                break
            await self._wait(due)
        else:
            return []
        self._hurried = False
        return self._take()

    def _take(self) -> list[Message]:
        """A batch from the wire; of fewer messages where they are large: a write weighs more."""
        wire, size = self.wire, self.size
        if wire.depth and wire.bytes > BATCH_BYTES:
            size = min(size, max(1, BATCH_BYTES * wire.depth // wire.bytes))
        return wire.take(size)

    async def _wait(self, until: int | None) -> None:
        """Wait for data, a call from outside, or monotonic `until`."""
        self._wake.clear()
        self._waits_for_age = until is not None
        timer = self.clock.call_at(until, self._wake.set) if until is not None else None
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _deliver(self, messages: list[Message]) -> None:
        self.account.records += len(messages)
        self._busy += 1
        try:
            await self._write(messages, give_back=self.wire.put_back)
        except _Away as away:
            self._went_away(away.cause)
            if self.backlog is None:
                self.account.records -= len(away.rest)
                self.wire.put_back(away.rest)
                await self._hold(away.cause)
                self._wake.set()  # of several writers, none may know that something waits again
            else:
                await self._store(self.backlog, away.rest)
        finally:
            self._busy -= 1

    async def _store(self, backlog: Backlog, messages: list[Message]) -> bool:
        """Store messages; what has no room goes back into the wire: False."""
        if self._accounts.is_recovering:
            messages = backlog.without_known(messages)
        left = backlog.append(messages)
        self.account.records -= len(left)
        self.wire.put_back(left)
        self.region.run()
        await backlog.synced()
        return not left

    # -- writing

    async def _write(
        self, messages: list[Message], give_back: Callable[[list[Message]], None] | None = None
    ) -> None:
        """Write messages; raises _Away with those that were not, gives them back if cancelled."""
        records: list[Any] = []
        good: list[Message] = []
        prepare = self.node.prepare
        self.clock.trust.mend(messages)
        for message in messages:
            try:
                records.append(prepare(message))
                good.append(message)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                self.step.fail(message, err)
        halves = Halves(good, records)
        self._accounts.before_write()
        try:
            while halves:
                part = halves.take()
                try:
                    async with self._turn:
                        results = await self.node.write(part.records)
                except asyncio.CancelledError:
                    rest = halves.rest(part)
                    task = asyncio.current_task()
                    if task is not None and not task.cancelling():
                        self.account.possible_repeats += len(part.records)
                        raise _Away(Unavailable("the write was broken off."), rest) from None
                    if give_back is not None:
                        give_back(rest)
                    raise
                except Unavailable as err:
                    if err.is_unanswered:
                        self.account.possible_repeats += len(part.records)
                    raise _Away(err, halves.rest(part)) from err
                except Exception as err:  # noqa: BLE001  # a sink's bug: find the record by halves
                    self._refused(err, part, halves)
                else:
                    halves.written(part)
                    self._delivered(part.messages, results)
        finally:
            self.region.run()

    def _refused(self, err: Exception, part: Part, halves: Halves) -> None:
        batch = part.messages
        named = err.refused if isinstance(err, RecordRefused) else {}
        named = {index: why for index, why in named.items() if 0 <= index < len(batch)}
        if named:
            for index, why in named.items():
                self.step.fail(batch[index], NodeError(why, slug="refused"))
            self._delivered([m for i, m in enumerate(batch) if i not in named], None)
        elif halves.refused(part, has_bad=not isinstance(err, BatchTooLarge)):
            cause = err
            if isinstance(err, RecordRefused):
                cause = NodeError(err.what, slug="refused", mend=err.mend)
            self.step.fail(batch[0], cause)

    def _delivered(self, batch: list[Message], results: Sequence[Any] | None) -> None:
        self.written += len(batch)
        self.account.written += len(batch)
        if self._away_since:
            self._came_back()
        if results is None:
            settle_all(batch, DELIVERED)
            return
        if len(results) != len(batch):
            self._log("error", f"{len(results)} answers came for {len(batch)} records")
            settle_all(batch, DELIVERED)
            return
        outs: dict[str, list[Message]] = {}
        for message, result in zip(batch, results, strict=True):
            self._answer(message, result, outs)
            if self.step.in_order:
                self._let_out(outs)
                self.region.run()
                outs = {}
        self._let_out(outs)

    def _answer(self, message: Message, result: Result, outs: dict[str, list[Message]]) -> None:
        """Settle a message that was written, and take what is to be sent on for it."""
        message.receipt.take()
        try:
            self.step.sort(message, result, outs)
        except NodeError as err:
            self._log("error", f"an answer cannot be sent on: {err.what}")
            message.receipt.settle(self.step.filtered_here)
        message.receipt.settle(DELIVERED)

    def _let_out(self, outs: dict[str, list[Message]]) -> None:
        for name, messages in outs.items():
            self.step.outlets[name].put(messages)

    # -- while the far side is away

    def _went_away(self, cause: Unavailable) -> None:
        if not self._away_since:
            self._away_since = self.clock.monotonic()
            self._log("warning", cause.what, mend=cause.mend)
        self.is_away = True
        self._status(cause.state, cause.what)
        if self.backlog is not None and (self._drainer is None or self._drainer.done()):
            self._is_biding = not cause.retry_after
            self._drainer = asyncio.create_task(self._drain(self._pause(0, cause)))

    def _came_back(self) -> None:
        self._away_since = self._holds = 0
        self.is_away = self.backlog is not None
        self._log("info", "writing again", backlog=self.stored)
        self._status("running", "")

    def _count_retry(self) -> None:
        self.retries += 1
        self.account.retries += 1

    def _pause(self, tries: int, cause: Unavailable) -> int:
        """How long to wait before the next try: doubled each time, with jitter (ns).

        What the far side asks for is the least: others were asked the same at the same time.
        """
        if cause.retry_after:
            jitter = self.clock.random.uniform(0, self.retry.first)
            return int(cause.retry_after * SECOND + jitter)
        pause = min(self.retry.max, self.retry.first << min(tries, 16))
        return int(pause * self.clock.random.uniform(0.75, 1.25))

    async def _hold(self, cause: Unavailable) -> None:
        """Without a backlog: wait, with the messages in the wire, before the next try."""
        until = self.clock.monotonic() + self._pause(self._holds, cause)
        self._holds += 1
        self._is_biding = not cause.retry_after
        was_told = False
        while self.clock.monotonic() < until and not self._stopping and not was_told:
            await self._wait(until)
            was_told = not (self._is_biding or cause.retry_after)
        self._is_biding = False
        if was_told:
            self._holds = 1
            self._halt.clear()
        self._count_retry()

    async def _store_waiting(self) -> bool:
        """Move what waits in the wire to the backlog; False when stopping and done."""
        assert self.backlog is not None  # noqa: S101  # else nothing keeps us from writing
        now, depth = self.clock.monotonic(), self.wire.depth
        is_pressed = self._hurried or self._stopping or self._is_flushing
        if depth and now < self._store_at and depth < self.size and not is_pressed:
            await self._wait(self._store_at)
            return True
        self._hurried, self._store_at = False, now + SYNC_EVERY
        messages = self._take()
        if messages:
            self.account.records += len(messages)
            self._busy += 1
            try:
                if await self._store(self.backlog, messages):
                    return True
            finally:
                self._busy -= 1
            await self._wait(self.clock.monotonic() + DISK_RETRY)
            return not self._stopping
        if self._stopping:
            return False
        await self._wait(None)
        return True

    async def _drain(self, pause: int) -> None:
        """Write the backlog, oldest first, until it is empty."""
        backlog = self.backlog
        assert backlog is not None  # noqa: S101  # only started where there is one
        pace, tries = self._pace, 0
        while not self._stopping:
            is_biding = self._is_biding
            await self._rest_for(max(pause, pace.pause()))
            if is_biding and not self._is_biding:
                tries = 0  # told that it is back
            self._is_biding = False
            try:
                while backlog.is_held_up and not self._stopping:
                    await self._settled_or_halted(backlog)
                messages = [] if self._stopping else backlog.read(pace.batch)
            except (SpoolBroken, OSError) as err:
                self._status("failed", f"the store on disk cannot be read: {err}")
                pause = DISK_RETRY
                continue
            pause = 0
            if not messages:
                if backlog.open:
                    await self._settled_or_halted(backlog)
                elif backlog.depth:
                    pause = DISK_RETRY  # a failing disk shows less than it holds
                else:
                    self._away_since = 0
                    break
                continue
            pace.spend(len(messages))
            try:
                await self._write(messages, give_back=backlog.give_back)
            except _Away as away:
                tries += 1
                self._count_retry()
                self._status(away.cause.state, away.cause.what)
                pause = self._pause(tries, away.cause)
                self._is_biding = not away.cause.retry_after
                self._keep_or_give_up(backlog, away)
            else:
                tries = 0
            await backlog.flush()
            await asyncio.sleep(0)  # what came meanwhile is stored between two batches
        self._wake.set()

    async def _rest_for(self, pause: int) -> None:
        """Wait, but not longer than until `stop`."""
        if not pause:
            return
        timer = self.clock.call_at(self.clock.monotonic() + pause, self._halt.set)
        try:
            await self._halt.wait()
        finally:
            timer.cancel()
        if not self._stopping:
            self._halt.clear()

    async def _settled_or_halted(self, backlog: Backlog) -> None:
        """Wait for what was read and is still open: on its way to the quarantine, or answered."""
        waits = [asyncio.ensure_future(w) for w in (backlog.settled(), self._halt.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _keep_or_give_up(self, backlog: Backlog, away: _Away) -> None:
        """What was not written is read again, unless it was tried for long enough."""
        give_up, since = self.retry.give_up, self._away_since
        if give_up and since and self.clock.monotonic() - since > give_up:
            for message in away.rest:
                self.step.fail(message, NodeError(away.cause.what, slug="gave-up"))
            self.region.run()
        else:
            backlog.give_back(away.rest)

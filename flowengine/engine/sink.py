"""The engine around a sink: batches, retries, the store on disk while the far side is away.

A sink only knows `write`. Everything a write can meet is met here:

    wire --batch--> write --ok--> settled as delivered
                      |-- Unavailable ---> spool (settled once fsynced) --drain--> write
                      |-- RecordRefused -> bisected; the bad record takes the error route
                      '-- a bug ---------> the same
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from flowengine.clock import SECOND, Clock
from flowengine.engine.delivery import DELIVERED, DROPPED, SPOOLED, settle_all
from flowengine.engine.region import Region, Step
from flowengine.engine.spool import Spool, SpoolBroken, SpoolFull
from flowengine.engine.wire import Wire
from flowengine.errors import NodeError, RecordRefused, Unavailable
from flowengine.message import Message, packer, unpacker
from flowengine.node import BatchConfig, RetryConfig, Sink, SpoolConfig

_DISK_RETRY = SECOND
_EXPIRE_EVERY = 60 * SECOND
_encoder = packer()
_decoder = unpacker(Message)


class _Away(Exception):  # a turn of the way, not an error
    """The far side went away; `rest` is what was not written."""

    def __init__(self, cause: Unavailable, rest: list[Message]) -> None:
        super().__init__(cause.what)
        self.cause = cause
        self.rest = rest


class SinkRunner:
    """Runs one sink node over its wire."""

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
    ) -> None:
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
        self.spool_config: SpoolConfig = getattr(config, "spool", None) or SpoolConfig()
        self.is_live_first = getattr(config, "order", "oldest-first") == "live-first"
        self.written = 0
        self.retries = 0
        self.spooled = 0
        self.dropped = 0
        self.is_away = False
        self.spool: Spool | None = None
        self._open_spool = open_spool if node.spools else None
        self._disk = disk
        self._status = status
        self._log = log
        self._wake = asyncio.Event()
        self._stopping = False
        self._hurried = False
        self._lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(node.concurrency)
        self._drainer: asyncio.Task[None] | None = None
        self._writers: set[asyncio.Task[None]] = set()
        self._away_since = 0
        self._holds = 0
        self._expire_at = self._free_at = 0
        self._is_draining = False
        wire.on_data = self._wake.set

    # -- from outside

    def hurry(self) -> None:
        """Write what waits now: a source is about to stall for want of acknowledgements."""
        if self.wire.depth:
            self._hurried = True
            self._wake.set()

    @property
    def backlog(self) -> int:
        """Records in the store on disk."""
        return self.spool.depth if self.spool is not None else 0

    def stop(self) -> None:
        """Write or store what waits, then end `run`."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Run until stopped."""
        self._reopen_spool()
        try:
            await self._work()
        finally:
            for task in [*self._writers, *([self._drainer] if self._drainer else [])]:
                task.cancel()
            await asyncio.gather(
                *self._writers, *([self._drainer] if self._drainer else []), return_exceptions=True
            )
            if self.spool is not None:
                self.spool.close()

    # -- the loop

    async def _work(self) -> None:
        while True:
            if self.is_away and not self._is_back():
                if not await self._store_waiting():
                    return
                continue
            messages = await self._next_batch()
            if not messages:
                break
            if self.node.concurrency == 1:
                await self._deliver(messages)
            else:
                await self._slots.acquire()
                task = asyncio.create_task(self._deliver(messages))
                self._writers.add(task)
                task.add_done_callback(self._written)
        if self._writers:
            await asyncio.wait(set(self._writers))

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writers.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            self._log("error", f"the sink failed: {task.exception()}")

    async def _next_batch(self) -> list[Message]:
        """The next batch: full, or old enough, or hurried; empty only when stopping."""
        wire = self.wire
        while True:
            depth = wire.depth
            if depth >= self.size or (depth and (self._hurried or self._stopping or not self.age)):
                break
            if self._stopping:
                return []
            if self.is_away and not self._is_back():
                return wire.take(self.size)
            oldest = wire.oldest
            due = None if oldest is None else oldest + self.age
            if due is not None and self.clock.monotonic() >= due:
                break
            await self._wait(due)
        self._hurried = False
        return wire.take(self.size)

    async def _wait(self, until: int | None) -> None:
        """Wait for data, a call from outside, or monotonic `until`."""
        self._wake.clear()
        timer = self.clock.call_at(until, self._wake.set) if until is not None else None
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _deliver(self, messages: list[Message]) -> None:
        try:
            await self._write(messages)
        except asyncio.CancelledError:
            self.wire.put_back(messages)
            raise
        except _Away as away:
            self._went_away(away.cause)
            if self.spool is None:
                self.wire.put_back(away.rest)
                await self._hold(away.cause)
            elif not await self._store(away.rest):
                self.wire.put_back(away.rest)

    # -- writing

    async def _write(self, messages: list[Message]) -> None:
        """Write messages; raises _Away with those that were not."""
        records: list[Any] = []
        good: list[Message] = []
        prepare = self.node.prepare
        for message in messages:
            try:
                records.append(prepare(message))
                good.append(message)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                self.step.fail(message, err)
        stack = [(good, records)] if good else []
        while stack:
            batch, part = stack.pop()
            try:
                async with self._lock if self.node.concurrency == 1 else _NO_LOCK:
                    results = await self.node.write(part)
            except Unavailable as err:
                rest = batch + [m for later, _ in reversed(stack) for m in later]
                raise _Away(err, rest) from err
            except RecordRefused as err:
                self._refused(err, batch, part, stack)
            except asyncio.CancelledError:
                raise
            except Exception as err:  # noqa: BLE001  # a sink's bug: find the record by halves
                self._refused(err, batch, part, stack)
            else:
                self._delivered(batch, results)
        self.region.run()

    def _refused(
        self,
        err: Exception,
        batch: list[Message],
        part: list[Any],
        stack: list[tuple[list[Message], list[Any]]],
    ) -> None:
        named = err.refused if isinstance(err, RecordRefused) else {}
        if named:
            for index, why in named.items():
                self.step.fail(batch[index], NodeError(why, slug="refused"))
            self._delivered([m for i, m in enumerate(batch) if i not in named], None)
        elif len(batch) == 1:
            cause = err
            if isinstance(err, RecordRefused):
                cause = NodeError(err.what, slug="refused", mend=err.mend)
            self.step.fail(batch[0], cause)
        else:
            half = len(batch) // 2
            stack.append((batch[half:], part[half:]))
            stack.append((batch[:half], part[:half]))

    def _delivered(self, batch: list[Message], results: Sequence[Any] | None) -> None:
        self.written += len(batch)
        if self.is_away:
            self._came_back()
        if results is None:
            settle_all(batch, DELIVERED)
            return
        outs: dict[str, list[Message]] = {}
        for message, result in zip(batch, results, strict=True):
            message.receipt.take()
            self.step.sort(message, result, outs)
            message.receipt.settle(DELIVERED)
        for name, messages in outs.items():
            self.step.outlets[name].put(messages)

    # -- while the far side is away

    def _went_away(self, cause: Unavailable) -> None:
        if not self.is_away:
            self.is_away = True
            self._away_since = self.clock.monotonic()
            self._log("warning", cause.what, mend=cause.mend)
        self._status(cause.state, cause.what)
        if self.spool is None or (self._drainer is not None and not self._drainer.done()):
            return
        self._drainer = asyncio.create_task(self._drain(self._pause(0, cause)))

    def _came_back(self) -> None:
        if self._away_since:
            self._away_since = self._holds = 0
            self._log("info", "writing again", backlog=self.backlog)
            self._status("running", "")

    def _is_back(self) -> bool:
        """Whether direct writing may go on."""
        done = self._drainer is None or self._drainer.done()
        if self.spool is not None and self.spool.depth and done and not self._stopping:
            self._drainer = asyncio.create_task(self._drain(0))
            done = False
        available = not self._away_since
        if done and not self.backlog and (available or self.spool is None):
            self.is_away = False
        elif self.is_live_first and available:
            return True
        return not self.is_away

    def _pause(self, tries: int, cause: Unavailable) -> int:
        """How long to wait before the next try: doubled each time, with jitter (ns)."""
        if cause.retry_after is not None:
            return int(cause.retry_after * SECOND)
        pause = min(self.retry.max, self.retry.first << min(tries, 16))
        return int(pause * self.clock.random.uniform(0.75, 1.25))

    async def _hold(self, cause: Unavailable) -> None:
        """Without a spool: wait, with the messages in the wire, and try again."""
        until = self.clock.monotonic() + self._pause(self._holds, cause)
        self._holds += 1
        while self.clock.monotonic() < until and not self._stopping:
            await self._wait(until)
        self.retries += 1
        self.is_away = False

    async def _store_waiting(self) -> bool:
        """Move what waits in the wire to the spool; False when stopping and done."""
        messages = self.wire.take(self.size)
        if messages:
            if not await self._store(messages):
                self.wire.put_back(messages)
                await self._wait(self.clock.monotonic() + _DISK_RETRY)
                return not self._stopping
            return True
        if self._stopping:
            return False
        await self._wait(None)
        return True

    async def _store(self, messages: list[Message]) -> bool:
        """Append to the spool, and settle once it is on disk; False when it has no room."""
        spool = self.spool
        assert spool is not None  # noqa: S101  # only called where there is one
        self._expire(spool)
        records = [_encoder.encode(message) for message in messages]
        try:
            upto = self._append(spool, records)
        except SpoolFull as err:
            if self.spool_config.when_full == "drop-newest":
                self._drop(messages)
                return True
            if len(messages) > 1:  # a batch as large as the store still fits in parts
                half = len(messages) // 2
                if await self._store(messages[:half]):
                    if not await self._store(messages[half:]):
                        self.wire.put_back(messages[half:])
                        await self._wait(self.clock.monotonic() + _DISK_RETRY)
                    return True
            self._status("waiting", f"the store on disk is full: {err.what}")
            return False
        except (SpoolBroken, OSError) as err:
            self._status("failed", f"the store on disk cannot be written: {err}")
            return False
        # From here on the records are the spool's; only their fsync may have to be tried again.
        while spool.synced < upto:
            try:
                await self._in_thread(spool.sync)
            except (SpoolBroken, OSError) as err:
                self._status("failed", f"the store on disk cannot be written: {err}")
                if self._stopping:
                    return True
                await self.clock.sleep(_DISK_RETRY)
        self.spooled += len(messages)
        settle_all(messages, SPOOLED)
        return True

    def _append(self, spool: Spool, records: list[bytes]) -> int:
        """Append, making room as the policy says; SpoolFull when there is none."""
        while True:
            try:
                return spool.append(records)
            except SpoolFull:
                if self.spool_config.when_full != "drop-oldest":
                    raise
                gone = spool.drop_oldest(len(records))
                if not gone.records:
                    raise
                self.dropped += gone.records

    def _expire(self, spool: Spool) -> None:
        """Drop what is older than the spool's age, once a minute, between two drained batches."""
        now = self.clock.monotonic()
        if now < self._expire_at or self._is_draining:
            return
        self._expire_at = now + _EXPIRE_EVERY
        gone = spool.expire()
        if gone.records:
            self.dropped += gone.records
            self._log(
                "warning", "records older than the spool's age were dropped", number=gone.records
            )

    def _drop(self, messages: list[Message]) -> None:
        self.dropped += len(messages)
        settle_all(messages, DROPPED)

    async def _drain(self, pause: int) -> None:
        """Write the spool's records, oldest first, until it is empty."""
        spool = self.spool
        assert spool is not None  # noqa: S101  # only started where there is one
        tries = 0
        while not self._stopping:
            if pause:
                await self.clock.sleep(pause)
            spool.rewind()
            rows = spool.read(self.size, 8_000_000)
            if not rows:
                break
            messages = [_decoder.decode(encoded) for _, encoded in rows]
            self._is_draining = True
            try:
                await self._write(messages)
            except _Away as away:
                self._is_draining = False
                done = len(messages) - len(away.rest)
                if done:
                    spool.commit(rows[done - 1][0] + 1)
                self.retries += 1
                if self._gives_up():
                    for message in away.rest:
                        self.step.fail(message, NodeError(away.cause.what, slug="gave-up"))
                    spool.commit(rows[-1][0] + 1)
                    self.region.run()
                self._status(away.cause.state, away.cause.what)
                tries += 1
                pause = self._pause(tries, away.cause)
                continue
            self._is_draining = False
            spool.commit(rows[-1][0] + 1)
            self._came_back()
            pause = tries = 0
            await asyncio.sleep(0)
            if self.clock.monotonic() >= self._free_at or not spool.depth:
                await self._free(spool)
            self._expire(spool)
        self._wake.set()

    async def _free(self, spool: Spool) -> None:
        """Write the cursor and give whole segments back to the disk; an fsync, so once a second."""
        self._free_at = self.clock.monotonic() + SECOND
        try:
            await self._in_thread(spool.flush_cursor)
        except (SpoolBroken, OSError) as err:
            self._log("warning", f"the store on disk cannot be written: {err}")
            await self.clock.sleep(_DISK_RETRY)

    def _gives_up(self) -> bool:
        """Whether the far side has been away for longer than the records are worth."""
        give_up, since = self.retry.give_up, self._away_since
        return bool(give_up and since and self.clock.monotonic() - since > give_up)

    def _reopen_spool(self) -> None:
        if self._open_spool is None:
            return
        self.spool = self._open_spool(self.spool_config)
        for line in self.spool.report:
            self._log("warning", line)
        if self.spool.depth:
            self.is_away = True

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        if self._disk is None:
            return call()
        waiting: Awaitable[Any] = asyncio.get_running_loop().run_in_executor(self._disk, call)
        return await waiting


class _NoLock:
    async def __aenter__(self) -> None:
        """Nothing to wait for."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing to give back."""


_NO_LOCK: Any = _NoLock()

"""The one door to time and chance: the real clock, and one that is told.

Wall time is integer nanoseconds since 1970-01-01 UTC; monotonic time is integer nanoseconds from
an arbitrary start and never jumps. Durations run on the monotonic clock, so a wall clock that is
set wrong stalls nothing. How far the wall clock may be believed is its `trust`.
"""

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable
from typing import Protocol

from flowengine.trust import Trust, boot_clock, boot_id, kernel_is_synced

SECOND = 1_000_000_000
TOLD_START = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z (R14)


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Do not make the call; harmless when it was made or cancelled already."""


class Clock(Protocol):
    """What nodes and the engine may know of time and chance."""

    random: random.Random
    trust: Trust

    def now(self) -> int:
        """Wall time in nanoseconds since 1970-01-01 UTC."""

    def monotonic(self) -> int:
        """Monotonic time in nanoseconds."""

    def call_at(self, when: int, call: Callable[[], None]) -> Timer:
        """Make `call` on the event loop once monotonic time reaches `when`."""

    async def sleep(self, duration: int) -> None:
        """Wait for `duration` nanoseconds of monotonic time."""


class RealClock:
    """The machine's clocks and the running event loop's timers."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311  # jitter, not secrets
        self.now = time.time_ns
        self.monotonic = time.monotonic_ns
        self.trust = Trust(self.now, boot_clock(), kernel=kernel_is_synced, boot=boot_id())

    def call_at(self, when: int, call: Callable[[], None]) -> Timer:
        """Make `call` at monotonic `when`; asyncio's loop runs on the same monotonic clock."""
        return asyncio.get_running_loop().call_at(when / SECOND, call)

    async def sleep(self, duration: int) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(max(0, duration) / SECOND)


class _ToldTimer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class ToldClock:
    """A clock that stands until it is told to go on; wall and monotonic time move together.

    `advance` moves from timer to timer, making each call at its own time; `set_wall` makes the wall
    clock jump while monotonic time goes on, as a box does at its first time synchronisation;
    `suspend` lets the box sleep. `is_synced` is what its kernel says.
    """

    def __init__(self, start: int = TOLD_START, seed: int = 1) -> None:
        self.random = random.Random(seed)  # noqa: S311  # repeatable chance for tests
        self._monotonic = 1_000 * SECOND
        self._offset = start - self._monotonic
        self._order = itertools.count()
        self._timers: list[tuple[int, int, _ToldTimer]] = []
        self._slept = 0
        self.is_synced = True
        self.boot()

    def boot(self, boot: str = "b007b007") -> None:
        """The box boots (again): its trust begins anew."""
        self.trust = Trust(self.now, self._since_boot, kernel=lambda: self.is_synced, boot=boot)

    def _since_boot(self) -> int:
        return self._monotonic + self._slept

    def now(self) -> int:
        """Told wall time."""
        return self._monotonic + self._offset

    def monotonic(self) -> int:
        """Told monotonic time."""
        return self._monotonic

    def set_wall(self, wall: int) -> None:
        """Let the wall clock jump to `wall`; timers are untouched."""
        self._offset = wall - self._monotonic

    def suspend(self, duration: int) -> None:
        """Let the box sleep: the wall clock goes on, monotonic time and timers stand (F-62)."""
        self._offset += duration
        self._slept += duration

    def call_at(self, when: int, call: Callable[[], None]) -> Timer:
        """Note a call; calls of one moment are made in the order they were noted."""
        timer = _ToldTimer(call)
        heapq.heappush(self._timers, (max(when, self._monotonic), next(self._order), timer))
        return timer

    async def sleep(self, duration: int) -> None:
        """Wait until the clock was told to pass `duration`."""
        woken = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_at(self._monotonic + max(0, duration), wake)
        try:
            await woken
        finally:
            timer.cancel()

    def next_timer(self) -> int | None:
        """Monotonic time of the next call, None if there is none."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def step(self, until: int) -> bool:
        """Move to the next call at or before monotonic `until` and make it; else move to `until`.

        Returns whether a call was made, so that a caller can let other work settle between calls.
        """
        due = self.next_timer()
        if due is None or due > until:
            self._monotonic = max(self._monotonic, until)
            return False
        self._monotonic = max(self._monotonic, due)
        _, _, timer = heapq.heappop(self._timers)
        call, timer.call = timer.call, None
        if call is not None:
            call()
        return True

    def advance(self, duration: int) -> None:
        """Let `duration` nanoseconds pass, making every call that falls due."""
        until = self._monotonic + duration
        while self.step(until):
            pass

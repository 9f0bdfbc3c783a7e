"""Keeping an observation alive (RFC 7641): register, listen, register again, or poll.

    register --Observe in the answer--> listen until freshness ends, or the peer is lost --.
       ^  '-----no Observe------------> ask again after `interval` --------------------------|
       '---------------------------------------------------------------------------- <------'

Every answer is handed on, whichever way it came: what CoAP observes is a state, not events.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from flowengine.errors import FlowengineError
from flowengine.nodes.coap.answers import Answer, is_newer

SECOND = 1_000_000_000
LONGEST = 60 * SECOND
_SHORT = 4 * SECOND  # a peer that ends it sooner, again and again, is not asked at once
_GRACE = (5.0, 15.0)  # seconds behind the end of freshness (RFC 7641 §3.3.1)


class Observing(Protocol):
    """What a watch needs of a caller."""

    async def observe(
        self, target: str, told: Callable[[Answer | None], None]
    ) -> tuple[Answer, Callable[[], None] | None]:
        """The first answer, and what ends the observation."""


class Watch:
    """Watches one target for ever: `took(answer)` gets every answer, `status` how it goes."""

    def __init__(
        self,
        caller: Observing,
        target: str,
        interval: int,
        clock: Any,
        *,
        took: Callable[[Answer], None],
        status: Callable[[str, str], None],
    ) -> None:
        self._caller = caller
        self._target = target
        self._interval = interval
        self._clock = clock
        self._took = took
        self._status = status

    async def run(self) -> None:
        """Run until cancelled."""
        tries = 0
        while True:
            try:
                done = await self._round()
            except FlowengineError as err:
                self._status("connecting", str(err))
                done = False
            except Exception as err:  # noqa: BLE001  # a bug of ours: said, and the watch goes on
                self._status("failed", f"{type(err).__name__}: {err}")
                done = False
            tries = 0 if done else tries + 1
            if not done:
                await self._clock.sleep(self._pause(tries))

    def _pause(self, tries: int) -> int:
        """How long to wait after so many failures: 1 s, doubled to a minute, with jitter.

        Never longer than the polling interval: what is not there yet may come.
        """
        pause = min(LONGEST, max(SECOND, self._interval), SECOND << min(tries - 1, 16))
        return int(pause * self._clock.random.uniform(0.75, 1.25))

    async def _round(self) -> bool:
        """One registration and what follows from it; False if it is better to wait a little."""
        session = _Session(self._clock, self._took)
        answer, stop = await self._caller.observe(self._target, session.told)
        try:
            if not answer.is_good:
                self._status("waiting", f"{self._target} answers {answer.text}")
                return False
            session.first(answer)
            if stop is None:
                seconds = self._interval / SECOND
                self._status("running", f"polling every {seconds:g} s: it cannot be observed")
                await self._clock.sleep(self._interval)
            else:
                self._status("running", "observing")
                started = self._clock.monotonic()
                await session.over()
                return bool(self._clock.monotonic() - started > _SHORT)
        finally:
            if stop is not None:
                stop()
        return True


class _Session:
    """One registration: hands on what is newer, and ends when freshness does."""

    def __init__(self, clock: Any, took: Callable[[Answer], None]) -> None:
        self._clock = clock
        self._took = took
        self._is_over = asyncio.Event()
        self._number: int | None = None
        self._at = 0
        self._timer: Any = None
        self._early: list[Answer] = []

    def first(self, answer: Answer) -> None:
        """The answer to the registration; what came while it was fetched follows it."""
        self._take(answer)
        early, self._early = self._early, []
        for later in early:
            self.told(later)

    def told(self, answer: Answer | None) -> None:
        """A notification, or None at the end."""
        if answer is None or not answer.is_good:
            self._is_over.set()
            return
        now = self._clock.monotonic()
        if self._number is None:
            self._early.append(answer)
        elif is_newer(answer.observe or 0, self._number, (now - self._at) / SECOND):
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        self._number = answer.observe or 0
        self._at = self._clock.monotonic()
        self._took(answer)
        if self._timer is not None:
            self._timer.cancel()
        wait = answer.max_age + self._clock.random.uniform(*_GRACE)
        self._timer = self._clock.call_at(self._at + int(wait * SECOND), self._is_over.set)

    async def over(self) -> None:
        """Wait for the end: of freshness, or of the peer's word."""
        try:
            await self._is_over.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()

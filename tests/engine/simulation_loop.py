"""The simulation's own event loop, threads and stopwatch: every run of a seed is the same."""

import asyncio
import random
import selectors
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any


class Broken(AssertionError):
    """The promise was broken; the message names the seed."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose own time passes only while it has nothing else to do, and then at once.

    So `wait_for` and the like end in the same turn with every run of a seed.
    """

    def __init__(self) -> None:
        self.virtual = 0.0
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self.virtual


class _VirtualSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for nothing."""
        if timeout is None:
            raise Broken("nothing goes on any more: every task waits for another")
        self._loop.virtual += max(0.0, timeout)
        return super().select(0)


class Stopwatch:
    """What feeders measure their turns with: they run out of time by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def perf_counter_ns(self) -> int:
        """Now and then, much later."""
        return self._chance.choice([0, 0, 0, 10**9])


class LaterExecutor(Executor):
    """Runs calls in the event loop a few turns later, as a thread's answer comes later."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.is_dead = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run soon."""
        future: Future[Any] = Future()
        self._in(self.chance.randrange(8), future, partial(fn, *args, **kwargs))
        return future

    def _in(self, turns: int, future: "Future[Any]", call: Callable[[], Any]) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._in, turns - 1, future, call)
            return
        if self.is_dead or not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except Exception as err:  # noqa: BLE001  # as an executor does
            future.set_exception(err)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to end."""

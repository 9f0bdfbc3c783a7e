"""One worker thread of a node's own: what blocks waits there, never on the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class WorkerThread:
    """Runs calls one after the other; the thread starts with the first call."""

    def __init__(self, name: str) -> None:
        self._name = f"flowengine-{name}"
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """The result of a call made in the thread.

        A caller that is cancelled stops waiting; the call itself goes on to its end.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    async def close(self, last: Callable[[], None] = lambda: None) -> None:
        """Make a last call behind those that wait, then end the thread; harmless when repeated."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.get_running_loop().run_in_executor(pool, last)
            pool.shutdown(wait=False)

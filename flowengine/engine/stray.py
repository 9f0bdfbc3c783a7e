"""Errors that reach nobody: of a task that no one awaits, of a callback on the event loop.

They end nothing: not the flow, not the engine. Each place is told with its first error, and then
with every tenfold of it, so that a node that leaks one a message fills no log.
"""

import asyncio
import logging
from collections import Counter
from typing import Any

LOG = logging.getLogger("flowengine.engine")
MOST_PLACES = 1_000


class StrayErrors:
    """The event loop's handler of exceptions; `counts` says how many came of each place."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell or count one error; asyncio's context has `message`, and mostly `exception`."""
        error = context.get("exception")
        place = _place(context)
        if place not in self.counts and len(self.counts) >= MOST_PLACES:
            place = "elsewhere"
        self.counts[place] += 1
        number = self.counts[place]
        if str(number).strip("0") != "1":
            return
        what = context.get("message", "") if error is None else f"{type(error).__name__}: {error}"
        times = "" if number == 1 else f" ({number} times)"
        LOG.error("an error that nobody awaits, in %s: %s%s", place, what, times)
        if error is not None:
            LOG.debug("it came from here", exc_info=error)


def _place(context: dict[str, Any]) -> str:
    """Whose code it is: the coroutine of a task, the function of a callback."""
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        coroutine: Any = task.get_coro()
        return str(getattr(coroutine, "__qualname__", coroutine))
    handle: Any = context.get("handle")
    call = getattr(handle, "_callback", None)
    return str(getattr(call, "__qualname__", None) or context.get("message", "the event loop"))

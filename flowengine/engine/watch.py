"""A watch over the event loop: a thread that sees it stand still, and says whose work it is in.

The loop winds the watch twice a second. Where it does not for two seconds, the thread names the
node that is at work. Ending it is for whoever started the process: systemd's watchdog no longer
gets its beat either.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger("flowengine.engine")
WIND_EVERY = 0.5
STANDS_STILL = 2.0


class LoopWatch:
    """Watches the loop that `start` is called in; `working` names the node that is at work."""

    def __init__(self, working: Callable[[], str | None]) -> None:
        self._working = working
        self._wound = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._over = threading.Event()
        self._has_told = False

    def start(self) -> None:
        """Begin to watch."""
        self._wind()
        threading.Thread(target=self._run, name="flowengine-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()

    def _wind(self) -> None:
        self._wound = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(WIND_EVERY, self._wind)

    def _run(self) -> None:
        while not self._over.wait(WIND_EVERY):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Say once that the loop stands still, and once that it goes on."""
        stood = now - self._wound
        if stood >= STANDS_STILL and not self._has_told:
            self._has_told = True
            who = self._working()
            LOG.error(
                "nothing has moved for %.0f s: %s",
                stood,
                f'node "{who}" does not return' if who else "something holds the event loop",
            )
        elif stood < STANDS_STILL and self._has_told:
            self._has_told = False
            LOG.warning("the event loop turns again")

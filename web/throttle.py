"""How often someone may try: so many at once, then one at an interval (S-07)."""

import time
from collections.abc import Callable


class Throttle:
    """Tries by name: `burst` at once, then one every `every` seconds; bounded in memory."""

    def __init__(
        self,
        burst: int,
        every: float,
        *,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.burst = burst
        self.every = every
        self._most = most
        self._clock = clock
        self._spent: dict[str, float] = {}
        """Name -> the moment at which all its tries are free again."""

    def wait(self, name: str) -> float:
        """Seconds until `name` may try; 0 when it may now."""
        free_again = self._spent.get(name, 0.0)
        over = free_again - self._clock() - (self.burst - 1) * self.every
        return max(0.0, over)

    def spend(self, name: str) -> None:
        """Count a try."""
        now = self._clock()
        if len(self._spent) >= self._most:
            self._spent = {n: at for n, at in self._spent.items() if at > now}
            while len(self._spent) >= self._most:  # all are at it: the oldest is let go
                self._spent.pop(next(iter(self._spent)))
        self._spent[name] = max(self._spent.get(name, 0.0), now) + self.every

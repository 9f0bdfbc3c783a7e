"""How fast a backlog is written: as fast as the far side takes it, or so many records a second."""

from flowengine.clock import SECOND, Clock


class Pace:
    """A token bucket that holds one batch: after a rest there is no burst beyond that.

    With a `rate` a batch is a second's worth at most, so that a slow one is not a batch of 5,000
    every quarter of an hour.

    Attributes:
        batch: how many records may be written at once.
    """

    def __init__(self, rate: int | None, size: int, clock: Clock) -> None:
        self.batch = size if rate is None else min(size, rate)
        self._rate = rate
        self._clock = clock
        self._due = 0

    def pause(self) -> int:
        """How long to wait before the next batch (ns)."""
        return max(0, self._due - self._clock.monotonic())

    def spend(self, records: int) -> None:
        """So many records are written now, or tried."""
        if self._rate is not None:
            self._due = max(self._due, self._clock.monotonic()) + records * SECOND // self._rate

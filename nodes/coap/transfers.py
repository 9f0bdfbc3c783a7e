"""Requests that arrive in blocks (RFC 7959 §2), put together within limits.

A device sends block after block; until the last has come, each is answered 2.31. What is too large
is refused before it is kept, by the size that the first block tells or by what has come so far.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from flowengine.nodes.coap.answers import Refused

PATIENCE = 93_000_000_000
"""Nanoseconds that a transfer may stand still: MAX_TRANSMIT_WAIT (RFC 7252 §4.8.2)."""
MOST_TRANSFERS = 1000
_LEAST_TOTAL = 16_000_000


class _Transfer:
    __slots__ = ("at", "data")

    def __init__(self, at: int) -> None:
        self.at = at
        self.data = bytearray()


class Transfers:
    """The transfers under way: of `max_size` bytes each, four times that (or 16 MB) together."""

    def __init__(self, max_size: int, monotonic: Callable[[], int]) -> None:
        self.max_size = max_size
        self.most_bytes = max(4 * max_size, _LEAST_TOTAL)
        self.bytes = 0
        self._monotonic = monotonic
        self._open: OrderedDict[Hashable, _Transfer] = OrderedDict()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._open)

    def add(
        self, key: Hashable, number: int, *, more: bool, size: int, data: bytes, told: int | None
    ) -> bytes | None:
        """One block of `size` bytes: the whole request if it was the last, None if more must come.

        `key` tells transfers apart; `told` is the whole size as the sender announced it (Size1).
        Raises Refused: 4.13 too large, 4.08 a block is missing, 4.00 no block, 5.03 too many.
        """
        now = self._monotonic()
        self._forget_old(now)
        start = number * size
        if max(told or 0, start + len(data)) > self.max_size:
            self._end(key)
            raise Refused("4.13", f"at most {self.max_size} bytes", size=self.max_size)
        if more and len(data) != size:
            raise Refused("4.00", "the block is not full")
        if not number:
            self._end(key)
            if not more:
                return data
            if len(self._open) >= MOST_TRANSFERS:
                raise Refused("5.03", "too many transfers at once", max_age=5)
            self._open[key] = _Transfer(now)
        transfer = self._open.get(key)
        if transfer is None or start > len(transfer.data):
            self._end(key)
            raise Refused("4.08", "a block before this one is missing")
        if start < len(transfer.data):
            if transfer.data[start : start + len(data)] != data or not more:
                self._end(key)
                raise Refused("4.08", "the blocks do not fit together")
            return None  # sent again, as its answer was lost
        if self.bytes + len(data) > self.most_bytes:
            self._end(key)
            raise Refused("5.03", "too many transfers at once", max_age=5)
        transfer.data += data
        transfer.at = now
        self.bytes += len(data)
        self._open.move_to_end(key)
        if more:
            return None
        whole = bytes(transfer.data)
        self._end(key)
        return whole

    def _end(self, key: Hashable) -> None:
        transfer = self._open.pop(key, None)
        if transfer is not None:
            self.bytes -= len(transfer.data)

    def _forget_old(self, now: int) -> None:
        while self._open:
            key, transfer = next(iter(self._open.items()))
            if now - transfer.at <= PATIENCE:
                return
            self._end(key)

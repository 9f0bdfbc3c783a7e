"""What comes in at a port is looked at before it is read: its shape, and how much of it there is.

One address may send `rate` datagrams a second, and as many at once after a pause; what is above is
not answered at all, as UDP senders can be forged and an answer would be a weapon.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

SECOND = 1_000_000_000
MOST_ADDRESSES = 4096


class Gate:
    """Lets datagrams in, or counts why not.

    Attributes:
        counts: what was kept out, by reason: `flood`, `malformed`, `cut`, `failed`.
    """

    def __init__(self, rate: int, monotonic: Callable[[], int], say: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._rate = rate
        self._monotonic = monotonic
        self._say = say
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def lets_in(self, data: bytes, address: str) -> bool:
        """Whether a datagram is read."""
        return self.has_room(address) and self.is_coap(data, address)

    def has_room(self, address: str) -> bool:
        """Whether this address may send one more now."""
        if self._has_room(address):
            return True
        self.keep_out("flood", f"more than {self._rate} datagrams a second from {address}")
        return False

    def is_coap(self, data: bytes, address: str) -> bool:
        """Whether it starts as a CoAP message does (RFC 7252 §3): version 1, a token that fits."""
        if len(data) >= 4 and data[0] >> 6 == 1:
            token = data[0] & 15  # 9 to 15 are reserved, and a format error
            if token <= 8 and len(data) >= 4 + token:
                return True
        self.keep_out("malformed", f"a datagram from {address} is no CoAP message")
        return False

    def keep_out(self, reason: str, what: str) -> None:
        """Count one that is not taken; the first, tenth, hundredth... of a reason is said."""
        times = self.counts[reason] = self.counts[reason] + 1
        if str(times).strip("0") == "1":
            self._say(what if times == 1 else f"{what} ({times} times {reason})")

    def _has_room(self, address: str) -> bool:
        now = self._monotonic()
        bucket = self._seen.get(address)
        if bucket is None:
            if len(self._seen) >= MOST_ADDRESSES:
                self._seen.popitem(last=False)
            self._seen[address] = [self._rate - 1.0, now]
            return True
        self._seen.move_to_end(address)
        left = min(float(self._rate), bucket[0] + (now - bucket[1]) * self._rate / SECOND)
        bucket[1] = now
        bucket[0] = left - 1 if left >= 1 else left
        return left >= 1

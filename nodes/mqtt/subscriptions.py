"""Which subscriptions a link wants, what the broker's session has of them, what is to ask.

Bookkeeping only: the link sends what `to_ask` and `to_leave` name. Remembered over connections.
"""

from collections.abc import Iterable

from flowengine.nodes.mqtt_topics import filter_fault
from flowengine.nodes.mqtt_wire import REFUSED

_AT_ONCE = 8  # filters in one SUBSCRIBE; AWS takes no more

Asked = tuple[str, int, int]
"""A filter, its QoS, and its subscription identifier: 0 for none."""


class Subscriptions:
    """The filters of one link, by what has become of them."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        """Filters the broker refused, with its reason code."""
        self._wanted: dict[str, tuple[int, int]] = {}
        self._granted: dict[str, tuple[int, int]] = {}
        self._asked: dict[int, list[Asked]] = {}
        self._left: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether the broker has answered for every filter."""
        return not self._asked and not any(True for _ in self._missing())

    def want(self, topic_filter: str, qos: int, number: int = 0) -> None:
        """Remember a filter; ValueError if none can be subscribed like this.

        `number` is the subscription identifier that its messages are to bear, 0 for none.
        """
        if reason := filter_fault(topic_filter):
            raise ValueError(f'no topic filter "{topic_filter}": {reason}')
        if qos not in (0, 1, 2):
            raise ValueError(f"no QoS {qos} for {topic_filter!r}: 0, 1 or 2")
        self._wanted[topic_filter] = qos, number
        self._left.discard(topic_filter)
        self.refused.pop(topic_filter, None)

    def leave(self, topic_filter: str) -> None:
        """Forget a filter; the broker's session has it until `to_leave` was sent."""
        if self._wanted.pop(topic_filter, None) is not None:
            self._left.add(topic_filter)
        self._granted.pop(topic_filter, None)
        self.refused.pop(topic_filter, None)

    def connected(self, *, session_present: bool, ask_again: bool) -> None:
        """A connection begins: a lost session has no filters, and refusals are asked again.

        With `ask_again` what the session should have is asked for too: a broker that was killed may
        have kept the session and lost its last subscriptions.
        """
        self._asked.clear()
        self.refused.clear()
        if ask_again or not session_present:
            self._granted.clear()
        if not session_present:
            self._left.clear()

    def to_leave(self) -> list[str]:
        """Name the filters of one UNSUBSCRIBE each, and take them as sent."""
        left, self._left = sorted(self._left), set()
        return left

    def to_ask(self) -> list[list[Asked]]:
        """Name what needs asking, one list for each SUBSCRIBE: a number holds for a whole one."""
        missing = list(self._missing())
        plain = [asked for asked in missing if not asked[2]]
        together = [plain[at : at + _AT_ONCE] for at in range(0, len(plain), _AT_ONCE)]
        return together + [[asked] for asked in missing if asked[2]]

    def asked(self, mid: int, filters: list[Asked]) -> None:
        """A SUBSCRIBE has left under this packet id."""
        self._asked[mid] = filters

    def answered(self, mid: int, codes: list[int]) -> dict[str, int]:
        """Take in a SUBACK; the filters it refuses, with their codes."""
        refused = {}
        for asked, code in zip(self._asked.pop(mid, ()), codes, strict=False):
            topic_filter, qos, number = asked
            if self._wanted.get(topic_filter) != (qos, number):
                continue  # left or changed meanwhile
            if code >= REFUSED:
                refused[topic_filter] = code
            else:
                self._granted[topic_filter] = qos, number
        self.refused |= refused
        return refused

    def _missing(self) -> Iterable[Asked]:
        under_way = {asked for filters in self._asked.values() for asked in filters}
        for name, how in self._wanted.items():
            asked = (name, *how)
            if (
                self._granted.get(name) != how
                and name not in self.refused
                and asked not in under_way
            ):
                yield asked

"""What a broker may send again: recognised by packet id and content, and given its old number.

A message that was not acknowledged comes again after the next connect, with the same packet id in
the same session (MQTT 5.0 §4.4). If its first copy is done with, it only has to be acknowledged. If
a former run of the engine had it and did not finish, it takes up its number and its arrival time:
the same point in a database, not a second one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from flowengine.engine.ledger import SourceLedger
from flowengine.node import Known

REMEMBERED = 4096
"""Acknowledged messages of which the broker may not have had the acknowledgement."""


class Arrival(NamedTuple):
    """One message as it came: packet id, checksum of topic and payload, arrival time (ns)."""

    packet: int
    mark: int
    time: int


class Arrivals:
    """The messages of one source that may come again."""

    def __init__(
        self, account: SourceLedger, session_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._account = account
        self._session_lost = session_lost
        self._known: dict[int, tuple[int, int, int]] = {}
        self.back: set[int] = set()
        """Of what a former run left open: what came again to this one."""
        self._order: deque[int] = deque()
        """Number and packet id of what is remembered, in one integer, as it is the lightest."""

    def find(self, packet: int, mark: int, *, is_marked: bool) -> Known | None:
        """The first copy of a message, None for a new one; `is_marked` is its DUP flag.

        Without the flag it is a copy only while the first is not acknowledged: until then its
        packet id is not free for another (§2.2.1).
        """
        known = self._known.get(packet)
        if known is None or known[0] != mark:
            return None
        return Known(*known) if is_marked or not self._account.is_done(known[1]) else None

    def is_done(self, number: int) -> bool:
        """Whether it is acknowledged: it only has to be once more."""
        return self._account.is_done(number)

    def is_former(self, number: int) -> bool:
        """Whether a former run let it in and did not finish it, and this one has not got it yet.

        It may come once more while it is on its way here, after another connect.
        """
        return number in self._account.former and number not in self.back

    def came_back(self, numbers: Iterable[int]) -> None:
        """What a former run did not finish is let in again."""
        self.back.intersection_update(self._account.former)
        self.back.update(numbers)

    def session_lost(self) -> None:
        """The far side has forgotten us: what was not acknowledged will not come again."""
        self._session_lost()

    def note(self, arrivals: Sequence[tuple[int, int, int]], first: int) -> None:
        """New messages came, numbered from `first` on; packet id 0 is none (QoS 0)."""
        account = self._account
        open_ones = first + len(arrivals) - 1 - max(account.done_upto, account.given_before)
        account.most_open = max(account.most_open, open_ones)
        self.remember(arrivals, first)

    def remember(self, arrivals: Sequence[tuple[int, int, int]], first: int) -> None:
        """Remember messages, of this run or, from its journal, of a former one."""
        known, order, number = self._known, self._order, first
        for packet, mark, time in arrivals:
            if packet:
                known[packet] = (mark, number, time)
                order.append(number << 16 | packet)
            number += 1
        if len(order) > REMEMBERED + self._account.most_open:
            self.trim()

    def trim(self) -> None:
        """Forget what was acknowledged so long ago that the broker knows."""
        known, order, is_done = self._known, self._order, self._account.is_done
        most = REMEMBERED + max(self._account.most_open, len(self._account.former))
        while len(order) > most and is_done(order[0] >> 16):
            number, packet = divmod(order.popleft(), 1 << 16)
            found = known.get(packet)
            if found is not None and found[1] == number:
                del known[packet]

    def forget(self) -> None:
        """The session is gone: packet ids begin anew. What came back already goes on its way."""
        self._known.clear()
        self._order.clear()
        self._account.most_open = 0

    def all(self) -> list[tuple[int, Arrival]]:
        """(number, arrival) of everything that is remembered, in order."""
        found: list[tuple[int, Arrival]] = []
        for number, packet in (divmod(entry, 1 << 16) for entry in self._order):
            known = self._known.get(packet)
            if known is not None and known[1] == number:
                found.append((number, Arrival(packet, known[0], known[2])))
        return found

"""Acknowledge after commit: the receipt of every source message, and each source's intake.

A message that a source let in carries a `SourceReceipt`. Every branch it takes is a part of it. A
part is *settled* when it met its fate, and *secured* when it is safe on the box's own disk though
its fate is still open. The source may acknowledge once every part is settled or secured; the fate
of the message is the worst of its parts (R16). Acknowledgements leave in the order of receipt.

    Intake (one a source) --> Group (one a read) --> SourceReceipt (one a message)
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from flowengine.message import Message, Receipt

LOG = logging.getLogger("flowengine.engine")

FILTERED = 0
DELIVERED = 1
SPOOLED = 2
DROPPED = 3
QUARANTINED = 4
FATES = ("filtered", "delivered", "spooled", "dropped", "quarantined")
"""Names of the fates, best first: the worst of a message's branches counts (R16)."""


class Group:
    """The messages of one read: acknowledged together once all are settled or secured."""

    __slots__ = ("insecure", "intake", "settled")

    def __init__(self, intake: "Intake", messages: int, settled: Callable[[], None] | None) -> None:
        self.intake = intake
        self.insecure = messages
        self.settled = settled


class SourceReceipt(msgspec.Struct, Receipt, gc=False):
    """What must settle before the source of one message acknowledges it.

    A struct, and the hot path written out: 0.2 us a message to make and settle, 0.5 us as a class.
    """

    group: Group
    parts: int = 1
    insecure: int = 1
    fate: int = FILTERED

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts
        self.insecure += parts

    def settle(self, fate: int) -> None:
        """One part has met its fate and is safe with it."""
        self.fate = max(self.fate, fate)
        self.insecure -= 1
        if not self.insecure:
            group = self.group
            group.insecure -= 1
            if not group.insecure:
                group.intake.acknowledge()
        self.parts -= 1
        if not self.parts:
            self.group.intake.fates[self.fate] += 1

    def secure(self) -> "SecuredPart":
        """One part is safe on disk, its fate still open; returns what settles that part later."""
        self.insecure -= 1
        if not self.insecure:
            group = self.group
            group.insecure -= 1
            if not group.insecure:
                group.intake.acknowledge()
        return SecuredPart(self)


class SecuredPart(Receipt):
    """A part that is safe on disk already: settling it only tells its fate."""

    __slots__ = ("parts", "receipt")

    def __init__(self, receipt: SourceReceipt) -> None:
        self.receipt = receipt
        self.parts = 1

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts

    def settle(self, fate: int) -> None:
        """Tell the fate; the acknowledgement has nothing to wait for."""
        receipt = self.receipt
        receipt.fate = max(receipt.fate, fate)
        self.parts -= 1
        if not self.parts:
            receipt.parts -= 1
            if not receipt.parts:
                receipt.group.intake.fates[receipt.fate] += 1

    def secure(self) -> "SecuredPart":
        """Nothing more to secure."""
        return self


class JoinedReceipt(Receipt):
    """The receipt of a message that answers for many: what settles it settles them all.

    `output` is the output that the message left by, None before it left.
    """

    __slots__ = ("fate", "members", "output", "parts")

    def __init__(self, members: list[Receipt]) -> None:
        self.members = members
        self.parts = 1
        self.fate = FILTERED
        self.output: str | None = None

    def left(self, _message: Message, output: str) -> None:
        """The message leaves its node; each time but the first, it is one part more."""
        if self.output is None:
            self.output = output
        else:
            self.take()

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts

    def settle(self, fate: int) -> None:
        """One part has met its fate; at the last one, every member meets the worst of them."""
        self.fate = max(self.fate, fate)
        self.parts -= 1
        if not self.parts:
            for member in self.members:
                member.settle(self.fate)

    def secure(self) -> "JoinedReceipt":
        """Secure every member once this is the only part left."""
        if self.parts == 1:
            self.members = [member.secure() for member in self.members]
        return self


def settle_all(messages: Iterable[Message], fate: int) -> None:
    """Settle one part of each message."""
    for message in messages:
        message.receipt.settle(fate)


class Intake:
    """What one source let in and what became of it.

    `window` is how many messages the source may have unacknowledged; past half of it, `hurry` is
    called, so that sinks write and states are saved before the source stalls.
    """

    def __init__(self, hurry: Callable[[], None] = lambda: None) -> None:
        self.received = 0
        self.acknowledged = 0
        self.fates = [0] * len(FATES)
        self.window: int | None = None
        self._hurry = hurry
        self._groups: deque[Group] = deque()
        self._sizes: deque[int] = deque()
        self._tell_at = 0
        self._tell: Callable[[], None] | None = None

    @property
    def unacknowledged(self) -> int:
        """Messages let in that are neither settled nor secured."""
        return self.received - self.acknowledged

    @property
    def in_flight(self) -> int:
        """Messages whose fate is open."""
        return self.received - sum(self.fates)

    def let_in(self, messages: list[Message], settled: Callable[[], None] | None) -> None:
        """Give every message its receipt; `settled` is called when all are safe."""
        number = len(messages)
        group = Group(self, number, settled)
        for message in messages:
            message.receipt = SourceReceipt(group)
        self.received += number
        self._groups.append(group)
        self._sizes.append(number)
        if not number:
            self.acknowledge()

    @property
    def pressed(self) -> bool:
        """Whether more than half of the source's window is waiting for its acknowledgement."""
        return self.window is not None and 2 * self.unacknowledged >= self.window

    def press(self) -> None:
        """Ask for speed if the source is about to stall."""
        if self.pressed:
            self._hurry()

    def tell_at(self, unacknowledged: int, tell: Callable[[], None]) -> None:
        """Call `tell` once so few are unacknowledged."""
        self._tell_at, self._tell = unacknowledged, tell

    def acknowledge(self) -> None:
        """A read is complete: acknowledge, in order of receipt, every read that is."""
        groups = self._groups
        while groups and not groups[0].insecure:
            done = groups.popleft()
            self.acknowledged += self._sizes.popleft()
            if done.settled is not None:
                try:
                    done.settled()
                except Exception:  # a source's bug must not end the sink that settled last
                    LOG.exception("a source failed to acknowledge")
        if self._tell is not None and self.unacknowledged <= self._tell_at:
            tell, self._tell = self._tell, None
            tell()

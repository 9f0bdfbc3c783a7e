"""Acknowledge after commit: the receipt of every source message, and each source's intake.

A message that a source let in carries a `SourceReceipt`. Every branch it takes is a part of it. A
part is *settled* when it met its fate, and *secured* when it is safe on the box's own disk though
its fate is still open. Once every part is settled or secured, and the states that it changed are on
disk (`Gate`), the source may acknowledge. The fate of the message is the worst of its parts (R16).
Acknowledgements leave in the order of receipt.

    Intake (one a source) --> Group (one a read) --> SourceReceipt (one a message)
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from flowengine.engine.fates import DELIVERED, FATES, FILTERED, KIND, SPOOLED
from flowengine.engine.gate import Barrier, Gate
from flowengine.engine.ledger import Bucket, SourceLedger
from flowengine.message import Message, Receipt

LOG = logging.getLogger("flowengine.engine")


class Group:
    """The messages of one read: acknowledged together once all are settled or secured."""

    __slots__ = (
        "again",
        "bucket",
        "fates",
        "insecure",
        "intake",
        "last",
        "secured_at",
        "settled",
        "size",
    )

    def __init__(
        self,
        intake: "Intake",
        size: int,
        last: int,
        bucket: Bucket,
        settled: Callable[[], None] | None,
        *,
        again: Sequence[int] = (),
    ) -> None:
        self.intake = intake
        self.insecure = self.size = size
        self.last = last
        self.bucket = bucket
        self.settled = settled
        self.again = again
        """Numbers of its messages that came before, to a run that did not finish them."""
        self.fates: dict[int, int] = defaultdict(int)
        """How many met which fate; from the acknowledgement on, those of the ledger's bucket."""
        self.secured_at = 0

    def secured(self) -> None:
        """Every message is settled or secured."""
        intake = self.intake
        self.secured_at = intake.gate.taken
        intake.acknowledge()
        if not intake.gate.is_open and intake.pressed:
            intake.gate.want()


class SourceReceipt(msgspec.Struct, Receipt, gc=False):
    """What must settle before the source of one message acknowledges it.

    A struct, and the hot path written out: 0.2 us a message to make and settle, 0.5 us as a class.
    """

    group: Group
    seq: int
    parts: int = 1
    insecure: int = 1
    fate: int = FILTERED
    barrier: Barrier | None = None

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts
        self.insecure += parts

    def settle(self, fate: int) -> None:
        """One part has met its fate and is safe with it."""
        if fate & KIND >= self.fate & KIND:
            self.fate = fate
        self.parts -= 1
        self.insecure -= 1
        if not self.parts:
            self.tell_fate()
        if self.barrier is not None:
            self.barrier.look(self)
        if not self.insecure:
            group = self.group
            group.insecure -= 1
            if not group.insecure:
                group.secured()

    def secure(self) -> "SecuredPart":
        """One part is safe on disk, its fate still open; returns what settles that part later."""
        self.insecure -= 1
        if self.barrier is not None:
            self.barrier.look(self)
        if not self.insecure:
            group = self.group
            group.insecure -= 1
            if not group.insecure:
                group.secured()
        return SecuredPart(self)

    def tell_fate(self) -> None:
        """Every part has met its fate."""
        fate, group = self.fate, self.group
        if fate & KIND >= SPOOLED:
            if fate == SPOOLED:
                fate = group.intake.ledger.spooled(self.seq)
            else:
                group.intake.ledger.worse(self.seq)
        group.fates[fate] += 1
        if group.fates is group.bucket.fates:  # it was acknowledged before: no one else notes it
            group.intake.ledger.note_fate(group.bucket, fate)

    def origins(self) -> "Origins":
        """The source's message: itself."""
        return {self.group.intake.ledger.name: [self.seq]}


Origins = dict[str, list[int]]
"""The source messages that something answers for: numbers by source."""


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
        if fate & KIND >= receipt.fate & KIND:
            receipt.fate = fate
        self.parts -= 1
        if not self.parts:
            receipt.parts -= 1
            if not receipt.parts:
                receipt.tell_fate()

    def secure(self) -> "SecuredPart":
        """Nothing more to secure."""
        return self

    def origins(self) -> Origins:
        """The source's message."""
        return self.receipt.origins()


class JoinedReceipt(Receipt):
    """The receipt of a message that answers for many: what settles it settles them all.

    `output` is the output that the message left by, None before it left.
    """

    __slots__ = ("barrier", "fate", "insecure", "members", "output", "parts")

    def __init__(self, members: list[Receipt]) -> None:
        self.members = members
        self.parts = 1
        self.insecure = 1
        self.barrier: Barrier | None = None
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
        self.insecure += parts

    def settle(self, fate: int) -> None:
        """One part has met its fate; at the last one, every member meets the worst of them."""
        self.insecure -= 1
        if self.barrier is not None:
            self.barrier.look(self)
        if not self.insecure:
            self.all_secured()
        self.settle_part(fate)

    def pass_barrier(self) -> None:
        """A cut need not wait for this any more."""
        if self.barrier is not None:
            self.barrier.release(self)

    def settle_part(self, fate: int) -> None:
        """A part which is secured has met its fate."""
        if fate & KIND >= self.fate & KIND:
            self.fate = fate
        self.parts -= 1
        if not self.parts:
            self.all_settled()
        elif not self.insecure:
            self._secure_members()

    def secure(self) -> Receipt:
        """One part is safe on disk; once all are, so is every member."""
        self.insecure -= 1
        if self.barrier is not None:
            self.barrier.look(self)
        if not self.insecure:
            self.all_secured()
            self._secure_members()
        return JoinedPart(self)

    def _secure_members(self) -> None:
        self.members = [member.secure() for member in self.members]

    def all_secured(self) -> None:
        """Nothing of it can be lost any more."""

    def all_settled(self) -> None:
        """Every part has met its fate."""
        for member in self.members:
            member.settle(self.fate)

    def origins(self) -> Origins:
        """All that it answers for."""
        return origins_of(self.members)

    def identity(self) -> Origins:
        """All that would come again for it."""
        return _together(member.identity() for member in self.members)


class JoinedPart(Receipt):
    """A part of a joined message that is safe on disk already."""

    __slots__ = ("parts", "receipt")

    def __init__(self, receipt: JoinedReceipt) -> None:
        self.receipt = receipt
        self.parts = 1

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts

    def settle(self, fate: int) -> None:
        """Tell the fate."""
        if fate & KIND >= self.receipt.fate & KIND:
            self.receipt.fate = fate
        self.parts -= 1
        if not self.parts:
            self.receipt.settle_part(fate)

    def secure(self) -> "JoinedPart":
        """Nothing more to secure."""
        return self

    def origins(self) -> Origins:
        """All that it answers for."""
        return self.receipt.origins()

    def identity(self) -> Origins:
        """All that would come again for it."""
        return self.receipt.identity()


def origins_of(receipts: Iterable[Receipt]) -> Origins:
    """What receipts answer for, together."""
    return _together(receipt.origins() for receipt in receipts)


def _together(all_of_them: Iterable[Origins]) -> Origins:
    found: Origins = {}
    for origins in all_of_them:
        for source, numbers in origins.items():
            found.setdefault(source, []).extend(numbers)
    return found


def settle_all(messages: Iterable[Message], fate: int) -> None:
    """Settle one part of each message."""
    for message in messages:
        message.receipt.settle(fate)


class Intake:
    """What one source let in and what became of it.

    `window` is how many messages the source may have unacknowledged; past half of it, `hurry` is
    called, so that sinks write and states are saved before the source stalls.
    """

    def __init__(
        self,
        hurry: Callable[[], None] = lambda: None,
        ledger: SourceLedger | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.ledger = ledger or SourceLedger("source")
        self.gate = gate or Gate()
        self.received = 0
        self.acknowledged = 0
        self.window: int | None = None
        self._hurry = hurry
        self._groups: deque[Group] = deque()
        self._covered: list[Group] = []  # done, and about to be told to the source
        self._is_soon = False
        self._tell_at = 0
        self._tell: Callable[[], None] | None = None

    @property
    def fates(self) -> list[int]:
        """How many messages met each kind of fate, those not acknowledged yet among them."""
        fates = self.ledger.totals()
        for group in (*self._groups, *self._covered):
            if group.fates is not group.bucket.fates:
                for fate, number in group.fates.items():
                    fates[fate & KIND] += number
        return fates

    @property
    def unacknowledged(self) -> int:
        """Messages let in that are neither settled nor secured, or whose cut is not written."""
        return self.received - self.acknowledged

    @property
    def waits(self) -> bool:
        """Whether something is not acknowledged."""
        return bool(self._groups or self._covered)

    @property
    def in_flight(self) -> int:
        """Messages whose fate is open, those of a former run that are to come again among them."""
        counted = (
            number
            for group in (*self._groups, *self._covered)
            if group.fates is not group.bucket.fates
            for number in group.fates.values()
        )
        return self.ledger.open - sum(counted)

    def let_in(
        self,
        messages: list[Message],
        settled: Callable[[], None] | None,
        now: int = 0,
        again: Mapping[int, int] | None = None,
    ) -> None:
        """Give every message its receipt; `settled` is called when all are safe.

        `now` is the wall time (ns). `again` are the numbers of messages that a former run had let
        in, by their place among these: they are no new ones.
        """
        ledger, groups = self.ledger, self._groups
        if again:
            self._let_in_again([(m, again[i]) for i, m in enumerate(messages) if i in again])
            messages = [m for i, m in enumerate(messages) if i not in again]
        number = len(messages)
        bucket, seq = ledger.let_in(number, now)
        group = Group(self, number, seq + number - 1, bucket, settled)
        for message in messages:
            message.receipt = SourceReceipt(group, seq)
            seq += 1
        self.received += number
        groups.append(group)
        if not number:
            group.secured()

    def _let_in_again(self, messages: list[tuple[Message, int]]) -> None:
        """Give messages that came to a former run already their receipts: a group a minute."""
        by_bucket: dict[Bucket, list[tuple[Message, int]]] = {}
        for message, seq in messages:
            by_bucket.setdefault(self.ledger.bucket_of(seq), []).append((message, seq))
        for bucket, some in by_bucket.items():
            group = Group(self, len(some), 0, bucket, None, again=[seq for _, seq in some])
            for message, seq in some:
                message.receipt = SourceReceipt(group, seq)
            self.received += len(some)
            self._groups.append(group)

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

    def cover(self) -> None:
        """A cut is taken: set aside, in order of receipt, what may be acknowledged by it."""
        self._covered += self._done()

    def covered(self) -> None:
        """The cut is on disk."""
        done, self._covered = self._covered, []
        self._tell_source(done)

    def acknowledge(self) -> None:
        """A read is complete: acknowledge, in order of receipt, every read that is."""
        if self.gate.is_open and self._groups and not self._groups[0].insecure:
            self._covered += self._done()
            if self.ledger.write is None:
                self.covered()
            elif not self._is_soon:  # once for all that settle in this turn of the loop
                self._is_soon = True
                asyncio.get_running_loop().call_soon(self._written)

    def _written(self) -> None:
        self._is_soon = False
        if self.ledger.write is not None:
            self.ledger.write()
        self.covered()

    def _done(self) -> list[Group]:
        """Take the reads out that are complete, in order of receipt, and note their fates."""
        groups, gate, done = self._groups, self.gate, []
        while groups and not groups[0].insecure and gate.covers(groups[0].secured_at):
            group = groups.popleft()
            done.append(group)
            fates = group.bucket.fates
            for fate, number in group.fates.items():
                fates[fate] += number
            group.fates = fates
            self.ledger.acknowledge(group.bucket, group.size, group.last, group.again)
        return done

    def _tell_source(self, done: list[Group]) -> None:
        for group in done:
            self.acknowledged += group.size
            if group.settled is not None:
                try:
                    group.settled()
                except Exception:  # a source's bug must not end the sink that settled last
                    LOG.exception("a source failed to acknowledge")
        if self._tell is not None and self.unacknowledged <= self._tell_at:
            tell, self._tell = self._tell, None
            tell()


__all__ = [
    "DELIVERED",
    "FATES",
    "FILTERED",
    "Group",
    "Intake",
    "JoinedPart",
    "JoinedReceipt",
    "Origins",
    "SecuredPart",
    "SourceReceipt",
    "origins_of",
    "settle_all",
]

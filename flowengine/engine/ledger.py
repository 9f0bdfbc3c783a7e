"""The ledger: how many messages each source let in, minute by minute, and what became of them.

Every source message is counted once, in the minute in which it came, at its worst fate over all
branches (R16). A message in a spool counts as spooled until the last spool that holds it has done
with it; then its fate moves. Numbers are kept per message only for what is spooled, as bits.

    let in --> (in flight) --> filtered | delivered | dropped | quarantined
                         '---> spooled --> one of these
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

from flowengine.engine.fates import DELIVERED, FATES, KIND, MISSING, SPOOLED
from flowengine.engine.seqset import SeqSet

MINUTE = 60_000_000_000
_MOST_WORST = 100_000
GAP = 1 << 20
"""Numbers left out at a start: a former run may have given some of which nothing is on disk."""


class Bucket:
    """What one source let in within one minute."""

    __slots__ = ("acknowledged", "fates", "minute", "received", "redelivered")

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.received = 0
        self.redelivered = 0
        self.acknowledged = 0
        self.fates: dict[int, int] = defaultdict(int)

    @property
    def is_closed(self) -> bool:
        """Whether every message met its last fate."""
        final = sum(n for fate, n in self.fates.items() if fate & KIND != SPOOLED)
        return final == self.received


NOWHERE = Bucket(-1)
"""Where numbers are that a former run may have given, and of which nothing is on disk."""


class Book:
    """Which source messages one spool holds: by source, with how many records."""

    def __init__(self) -> None:
        self._out: dict[str, SeqSet] = {}
        self._more: dict[tuple[str, int], int] = {}
        self.former: Any = None
        """The `Backlog` that had the spool open before in this run, and is closed."""

    def add(self, source: str, numbers: Iterable[int]) -> None:
        """One record more holds each of these."""
        out = self._out.setdefault(source, SeqSet())
        for number in numbers:
            if not out.add(number):
                self._more[source, number] = self._more.get((source, number), 0) + 1

    def remove(self, source: str, number: int) -> None:
        """One record that held it is done."""
        more = self._more.get((source, number), 0)
        if more > 1:
            self._more[source, number] = more - 1
        elif more:
            del self._more[source, number]
        elif source in self._out:
            self._out[source].discard(number)

    def holds(self, source: str, number: int) -> bool:
        """Whether a record holds it."""
        out = self._out.get(source)
        return out is not None and number in out

    def numbers(self, source: str) -> Iterable[int]:
        """All that it holds of a source."""
        return self._out.get(source, ())


class SourceLedger:
    """The account of one source."""

    def __init__(
        self, name: str, books: list[Book] | None = None, write: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self.books = books if books is not None else []
        self.write = write
        """Brings what is noted here to disk before an acknowledgement leaves."""
        self.newest = 0
        """Number of the newest message."""
        self.most_open = 0
        """Messages unacknowledged at once, also in former runs of this session: a kill may lose as
        many acknowledgements, and the far side then sends as many again that are done."""
        self.given_before = 0
        """Numbers up to this one were given by former runs, or by none."""
        self.done_upto = 0
        """All up to this number are done with, those of `former` aside."""
        self.gone_upto = 0
        """Of these numbers none that is open comes again: the far side has lost its session."""
        self.former: set[int] = set()
        """Numbers that a former run let in and did not finish: they are to come again."""
        self.waiting = SeqSet()
        """Messages that count as spooled."""
        self.aside: set[int] = set()
        """Messages that are in a spool and count as something worse already."""
        self.done_again: list[int] = []
        """Which of `former` are done with since the journal was last written."""
        self.dirty: set[Bucket] = set()
        """Minutes that changed since they were written to the database."""
        self.is_journalled = False
        """Whether a journal has what its messages are known by, and its minutes."""
        self.unwritten: set[Bucket] = set()
        """Minutes that changed since they were written to the journal."""
        self.new_ranges: list[tuple[int, int]] = []
        """(first number, minute) of ranges that are not on disk."""
        self.late: dict[tuple[int, int], int] | None = None
        """While what a cut waits for is settled: (minute, fate) -> how many, for that cut."""
        self._base = [0] * len(FATES)
        self._starts: list[int] = []
        self._ranges: list[Bucket] = []
        self._minutes: dict[int, Bucket] = {}
        self._worst: dict[int, int] = {}
        self._later: list[tuple[int, int]] = []
        self._unfinished = range(0)
        self._given_up: dict[Bucket, int] = {}
        """Which fate was taken for that of what a former run left open."""
        self._held: set[int] = set()  # by states, since a former run
        self._counted: set[int] = set()  # of these: what was counted already
        self._forgotten_upto = -1
        self.look_up: Callable[[int], Bucket | None] = lambda _minute: None
        """Reads a minute that was let go of: the clock was set back, or the engine restarted."""

    # -- coming in

    def let_in(self, number: int, now: int) -> tuple[Bucket, int]:
        """Count new messages at wall time `now` (ns): their bucket, the number of the first."""
        minute = now // MINUTE
        bucket = self._ranges[-1] if self._ranges else None
        if bucket is None or bucket.minute != minute:
            bucket = self._minutes.get(minute)
            if bucket is None and minute <= self._forgotten_upto:
                bucket = self.look_up(minute)
                if bucket is not None:
                    self._rebase(bucket)
            if bucket is None:
                bucket = Bucket(minute)
            self._minutes[minute] = bucket
            self._add_range(self.newest + 1, bucket)
            self.new_ranges.append((self.newest + 1, minute))
        first = self.newest + 1
        self.newest += number
        bucket.received += number
        self._changed(bucket)
        return bucket, first

    def _changed(self, bucket: Bucket) -> None:
        self.dirty.add(bucket)
        if self.is_journalled:
            self.unwritten.add(bucket)

    def count_redelivered(self, number: int, now: int) -> None:
        """Messages came again that were here before."""
        bucket, _ = self.let_in(0, now)
        bucket.redelivered += number

    def _add_range(self, first: int, bucket: Bucket) -> None:
        if self._starts and self._starts[-1] == first:  # nothing came in it
            self._ranges[-1] = bucket
        else:
            self._starts.append(first)
            self._ranges.append(bucket)

    def bucket_of(self, number: int) -> Bucket:
        """The bucket in which a message was counted, NOWHERE if it was not."""
        place = bisect_right(self._starts, number) - 1
        return self._ranges[place] if place >= 0 else NOWHERE

    def _count(self, number: int, fate: int, by: int = 1) -> None:
        """So many more met a fate of those that came when this one did."""
        bucket = self.bucket_of(number)
        if bucket is not NOWHERE:
            bucket.fates[fate] += by
            self.note_late(bucket, fate, by)
            self._changed(bucket)

    def note_late(self, bucket: Bucket, fate: int, by: int = 1) -> None:
        """A fate of a message that a cut, taken before, does not know as held any more."""
        if self.late is not None:
            at = bucket.minute, fate
            self.late[at] = self.late.get(at, 0) + by

    def note_fate(self, bucket: Bucket, fate: int) -> None:
        """A fate was counted in a bucket: it is to be written."""
        self.note_late(bucket, fate)
        self._changed(bucket)

    # -- what became of it

    def spooled(self, number: int) -> int:
        """Every branch of a message is done with but for spools: what it counts as now."""
        worst = self._worst.pop(number, None)
        if worst is not None:
            return worst
        if self.is_spooled(number):
            self.waiting.add(number)
            return SPOOLED
        return DELIVERED

    def is_spooled(self, number: int) -> bool:
        """Whether a spool holds a message."""
        return any(book.holds(self.name, number) for book in self.books)

    def worse(self, number: int) -> None:
        """A message met a fate worse than being spooled; a spool may hold it all the same."""
        if self.is_spooled(number):
            self.aside.add(number)

    def moved(self, number: int, fate: int) -> None:
        """A record with this message is done, and removed from its book, with `fate`."""
        is_worse = fate & KIND > SPOOLED
        if self.aside and number in self.aside:
            if not self.is_spooled(number):
                self.aside.discard(number)
            return
        if number not in self.waiting:
            if is_worse and len(self._worst) < _MOST_WORST:
                self._worst[number] = fate
            return
        if not is_worse and self.is_spooled(number):
            return
        self.waiting.discard(number)
        if is_worse:
            self.worse(number)
        if fate & KIND == SPOOLED:
            fate = DELIVERED
        if self.is_done(number):
            self._move(number, fate)
        else:
            self._later.append((number, fate))

    def is_done(self, number: int) -> bool:
        """Whether a message was acknowledged."""
        return number <= self.done_upto and number not in self.former

    def _move(self, number: int, fate: int) -> None:
        # A power cut may have taken a part of the journal: what is not counted does not move.
        if self.bucket_of(number).fates.get(SPOOLED, 0) > 0:
            self._count(number, SPOOLED, -1)
            self._count(number, fate)

    def acknowledge(self, bucket: Bucket, size: int, last: int, again: Sequence[int] = ()) -> None:
        """A read is acknowledged: `size` messages, none newer than `last`."""
        if size:  # a minute in which nothing came may be let go of, and be another by now
            bucket.acknowledged += size
            self._changed(bucket)
        self.done_upto = max(self.done_upto, last)
        if again:
            self.former.difference_update(again)
            self.done_again += again
        if self._later:
            later, self._later = self._later, []
            for number, fate in later:
                if self.is_done(number):
                    self._move(number, fate)
                else:
                    self._later.append((number, fate))

    def settle_former(self, number: int, fate: int) -> None:
        """A message of a former run, held in a state since, has met its fate."""
        self._held.discard(number)
        if number in self.waiting:
            self.moved(number, fate)
            return
        if number in self._counted:
            self._counted.discard(number)
            return
        if fate & KIND == SPOOLED:
            fate = self.spooled(number)
        self._count(number, fate)

    def settle_stale(self) -> None:
        """Nothing is in a spool or a state any more: what still counts as spooled was written.

        After several crashes in short order a message may have been done with before it was found.
        """
        if not self.waiting or self._held or any(book.numbers(self.name) for book in self.books):
            return
        for number in [number for number in self.waiting if self.is_done(number)]:
            self.waiting.discard(number)
            self._move(number, DELIVERED)

    def give_up_former(self, fate: int, back: Set[int] = frozenset()) -> int:
        """What a former run did not finish will not come again; returns how many.

        `back` came again already, and meets its fate in this run.
        """
        gone, given_up = 0, self.former - back
        for number in given_up:
            if self.is_spooled(number):
                self.waiting.add(number)
                self._count(number, SPOOLED)
            else:
                self._count(number, fate)
                gone += 1
        self.done_again += given_up
        self.former -= given_up
        return gone

    # -- looking

    def buckets(self) -> Iterable[Bucket]:
        """The minutes that are in memory: all that are not closed, and the newest."""
        return self._minutes.values()

    @property
    def open(self) -> int:
        """Messages whose fate is open."""
        return sum(b.received - sum(b.fates.values()) for b in self._minutes.values())

    def totals(self) -> list[int]:
        """How many met each kind of fate since the engine started, or before and were open."""
        totals = list(self._base)
        for bucket in self._minutes.values():
            for fate, number in bucket.fates.items():
                totals[fate & KIND] += number
        return totals

    # -- keeping

    def restore(
        self, buckets: Iterable[Bucket], ranges: Iterable[tuple[int, int]], now: int = 0
    ) -> None:
        """Take up what a former run left open: its buckets, and (first number, minute).

        `newest` and `done_upto` are set before. Numbers go on after a gap. `now` is wall time, ns.
        """
        self._forgotten_upto = now // MINUTE
        self._minutes = {bucket.minute: bucket for bucket in buckets if bucket.minute >= 0}
        ranges = sorted(dict(ranges).items())  # of one number the last: nothing came in the others
        self.new_ranges += ranges  # some may stand in the journal alone, which is begun anew
        for first, minute in ranges:
            if minute in self._minutes:
                self._add_range(first, self._minutes[minute])
            elif minute == NOWHERE.minute:
                self._add_range(first, NOWHERE)
        self._unfinished = range(self.done_upto + 1, self.newest + 1)
        self.done_upto = self.newest  # but for `former`, nothing of it comes again
        self._add_range(self.newest + 1, NOWHERE)
        self.new_ranges.append((self.newest + 1, NOWHERE.minute))
        self.newest += GAP
        self.given_before = self.newest
        self.dirty.update(self._minutes.values())
        for bucket in self._minutes.values():
            self._rebase(bucket)

    def _rebase(self, bucket: Bucket) -> None:
        """What stands in a bucket that is read back counts no more in the totals than before.

        What waits in a spool does: it is still to meet its fate.
        """
        for fate, number in bucket.fates.items():
            if fate & KIND != SPOOLED:
                self._base[fate & KIND] -= number

    def explain_open(self, held: Iterable[int], fate: int, gone: int | None = None) -> int:
        """After `restore`: what is neither to come again nor held by a state met `fate`; how many.

        `held` are the numbers of messages that states hold; `gone` is the fate of what came before
        the far side lost its session.
        """
        explained: dict[Bucket, int] = defaultdict(int)
        self._held = set(held)
        by_state: dict[Bucket, list[int]] = defaultdict(list)
        for number in sorted(self._held - self.former):
            self.waiting.discard(number)  # a spool has it too: it left the state once, and will
            by_state[self.bucket_of(number)].append(number)
        for number in self.former:
            explained[self.bucket_of(number)] += 1
        given_up, self._given_up = 0, {}
        by_session = {
            bucket
            for first, bucket in zip(self._starts, self._ranges, strict=True)
            if first <= self.gone_upto
        }
        for bucket in self._minutes.values():
            numbers = by_state[bucket]
            lost = bucket.received - sum(bucket.fates.values()) - explained[bucket] - len(numbers)
            # A state may hold what came by a spool, and was not counted as spooled when that was
            # written: it is by now. Or what came again meanwhile, and was counted then.
            counted = numbers[: max(0, -lost)]
            spooled = min(len(counted), bucket.fates.get(SPOOLED, 0))
            for number in counted[:spooled]:
                self.waiting.add(number)
            self._counted.update(counted[spooled:])
            if lost + len(counted) < 0:
                self._balance(bucket, -lost - len(counted))
            if lost > 0:
                met = fate if gone is None or bucket not in by_session else gone
                bucket.fates[met] += lost
                self._given_up[bucket] = met
                self._changed(bucket)
                given_up += lost
        return given_up

    def _balance(self, bucket: Bucket, surplus: int) -> None:
        """More fates are on disk than messages: a power cut took the count of what came."""
        for fate in sorted(bucket.fates, key=lambda fate: fate & KIND != DELIVERED):
            less = min(surplus, bucket.fates[fate])
            bucket.fates[fate] -= less
            surplus -= less
        self._changed(bucket)

    def explain_spooled(self, lost: int | None) -> int:
        """Once every spool was looked at: what none of them has was written, or is `lost`.

        Returns how many are missing; with None nobody knows. What a spool has again, as its cursor
        was not written yet, was counted when it was done with: it does not count once more.
        """
        there: dict[Bucket, list[int]] = defaultdict(list)
        newer: dict[Bucket, int] = defaultdict(int)
        for number in self.waiting:
            if number in self.former:
                continue  # it came again, and is counted once it is acknowledged
            bucket = self.bucket_of(number)
            if number < self._unfinished.stop:
                there[bucket].append(number)
            elif self.is_done(number):
                newer[bucket] += 1
        gone = 0
        for bucket in self._minutes.values():
            numbers, counted = there[bucket], bucket.fates.get(SPOOLED, 0) - newer[bucket]
            more = counted - len(numbers)
            if more > 0 and lost is not None:
                missing = min(more, lost - gone)
                bucket.fates[SPOOLED] -= more
                bucket.fates[MISSING] += missing
                bucket.fates[DELIVERED] += more - missing
                gone += missing
                self._changed(bucket)
            for number in numbers[: max(0, -more)]:
                self.waiting.discard(number)
            if counted < 0:  # done with again already
                bucket.fates[SPOOLED] -= counted
                bucket.fates[DELIVERED] += counted
                self._changed(bucket)
        return gone

    def found_spooled(self, numbers: Iterable[int]) -> None:
        """A spool holds these since a former run."""
        for number in numbers:
            if number in self.aside or number in self.former or number in self.waiting:
                continue
            if number in self._held:  # it left the state once, and will again
                continue
            if number in self._unfinished:  # it was not acknowledged, and is not lost all the same
                self.waiting.add(number)
                bucket = self.bucket_of(number)
                given_up = self._given_up.get(bucket)
                if given_up is not None and bucket.fates[given_up] > 0:
                    self._count(number, given_up, -1)
                self._count(number, SPOOLED)
            elif self.is_done(number) and self.bucket_of(number) is not NOWHERE:
                self.waiting.add(number)

    def forget_closed(self, told: Set[Bucket] = frozenset()) -> list[int]:
        """Let go of minutes that nothing will change any more; their ranges' first numbers.

        `told` are those that are about to be written: until they are, they cannot be looked up.
        """
        newest = self._ranges[-1] if self._ranges else None
        closed = {b for b in self._minutes.values() if b.is_closed and b is not newest}
        closed -= self.dirty | told
        for bucket in closed:
            del self._minutes[bucket.minute]
            self._forgotten_upto = max(self._forgotten_upto, bucket.minute)
            for fate, number in bucket.fates.items():
                self._base[fate & KIND] += number
        gone = [s for s, b in zip(self._starts, self._ranges, strict=True) if b in closed]
        kept = [(s, b) for s, b in zip(self._starts, self._ranges, strict=True) if b not in closed]
        self._starts, self._ranges = [s for s, _ in kept], [b for _, b in kept]
        return gone

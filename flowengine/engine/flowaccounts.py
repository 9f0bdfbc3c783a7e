"""A flow's ledger on disk: taken up at the start, written with each cut, journalled in between."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from flowengine.clock import Clock
from flowengine.engine.accounts import (
    Call,
    Saved,
    SourceNews,
    Standing,
    bucket_from,
    bucket_news,
    standing_of,
    write_accounts,
)
from flowengine.engine.arrivals import Arrivals
from flowengine.engine.fates import DROPPED, MISSING, fate_at
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.gate import Gate
from flowengine.engine.journal import Came, Frame, Journal, pack, pack_all, unpack
from flowengine.engine.ledger import Bucket, SourceLedger

LOG = logging.getLogger("flowengine.flow")
SESSION_LOST = fate_at(DROPPED, "session-lost")


class FlowAccounts:
    """The ledger of one flow, and what keeps it."""

    def __init__(
        self, flow: str, clock: Clock, journal: Path | None, gate: Gate | None = None
    ) -> None:
        """`gate`: while it is not open, what is done is written with the cuts alone."""
        self.flow = flow
        self.clock = clock
        self.look_up: Callable[[str, int], Bucket | None] = lambda _name, _minute: None
        """Reads a minute of a source from the database."""
        self._gate = gate or Gate()
        self.ledger = FlowLedger()
        self.ledger.before_write = self.before_write
        self.arrivals: dict[str, Arrivals] = {}
        self._stamp = 0
        self._came: dict[str, list[Came]] = {}
        self._lost_sessions: set[str] = set()
        self._journal = Journal(journal) if journal is not None else None
        self._told: list[tuple[SourceLedger, set[Bucket], list[tuple[int, int]]]] = []
        self._sinks_told: list[tuple[str, int, str, int]] = []
        self._gauges: dict[tuple[str, str], int] = {}

    @property
    def has_news(self) -> bool:
        """Whether something changed that is not in the database."""
        ledger = self.ledger
        return any(account.dirty for account in ledger.sources.values()) or any(
            sink.has_news for sink in ledger.sinks.values()
        )

    @property
    def is_recovering(self) -> bool:
        """Whether something that a former run did not finish is still to come again."""
        return any(account.former for account in self.ledger.sources.values())

    # -- while it runs

    def source(self, name: str) -> SourceLedger:
        """The account of a source."""
        account = self.ledger.source(name)
        if self._journal is not None:
            account.write = self.write
        account.look_up = partial(self._look_up, name)
        return account

    def _look_up(self, name: str, minute: int) -> Bucket | None:
        return self.look_up(name, minute)

    def arrivals_of(self, name: str) -> Arrivals:
        """What of a source may come again: asked for by sources whose messages have an identity."""
        found = self.arrivals.get(name)
        if found is None:
            account, lost = self.source(name), partial(self.session_lost, name)
            account.is_journalled = True
            found = self.arrivals[name] = Arrivals(account, lost)
        return found

    def note(self, name: str, arrivals: Sequence[tuple[int, int, int]], first: int) -> None:
        """New messages of a source came, numbered from `first` on."""
        self.arrivals_of(name).note(arrivals, first)
        if self._journal is not None:
            self._came.setdefault(name, []).append(pack(first, arrivals))

    def session_lost(self, name: str) -> None:
        """The far side of a source has forgotten it: nothing of before comes again."""
        if name not in self.arrivals:
            return
        account, arrivals = self.ledger.source(name), self.arrivals[name]
        gone = account.give_up_former(SESSION_LOST, arrivals.back)
        arrivals.forget()
        account.gone_upto = account.newest
        self._came.pop(name, None)
        self._lost_sessions.add(name)
        if gone:
            LOG.warning(
                "the broker has lost the session: %s unacknowledged message%s will not come again",
                gone,
                "" if gone == 1 else "s",
                extra={"facts": {"flow": self.flow, "node": name}},
            )
        self.write()

    def before_write(self) -> None:
        """Something is about to be written: what came must be known before what it causes.

        Else a message that comes again after a crash is a new one, with another time (P2).
        """
        if self._came:
            self.write()

    def write(self) -> None:
        """Bring to the journal what is noted of sources whose messages may come again."""
        if self._journal is None or not self.arrivals:
            return
        if self._journal.is_due:
            self.begin_anew()
            return
        frames = [self._frame(name) for name in self.arrivals if self._has_news(name)]
        if frames:
            self._journal.append(frames)

    def _has_news(self, name: str) -> bool:
        account = self.ledger.sources[name]
        return bool(account.unwritten or name in self._came or name in self._lost_sessions)

    def _frame(self, name: str) -> Frame:
        account = self.ledger.sources[name]
        self._stamp += 1
        buckets = [bucket_news(bucket) for bucket in account.unwritten]
        account.unwritten.clear()
        standing = standing_of(account)
        standing.former = account.done_again
        account.done_again = []
        _, ranges = self._told_of(account)  # in a cut that is perhaps not on disk yet
        frame = Frame(
            name,
            self._stamp,
            standing,
            buckets,
            ranges + account.new_ranges,
            self._came.pop(name, []),
            is_new_session=name in self._lost_sessions,
            is_cut_bound=not self._gate.is_open,
        )
        self._lost_sessions.discard(name)
        return frame

    def begin_anew(self) -> None:
        """Write the journal afresh, with what still matters."""
        if self._journal is None or not self.arrivals:
            return
        frames = []
        for name, arrivals in self.arrivals.items():
            account = self.ledger.sources[name]
            self._stamp += 1
            came = pack_all(arrivals.all())
            told, ranges = self._told_of(account)  # in a cut that is perhaps not on disk yet
            latest = {b.minute: b for b in [*told, *(account.dirty | account.unwritten)]}
            buckets = [bucket_news(bucket) for bucket in latest.values()]
            standing = standing_of(account)
            ranges += account.new_ranges
            bound = not self._gate.is_open
            frames.append(
                Frame(
                    name,
                    self._stamp,
                    standing,
                    buckets,
                    ranges,
                    came,
                    is_whole=True,
                    is_cut_bound=bound,
                )
            )
        if self._journal.begin_anew(frames):
            for name in self.arrivals:
                account = self.ledger.sources[name]
                account.unwritten.clear()
                account.done_again = []
            self._came.clear()
            self._lost_sessions.clear()

    def _told_of(self, account: SourceLedger) -> tuple[list[Bucket], list[tuple[int, int]]]:
        """What the last `news` had of a source: its minutes and its new ranges."""
        told = [(dirty, ranges) for owner, dirty, ranges in self._told if owner is account]
        return [b for dirty, _ in told for b in dirty], [r for _, ranges in told for r in ranges]

    def sync_job(self) -> Callable[[], None] | None:
        """What brings the journal to the disk, to be called in a thread; None if it is there."""
        return self._journal.sync_job() if self._journal is not None else None

    def close(self) -> None:
        """Let the journal go."""
        if self._journal is not None:
            self.write()
            self._journal.close()

    # -- with each cut

    def news(self, gauges: Iterable[tuple[str, str, int]] = ()) -> Call | None:
        """What writes all that changed since the last call; None if nothing did.

        If it cannot be written, `failed` has it in the next.
        """
        sources: list[SourceNews] = []
        self._told = []
        for name, account in self.ledger.sources.items():
            if not account.dirty:
                continue
            account.settle_stale()
            self._stamp += 1
            dirty, account.dirty = account.dirty, set()
            ranges, account.new_ranges = account.new_ranges, []
            buckets = [bucket_news(bucket) for bucket in dirty]
            news = SourceNews(name, self._stamp, standing_of(account), buckets, ranges)
            news.closed = account.forget_closed(dirty)
            sources.append(news)
            self._told.append((account, dirty, ranges))
        now = self.clock.now()
        sinks = [
            (sink.name, minute, item, more)
            for sink in self.ledger.sinks.values()
            for minute, item, more in sink.take_news(now)
        ]
        changed = [gauge for gauge in gauges if self._gauges.get(gauge[:2]) != gauge[2]]
        self._gauges.update({(name, item): n for name, item, n in changed})
        if not sources and not sinks and not changed:
            return None
        self._sinks_told = sinks
        return write_accounts(self.flow, sources, sinks, changed)

    def failed(self) -> None:
        """What `news` gave could not be written."""
        for account, dirty, ranges in self._told:
            account.dirty |= dirty
            account.new_ranges[:0] = ranges
        for name, _, item, more in self._sinks_told:
            self.ledger.sink(name).not_told(item, more)
        self._told, self._sinks_told = [], []
        self._gauges.clear()

    # -- at the start

    def restore(self, saved: dict[str, Saved]) -> None:
        """Take up what a former run wrote of the ledger, and what its journal has since."""
        for frame in self._journal.read() if self._journal is not None else ():
            self._replay(saved.setdefault(frame.source, Saved(0, Standing(), [], [])), frame)
        for name, found in saved.items():
            account = self.source(name)
            account.newest = found.standing.newest
            account.done_upto = found.standing.done_upto
            account.aside = set(found.standing.aside)
            account.gone_upto = found.standing.gone_upto
            account.most_open = found.standing.most_open
            arrivals = self.arrivals.get(name)
            account.former = set(found.standing.former)
            if arrivals is not None:
                account.former |= {n for n, _ in arrivals.all() if n > account.done_upto}
            # What was on its way when the far side lost its session, and did not come to its end.
            gone = {number for number in account.former if number <= account.gone_upto}
            account.former -= gone
            account.restore(found.buckets, found.ranges, self.clock.now())
            if arrivals is not None:
                arrivals.trim()
            self._stamp = max(self._stamp, found.stamp)
        self.begin_anew()

    def _replay(self, saved: Saved, frame: Frame) -> None:
        arrivals = self.arrivals_of(frame.source)
        if frame.is_new_session:
            arrivals.forget()
        for came in frame.came:
            arrivals.remember(unpack(came), came.first)
        if frame.stamp <= saved.stamp:
            return
        saved.stamp = frame.stamp
        buckets = {bucket.minute: bucket for bucket in saved.buckets}
        for news in frame.buckets:
            told = bucket_from(news)
            known = buckets.get(news.minute) or self.look_up(frame.source, news.minute)
            if frame.is_cut_bound and known is not None:
                known.received, known.redelivered = told.received, told.redelivered
                buckets[news.minute] = known
            elif frame.is_cut_bound:
                told.fates.clear()
                told.acknowledged = 0
                buckets[news.minute] = told
            else:
                buckets[news.minute] = told
        saved.buckets = list(buckets.values())
        saved.ranges = sorted((dict(saved.ranges) | dict(frame.ranges)).items())
        standing = saved.standing
        standing.newest = max(standing.newest, frame.standing.newest)
        standing.gone_upto = max(standing.gone_upto, frame.standing.gone_upto)
        standing.most_open = frame.standing.most_open
        if frame.is_cut_bound:
            return
        standing.done_upto = max(standing.done_upto, frame.standing.done_upto)
        standing.aside = frame.standing.aside
        if frame.is_whole:
            standing.former = frame.standing.former
        else:
            gone = set(frame.standing.former)
            standing.former = [number for number in standing.former if number not in gone]

    def explain(self, held: Callable[[str], list[int]]) -> None:
        """After `restore`, and with the states: say what is open and will not come again."""
        for name, account in self.ledger.sources.items():
            comes_again = name in self.arrivals
            fate = MISSING if comes_again else fate_at(DROPPED, "crash")
            gone = account.explain_open(held(name), fate, SESSION_LOST if comes_again else None)
            if gone:
                LOG.warning(
                    "%s message%s on the way when the engine ended %s",
                    gone,
                    " that was" if gone == 1 else "s that were",
                    "are missing" if comes_again else "will not come again",
                    extra={"facts": {"flow": self.flow, "node": name}},
                )

    def explain_spooled(self, lost: int | None) -> None:
        """Once every spool was read: what is in none of them was written, or is among the `lost`.

        None: a spool could not be looked at.

        What was done with in the last second before a kill is noted in a spool's cursor alone.
        """
        for name, account in self.ledger.sources.items():
            gone = account.explain_spooled(lost)
            if gone:
                LOG.error(
                    "%s spooled message%s missing from the files below spool/",
                    gone,
                    " is" if gone == 1 else "s are",
                    extra={"facts": {"flow": self.flow, "node": name}},
                )

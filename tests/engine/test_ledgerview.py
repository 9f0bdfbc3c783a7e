"""The ledger read from outside says at any moment what was noted, however far the last cut got."""

import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.clock import SECOND, ToldClock
from flowengine.engine import ledgerview
from flowengine.engine.accounts import SCHEMA, Call, read_minute, read_sources
from flowengine.engine.fates import DELIVERED, FILTERED, QUARANTINED, fate_at, fate_text
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.gate import Gate
from flowengine.engine.journal import ROTATE_BYTES
from flowengine.engine.ledger import MINUTE, Bucket
from flowengine.engine.ledgerview import FlowView, read_ledger

FATES = (DELIVERED, fate_at(FILTERED, "range"), fate_at(QUARANTINED, "parse"))
STEPS = ("come", "come again", "settle", "minute", "take", "commit", "fail", "rotate", "kill")


class Box:
    """The accounts of a flow with one source, on disk; and what they should say."""

    def __init__(self, data: Path, *, is_open: bool = True) -> None:
        self.path = data / "state.db"
        self.db = sqlite3.connect(self.path)
        self.db.execute("pragma journal_mode = wal")
        self.db.executescript(SCHEMA)
        self.clock = ToldClock()
        self.gate = Gate()
        self.gate.is_open = is_open
        self.expected: Counter[str] = Counter()
        self.fates_on_disk: Counter[str] = Counter()
        self._start()

    def _start(self) -> None:
        journal = self.path.parent / "journal" / "flow.log"
        self.accounts = FlowAccounts("flow", self.clock, journal, self.gate)
        self.accounts.look_up = lambda name, minute: read_minute(self.db, "flow", name, minute)
        self.accounts.arrivals_of("in")
        self.accounts.restore(read_sources(self.db, "flow"))
        self.source = self.accounts.source("in")
        self.open: list[tuple[Bucket, int, int]] = []
        self.call: Call | None = None
        self.fates_taken: Counter[str] = Counter()

    def step(self, what: str, choice: int, *, is_noted: bool = True) -> None:
        """Let something happen; the journal has it when this returns, if it `is_noted`."""
        if what == "come":
            bucket, first = self.source.let_in(choice, self.clock.now())
            arrivals = [(n % 60_000 + 1, n, 0) for n in range(first, first + choice)]
            self.accounts.note("in", arrivals, first)
            self.open.append((bucket, first, choice))
            self.expected["received"] += choice
        elif what == "come again":
            self.source.count_redelivered(choice, self.clock.now())
            self.expected["redelivered"] += choice
        elif what == "settle" and self.open:
            self._settle(FATES[choice % len(FATES)])
        elif what == "minute":
            self.clock.advance(60 * SECOND)
        elif what == "take" and self.call is None:
            self.fates_taken = self._fates()
            self.call = self.accounts.news()
        elif what == "commit" and self.call is not None:
            with self.db:
                self.call(self.db)
            self.call, self.fates_on_disk = None, self.fates_taken
        elif what == "fail" and self.call is not None:
            self.accounts.failed()
            self.call = None
        elif what == "rotate":
            assert self.accounts._journal is not None
            self.accounts._journal.size = ROTATE_BYTES + 1
        elif what == "kill":
            self.accounts.write()
            if not self.gate.is_open:  # what it did since the last cut comes again
                self.expected = self.told()
            self._start()
        if is_noted:
            self.accounts.write()

    def _settle(self, fate: int) -> None:
        bucket, first, number = self.open.pop(0)
        bucket.fates[fate] += number
        self.source.acknowledge(bucket, number, first + number - 1)
        self.expected["acknowledged"] += number
        self.expected[fate_text(fate)] += number

    def _fates(self) -> Counter[str]:
        return Counter(
            {k: n for k, n in self.expected.items() if k not in ("received", "redelivered")}
        )

    def told(self) -> Counter[str]:
        """What should be seen: where states are kept, fates are written with the cuts alone."""
        if self.gate.is_open:
            return +self.expected
        came = {k: self.expected[k] for k in ("received", "redelivered")}
        return +Counter({**self.fates_on_disk, **came})

    def seen(self) -> Counter[str]:
        """What the ledger says, in the same words."""
        view = read_ledger(self.path).get("flow", FlowView())
        assert view.is_balanced
        found = Counter(view.sources.get("in", {}))
        found["delivered"] = view.fates["delivered"]
        for kind, places in view.by.items():
            found.update({f"{kind}:{place}": n for place, n in places.items()})
        return +found


@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 5)), max_size=40),
    is_open=st.booleans(),
)
def test_it_follows_whatever_happens(steps: list[tuple[str, int]], is_open: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder), is_open=is_open)
        with closing(box.db):
            for what, choice in steps:
                box.step(what, choice)
                assert box.seen() == box.told()
            box.accounts.close()


def test_a_journal_begun_anew_keeps_what_a_cut_has_taken_and_not_written(tmp_path: Path) -> None:
    """Killed then, the engine has neither the old journal nor the cut."""
    box = Box(tmp_path)
    with closing(box.db):
        for what in ("come", "take", "minute", "rotate", "come"):
            box.step(what, 5)
        assert box.seen()["received"] == 10
        first = next(iter(box.source.former), 1)
        box.step("kill", 0)
        assert box.source.bucket_of(first).minute > 0
        assert [bucket.received for bucket in box.source.buckets()] == [5, 5]
        box.accounts.close()


def test_a_cut_and_a_new_journal_while_it_reads_are_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that an engine can write between reading the one file and the other."""
    box = Box(tmp_path)
    with closing(box.db):
        box.step("come", 5)
        box.step("settle", 0)
        opened = ledgerview._opened

        def busy(path: Path) -> sqlite3.Connection:
            for what in ("take", "commit", "minute", "come", "take", "commit", "rotate", "come"):
                box.step(what, 1)
            return opened(path)

        monkeypatch.setattr(ledgerview, "_opened", busy)
        seen = box.seen()
        assert seen["received"] - seen["delivered"] in (0, 1)
        assert seen["delivered"] == 5
        box.accounts.close()


def test_what_a_cut_has_is_not_taken_back_by_what_was_noted_before(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with closing(box.db):
        box.step("come", 5)
        for what in ("settle", "take", "commit"):
            box.step(what, 0, is_noted=False)
        assert box.seen() == box.told()
        assert box.seen()["delivered"] == 5
        box.accounts.close()


def test_only_minutes_within_the_bounds_are_taken_from_the_journal(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with closing(box.db):
        minute = box.clock.now() // MINUTE
        for what, choice in (("come", 3), ("minute", 0), ("come", 4)):
            box.step(what, choice)
        for bounds, number in ((minute, minute + 1), 3), ((minute + 1, minute + 9), 4):
            assert read_ledger(box.path, bounds)["flow"].received == number
        box.accounts.close()

"""The ledger read from outside: beside a running engine, after a kill, of one that is stopped.

`state.db` has each minute as the last cut wrote it; a flow's journal has what came since. Nothing
is written here.

The journals are read first. What an engine writes in between is then in the database alone, or in
neither; the other way round a journal that was begun anew would lack what a cut has, and the
database of a moment before it too. A frame that a cut has already is told by its stamp.
"""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from flowengine.engine.accounts import HOUR, KEEP_MINUTES, BucketNews
from flowengine.engine.fates import FATES
from flowengine.engine.journal import Frame, Journal
from flowengine.engine.ledger import MINUTE

JOURNALS = "journal"
_COUNTED = ("received", "redelivered", "acknowledged")
_NEVER = 1 << 62
"""A minute that does not come."""

Items = dict[str, int]


class SinkView(msgspec.Struct):
    """What a sink did: records, and not messages of a source."""

    records: int = 0
    written: int = 0
    retries: int = 0
    possible_repeats: int = 0
    spooled: int = 0
    oldest: int | None = None
    """When the oldest record came that waits on disk, ns since 1970."""


class FlowView(msgspec.Struct):
    """What became of the messages of one flow."""

    sources: dict[str, Items] = msgspec.field(default_factory=dict)
    """received, redelivered, acknowledged of each source."""
    fates: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(FATES, 0))
    by: dict[str, dict[str, int]] = msgspec.field(
        default_factory=lambda: {"filtered": {}, "dropped": {}, "quarantined": {}}
    )
    """By which node a message was filtered or set aside, for which reason it was dropped."""
    sinks: dict[str, SinkView] = msgspec.field(default_factory=dict)

    @property
    def received(self) -> int:
        """Messages that sources let in, each once."""
        return sum(source["received"] for source in self.sources.values())

    @property
    def in_flight(self) -> int:
        """Messages that have met no fate yet: on their way, in a state, or to come again."""
        return self.received - sum(self.fates.values())

    @property
    def is_balanced(self) -> bool:
        """Whether every message is accounted for."""
        none_less = min(self.fates.values()) >= 0 and self.in_flight >= 0
        return none_less and not self.fates["missing"]


def whole_minutes(since: int | None, until: int | None, now: int) -> tuple[int, int]:
    """The first minute, and the one behind the last, that hold all from `since` to before `until`.

    In: ns since 1970, None for no bound. What is older than two days is known by the hour: there
    they are the bounds of hours.
    """
    by_the_hour = now // MINUTE - KEEP_MINUTES
    first = 0 if since is None else since // MINUTE
    if first < by_the_hour:
        first -= first % HOUR
    last = _NEVER if until is None else -(-until // MINUTE)
    if last < by_the_hour:
        last += -last % HOUR
    return first, last


def read_ledger(
    path: Path,
    minutes: tuple[int, int] = (0, _NEVER),
    flow: str | None = None,
) -> dict[str, FlowView]:
    """The flows by id: what came from the first of `minutes` on, and before the second.

    `path` is the data folder's `state.db`. Raises sqlite3.Error where that cannot be read.
    """
    journals = {
        file.stem: Journal(file).read()
        for file in sorted((path.parent / JOURNALS).glob("*.log"))
        if flow is None or file.stem == flow
    }
    with closing(_opened(path)) as db:
        db.execute("begin")  # one moment, however long it takes to read
        flows = _read_database(db, minutes, flow)
        for name, frames in journals.items():
            _add_journal(db, flows, name, frames, minutes)
        return dict(flows)


def _opened(path: Path) -> sqlite3.Connection:
    """The database, to be read only: an engine may be writing to it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)


def began(path: Path) -> int | None:
    """The first minute of which anything is known, ns since 1970; None if nothing came yet."""
    with closing(_opened(path)) as db:
        minute = db.execute("select min(minute) from ledger where minute > 0").fetchone()[0]
    return None if minute is None else minute * MINUTE


def _read_database(
    db: sqlite3.Connection, minutes: tuple[int, int], flow: str | None
) -> dict[str, FlowView]:
    """What the last cuts wrote; a source of which nothing came has zeros."""
    chosen = (flow, flow)
    flows: dict[str, FlowView] = defaultdict(FlowView)
    for name, source in db.execute(
        "select flow, name from source where (? is null or flow = ?)", chosen
    ):
        _add(flows[name], source, {})
    for name, kind, node, item, n in db.execute(
        "select flow, kind, name, item, sum(n) from ledger where kind != 'gauge'"
        " and minute >= ? and minute < ? and (? is null or flow = ?) group by 1, 2, 3, 4",
        (*minutes, *chosen),
    ):
        if kind == "source":
            _add(flows[name], node, {item: n})
        elif item in SinkView.__struct_fields__:
            setattr(flows[name].sinks.setdefault(node, SinkView()), item, n)
    for name, node, item, n in db.execute(
        "select flow, name, item, n from ledger where kind = 'gauge'"
        " and item in ('spooled', 'oldest') and (? is null or flow = ?)",
        chosen,
    ):
        sink = flows[name].sinks.setdefault(node, SinkView())
        setattr(sink, item, (n or None) if item == "oldest" else n)
    return flows


def _add(view: FlowView, source: str, items: Items, sign: int = 1) -> None:
    """Count items of a source."""
    counted = view.sources.setdefault(source, dict.fromkeys(_COUNTED, 0))
    for item, n in items.items():
        if item in counted:
            counted[item] += sign * n
            continue
        fate, _, place = item.partition(":")
        view.fates[fate] = view.fates.get(fate, 0) + sign * n
        if fate in view.by:
            by = view.by[fate]
            by[place] = by.get(place, 0) + sign * n
            if not by[place]:
                del by[place]


def _add_journal(
    db: sqlite3.Connection,
    flows: dict[str, FlowView],
    name: str,
    frames: list[Frame],
    minutes: tuple[int, int],
) -> None:
    """Put what the journal has since the last cut in place of what the database has."""
    newest: dict[tuple[str, int], Items] = {}
    stamps = dict(db.execute("select name, stamp from source where flow = ?", (name,)).fetchall())
    for frame in frames:
        if frame.stamp > stamps.get(frame.source, 0):
            for bucket in frame.buckets:
                if minutes[0] <= bucket.minute < minutes[1]:
                    _newer(db, newest, name, frame, bucket)
    for (source, minute), items in newest.items():
        view = flows[name]
        _add(view, source, _items(db, name, source, minute), -1)
        _add(view, source, items)


def _newer(
    db: sqlite3.Connection,
    newest: dict[tuple[str, int], Items],
    flow: str,
    frame: Frame,
    bucket: BucketNews,
) -> None:
    key = (frame.source, bucket.minute)
    if not frame.is_cut_bound:
        newest[key] = bucket.items
        return
    # What became of messages is written with the cuts alone; here only what came counts.
    items = newest.setdefault(key, _items(db, flow, *key))
    for item in ("received", "redelivered"):
        items[item] = bucket.items.get(item, 0)


def _items(db: sqlite3.Connection, flow: str, source: str, minute: int) -> Items:
    rows: list[tuple[Any, ...]] = db.execute(
        "select item, n from ledger where flow = ? and kind = 'source' and name = ? and minute = ?",
        (flow, source, minute),
    ).fetchall()
    return dict(rows)

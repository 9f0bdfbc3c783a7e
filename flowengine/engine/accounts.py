"""The ledger in `state.db`: written with each cut, taken up again when a flow starts.

A row of `ledger` is one number of one minute: what a source received or what became of it, or what
a sink did. They add up over any range of time. `source` holds where each source's numbers stand.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from flowengine.engine.delivery import Origins
from flowengine.engine.fates import fate_from, fate_text
from flowengine.engine.ledger import Bucket, SourceLedger

SCHEMA = """
create table if not exists ledger (
    flow text not null, kind text not null, name text not null, minute integer not null,
    item text not null, n integer not null, primary key (flow, kind, name, minute, item)
) without rowid;
create index if not exists ledger_by_minute on ledger (minute);
create table if not exists source (
    flow text not null, name text not null, stamp integer not null, data blob not null,
    primary key (flow, name)
) without rowid;
create table if not exists source_range (
    flow text not null, name text not null, first integer not null, minute integer not null,
    primary key (flow, name, first)
) without rowid;
create table if not exists held (
    flow text not null, node text not null, name text not null, part integer not null,
    data blob not null, primary key (flow, node, name, part)
) without rowid;
create table if not exists entering (
    flow text not null, number integer not null, node text not null, data blob not null,
    primary key (flow, number)
) without rowid;
create table if not exists applied (
    flow text not null, node text not null, data blob not null, primary key (flow, node)
) without rowid;
"""
HOUR = 60
KEEP_MINUTES = 2 * 24 * HOUR
KEEP_HOURS = 400 * 24 * HOUR
"""Minutes after which numbers are kept by the hour only, and after which not at all."""
_encode = msgspec.msgpack.Encoder().encode

Call = Callable[[sqlite3.Connection], Any]


class HeldPart(NamedTuple):
    """Receipts held under a name, of one cut: by source, in the order in which they came."""

    node: str
    name: str
    part: int
    origins: list[Origins]


class Standing(msgspec.Struct):
    """Where a source's numbers stand."""

    newest: int = 0
    done_upto: int = 0
    former: list[int] = msgspec.field(default_factory=list)
    aside: list[int] = msgspec.field(default_factory=list)
    gone_upto: int = 0
    """Of these numbers none that is open will come again: the far side has lost its session."""
    most_open: int = 0
    """Messages unacknowledged at once, at most."""


class BucketNews(msgspec.Struct):
    """A minute of a source as it is now: absolute numbers."""

    minute: int
    items: dict[str, int]


class SourceNews(msgspec.Struct):
    """What is to be written of a source."""

    name: str
    stamp: int
    standing: Standing
    buckets: list[BucketNews]
    ranges: list[tuple[int, int]] = msgspec.field(default_factory=list)
    closed: list[int] = msgspec.field(default_factory=list)


def bucket_news(bucket: Bucket) -> BucketNews:
    """A bucket as it is written."""
    items = {
        "received": bucket.received,
        "redelivered": bucket.redelivered,
        "acknowledged": bucket.acknowledged,
    }
    items = {name: n for name, n in items.items() if n}
    return BucketNews(
        bucket.minute, items | {fate_text(fate): n for fate, n in bucket.fates.items()}
    )


def bucket_from(news: BucketNews) -> Bucket:
    """A bucket read back."""
    bucket = Bucket(news.minute)
    for item, n in news.items.items():
        if item in {"received", "redelivered", "acknowledged"}:
            setattr(bucket, item, n)
        else:
            bucket.fates[fate_from(item)] = n
    return bucket


def standing_of(account: SourceLedger) -> Standing:
    """Where the numbers of a source stand now."""
    return Standing(
        account.newest,
        account.done_upto,
        sorted(account.former),
        sorted(account.aside),
        account.gone_upto,
        account.most_open,
    )


def write_accounts(
    flow: str,
    sources: Sequence[SourceNews],
    sinks: Sequence[tuple[str, int, str, int]],
    gauges: Sequence[tuple[str, str, int]],
) -> Call:
    """Write what changed.

    `sinks` are (name, minute, item, how many more), `gauges` (name, item, number as it is now).
    """

    def call(db: sqlite3.Connection) -> None:
        for news in sources:
            db.execute(
                "insert or replace into source (flow, name, stamp, data) values (?, ?, ?, ?)",
                (flow, news.name, news.stamp, _encode(news.standing)),
            )
            db.executemany(
                "insert or replace into source_range values (?, ?, ?, ?)",
                [(flow, news.name, first, minute) for first, minute in news.ranges],
            )
            db.executemany(
                "delete from source_range where flow = ? and name = ? and first = ?",
                [(flow, news.name, first) for first in news.closed],
            )
            db.executemany(
                "insert or replace into ledger values (?, 'source', ?, ?, ?, ?)",
                [
                    (flow, news.name, bucket.minute, item, n)
                    for bucket in news.buckets
                    for item, n in bucket.items.items()
                ],
            )
        db.executemany(
            "insert into ledger values (?, 'sink', ?, ?, ?, ?)"
            " on conflict do update set n = n + excluded.n",
            [(flow, *row) for row in sinks],
        )
        db.executemany(
            "insert or replace into ledger values (?, 'gauge', ?, 0, ?, ?)",
            [(flow, *row) for row in gauges],
        )

    return call


def write_late(flow: str, late: dict[str, dict[tuple[int, int], int]]) -> Call:
    """Add what met its fate since the cut was taken: by source, (minute, fate) -> how many."""

    def call(db: sqlite3.Connection) -> None:
        db.executemany(
            "insert into ledger values (?, 'source', ?, ?, ?, ?)"
            " on conflict do update set n = n + excluded.n",
            [
                (flow, source, minute, fate_text(fate), n)
                for source, counts in late.items()
                for (minute, fate), n in counts.items()
            ],
        )

    return call


def write_held(
    flow: str,
    held: Iterable[HeldPart],
    let_go: Iterable[tuple[str, str]],
    applied: dict[str, Origins],
) -> Call:
    """Write which messages states answer for, and which changed them and may come again."""

    def call(db: sqlite3.Connection) -> None:
        db.executemany(
            "delete from held where flow = ? and node = ? and name = ?",
            [(flow, *gone) for gone in let_go],
        )
        db.executemany(
            "insert or replace into held values (?, ?, ?, ?, ?)",
            [(flow, h.node, h.name, h.part, _encode(h.origins)) for h in held],
        )
        db.execute("delete from applied where flow = ?", (flow,))
        db.executemany(
            "insert into applied values (?, ?, ?)",
            [(flow, node, _encode(origins)) for node, origins in applied.items()],
        )

    return call


def write_entering(flow: str, entering: Sequence[tuple[str, bytes]]) -> Call:
    """Write what entered a state that this cut has without it; (node, record)."""

    def call(db: sqlite3.Connection) -> None:
        db.execute("delete from entering where flow = ?", (flow,))
        db.executemany(
            "insert into entering values (?, ?, ?, ?)",
            [(flow, number, *row) for number, row in enumerate(entering)],
        )

    return call


def read_entering(db: sqlite3.Connection, flow: str) -> list[tuple[str, bytes]]:
    """What is to enter states that do not have it, oldest first: (node, record)."""
    rows = db.execute("select node, data from entering where flow = ? order by number", (flow,))
    return [(str(node), bytes(data)) for node, data in rows]


def fold(now_minute: int) -> Call:
    """Keep old minutes by the hour, and forget what is very old."""

    def call(db: sqlite3.Connection) -> None:
        old = now_minute - KEEP_MINUTES
        rows = db.execute(
            "select flow, kind, name, minute / 60 * 60, item, sum(n) from ledger"
            " where minute > 0 and minute < ? and kind != 'gauge'"
            " group by 1, 2, 3, 4, 5 having count(*) > 1 or max(minute % 60) > 0",
            (old - old % HOUR,),
        ).fetchall()
        if rows:
            db.execute(
                "delete from ledger where minute > 0 and minute < ? and kind != 'gauge'"
                " and minute % 60 > 0",
                (old - old % HOUR,),
            )
            db.executemany("insert or replace into ledger values (?, ?, ?, ?, ?, ?)", rows)
        db.execute("delete from ledger where minute > 0 and minute < ?", (now_minute - KEEP_HOURS,))

    return call


class Saved(msgspec.Struct):
    """What was written of one source."""

    stamp: int
    standing: Standing
    buckets: list[Bucket]
    ranges: list[tuple[int, int]]


def read_minute(db: sqlite3.Connection, flow: str, name: str, minute: int) -> Bucket:
    """One minute of a source; empty if nothing is known of it."""
    rows = db.execute(
        "select item, n from ledger where flow = ? and kind = 'source' and name = ? and minute = ?",
        (flow, name, minute),
    )
    return bucket_from(BucketNews(minute, dict(rows.fetchall())))


def read_sources(db: sqlite3.Connection, flow: str) -> dict[str, Saved]:
    """The sources of a flow as they were written: only the minutes that are still open."""
    found: dict[str, Saved] = {}
    for name, stamp, data in db.execute(
        "select name, stamp, data from source where flow = ?", (flow,)
    ):
        ranges = db.execute(
            "select first, minute from source_range where flow = ? and name = ? order by first",
            (flow, name),
        ).fetchall()
        minutes = sorted({minute for _, minute in ranges})
        buckets = [read_minute(db, flow, name, minute) for minute in minutes]
        standing = msgspec.msgpack.decode(data, type=Standing)
        found[name] = Saved(stamp, standing, buckets, [(int(f), int(m)) for f, m in ranges])
    return found


def read_held(db: sqlite3.Connection, flow: str, node: str) -> list[HeldPart]:
    """Which messages the states of a node answer for."""
    rows = db.execute(
        "select name, part, data from held where flow = ? and node = ? order by name, part",
        (flow, node),
    )
    return [
        HeldPart(node, name, part, msgspec.msgpack.decode(data, type=list[dict[str, list[int]]]))
        for name, part, data in rows
    ]


def read_held_elsewhere(db: sqlite3.Connection, flow: str, nodes: set[str]) -> list[HeldPart]:
    """Which messages the states of nodes answer for that the flow has no more."""
    rows = db.execute("select distinct node from held where flow = ?", (flow,)).fetchall()
    return [part for (node,) in rows if node not in nodes for part in read_held(db, flow, node)]


def read_applied(db: sqlite3.Connection, flow: str, node: str) -> dict[str, Counter[int]]:
    """What changed the states of a node and may come again: by origin, numbers with how often.

    A message that reaches a node by two ways changes it twice.
    """
    row = db.execute(
        "select data from applied where flow = ? and node = ?", (flow, node)
    ).fetchone()
    if row is None:
        return {}
    numbers = msgspec.msgpack.decode(row[0], type=dict[str, list[int]])
    return {origin: Counter(some) for origin, some in numbers.items()}

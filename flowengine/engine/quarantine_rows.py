"""The quarantine's table in `state.db`: its rows, the marks of those to be replayed, their end.

    set aside --mark--> marked --the engine lets it in--> on its way --settled--> row removed
                                '- it cannot: a note is left, the mark taken away

Both the engine and the commands beside it use these; each call belongs in a transaction. A row
whose message is on its way stays as it is, marked, until that is settled: after a crash it is
replayed again.
"""

import sqlite3
from collections.abc import Collection, Iterable
from typing import NamedTuple

from flowengine.engine.replayreceipt import Replayed

# A number is not given twice: who asks for message 7 to be dropped means the one that was shown.
_TABLE = """
create table if not exists quarantine (
    id integer primary key autoincrement,
    flow text not null, node text not null, time integer not null,
    slug text not null, what text not null, message text not null,
    replay integer, note text not null default ''
)
"""
# So that a look for marks costs the same however much is set aside.
_MARKS = "create index if not exists quarantine_marked on quarantine (id) where replay is not null"
_ADDED = {"replay": "integer", "note": "text not null default ''"}


class Marked(NamedTuple):
    """A message to be replayed: where it was refused, itself as JSON, when that was asked (ns)."""

    id: int
    flow: str
    node: str
    message: str
    asked: int


def set_up(db: sqlite3.Connection) -> None:
    """Make the table, or give one of an earlier version the columns that it lacks."""
    db.execute(_TABLE)
    there = {row[1] for row in db.execute("pragma table_info(quarantine)")}
    for name, kind in _ADDED.items():
        if name not in there:
            db.execute(f"alter table quarantine add column {name} {kind}")
    db.execute(_MARKS)


def mark(db: sqlite3.Connection, ids: Iterable[int], now: int) -> None:
    """Ask for messages to be replayed; one that is marked already keeps its time."""
    db.executemany(
        "update quarantine set replay = coalesce(replay, ?), note = '' where id = ?",
        [(now, number) for number in ids],
    )


def marked(
    db: sqlite3.Connection,
    most: int,
    under_way: Collection[int],
    flows: Collection[str],
    full: Collection[tuple[str, str]] = (),
) -> list[Marked]:
    """The oldest marked messages of these flows, without those that are on their way.

    `full` are the nodes, each with its flow, that take nothing now.
    """
    found: list[Marked] = []
    rows = db.execute(
        "select id, flow, node, message, replay from quarantine where replay is not null"
        " order by id"
    )
    for row in rows:
        if row[0] not in under_way and row[1] in flows and row[1:3] not in full:
            found.append(Marked(*row))
            if len(found) >= most:
                break
    return found


def any_marked(db: sqlite3.Connection) -> bool:
    """Whether there is any mark."""
    return bool(db.execute("select 1 from quarantine where replay is not null limit 1").fetchone())


def unmark(db: sqlite3.Connection, why: Iterable[tuple[int, str]]) -> None:
    """Take marks away, and note why a message could not be replayed."""
    db.executemany(
        "update quarantine set replay = null, note = ? where id = ?",
        [(note, number) for number, note in why],
    )


def end(db: sqlite3.Connection, rows: Iterable[Replayed]) -> None:
    """Remove messages whose replay has settled; one that was marked anew meanwhile stays."""
    db.executemany("delete from quarantine where id = ? and replay = ?", rows)

"""`state.db`: what the engine must find again after a restart, in one SQLite file.

Tables: node states, the quarantine, small facts of the installation. Writes run in one worker
thread, so that a slow disk never holds the event loop; each call is one transaction, on disk when
it returns (WAL with synchronous=FULL). A damaged file is set aside and begun anew (P5).
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from flowengine.engine.leaving import LeavingRow

T = TypeVar("T")

_SCHEMA = """
create table if not exists node_state (
    flow text not null, node text not null, key text not null,
    version integer not null, data blob not null, type text not null default '',
    primary key (flow, node, key)
) without rowid;
create table if not exists leaving (
    flow text not null, number integer not null, node text not null, output text not null,
    data blob not null, primary key (flow, number)
) without rowid;
create table if not exists quarantine (
    id integer primary key, flow text not null, node text not null, time integer not null,
    slug text not null, what text not null, message text not null
);
create table if not exists fact (name text primary key, value text not null) without rowid;
"""


class Store:
    """The open `state.db`, or one in memory for tests (`path` None)."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.moved_aside: Path | None = None
        """Where a damaged file was put when this one was begun in its place."""
        self._db = _connect(path)
        if not _set_up(self._db) and path is not None:
            self._db.close()
            self.moved_aside = _move_aside(path)
            self._db = _connect(path)
            _set_up(self._db)
        self._thread: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run `call` in one transaction in the worker thread; on disk when it returns."""
        if self.path is None:
            return self._transact(call)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowengine-store")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, call)

    def _transact(self, call: Callable[[sqlite3.Connection], T]) -> T:
        db = self._db
        db.execute("begin immediate")
        try:
            result = call(db)
            db.execute("commit")
        except BaseException:
            if db.in_transaction:  # a full disk may have ended it; left open, none could begin
                db.execute("rollback")
            raise
        return result

    def close(self) -> None:
        """Close the file once the worker is done."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        self._db.close()

    # -- node states

    def load_states(self, flow: str, node: str, kind: str) -> list[tuple[str, int, bytes]]:
        """(key, version, data) of one node while it was of this type; read when a flow starts."""
        rows = self._db.execute(
            "select key, version, data from node_state"
            " where flow = ? and node = ? and type in (?, '')",
            (flow, node, kind),
        )
        return [(str(key), int(version), bytes(data)) for key, version, data in rows]

    def load_leaving(self, flow: str) -> list[LeavingRow]:
        """What had left the flow's states and was not committed, oldest first."""
        rows = self._db.execute(
            "select number, node, output, data from leaving where flow = ? order by number", (flow,)
        )
        return [LeavingRow(int(n), str(node), str(out), bytes(data)) for n, node, out, data in rows]

    @staticmethod
    def save_states(
        flow: str,
        rows: Sequence[tuple[str, str, str, str, int, bytes]],
        gone: Sequence[tuple[str, str, str]],
        left: Sequence[LeavingRow] = (),
        came: Sequence[int] = (),
    ) -> Callable[[sqlite3.Connection], None]:
        """Write changed states, remove those that are gone; the same for what left them.

        `rows` are (flow, node, key, type, version, data), `gone` (flow, node, key); `left` is what
        left a state and is on its way, `came` the numbers of what is committed.
        """

        def call(db: sqlite3.Connection) -> None:
            db.executemany(
                "insert or replace into node_state (flow, node, key, type, version, data)"
                " values (?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.executemany("delete from node_state where flow = ? and node = ? and key = ?", gone)
            db.executemany(
                "insert or replace into leaving (flow, number, node, output, data)"
                " values (?, ?, ?, ?, ?)",
                [(flow, *row) for row in left],
            )
            db.executemany(
                "delete from leaving where flow = ? and number = ?",
                [(flow, number) for number in came],
            )

        return call

    @staticmethod
    def drop_states(flow: str, node: str) -> Callable[[sqlite3.Connection], None]:
        """Remove the states of a node that is of another type now."""

        def call(db: sqlite3.Connection) -> None:
            db.execute("delete from node_state where flow = ? and node = ?", (flow, node))

        return call

    # -- quarantine

    @staticmethod
    def quarantine(
        rows: Sequence[tuple[str, str, int, str, str, str]],
    ) -> Callable[[sqlite3.Connection], None]:
        """Set messages aside: (flow, node, time, slug, what, message as JSON)."""

        def call(db: sqlite3.Connection) -> None:
            db.executemany(
                "insert into quarantine (flow, node, time, slug, what, message)"
                " values (?, ?, ?, ?, ?, ?)",
                rows,
            )

        return call

    # -- facts

    def fact(self, name: str, make: Callable[[], str]) -> str:
        """A fact of this installation, made once and kept."""
        row = self._db.execute("select value from fact where name = ?", (name,)).fetchone()
        if row is not None:
            return str(row[0])
        value = make()
        self._db.execute("insert into fact values (?, ?)", (name, value))
        return value

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; for commands, never from the running engine's loop."""
        return self._db.execute(sql, values).fetchall()


def _connect(path: Path | None) -> sqlite3.Connection:
    return sqlite3.connect(
        str(path) if path else ":memory:", check_same_thread=False, isolation_level=None
    )


def _set_up(db: sqlite3.Connection) -> bool:
    """Make the tables; False for a file that SQLite cannot read, to its last page."""
    try:
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        if db.execute("pragma quick_check(1)").fetchone() != ("ok",):
            return False
        db.executescript(_SCHEMA)
        if "type" not in {row[1] for row in db.execute("pragma table_info(node_state)")}:
            db.execute("alter table node_state add column type text not null default ''")
    except sqlite3.DatabaseError as err:
        if err.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return False
        raise
    return True


def _move_aside(path: Path) -> Path:
    """Give a file that SQLite cannot read another name; a person may still get at it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for tail in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{tail}", f"{aside}{tail}")
    return aside

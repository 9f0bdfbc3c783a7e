"""`state.db`: what the engine must find again after a restart, in one SQLite file.

Tables: node states, the quarantine, small facts of the installation. Writes run in one worker
thread, so that a slow disk never holds the event loop; each call is one transaction, on disk when
it returns (WAL with synchronous=FULL). A damaged file is set aside, and what can be read of it goes
into a new one (P5).
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from flowengine.engine import quarantine_rows
from flowengine.engine.accounts import SCHEMA as LEDGER_SCHEMA
from flowengine.engine.replayreceipt import Replayed
from flowengine.engine.salvage import Salvaged, finish, is_damage, move_aside, repair

T = TypeVar("T")

_SCHEMA = """
create table if not exists node_state (
    flow text not null, node text not null, key text not null,
    version integer not null, data blob not null, type text not null default '',
    primary key (flow, node, key)
) without rowid;
create table if not exists fact (name text primary key, value text not null) without rowid;
drop table if exists leaving;
"""


class Store:
    """The open `state.db`, or one in memory for tests (`path` None)."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.moved_aside: Path | None = None
        """Where a damaged file was put when this one was begun in its place."""
        self.rescued: Salvaged | None = None
        """What could be read of that one, and is in this."""
        if path is not None:
            finish(path)
        self._db = _connect(path)
        if not _set_up(self._db) and path is not None:
            self._db.close()
            try:
                self.moved_aside, self.rescued = repair(path)
            except (OSError, sqlite3.Error):  # no room for a second one
                self.moved_aside = move_aside(path)
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
            with contextlib.suppress(sqlite3.Error):
                # The log takes room that a full disk has not; what is in it goes into the file,
                # where it has its place, so that the next try can begin it anew.
                db.execute("pragma wal_checkpoint(truncate)")
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

    @staticmethod
    def save_states(
        rows: Sequence[tuple[str, str, str, str, int, bytes]],
        gone: Sequence[tuple[str, str, str]],
    ) -> Callable[[sqlite3.Connection], None]:
        """Write changed states, remove those that are gone.

        `rows` are (flow, node, key, type, version, data), `gone` (flow, node, key).
        """

        def call(db: sqlite3.Connection) -> None:
            db.executemany(
                "insert or replace into node_state (flow, node, key, type, version, data)"
                " values (?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.executemany("delete from node_state where flow = ? and node = ? and key = ?", gone)

        return call

    @staticmethod
    def drop_states(flow: str, node: str) -> Callable[[sqlite3.Connection], None]:
        """Remove the states of a node that is of another type now."""

        def call(db: sqlite3.Connection) -> None:
            for table in ("node_state", "held", "applied"):
                db.execute(f"delete from {table} where flow = ? and node = ?", (flow, node))  # noqa: S608  # the tables are ours

        return call

    # -- quarantine

    @staticmethod
    def quarantine(
        rows: Sequence[tuple[str, str, int, str, str, str]],
        replaced: Sequence[Replayed] = (),
    ) -> Callable[[sqlite3.Connection], None]:
        """Set messages aside: (flow, node, time, slug, what, message as JSON).

        `replaced` are rows that were replayed, and are refused again as these.
        """

        def call(db: sqlite3.Connection) -> None:
            db.executemany(
                "insert into quarantine (flow, node, time, slug, what, message)"
                " values (?, ?, ?, ?, ?, ?)",
                rows,
            )
            quarantine_rows.end(db, replaced)

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

    def look(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Read something when a flow starts."""
        return call(self._db)

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
        db.executescript(_SCHEMA + LEDGER_SCHEMA)
        quarantine_rows.set_up(db)
        if "type" not in {row[1] for row in db.execute("pragma table_info(node_state)")}:
            db.execute("alter table node_state add column type text not null default ''")
    except sqlite3.DatabaseError as err:
        if is_damage(err):
            return False
        raise
    return True

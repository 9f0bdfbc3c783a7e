"""`state.db`: what the engine must find again after a restart, in one SQLite file.

Tables: node states, the quarantine, small facts of the installation. Writes run in one worker
thread, so that a slow disk never holds the event loop; each call is one transaction, on disk when
it returns (WAL with synchronous=FULL).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_SCHEMA = """
create table if not exists node_state (
    flow text not null, node text not null, key text not null,
    version integer not null, data blob not null,
    primary key (flow, node, key)
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
        self._db = sqlite3.connect(
            str(path) if path else ":memory:", check_same_thread=False, isolation_level=None
        )
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=full")
        self._db.executescript(_SCHEMA)
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
        except BaseException:
            db.execute("rollback")
            raise
        db.execute("commit")
        return result

    def close(self) -> None:
        """Close the file once the worker is done."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        self._db.close()

    # -- node states

    def load_states(self, flow: str, node: str) -> list[tuple[str, int, bytes]]:
        """(key, version, data) of one node; read when a flow starts."""
        rows = self._db.execute(
            "select key, version, data from node_state where flow = ? and node = ?", (flow, node)
        )
        return [(str(key), int(version), bytes(data)) for key, version, data in rows]

    @staticmethod
    def save_states(
        rows: Sequence[tuple[str, str, str, int, bytes]], gone: Sequence[tuple[str, str, str]]
    ) -> Callable[[sqlite3.Connection], None]:
        """Write changed states and remove those that are gone."""

        def call(db: sqlite3.Connection) -> None:
            db.executemany("insert or replace into node_state values (?, ?, ?, ?, ?)", rows)
            db.executemany("delete from node_state where flow = ? and node = ? and key = ?", gone)

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

"""The box's own time series: one SQLite file, written in batches, read beside the running engine.

Identity: series + tags + field + time; writing a point again overwrites it. SQLite's WAL mode with
synchronous=FULL: a batch is on disk when `write` returns (https://www.sqlite.org/wal.html).
Everything here blocks: nodes call it in a worker thread.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flowengine.nodes.series.read import export_series, list_series
from flowengine.nodes.series.sql import NewerStore, open_store, thinning

__all__ = [
    "NewerStore",
    "Point",
    "Rollup",
    "SeriesStore",
    "export_series",
    "list_series",
    "tags_text",
]

KNOWN = 100_000
"""Series whose number is remembered; at this many the memory starts afresh."""
PIECE = 20_000
"""Points removed in one transaction, so that no write waits long behind it."""

_INSERT = "insert or replace into points values (?, ?, ?, ?, ?)"


class Point(NamedTuple):
    """One value of one field: a number, text, true or false. `tags` as `tags_text` gives them."""

    series: str
    tags: str
    field: str
    time: int
    value: float | str | bool


class Rollup(NamedTuple):
    """Thin out: a value per `every` ns and function, kept for `keep` ns as `<field>_<function>`."""

    every: int
    functions: tuple[str, ...]
    keep: int


def tags_text(tags: Mapping[str, str]) -> str:
    """A tag set as the store holds it: JSON with the names in order."""
    return json.dumps(dict(sorted(tags.items())), ensure_ascii=False, separators=(",", ":"))


class SeriesStore:
    """The open store, for one writer thread; several may be open on one file.

    Args:
        path: the file, `<data>/series.db`; made if it is not there.
        keep: nanoseconds after which points written through this object are removed.
        rollup: how they are thinned out before, None for not at all.
    """

    def __init__(self, path: Path, keep: int, rollup: Rollup | None = None) -> None:
        self.path = path
        self.keep = keep
        self.rollup = rollup
        self.moved_aside: Path | None = None
        """Where a damaged file was put when this one was made in its place."""
        self._known: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._db = self._open()
        self._inode = path.stat().st_ino

    def _open(self) -> sqlite3.Connection:
        try:
            return open_store(self.path)
        except sqlite3.DatabaseError as err:
            if not _is_damage(err):
                raise
        self._move_aside()
        return open_store(self.path)

    def _move_aside(self) -> None:
        """Give a file that SQLite cannot read another name; a person may still get at it."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        for tail in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}{tail}", f"{aside}{tail}")
        self.moved_aside = aside

    def close(self) -> None:
        """Close the file; harmless when called twice."""
        self._db.close()

    def write(self, points: Sequence[Point]) -> None:
        """Write all points in one transaction; they are on disk when this returns.

        Raises sqlite3.OperationalError (disk full, locked for 30 s): nothing was written.
        """
        try:
            self._write(points)
        except sqlite3.IntegrityError:
            # A series this object remembers is gone: another writer's upkeep removed it.
            self._known.clear()
            self._write(points)
        except sqlite3.DatabaseError as err:
            if err.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                # After a failed fsync nothing cached may be trusted: the next try reads anew.
                self._reopen(damaged=False)
            if not _is_damage(err):
                raise
            self._reopen(damaged=True)
            self._write(points)

    def _reopen(self, *, damaged: bool) -> None:
        self._db.close()
        self._known.clear()
        # Another writer may have moved the damaged file already: then the name is a sound one's.
        if damaged and self.path.exists() and self.path.stat().st_ino == self._inode:
            self._move_aside()
        self._db = self._open()
        self._inode = self.path.stat().st_ino

    def _write(self, points: Sequence[Point]) -> None:
        known = self._known
        if len(known) > KNOWN:
            known.clear()
        rows: list[tuple[Any, ...]] = []
        late: dict[int, int] = {}
        with self._transaction() as db:
            for point in points:
                entry = known.get(point[:3])
                if entry is None:
                    known[point[:3]] = entry = self._learn(db, point)
                number, done = entry
                time, value = point[3], point[4]
                if time < done:
                    late[number] = min(time, late.get(number, time))
                if type(value) is bool:
                    rows.append((number, time, None, None, int(value)))
                elif type(value) is str:
                    rows.append((number, time, None, value, None))
                else:
                    rows.append((number, time, value, None, None))
            db.executemany(_INSERT, rows)
            for number, time in late.items():
                # A late point: what was thinned out from there on is made again.
                db.execute(
                    "update rollups set done = min(done, ?) where source = ?", (time, number)
                )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("begin immediate")
        try:
            yield self._db
        except BaseException:
            self._db.execute("rollback")
            self._known.clear()  # numbers given inside are void
            raise
        try:
            self._db.execute("commit")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("rollback")
            self._known.clear()
            raise

    def _learn(self, db: sqlite3.Connection, point: Point) -> tuple[int, int]:
        """The number of a point's series, and up to where it is thinned out."""
        number = self._number(db, point.series, point.tags, point.field, self.keep)
        if self.rollup is None:
            return number, -(1 << 63)
        for function in self.rollup.functions:
            field = f"{point.field}_{function}"
            target = self._number(db, point.series, point.tags, field, self.rollup.keep)
            db.execute(
                "insert into rollups values (?, ?, ?, ?, ?)"
                " on conflict do update set target = excluded.target",
                (number, self.rollup.every, function, target, point.time),
            )
        found = db.execute("select max(done) from rollups where source = ?", (number,)).fetchone()
        return number, found[0]

    @staticmethod
    def _number(db: sqlite3.Connection, name: str, tags: str, field: str, keep: int) -> int:
        row = db.execute(
            "insert into series (name, tags, field, keep) values (?, ?, ?, ?)"
            " on conflict do update set keep = excluded.keep returning id",
            (name, tags, field, keep),
        ).fetchone()
        return int(row[0])

    # -- upkeep

    def upkeep(self, now: int, pieces: int = 5) -> bool:
        """Thin out what is due, remove what is older than its series keeps; False: more is left.

        `now` is in nanoseconds since 1970 UTC. At most `pieces` transactions of 20,000 points, so
        that writes get their turn between two calls.
        """
        self._thin_out(now)
        for number, keep in self._db.execute("select id, keep from series").fetchall():
            while True:
                if pieces == 0:
                    return False
                removed, more = self._remove_piece(number, now - keep)
                pieces -= removed
                if not more:
                    break
        self._remove_empty_series()
        return True

    def _remove_piece(self, number: int, before: int) -> tuple[bool, bool]:
        """Remove the oldest points of a series; whether any was removed, and whether more are."""
        oldest = self._db.execute(
            "select min(time) from points where series = ?", (number,)
        ).fetchone()[0]
        if oldest is None or oldest >= before:
            return False, False
        row = self._db.execute(
            "select time from points where series = ? and time < ? order by time limit 1 offset ?",
            (number, before, PIECE),
        ).fetchone()
        end = row[0] if row else before
        with self._transaction() as db:
            db.execute(
                "delete from points where series = ? and time < ?",
                (number, end),
            )
            db.execute("update series set gone = max(gone, ?) where id = ?", (end, number))
        return True, row is not None

    def _remove_empty_series(self) -> None:
        # A series stays for its roll-ups' sake, and they for its own, while either has a point.
        with self._transaction() as db:
            db.execute(
                "delete from rollups where not exists"
                " (select 1 from points where series in (source, target))"
            )
            db.execute(
                "delete from series where not exists (select 1 from points where series = id)"
                " and id not in (select source from rollups union select target from rollups)"
            )
        self._known.clear()

    def _thin_out(self, now: int) -> None:
        due = self._db.execute(
            "select r.source, r.every, r.function, r.target, r.done, s.gone"
            " from rollups r join series s on s.id = r.source where r.done <= ? - r.every",
            (now,),
        ).fetchall()
        for source, every, function, target, done, gone in due:
            # A bucket that has lost points keeps the value it was given while it was whole.
            whole_from = -(-gone // every) * every
            since, until = max(done // every * every, whole_from), now // every * every
            with self._transaction() as db:
                db.execute(
                    thinning(function),
                    {
                        "target": target,
                        "source": source,
                        "every": every,
                        "since": since,
                        "until": until,
                    },
                )
                db.execute(
                    "update rollups set done = ? where source = ? and every = ? and function = ?",
                    (until, source, every, function),
                )


def _is_damage(err: sqlite3.DatabaseError) -> bool:
    return err.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

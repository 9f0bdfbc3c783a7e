"""What can still be read of a damaged SQLite file, put into a new one.

Rows are read from the first on until one cannot be read, and then from the last back: a damaged
page costs what lies on it, and between it and the next damaged one. The damaged file is only read.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MENDING = ".mending"
WAIT = 10.0  # seconds for another process to end its transaction
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Salvaged(NamedTuple):
    """Rows taken over by table, and the tables of which some could not be read."""

    rows: dict[str, int]
    damaged: list[str]

    def __str__(self) -> str:
        rows = [f"{number} of {name}" for name, number in self.rows.items() if number]
        text = f"rows taken over: {', '.join(rows) or 'none'}"
        return text + (f"; not all of {', '.join(self.damaged)}" if self.damaged else "")


def is_damage(err: sqlite3.DatabaseError) -> bool:
    """Whether an error means that the file is not what SQLite wrote."""
    return err.sqlite_errorcode & 0xFF in _DAMAGE


def move_aside(path: Path) -> Path:
    """Give a damaged file, and its log, another name; a person may still get at it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for tail in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{tail}", f"{aside}{tail}")
    return aside


def repair(path: Path) -> tuple[Path, Salvaged]:
    """Put what can be read of a damaged file in its place; where that was set aside, and what.

    The new file is durable before the old one is moved, so a crash leaves either of them, or both
    (`finish`). Where not even the list of tables can be read, no new file is made. Raises OSError,
    sqlite3.Error where nothing can be written; the damaged file is then where it was.
    """
    unfinished = path.with_name(path.name + MENDING)
    unfinished.unlink(missing_ok=True)
    try:
        salvaged = _salvage(path, unfinished)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if unfinished.exists():
        _sync(unfinished)
    aside = move_aside(path)
    finish(path)
    return aside, salvaged


def finish(path: Path) -> None:
    """Bring a repair to its end that was broken off once the damaged file was moved."""
    unfinished = path.with_name(path.name + MENDING)
    if unfinished.exists() and not path.exists():
        os.replace(unfinished, path)
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _salvage(damaged: Path, fresh: Path) -> Salvaged:
    result = Salvaged({}, [])
    with contextlib.closing(reading(damaged)) as old:
        # text that a damaged page has spoilt is kept, and can be seen to be
        old.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        tables, others = _schema(old)
        if not tables:
            return result
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as new:
            os.chmod(fresh, 0o600)
            new.execute("pragma journal_mode=off")
            new.execute("begin")
            for name, sql in tables.items():
                new.execute(sql)
                result.rows[name], is_whole = _copy(old, new, name)
                if not is_whole:
                    result.damaged.append(name)
            for sql in others:
                # one that the rows do not fulfil any more: whoever opens the file makes it again
                with contextlib.suppress(sqlite3.Error):
                    new.execute(sql)
            new.execute("commit")
    return result


def reading(path: Path, *, is_used: bool = False) -> sqlite3.Connection:
    """A file opened to be read; if nobody uses it and no log is beside it, no file is made."""
    log = Path(f"{path}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    how = "mode=ro" if is_used or has_log else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=WAIT)


def _schema(db: sqlite3.Connection) -> tuple[dict[str, str], list[str]]:
    """The statements that make tables, by name, and those that make the rest."""
    tables: dict[str, str] = {}
    others: list[str] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        for kind, name, sql in db.execute("select type, name, sql from sqlite_master"):
            if kind == "table" and not name.startswith("sqlite_"):
                tables[name] = sql
            elif sql:
                others.append(sql)
    return tables, others


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> tuple[int, bool]:
    """Copy a table's rows; how many there are then, and whether that is all."""
    columns = old.execute(f'pragma table_info("{table}")').fetchall()
    keys = [f'"{c[1]}" desc' for c in sorted(columns, key=lambda c: int(c[5])) if c[5]]
    marks = ", ".join("?" * len(columns))
    insert = f'insert or ignore into "{table}" values ({marks})'  # noqa: S608  # names of the file
    is_whole = True
    for order in ("", f" order by {', '.join(keys) or 'rowid desc'}"):
        rows = _rows(old, f'select * from "{table}"{order}')  # noqa: S608  # as above
        while True:
            try:
                row = next(rows, None)
            except sqlite3.DatabaseError:
                is_whole = False
                break
            if row is None:
                break
            # a row whose values a damaged page has mixed up is not let in
            with contextlib.suppress(sqlite3.IntegrityError):
                new.execute(insert, row)
        if is_whole:
            break
    number = new.execute(f'select count(*) from "{table}"').fetchone()[0]  # noqa: S608  # as above
    return int(number), is_whole


def _rows(db: sqlite3.Connection, sql: str) -> Iterator[tuple[object, ...]]:
    yield from db.execute(sql)

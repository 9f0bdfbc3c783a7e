"""The series store's file: its tables, how it is opened, and the functions SQL lends it.

    series    a name, a tag set (JSON, names in order) and a field get a small number; older points
              than `keep` ns are removed, and before `gone` they have been
    points    (series, time) -> number, text or flag; one point a time, a repeat overwrites
    rollups   which series is thinned out into which, and up to where that is done

Times are nanoseconds since 1970 UTC. A column without a type keeps integers and floats apart.
"""

import math
import sqlite3
from pathlib import Path
from typing import Literal

VERSION = 1

Function = Literal["mean", "min", "max", "sum", "count", "first", "last", "median", "p95", "stddev"]

SCHEMA = """
create table if not exists series (
    id integer primary key, name text not null, tags text not null, field text not null,
    keep integer not null, gone integer not null default (-1 << 63), unique (name, tags, field)
);
create table if not exists points (
    series integer not null references series (id) on delete cascade, time integer not null,
    number, text text, flag integer, primary key (series, time)
) without rowid;
create table if not exists rollups (
    source integer not null references series (id) on delete cascade, every integer not null,
    function text not null, target integer not null references series (id) on delete cascade,
    done integer not null, primary key (source, every, function)
) without rowid;
"""

# With one min() or max() in a query, SQLite takes bare columns from that row (lang_select.html
# §2.5), so "first" and "last" are the number beside the smallest and the largest time.
AGGREGATES: dict[str, tuple[str, str]] = {
    "mean": ("avg(number)", "min(time)"),
    "min": ("min(number)", "0"),
    "max": ("max(number)", "0"),
    "sum": ("total(number)", "0"),
    "count": ("count(number)", "0"),
    "first": ("number", "min(time)"),
    "last": ("number", "max(time)"),
    "median": ("fe_median(number)", "0"),
    "p95": ("fe_p95(number)", "0"),
    "stddev": ("fe_stddev(number)", "0"),
}
"""Function -> (its SQL, a column beside it)."""


# Floored, so that buckets before 1970 are aligned as well.
BUCKET = "time - ((time % :every) + :every) % :every"
"""SQL for the start of the bucket of `:every` ns that a point lies in."""


def thinning(function: str) -> str:
    """SQL that writes a value per bucket of `:source`, from `:since` to `:until`, to `:target`."""
    aggregate, beside = AGGREGATES[function]
    return (
        "insert or replace into points select :target, bucket, value, null, null from"  # noqa: S608  # our own table of functions
        f" (select {BUCKET} as bucket, {aggregate} as value, {beside} from points"
        " where series = :source and time >= :since and time < :until and number is not null"
        " group by bucket)"
    )


class NewerStore(Exception):
    """The file was written by a newer flowengine."""


def open_store(path: Path) -> sqlite3.Connection:
    """Open for writing, and make the file if it is not there; durable at every commit."""
    db = sqlite3.connect(path, timeout=30.0, check_same_thread=False, isolation_level=None)
    try:
        _set_up(db)
    except BaseException:
        db.close()
        raise
    return db


def open_reading(path: Path) -> sqlite3.Connection:
    """Open read-only, also beside a running engine; FileNotFoundError if there is no store."""
    if not path.exists():
        raise FileNotFoundError(path)
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0, check_same_thread=False
    )
    _lend_functions(db)
    return db


def _set_up(db: sqlite3.Connection) -> None:
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("pragma foreign_keys = on")
    version = db.execute("pragma user_version").fetchone()[0]
    if version > VERSION:
        raise NewerStore(f"the series store has version {version}; this flowengine knows {VERSION}")
    db.executescript(SCHEMA)
    db.execute(f"pragma user_version = {VERSION}")
    _lend_functions(db)


def _lend_functions(db: sqlite3.Connection) -> None:
    functions = {"fe_median": _Median, "fe_p95": _P95, "fe_stddev": _Deviation}
    for name, function in functions.items():
        db.create_aggregate(name, 1, function)  # type: ignore[arg-type]  # typeshed knows integers only


class _Quantile:
    """A quantile by linear interpolation, as numpy and pandas do by default."""

    share = 0.5

    def __init__(self) -> None:
        self.values: list[float] = []

    def step(self, value: float | None, /) -> None:
        if value is not None:
            self.values.append(value)

    def finalize(self) -> float | None:
        if not self.values:
            return None
        ordered = sorted(self.values)
        place = (len(ordered) - 1) * self.share
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class _Median(_Quantile):
    """The middle value."""


class _P95(_Quantile):
    """The value below which 95 % lie."""

    share = 0.95


class _Deviation:
    """The sample deviation (n - 1), None below two values; Welford's method, one pass."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def step(self, value: float | None, /) -> None:
        if value is not None:
            self.count += 1
            distance = value - self.mean
            self.mean += distance / self.count
            self.squares += distance * (value - self.mean)

    def finalize(self) -> float | None:
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else None

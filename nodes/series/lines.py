"""Reading the series store for a chart: few points however many there are, and never for long.

A line is one series over a span of time. Where it has more points than are wanted, it is thinned
out: per bucket of `every` ns the mean, least and most. Booleans count as 0 and 1; text has no line.
"""

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from flowengine.nodes.series.sql import open_reading

Row = dict[str, Any]
_SECOND = 1_000_000_000
_ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
"""Seconds of a bucket: whole ones, so that a chart drawn again a moment later looks the same."""
_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the watch: about a millisecond."""


class TooSlow(Exception):
    """The question took longer than it may."""


def find_series(path: Path, words: str, most: int) -> tuple[list[Row], bool]:
    """Series in whose name, field or tags every word stands, by name; and whether there are more.

    A row is `{"series", "tags", "field", "last", "value"}` with the newest point's time in ns.
    """
    wanted = [f"%{_plain(word)}%" for word in words.split()]
    likes = "".join(" and name || '.' || field || ' ' || tags like ? escape '\\'" for _ in wanted)
    with contextlib.closing(open_reading(path)) as db:
        rows = db.execute(
            "select id, name, tags, field from series where exists"  # noqa: S608  # marks alone
            f" (select 1 from points where series = id){likes} order by name, tags, field limit ?",
            (*wanted, most + 1),
        ).fetchall()
        found = [
            {"series": name, "tags": json.loads(tags), "field": field, **_last(db, number)}
            for number, name, tags, field in rows[:most]
        ]
    return found, len(rows) > most


def _plain(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def read_lines(
    path: Path,
    name: str,
    field: str,
    tags: dict[str, str],
    *,
    since: int,
    until: int,
    points: int,
    most: int,
    within: float,
) -> tuple[list[Row], bool]:
    """The lines of all series of a name and field that have these tags; whether there are more.

    A row is `{"series", "tags", "field", "every", "points", "last", "value"}`: `points` are at most
    about `points` of `[time, value]`, or with `every` (ns) `[time, mean, least, most]` of a bucket,
    its time the middle. Raises TooSlow after `within` seconds.
    """
    ends = time.monotonic() + within
    with contextlib.closing(open_reading(path)) as db:
        db.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
        try:
            return _read_lines(db, (name, field, tags), (since, until), points, most)
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise TooSlow from err
            raise


def _read_lines(
    db: sqlite3.Connection,
    which: tuple[str, str, dict[str, str]],
    span: tuple[int, int],
    points: int,
    most: int,
) -> tuple[list[Row], bool]:
    name, field, tags = which
    found: list[Row] = []
    rows = db.execute(
        "select id, tags from series where name = ? and field = ? order by tags", (name, field)
    )
    for number, text in rows:
        own = json.loads(text)
        if not tags.items() <= own.items():
            continue
        last = _last(db, number)
        if last["last"] is None:
            continue
        if len(found) == most:
            return found, True
        line = {"series": name, "tags": own, "field": field, **last}
        found.append(line | _line(db, number, span, points))
    return found, False


def _line(db: sqlite3.Connection, number: int, span: tuple[int, int], points: int) -> Row:
    since, until = span
    rows = db.execute(
        "select time, coalesce(number, flag) from points where series = ? and time >= ?"
        " and time < ? order by time limit ?",
        (number, since, until, points + 1),
    ).fetchall()
    if len(rows) <= points:
        return {"every": None, "points": [list(row) for row in rows if row[1] is not None]}
    every = bucket(until - since, points)
    thinned = []
    for begin in range(since // every * every, until, every):
        start, end = max(begin, since), min(begin + every, until)
        # A bucket is a short walk along the primary key; one "group by" would sort all of them.
        mean, least, top = db.execute(
            "select avg(v), min(v), max(v) from (select coalesce(number, flag) as v from points"
            " where series = ? and time >= ? and time < ?)",
            (number, start, end),
        ).fetchone()
        if mean is not None:
            thinned.append([(start + end) // 2, mean, least, top])
    return {"every": every, "points": thinned}


def bucket(span: int, points: int) -> int:
    """Length in ns of the buckets that make at most `points` (and one, cut) of a span in ns."""
    least = -(-span // (points * _SECOND))
    found = next((size for size in _ROUND if size >= least), -(-least // _ROUND[-1]) * _ROUND[-1])
    return found * _SECOND


def _last(db: sqlite3.Connection, number: int) -> Row:
    row = db.execute(
        "select time, coalesce(number, flag), text, flag from points where series = ?"
        " order by time desc limit 1",
        (number,),
    ).fetchone()
    if row is None:
        return {"last": None, "value": None}
    time_, value, text, flag = row
    if flag is not None:
        value = bool(flag)
    return {"last": time_, "value": value if text is None else text}

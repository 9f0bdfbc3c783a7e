"""Reading the series store: lists, exports and queries, read-only, also beside a running engine.

A row is `{"series", "tags", "time", "field", "value"}` with the time in nanoseconds since 1970 UTC.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowengine.nodes.series.sql import AGGREGATES, BUCKET, open_reading

Row = dict[str, Any]

_START, _END = -(1 << 63), (1 << 63) - 1


class _Series(NamedTuple):
    number: int
    name: str
    tags: dict[str, str]
    field: str

    def row(self, time: int, value: Any) -> Row:
        return {
            "series": self.name,
            "tags": dict(self.tags),
            "time": time,
            "field": self.field,
            "value": value,
        }


def list_series(path: Path) -> list[Row]:
    """Every series: `{"series", "tags", "field", "points", "first", "last"}`, times in ns."""
    with contextlib.closing(open_reading(path)) as db:
        rows = db.execute(
            "select name, tags, field, count(time), min(time), max(time) from series"
            " join points on series = id group by id order by name, tags, field"
        )
        return [
            {
                "series": name,
                "tags": json.loads(tags),
                "field": field,
                "points": count,
                "first": first,
                "last": last,
            }
            for name, tags, field, count, first, last in rows
        ]


def export_series(
    path: Path, name: str, since: int | None = None, until: int | None = None
) -> Iterator[Row]:
    """Every point of a series with since <= time < until, series by series, oldest first."""
    with contextlib.closing(open_reading(path)) as db:
        for series in _find(db, name, None, {}):
            yield from _points(
                db, series, _START if since is None else since, _END if until is None else until
            )


def query_series(
    db: sqlite3.Connection,
    name: str,
    *,
    tags: Mapping[str, str],
    field: str | None,
    since: int,
    until: int,
    function: str | None = None,
    every: int | None = None,
) -> list[Row]:
    """Points of all series of a name that have these tags (and others) and this field, if given.

    Without `function` every point; with it one value per series and `every` nanoseconds (aligned to
    1970 UTC; a row's time is its start), or per series over the whole range if `every` is None.
    Text and booleans take no part in a function.
    """
    found: list[Row] = []
    for series in _find(db, name, field, tags):
        if function is None:
            found += _points(db, series, since, until)
        else:
            found += _aggregates(db, series, (since, until), function, every)
    return found


def _find(
    db: sqlite3.Connection, name: str, field: str | None, tags: Mapping[str, str]
) -> list[_Series]:
    rows = db.execute(
        "select id, tags, field from series where name = ? and field = coalesce(?, field)"
        " order by tags, field",
        (name, field),
    ).fetchall()
    read = [_Series(number, name, json.loads(text), own) for number, text, own in rows]
    return [series for series in read if tags.items() <= series.tags.items()]


def _points(db: sqlite3.Connection, series: _Series, since: int, until: int) -> Iterator[Row]:
    rows = db.execute(
        "select time, number, text, flag from points where series = ? and time >= ? and time < ?"
        " order by time",
        (series.number, since, until),
    )
    for time, number, text, flag in rows:
        value = bool(flag) if flag is not None else number if text is None else text
        yield series.row(time, value)


def _aggregates(
    db: sqlite3.Connection, series: _Series, span: tuple[int, int], function: str, every: int | None
) -> Iterator[Row]:
    aggregate, beside = AGGREGATES[function]
    bucket = ":since" if every is None else BUCKET
    rows = db.execute(
        f"select {bucket}, {aggregate}, {beside} from points where series = :series"  # noqa: S608  # our own table of functions
        " and time >= :since and time < :until and number is not null group by 1 order by 1",
        {"series": series.number, "every": every, "since": span[0], "until": span[1]},
    )
    return (series.row(time, value) for time, value, _ in rows)

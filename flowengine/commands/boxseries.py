"""What the editor is given to read the box's own time series with: it knows no node itself."""

import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowengine.commands.folder import moment
from flowengine.errors import StartError, UsageError
from flowengine.moments import format_time

Rows = list[dict[str, Any]]
WITHIN = 4.0
"""Seconds that a chart may take to be read."""


def series_reader(data: Path) -> Callable[[str, dict[str, Any]], Rows]:
    """Reads `<data>/series.db`: `list`, `points`, `find` and `lines`, as `web.settings` tells."""

    def read(what: str, asked: dict[str, Any]) -> Rows:
        path = data / "series.db"
        if not path.exists():
            return []
        try:
            return _WAYS[what](path, asked)
        except sqlite3.Error as err:
            raise StartError(
                f"{path.name} cannot be read: {err}.",
                "Look at its rights; a damaged one is mended by run.",
            ) from err

    return read


def _list(path: Path, _asked: dict[str, Any]) -> Rows:
    from flowengine.nodes.series.read import list_series  # noqa: PLC0415  # only when asked

    rows = list(list_series(path))
    for row in rows:
        row["first"], row["last"] = format_time(row["first"]), format_time(row["last"])
    return rows


def _points(path: Path, asked: dict[str, Any]) -> Rows:
    from flowengine.nodes.series.read import export_series  # noqa: PLC0415  # only when asked

    since = moment(asked["since"], "since")
    points = deque(export_series(path, asked["name"], since, None), maxlen=int(asked["last"]))
    return [{**point, "time": format_time(point["time"])} for point in points]


def _find(path: Path, asked: dict[str, Any]) -> Rows:
    from flowengine.nodes.series.lines import find_series  # noqa: PLC0415  # only when asked

    rows, more = find_series(path, asked["find"], asked["most"])
    return [{"rows": rows, "more": more}]


def _lines(path: Path, asked: dict[str, Any]) -> Rows:
    from flowengine.nodes.series.lines import TooSlow, read_lines  # noqa: PLC0415  # only when asked

    name, field, tags = asked.pop("name"), asked.pop("field"), asked.pop("tags")
    try:
        rows, more = read_lines(path, name, field, tags, within=WITHIN, **asked)
    except TooSlow as err:
        raise UsageError(
            f"{name}.{field} has more points in this time than can be read in {WITHIN:g} s.",
            "Choose a shorter time, or name the tags of one series.",
        ) from err
    return [{"rows": rows, "more": more}]


_WAYS: dict[str, Callable[[Path, dict[str, Any]], Rows]] = {
    "list": _list,
    "points": _points,
    "find": _find,
    "lines": _lines,
}

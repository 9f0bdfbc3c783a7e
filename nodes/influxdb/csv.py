"""Annotated CSV, the answer to a Flux query, as rows of plain values.

    #datatype,string,long,dateTime:RFC3339,double,string
    #group,false,false,false,false,true
    #default,_result,,,,
    ,result,table,_time,_value,device_id
    ,,0,2023-11-14T22:13:20Z,21.5,d-1

A body holds any number of such tables, with other columns each, an empty line between them. An
error that is met after the answer began comes as a table of its own, with the columns `error` and
`reference`. Source: https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/
"""

import csv
import io
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

BOOKKEEPING = ("", "result", "table")
"""Columns that say which table a row belongs to; a row carries the other ones."""


class QueryFailed(Exception):  # the server's word
    """The query failed on the server, perhaps after rows were sent."""


class BadAnswer(Exception):  # not our error
    """What came is no annotated CSV."""


class Row(NamedTuple):
    """One row: the result it belongs to (`_result` if the query named none), table, and values."""

    result: str
    table: int
    values: dict[str, Any]


class _Column(NamedTuple):
    name: str
    read: Callable[[str], Any]
    default: str


def parse_rows(text: str) -> Iterator[Row]:
    """Read a whole body; raises QueryFailed where the server says so, BadAnswer for anything else.

    Empty cells take the column's default, else None. Times stay RFC 3339 text; NaN and infinities
    become None, as they cannot travel as JSON.
    """
    annotations: dict[str, list[str]] = {}
    columns: list[_Column] | None = None
    for cells in _lines(text):
        if not cells or cells == [""]:
            annotations, columns = {}, None
        elif cells[0].startswith("#"):
            if columns is not None:
                annotations, columns = {}, None
            annotations[cells[0]] = cells
        elif columns is None:
            columns = _header(cells, annotations)
        else:
            yield _row(cells, columns)


def _lines(text: str) -> Iterator[list[str]]:
    """The cells of each line; an endless quote, or a cell of more than 128 KiB, is no CSV."""
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as err:
        raise BadAnswer(f"it is no CSV: {err}.") from err


def _header(cells: list[str], annotations: dict[str, list[str]]) -> list[_Column]:
    kinds = annotations.get("#datatype", ["string"] * len(cells))
    defaults = annotations.get("#default", [""] * len(cells))
    if not len(kinds) == len(defaults) == len(cells):
        raise BadAnswer(f"a table names {len(cells)} columns and annotates {len(kinds)}.")
    return [
        _Column(
            name, _READERS.get(kind.partition(":")[0], str), "" if default[:1] == "#" else default
        )
        for name, kind, default in zip(cells, kinds, defaults, strict=True)
    ]


def _row(cells: list[str], columns: list[_Column]) -> Row:
    if len(cells) != len(columns):
        raise BadAnswer(f"a row has {len(cells)} cells in a table of {len(columns)} columns.")
    values: dict[str, Any] = {}
    for cell, (name, read, default) in zip(cells, columns, strict=True):
        text = cell or default
        try:
            values[name] = read(text) if text else None
        except ValueError as err:
            raise BadAnswer(f'"{text[:60]}" stands in the column "{name}": {err}') from err
    if "error" in values and "reference" in values:
        raise QueryFailed(str(values["error"]))
    result, table = values.get("result") or "_result", values.get("table") or 0
    for name in BOOKKEEPING:
        values.pop(name, None)
    return Row(str(result), table if isinstance(table, int) else 0, values)


def _boolean(text: str) -> bool:
    if text in {"true", "false"}:
        return text == "true"
    raise ValueError("neither true nor false")


def _double(text: str) -> float | None:
    number = float(text)  # Go writes +Inf, -Inf and NaN, which Python reads
    return number if math.isfinite(number) else None


_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": _boolean,
    "long": int,
    "unsignedLong": int,
    "double": _double,
}

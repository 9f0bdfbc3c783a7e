"""CSV as rows and columns (RFC 4180): numbers where they are, all else text.

A number is what JSON calls one, so `007` and `1e999` stay text, as do integers beyond 64 bits.
Rows end in a line feed; carriage returns before it are read and not written.
"""

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from flowengine import encode
from flowengine.errors import PayloadError, describe_value

MAX_CHARACTERS = 16 * 1024 * 1024
MAX_CELLS = 500_000

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,19})(\.\d{1,30})?([eE][+-]?\d{1,3})?", re.ASCII)


def read_rows(text: str, separator: str, columns: Sequence[str] | None) -> list[dict[str, Any]]:
    """The rows as maps; `columns` names them, else the first row does.

    Empty lines are skipped; a row may end early, and then lacks its last columns. Raises
    PayloadError `not-csv` for a row with more cells than columns, names that stand twice or quotes
    that do not close, `too-large` above 16 MiB or half a million cells.
    """
    if len(text) > MAX_CHARACTERS:
        raise PayloadError(f"it has {len(text):,} characters, above 16 MiB.", slug="too-large")
    rows: list[dict[str, Any]] = []
    cells = 0
    reader = csv.reader(
        io.StringIO(text.removeprefix("\ufeff"), ""), delimiter=separator, strict=True
    )
    try:
        for row in reader:
            if not row:
                continue
            if columns is None:
                columns = _header(row)
                continue
            if len(row) > len(columns):
                raise _not_csv(
                    reader.line_num, f"{len(row)} cells for {len(columns)} columns", row[-1]
                )
            cells += len(row)
            if cells > MAX_CELLS:
                raise PayloadError(f"it has more than {MAX_CELLS:,} cells.", slug="too-large")
            rows.append({name: cell_value(cell) for name, cell in zip(columns, row, strict=False)})
    except csv.Error as err:
        raise PayloadError(f"line {reader.line_num}: {err}.", slug="not-csv") from err
    return rows


def cell_value(cell: str) -> Any:
    """The number in a cell, spaces around it or not; else the text as it is."""
    plain = cell.strip()
    found = _NUMBER.fullmatch(plain)
    if found is None:
        return cell
    if found[1] is None and found[2] is None:
        whole = int(plain)
        return whole if -(1 << 63) <= whole < 1 << 64 else cell
    number = float(plain)
    return number if math.isfinite(number) else cell


def write_rows(value: Any, separator: str, columns: Sequence[str] | None, header: bool) -> str:
    """CSV text for a map (one row), a list of maps or a list of lists.

    Columns: as given, else the keys of the maps in order of appearance. Null and absent cells are
    empty; true and false are written so; lists and maps inside a cell are JSON. Raises PayloadError
    `not-csv`, or `not-a-number` for NaN.
    """
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict | list) for row in rows):
        raise PayloadError(
            f"{describe_value(value)} has no rows.",
            slug="not-csv",
            mend="Give a map, a list of maps or a list of lists.",
        )
    if columns is None:
        named = [row for row in rows if isinstance(row, dict)]
        columns = list(dict.fromkeys(str(name) for row in named for name in row))
    lines = [list(columns)] if header and columns else []
    for row in rows:
        cells = [row.get(name) for name in columns] if isinstance(row, dict) else row
        lines.append([_cell_text(cell) for cell in cells])
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _cell_text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else encode(cell, "json").decode()


def _header(row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PayloadError(f"the column {describe_value(twice)} stands twice.", slug="not-csv")
    return names


def _not_csv(line: int, what: str, cell: str) -> PayloadError:
    return PayloadError(f"line {line}: {what}, at {describe_value(cell[:60])}.", slug="not-csv")

"""The two SQLite files of a data folder: read to their last page, and salvaged if damaged."""

import contextlib
import sqlite3
from pathlib import Path

from flowengine.engine.doctor_look import Look, count, size_of
from flowengine.engine.salvage import is_damage, reading, repair

STATE = "state.db"
SERIES = "series.db"
STATE_COST = (
    "windows, filters and other nodes start as if new, with what they held; the quarantine; the "
    "ledger"
)
SERIES_COST = "the box's own time series"
NOUNS = {
    "node_state": "node state",
    "quarantine": "message in quarantine",
    "points": "point",
    "series": "series",
    "held": "held part",
}


def examine_state(look: Look) -> None:
    """`state.db`: node states, quarantine, ledger."""
    _examine(look, look.folder / STATE, STATE_COST, ("node_state", "quarantine"))


def examine_series(look: Look) -> None:
    """`series.db`: the box's own time series."""
    _examine(look, look.folder / SERIES, SERIES_COST, ("series", "points"))


def _examine(look: Look, path: Path, cost: str, told: tuple[str, ...]) -> None:
    if not path.exists():
        return
    try:
        trouble, tables = _read(path, is_used=look.pid is not None)
    except sqlite3.DatabaseError as err:
        if not is_damage(err):
            look.add(path, f"cannot be read: {err}", cost=cost, mend="Look at its rights.")
            return
        trouble, tables = [str(err)], {}
    if trouble:
        _damaged(look, path, trouble, cost)
        if look.mend and path.exists():
            with contextlib.suppress(sqlite3.DatabaseError):
                _, tables = _read(path)
    texts = []
    for name in told:
        if name in tables:
            noun = NOUNS[name]
            texts.append(
                f"{tables[name]} series" if noun == "series" else count(tables[name], noun)
            )
    size = sum(size_of(Path(f"{path}{tail}")) for tail in ("", "-wal"))
    look.have(path, size, ", ".join(texts) or "nothing that can be read", cost, tables=tables)


def _read(path: Path, *, is_used: bool = False) -> tuple[list[str], dict[str, int]]:
    """What SQLite finds wrong, to the last page, and the rows of each table."""
    with contextlib.closing(reading(path, is_used=is_used)) as db:
        rows = db.execute("pragma integrity_check(20)").fetchall()
        trouble = [str(row[0]) for row in rows if row[0] != "ok"]
        tables: dict[str, int] = {}
        names = db.execute("select name from sqlite_master where type = 'table' order by name")
        for (name,) in names.fetchall():
            try:
                sql = f'select count(*) from "{name}"'  # noqa: S608  # a name of its own
                found = db.execute(sql).fetchone()
            except sqlite3.DatabaseError as err:
                trouble.append(f"{name}: {err}")
            else:
                tables[name] = int(found[0])
    return trouble, tables


def _damaged(look: Look, path: Path, trouble: list[str], cost: str) -> None:
    what = f"damaged: {trouble[0].splitlines()[0]}"
    if len(trouble) > 1:
        what += f" (and {len(trouble) - 1} more)"
    if not look.mend:
        look.add(
            path,
            what,
            cost=f"what cannot be read of: {cost}",
            mend="--mend takes over what can be read, and sets the file aside",
        )
        return
    try:
        aside, taken = repair(path)
    except (OSError, sqlite3.Error) as err:
        mend = f"it cannot be repaired now: {err}. Free space, or look at its rights"
        look.add(path, what, cost=cost, mend=mend)
        return
    mend = f"set aside as {aside.name}; {taken}"
    look.add(path, what, cost=f"what could not be read of: {cost}", mend=mend, mended=True)

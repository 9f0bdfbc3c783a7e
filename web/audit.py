"""The audit log: who did what to which flow, when, with digests of before and after (S-71).

Each entry holds the digest of the one before it, so that a changed, removed or exchanged entry is
found; the table refuses updates and removals besides. What was deployed can be found in the
history by the same digests.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from flowengine.message import rfc3339

_SCHEMA = """
create table if not exists audit (
    n integer primary key, at text not null, who text not null, what text not null,
    flow text not null, before text not null, after text not null, digest text not null
);
create trigger if not exists audit_is_kept before delete on audit
begin select raise(abort, 'the audit log is append-only'); end;
create trigger if not exists audit_stays before update on audit
begin select raise(abort, 'the audit log is append-only'); end;
"""
_FIELDS = ("n", "at", "who", "what", "flow", "before", "after", "digest")


class Audit:
    """The log in an open database; the caller guards it against other threads."""

    def __init__(self, db: sqlite3.Connection, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now
        db.executescript(_SCHEMA)

    def note(self, who: str, what: str, flow: str = "", before: str = "", after: str = "") -> None:
        """Add an entry; `before` and `after` are digests, `""` for nothing."""
        row = self._db.execute("select n, digest from audit order by n desc limit 1").fetchone()
        number, last = (int(row[0]) + 1, str(row[1])) if row else (1, "")
        at = rfc3339(int(self._now() * 1000) * 1_000_000)
        facts = (number, at, who, what, flow, before, after)
        self._db.execute(
            "insert into audit values (?, ?, ?, ?, ?, ?, ?, ?)", (*facts, _digest(last, facts))
        )

    def last(self, number: int, find: str = "", before: int | None = None) -> list[dict[str, Any]]:
        """The newest entries, newest first; with `find` in who, what or flow, below `before`."""
        rows = self._db.execute(
            "select * from audit where (? is null or n < ?) "
            "and (? = '' or instr(lower(who || char(10) || what || char(10) || flow), ?)) "
            "order by n desc limit ?",
            (before, before, find, find.lower(), number),
        )
        return [dict(zip(_FIELDS, row, strict=True)) for row in rows]

    def broken_at(self) -> int | None:
        """The number of the first entry that does not follow from the one before; None if whole."""
        last, wanted = "", 1
        for row in self._db.execute("select * from audit order by n"):
            if row[0] != wanted or row[7] != _digest(last, row[:7]):
                return wanted
            last, wanted = row[7], wanted + 1
        return None


def _digest(last: str, facts: tuple[Any, ...]) -> str:
    text = json.dumps([last, *facts], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(text: str) -> str:
    """The digest by which the log names a version of a flow."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

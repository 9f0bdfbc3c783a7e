"""Drafts on the server, and what was deployed before: all in `editor.db` of the data folder.

A draft is a flow's text in canonical form with a revision that only grows. It remembers the text
that was deployed when it began, so that "changed" and "the file was changed outside" are two
answers. The last revisions stay, for a merge needs what both sides came from.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

FILE = "editor.db"
KEPT_REVISIONS = 300
KEPT_ENTRIES = 200

_SCHEMA = """
create table if not exists draft (
    flow text not null, rev integer not null, text text not null, base text not null,
    file text not null, label text not null, by text not null, at real not null,
    primary key (flow, rev)
) without rowid;
create table if not exists layout (
    flow text primary key, rev integer not null, places text not null
) without rowid;
create table if not exists entry (
    flow text not null, number integer not null, at real not null, by text not null,
    note text not null, text text not null, places text not null, file text not null,
    restarted text not null, nodes integer not null, primary key (flow, number)
) without rowid;
"""
_DRAFT = ("flow", "rev", "text", "base", "file", "label", "by", "at")
_ENTRY = ("flow", "number", "at", "by", "note", "text", "places", "file", "restarted", "nodes")

Places = Mapping[str, tuple[int, int]]


class Draft(msgspec.Struct, kw_only=True, frozen=True):
    """One revision. `base` is the deployed text it is compared with, `file` the file's digest."""

    flow: str
    rev: int
    text: str
    base: str
    file: str
    label: str = ""
    by: str = ""
    at: float = 0.0

    @property
    def etag(self) -> str:
        """The entity tag: the revision, and what makes it unmistakable (RFC 9110 §8.8.3)."""
        return f'"{self.rev}-{short_digest(self.text)}"'

    @property
    def is_changed(self) -> bool:
        """Whether it says anything else than what is deployed."""
        return self.text != self.base


class Deployed(msgspec.Struct, kw_only=True, frozen=True):
    """One entry of the deploy history; `places` is the layout at that time."""

    flow: str
    number: int
    at: float
    by: str
    note: str
    text: str
    places: dict[str, tuple[int, int]]
    file: str
    restarted: list[str]
    nodes: int


class Drafts:
    """The open `editor.db`; its methods may be called from any thread."""

    def __init__(self, data: Path, now: Callable[[], float] = time.time) -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data / FILE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._now = now
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def flows(self) -> list[str]:
        """The flows that have a draft."""
        with self._lock:
            rows = self._db.execute("select distinct flow from draft order by flow").fetchall()
        return [str(row[0]) for row in rows]

    def newest(self, flow: str) -> Draft | None:
        """The draft as it is now."""
        return self._one("select * from draft where flow = ? order by rev desc limit 1", (flow,))

    def revision(self, flow: str, rev: int) -> Draft | None:
        """The draft as it was, if that is still kept."""
        return self._one("select * from draft where flow = ? and rev = ?", (flow, rev))

    def by_etag(self, flow: str, etag: str) -> Draft | None:
        """The revision that an entity tag names, if it is still kept."""
        rev = etag.strip('"').partition("-")[0]
        found = self.revision(flow, int(rev)) if rev.isdecimal() and len(rev) < 15 else None
        return found if found is not None and found.etag == etag else None

    def put(
        self, flow: str, text: str, *, base: str, file: str, by: str = "", label: str = ""
    ) -> Draft:
        """Write the next revision."""
        with self._lock:
            row = self._db.execute("select max(rev) from draft where flow = ?", (flow,)).fetchone()
            made = Draft(
                flow=flow,
                rev=(row[0] or 0) + 1,
                text=text,
                base=base,
                file=file,
                label=label,
                by=by,
                at=self._now(),
            )
            self._insert("draft", msgspec.structs.astuple(made))
            oldest = made.rev - KEPT_REVISIONS
            self._db.execute("delete from draft where flow = ? and rev <= ?", (flow, oldest))
        return made

    def rebase(self, draft: Draft, base: str, file: str) -> None:
        """The same revision, compared from now on with what was deployed just now."""
        with self._lock:
            self._db.execute(
                "update draft set base = ?, file = ? where flow = ? and rev = ?",
                (base, file, draft.flow, draft.rev),
            )

    def forget(self, flow: str) -> None:
        """Remove draft and layout of a flow that was removed; its history stays."""
        with self._lock:
            self._db.execute("delete from draft where flow = ?", (flow,))
            self._db.execute("delete from layout where flow = ?", (flow,))

    # -- layout

    def layout(self, flow: str) -> tuple[int, dict[str, tuple[int, int]]] | None:
        """Revision and places of the draft's layout; None if there never was one."""
        with self._lock:
            row = self._db.execute(
                "select rev, places from layout where flow = ?", (flow,)
            ).fetchone()
        return None if row is None else (int(row[0]), _places(row[1]))

    def put_layout(self, flow: str, places: Mapping[str, Sequence[int]]) -> int:
        """Write the layout; its new revision."""
        text = json.dumps({name: list(at) for name, at in sorted(places.items())})
        with self._lock:
            row = self._db.execute("select rev from layout where flow = ?", (flow,)).fetchone()
            rev = 1 if row is None else int(row[0]) + 1
            self._insert("layout", (flow, rev, text))
        return rev

    # -- history

    def add_entry(
        self,
        draft: Draft,
        places: Places,
        *,
        by: str,
        note: str,
        file: str,
        restarted: Sequence[str],
        nodes: int,
    ) -> Deployed:
        """Note that this draft was deployed."""
        with self._lock:
            row = self._db.execute(
                "select max(number) from entry where flow = ?", (draft.flow,)
            ).fetchone()
            made = Deployed(
                flow=draft.flow,
                number=(row[0] or 0) + 1,
                at=self._now(),
                by=by,
                note=note,
                text=draft.text,
                places=dict(places),
                file=file,
                restarted=list(restarted),
                nodes=nodes,
            )
            facts = list(msgspec.structs.astuple(made))
            facts[6] = json.dumps({name: list(at) for name, at in made.places.items()})
            facts[8] = json.dumps(made.restarted)
            self._insert("entry", facts)
            oldest = made.number - KEPT_ENTRIES
            self._db.execute(
                "delete from entry where flow = ? and number <= ?", (draft.flow, oldest)
            )
        return made

    def entries(self, flow: str) -> list[Deployed]:
        """What was deployed, newest first."""
        return self._entries("select * from entry where flow = ? order by number desc", (flow,))

    def entry(self, flow: str, number: int) -> Deployed | None:
        """One entry."""
        found = self._entries("select * from entry where flow = ? and number = ?", (flow, number))
        return found[0] if found else None

    def last_entry(self, flow: str) -> Deployed | None:
        """The newest entry."""
        found = self._entries(
            "select * from entry where flow = ? order by number desc limit 1", (flow,)
        )
        return found[0] if found else None

    # -- rows

    def _insert(self, table: str, values: Sequence[Any]) -> None:
        marks = ", ".join("?" * len(values))
        self._db.execute(f"insert or replace into {table} values ({marks})", values)  # noqa: S608  # the table is named above, never from outside

    def _one(self, sql: str, values: Sequence[Any]) -> Draft | None:
        with self._lock:
            row = self._db.execute(sql, values).fetchone()
        return None if row is None else Draft(**dict(zip(_DRAFT, row, strict=True)))

    def _entries(self, sql: str, values: Sequence[Any]) -> list[Deployed]:
        with self._lock:
            rows = self._db.execute(sql, values).fetchall()
        found = []
        for row in rows:
            facts = dict(zip(_ENTRY, row, strict=True))
            facts["places"] = _places(facts["places"])
            facts["restarted"] = json.loads(facts["restarted"])
            found.append(Deployed(**facts))
        return found


def short_digest(text: str) -> str:
    """Eight hex digits that tell versions apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def layout_etag(rev: int, places: Mapping[str, Sequence[int]]) -> str:
    """The entity tag of a layout."""
    text = json.dumps({name: list(at) for name, at in sorted(places.items())})
    return f'"{rev}-{short_digest(text)}"'


def _places(text: str) -> dict[str, tuple[int, int]]:
    return {name: (int(at[0]), int(at[1])) for name, at in json.loads(text).items()}

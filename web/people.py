"""The people of an editor: names, roles, passwords, sessions, tokens; all in `people.db`.

Nothing in that file lets anyone in: passwords are argon2id hashes, session ids and tokens are held
as SHA-256 of 256 random bits, and there is no signing key to steal. Made with mode 0600, and there
is no user until someone makes one (S-02, S-06, S-08, S-09).
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from flowengine.errors import UsageError
from flowengine.web.audit import Audit
from flowengine.web.rights import ROLES, Caller, rights_of
from flowengine.web.settings import SESSION_HOURS

FILE = "people.db"
NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
SHORTEST = 10
LONGEST = 1_000
TOKEN_PREFIX = "fe_"  # noqa: S105  # what tokens begin with, so that a scanner knows them
LONGEST_TOKEN_DAYS = 366

_SCHEMA = """
create table if not exists user (
    name text primary key, role text not null, powers integer not null, hash text not null,
    since real not null
) without rowid;
create table if not exists session (
    id text primary key, user text not null references user on delete cascade, ends real not null
) without rowid;
create table if not exists token (
    id text primary key, user text not null references user on delete cascade, hash text not null,
    role text not null, note text not null, since real not null, ends real not null
) without rowid;
create table if not exists link (
    id text primary key, user text not null references user on delete cascade, ends real not null
) without rowid;
"""
USED_EVERY = 60.0
"""Seconds within which a token's use is not written down again."""


class Person(msgspec.Struct, kw_only=True, frozen=True):
    """A user as the list shows it; `hash` is "" for one without a password."""

    name: str
    role: str
    powers: bool
    hash: str
    since: float


class Token(msgspec.Struct, kw_only=True, frozen=True):
    """An API token as the list shows it: never the token itself."""

    id: str
    user: str
    role: str
    note: str
    since: float
    ends: float
    used: float = 0.0
    """When it was last used, to the minute; 0 for never."""


class People:
    """The open `people.db` of a data folder; may be used from several threads and processes."""

    def __init__(
        self,
        data: Path | str,
        now: Callable[[], float] = time.time,
        hasher: PasswordHasher | None = None,
    ) -> None:
        folder = Path(data)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / FILE
        self.now = now
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(
            self.path, check_same_thread=False, isolation_level=None, timeout=5
        )
        self._lock = threading.RLock()
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma foreign_keys=on")
        self._db.executescript(_SCHEMA)
        if "used" not in {row[1] for row in self._db.execute("pragma table_info(token)")}:
            self._db.execute("alter table token add column used real not null default 0")
        self._audit = Audit(self._db, now)
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex())

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # -- users

    def users(self) -> list[Person]:
        """Everyone, by name."""
        with self._lock:
            rows = self._db.execute("select * from user order by name").fetchall()
        return [_person(row) for row in rows]

    def find(self, name: str) -> Person | None:
        """One user."""
        with self._lock:
            row = self._db.execute("select * from user where name = ?", (name,)).fetchone()
        return None if row is None else _person(row)

    def add(
        self, name: str, role: str, password: str | None = None, *, powers: bool = False
    ) -> None:
        """Add a user, or give one another role or password; a new password ends the sessions."""
        if not NAME.fullmatch(name):
            what = f'"{name}" is no name of a user.'
            raise UsageError(what, "Small letters, digits, dots and hyphens; a letter first.")
        if role not in ROLES:
            raise UsageError(f'there is no role "{role}".', f"There are: {', '.join(ROLES)}.")
        before = self.find(name)
        hashed = "" if password is None else self._hash(password)
        with self._lock:
            self._db.execute(
                "insert into user values (?, ?, ?, ?, ?) on conflict (name) do update set "
                "role = excluded.role, powers = excluded.powers, "
                "hash = case excluded.hash when '' then hash else excluded.hash end",
                (name, role, powers, hashed, self.now()),
            )
            if before is not None and password is not None:
                self._db.execute("delete from session where user = ?", (name,))

    def remove(self, name: str) -> bool:
        """Remove a user with all sessions and tokens; whether there was one."""
        with self._lock:
            gone = self._db.execute("delete from user where name = ?", (name,)).rowcount
        return gone > 0

    def set_password(self, name: str, password: str, keep: str = "") -> None:
        """Give a new password; every session of the user ends but `keep` (S-06)."""
        hashed = self._hash(password)
        with self._lock:
            self._db.execute("update user set hash = ? where name = ?", (hashed, name))
            self._db.execute(
                "delete from session where user = ? and id != ?", (name, sha(keep) if keep else "")
            )

    def check_password(self, name: str, password: str) -> Person | None:
        """The user if the password is theirs; takes as long for a user that is not there."""
        person = self.find(name)
        hashed = person.hash if person is not None and person.hash else self._nobody
        try:
            self._hasher.verify(hashed, password[: LONGEST + 1])
        except (Argon2Error, InvalidHashError, UnicodeError):
            return None
        return person if person is not None and person.hash else None

    def _hash(self, password: str) -> str:
        if len(password) < SHORTEST:
            raise UsageError(
                f"the password has fewer than {SHORTEST} characters.", "Take several words."
            )
        if len(password) > LONGEST:
            raise UsageError(f"the password has more than {LONGEST} characters.", "Take fewer.")
        return self._hasher.hash(password)

    # -- sessions

    def open_session(self, name: str) -> str:
        """A new session of a user: what the cookie holds, shown to nobody else."""
        session = secrets.token_urlsafe(32)
        with self._lock:
            now = self.now()
            self._db.execute("delete from session where ends <= ?", (now,))
            self._db.execute(
                "insert into session values (?, ?, ?)",
                (sha(session), name, now + SESSION_HOURS * 3600),
            )
        return session

    def close_session(self, session: str) -> None:
        """End a session; harmless when it has ended."""
        with self._lock:
            self._db.execute("delete from session where id = ?", (sha(session),))

    def by_session(self, session: str) -> Caller | None:
        """Who a cookie belongs to, None when it has ended."""
        with self._lock:
            row = self._db.execute(
                "select user.* from session join user on user.name = session.user "
                "where session.id = ? and session.ends > ?",
                (sha(session), self.now()),
            ).fetchone()
        if row is None:
            return None
        person = _person(row)
        return Caller(
            name=person.name,
            role=person.role,
            rights=rights_of(person.role, powers=person.powers),
            session=session,
            has_password=bool(person.hash),
        )

    # -- tokens

    def add_token(self, user: str, role: str, days: float, note: str = "") -> str:
        """A new API token, shown this once; it can do what its role and its user's may, both."""
        person = self.find(user)
        if person is None:
            raise UsageError(f'there is no user "{user}".', "flowengine users list shows them.")
        if role not in ROLES:
            raise UsageError(f'there is no role "{role}".', f"There are: {', '.join(ROLES)}.")
        if not 0 < days <= LONGEST_TOKEN_DAYS:
            raise UsageError(
                f"a token cannot last {days:g} days.", f"Give 1 to {LONGEST_TOKEN_DAYS} days."
            )
        token_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        with self._lock:
            now = self.now()
            self._db.execute(
                "insert into token (id, user, hash, role, note, since, ends) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (token_id, user, sha(secret), role, note, now, now + days * 86_400),
            )
        return f"{TOKEN_PREFIX}{token_id}_{secret}"

    def tokens(self) -> list[Token]:
        """Every token that is there, expired ones too, newest first."""
        with self._lock:
            rows = self._db.execute(
                "select id, user, role, note, since, ends, used from token order by since desc"
            ).fetchall()
        return [
            Token(id=i, user=user, role=role, note=note, since=since, ends=ends, used=used)
            for i, user, role, note, since, ends, used in rows
        ]

    def remove_token(self, token_id: str) -> bool:
        """Revoke a token; whether there was one."""
        with self._lock:
            return self._db.execute("delete from token where id = ?", (token_id,)).rowcount > 0

    def by_token(self, token: str) -> Caller | None:
        """Who a token speaks for, None for one that is unknown or has expired."""
        token_id, _, secret = token.removeprefix(TOKEN_PREFIX).partition("_")
        if not token.startswith(TOKEN_PREFIX) or not secret:
            return None
        with self._lock:
            row = self._db.execute(
                "select user.*, token.hash, token.role, token.used from token join user "
                "on user.name = token.user where token.id = ? and token.ends > ?",
                (token_id, self.now()),
            ).fetchone()
        if row is None or not hmac.compare_digest(row[5], sha(secret)):
            return None
        if self.now() - row[7] >= USED_EVERY:
            with self._lock:
                self._db.execute("update token set used = ? where id = ?", (self.now(), token_id))
        person = _person(row[:5])
        own = rights_of(person.role, powers=person.powers)
        role = min(person.role, str(row[6]), key=ROLES.index)
        return Caller(
            name=person.name, role=role, rights=own & rights_of(role, powers=person.powers)
        )

    @contextlib.contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """The file for a look or a change that is done as a whole, or not at all."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise

    # -- the audit log, in the same file

    def note(self, who: str, what: str, flow: str = "", before: str = "", after: str = "") -> None:
        """Add an entry to the audit log."""
        with self.changing():
            self._audit.note(who, what, flow, before, after)

    def audit(
        self, last: int, find: str = "", before: int | None = None
    ) -> tuple[list[dict[str, Any]], int | None]:
        """The newest entries of the audit log, and where it is broken, if it is."""
        with self._lock:
            return self._audit.last(last, find, before), self._audit.broken_at()


def csrf_of(session: str) -> str:
    """The token that a page of a session must send with what changes something (S-10)."""
    return hashlib.sha256(b"csrf " + session.encode()).hexdigest()[:32]


def sha(text: str) -> str:
    """How a secret that opens something is held: its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _person(row: tuple[object, ...]) -> Person:
    name, role, powers, hashed, since = row
    return Person(
        name=str(name),
        role=str(role),
        powers=bool(powers),
        hash=str(hashed),
        since=float(str(since)),
    )

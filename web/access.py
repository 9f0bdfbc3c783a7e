"""What an admin does with people: one-time links, roles, ended sessions; never the last admin.

A one-time link is a token of 256 random bits that is held as its SHA-256, good for a day and for
one opening. Opening it voids the password of before: the link is the way back in for who forgot it.
"""

import secrets

import msgspec

from flowengine.web.people import People, sha
from flowengine.web.settings import SESSION_HOURS

LINK_FOR = 86_400.0
"""Seconds for which a one-time link lets its user in."""


class LastAdminError(Exception):
    """The change would leave nobody who can see to people and access."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session of a user; `id` is short, says nothing, and opens nothing."""

    id: str
    since: float
    ends: float
    is_this: bool


class Access:
    """The people of a box, as an admin sees to them."""

    def __init__(self, people: People) -> None:
        self.people = people

    # -- users

    def change(self, name: str, role: str, *, powers: bool) -> None:
        """Give a user another role and powers; LastAdminError if nobody else could take over."""
        with self.people.changing() as db:
            if role != "admin":
                self._keep_an_admin(name)
            db.execute("update user set role = ?, powers = ? where name = ?", (role, powers, name))

    def remove(self, name: str) -> None:
        """Remove a user with all sessions, tokens and links."""
        with self.people.changing() as db:
            self._keep_an_admin(name)
            db.execute("delete from user where name = ?", (name,))

    def _keep_an_admin(self, name: str) -> None:
        person = self.people.find(name)
        if person is None or person.role != "admin":
            return
        others = [p for p in self.people.users() if p.role == "admin" and p.name != name]
        if not others or (person.hash and not any(p.hash for p in others)):
            raise LastAdminError

    # -- links

    def add_link(self, name: str) -> tuple[str, float]:
        """A new one-time link of a user in place of those before: its token, and until when."""
        token = secrets.token_urlsafe(32)
        with self.people.changing() as db:
            ends = self.people.now() + LINK_FOR
            db.execute("delete from link where user = ?", (name,))
            db.execute("insert into link values (?, ?, ?)", (sha(token), name, ends))
        return token, ends

    def links(self) -> dict[str, float]:
        """Users with a link that was not opened yet, and until when it is good."""
        with self.people.changing() as db:
            rows = db.execute("select user, ends from link where ends > ?", (self.people.now(),))
            return {str(user): float(ends) for user, ends in rows}

    def take_link(self, token: str) -> str | None:
        """The user of a link, once; the password and the sessions of before are void then."""
        with self.people.changing() as db:
            row = db.execute(
                "delete from link where id = ? and ends > ? returning user",
                (sha(token), self.people.now()),
            ).fetchone()
            if row is None:
                return None
            name = str(row[0])
            db.execute("update user set hash = '' where name = ?", (name,))
            db.execute("delete from session where user = ?", (name,))
        return name

    # -- sessions

    def sessions(self, name: str, this: str = "") -> list[Session]:
        """The sessions of a user that have not ended, newest first."""
        with self.people.changing() as db:
            rows = db.execute(
                "select id, ends from session where user = ? and ends > ? order by ends desc",
                (name, self.people.now()),
            ).fetchall()
        own = sha(this) if this else ""
        hours = SESSION_HOURS * 3_600
        return [
            Session(id=sha(i)[:8], since=ends - hours, ends=ends, is_this=i == own)
            for i, ends in rows
        ]

    def session_counts(self) -> dict[str, int]:
        """How many sessions each user has who has any."""
        with self.people.changing() as db:
            rows = db.execute(
                "select user, count(*) from session where ends > ? group by user",
                (self.people.now(),),
            )
            return {str(user): int(count) for user, count in rows}

    def end_sessions(self, name: str, keep: str = "") -> None:
        """End the sessions of a user but `keep`."""
        with self.people.changing() as db:
            kept = sha(keep) if keep else ""
            db.execute("delete from session where user = ? and id != ?", (name, kept))

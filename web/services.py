"""What the routes work with: one of each, made when the application is."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from argon2 import PasswordHasher

from flowengine.engine.runtime import Engine
from flowengine.flow.references import references
from flowengine.secrets import SecretsError, SecretStore
from flowengine.web.assets import Assets, templates
from flowengine.web.deploys import Deploys
from flowengine.web.drafts import Drafts
from flowengine.web.live import Hub
from flowengine.web.logring import LogRing
from flowengine.web.people import People
from flowengine.web.redact import Redactor
from flowengine.web.settings import Settings
from flowengine.web.throttle import Throttle
from flowengine.web.topicwatch import TopicWatch
from flowengine.web.workshop import Workshop

FIRST_LINK_FOR = 3_600.0
"""Seconds for which the link of a first start lets someone in."""


class Services:
    """The parts of one editor."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        hasher: PasswordHasher | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.people = People(settings.data, now, hasher)
        self.drafts = Drafts(settings.data, now)
        self.secrets = SecretStore(settings.data)
        self.redactor = Redactor()
        self.workshop = Workshop(engine, settings, self.drafts, self.secrets.get)
        self.deploys = Deploys(self.workshop, self.secrets, self.redactor)
        self.log = LogRing(self.redactor)
        self.hub = Hub(engine, self.workshop, self.redactor, self.log)
        self.assets = Assets()
        self.templates = templates()
        self.topics = TopicWatch(engine, self.redactor)
        self.charting = asyncio.Semaphore(2)
        """Two charts are read at a time: a wall full of screens takes no more threads."""
        self.testing = asyncio.Semaphore(2)
        """Two runs of tests at a time: each takes a thread for as long as it lasts."""
        self.by_user = Throttle(10, 30.0, clock=clock)
        self.by_address = Throttle(20, 15.0, clock=clock)
        self._clock = clock
        self._first: tuple[str, float] | None = None
        logging.getLogger("flowengine").addHandler(self.log)

    def first_link(self) -> str | None:
        """The token of a one-time link, where nobody can log in otherwise; shown once (S-02)."""
        if any(person.hash for person in self.people.users()):
            return None
        token = secrets.token_urlsafe(24)
        self._first = token, self._clock() + FIRST_LINK_FOR
        return token

    def take_first(self, token: str) -> bool:
        """Whether this is the token of the link; it is so once."""
        known, self._first = self._first, None
        if known is None:
            return False
        if secrets.compare_digest(known[0].encode(), token.encode()) and known[1] > self._clock():
            return True
        self._first = known
        return False

    def learn_secrets(self) -> None:
        """Know the secrets that the flows name, so that they are shown nowhere (S-51)."""
        for flow_id in self.workshop.ids():
            draft = self.workshop.draft(flow_id)
            for text in {draft.text, draft.base} - {""}:
                flow = self.workshop.reading.flow(flow_id, text)
                if flow is None:
                    continue
                for kind, name, _ in references(flow):
                    if kind == "secret":
                        self._learn(name)

    def _learn(self, name: str) -> None:
        try:
            value = self.secrets.get(name)
        except SecretsError:
            return  # a deploy says so
        if value:
            self.redactor.learn(value)

    async def note(
        self, who: str, what: str, flow: str = "", before: str = "", after: str = ""
    ) -> None:
        """Write to the audit log."""
        await asyncio.to_thread(self.people.note, who, what, flow, before, after)

    async def close(self) -> None:
        """Send everyone away and close the files."""
        self.topics.close()
        await self.hub.close()
        logging.getLogger("flowengine").removeHandler(self.log)
        self.people.close()
        self.drafts.close()

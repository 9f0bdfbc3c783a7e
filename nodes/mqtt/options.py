"""What an MQTT link is told when it is made, and what passes between it and its connection."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from flowengine.nodes.mqtt.reasons import Ending
from flowengine.nodes.mqtt_wire import Incoming

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Will:
    """A message the broker publishes when the link dies; as birth, one sent at each connect."""

    topic: str
    payload: bytes = b""
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True)
class LinkOptions:
    """Where a link goes and how. Times are in seconds, sizes in bytes."""

    host: str
    port: int
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    client_id: str = ""
    username: str | None = None
    password: str | None = None
    keepalive: int = 60
    session_expiry: int = 86400
    clean_start: bool = False
    receive_maximum: int = 1000
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    will: Will | None = None
    birth: Will | None = None
    max_size: int = 16_000_000
    """The payload of a message above is not held: it is told as too large, and acknowledged."""
    hold_size: int = 4_000_000
    """Bytes held while paused, before the socket is left unread."""
    coalesce: float = 0.0
    """Seconds that the socket is left alone after a read, so that a quiet line wakes us less."""
    connect_timeout: float = 10.0


class LinkClock(Protocol):
    """What a link knows of time; all in nanoseconds."""

    def monotonic(self) -> int:
        """Monotonic time."""

    def call_at(self, when: int, call: Callable[[], None]) -> Any:
        """Make `call` once monotonic time reaches `when`; the answer can be cancelled."""

    async def sleep(self, duration: int) -> None:
        """Wait for `duration`."""


class Events(Protocol):
    """What a client tells its link."""

    def accepted(self, session_present: bool) -> None:
        """The broker took us in."""

    def received(self, messages: list[Incoming]) -> None:
        """What one read gave."""

    def released(self, mids: list[int]) -> None:
        """The broker will not repeat these QoS 2 messages any more."""

    def subscribed(self, mid: int, codes: list[int]) -> None:
        """The answer to SUBSCRIBE."""

    def ended(self, ending: Ending) -> None:
        """The connection is gone; nothing more will be told."""

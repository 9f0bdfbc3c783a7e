"""A device's side of MQTT 3.1.1 by hand: publishes at QoS 1 and knows what the broker acknowledged.

    MQTT 3.1.1 §2.2 (packets), §3.1 (CONNECT), §3.3 (PUBLISH), §3.4 (PUBACK)

It is quick enough for a flood (about 100,000 messages a second where the broker is), and sends any
bytes as a topic or a payload, right or wrong.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.system.real import LOOPBACK

CHUNK = 200  # packets a write
WINDOW = 2000  # packets without their PUBACK
TIMEOUT = 20.0  # seconds; a broker that is silent for so long is gone


def text(value: bytes | str) -> bytes:
    """A string with its length before it, §1.5.3."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packet(head: int, body: bytes) -> bytes:
    """A packet with its remaining length, §2.2.3."""
    length, size = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        size += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([head]) + size + body


def publish_packet(topic: bytes | str, payload: bytes, number: int) -> bytes:
    """PUBLISH at QoS 1; QoS 0 with the number 0."""
    if not number:
        return packet(0x30, text(topic) + payload)
    return packet(0x32, text(topic) + number.to_bytes(2, "big") + payload)


class Publisher:
    """One client that publishes; a context manager.

    Attributes:
        acknowledged: the indexes of messages, counted over all calls of `publish`, that the broker
            has acknowledged.
    """

    def __init__(self, port: int, client_id: str = "publisher", user: str = "", password: str = ""):
        self.acknowledged: set[int] = set()
        self._next = 0
        self._waiting: dict[int, int] = {}
        self._held = b""
        flags = 0x02 | (0xC0 if user else 0)
        body = text("MQTT") + bytes([4, flags, 0, 0]) + text(client_id)
        if user:
            body += text(user) + text(password)
        self.link = socket.create_connection((LOOPBACK, port), TIMEOUT)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link.sendall(packet(0x10, body))
        answer = self.link.recv(4)
        if answer != b"\x20\x02\x00\x00":
            self.link.close()
            raise ConnectionError(f"the broker answered CONNECT with {answer!r}")

    def __enter__(self) -> Self:
        """Nothing more to do: it is connected."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Go; what is still under way is lost."""
        with suppress(OSError):
            self.link.sendall(b"\xe0\x00")
        self.link.close()

    def publish(self, messages: Iterable[tuple[bytes | str, bytes]]) -> None:
        """Publish and return when all are acknowledged.

        Raises OSError when the broker goes away; `acknowledged` says how far it came.
        """
        chunk: list[bytes] = []
        for topic, payload in messages:
            number = self._next % 65_535 + 1
            self._waiting[number] = self._next
            self._next += 1
            chunk.append(publish_packet(topic, payload, number))
            if len(chunk) == CHUNK:
                self.link.sendall(b"".join(chunk))
                chunk.clear()
                while len(self._waiting) > WINDOW:
                    self._read()
        self.link.sendall(b"".join(chunk))
        while self._waiting:
            self._read()

    def _read(self) -> None:
        """Take in PUBACKs: four bytes each."""
        data = self.link.recv(65_536)
        # Else the broker, which waits for our TCP to acknowledge, would answer 25 times a second.
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        data = self._held + data
        whole = len(data) & ~3
        for at in range(0, whole, 4):
            if data[at : at + 2] != b"\x40\x02":
                raise ConnectionError(f"no PUBACK: {data[at : at + 4]!r}")
            number = int.from_bytes(data[at + 2 : at + 4], "big")
            self.acknowledged.add(self._waiting.pop(number))
        self._held = data[whole:]

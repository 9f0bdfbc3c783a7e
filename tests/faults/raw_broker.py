"""A broker by hand: it sends a client the packets that a test wants, and notes every answer.

    MQTT 3.1.1 and 5.0: §3.1 CONNECT, §3.2 CONNACK, §3.3 PUBLISH, §3.4 PUBACK, §3.8 SUBSCRIBE

    with RawBroker() as broker:
        link = broker.client()                  # the next client, connected and subscribed
        link.publish("t/1", b"21.5", mid=7)
        link.until_acknowledged(7)
        link.close()                            # and the client comes back:
        again = broker.client()
        again.publish("t/1", b"21.5", mid=7, dup=True)

Everything the broker does by itself: CONNACK (with "session present" as `session_present` says),
SUBACK, UNSUBACK, PINGRESP, PUBACK, PUBREC, PUBREL and PUBCOMP. Redelivery, with whatever packet id
and flags, is the test's.
"""

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.system.publisher import packet, text
from tests.system.real import LOOPBACK, until

PATIENCE = 15.0  # seconds


class RawLink:
    """One client's connection.

    Attributes:
        client_id: as the client named itself.
        version5: whether it speaks MQTT 5.
        clean_start: whether it wants a new session.
        keepalive: seconds.
        filters: what it subscribed to, with its QoS.
        acknowledged: packet ids of PUBACKs, in order of their arrival.
        recorded: packet ids of PUBRECs, in order.
        published: topic, payload and QoS of what it sent.
        pings: how many PINGREQs came.
        is_ready: whether it may be sent messages: it has subscribed, or its session has.
        is_over: whether the connection has ended; `goodbye` if by a DISCONNECT.
    """

    def __init__(self, sock: socket.socket, broker: "RawBroker") -> None:
        self._sock, self._broker = sock, broker
        self._held = b""
        self._lock = threading.Lock()
        self.client_id = ""
        self.is_ready = False
        self.version5 = self.clean_start = self.is_over = self.goodbye = False
        self.keepalive = self.pings = 0
        self.filters: dict[str, int] = {}
        self.acknowledged: list[int] = []
        self.recorded: list[int] = []
        self.published: list[tuple[str, bytes, int]] = []

    # -- what a test does

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        mid: int = 0,
        dup: bool = False,
        qos: int = 1,
        retain: bool = False,
        properties: bytes = b"",
    ) -> None:
        """Send one PUBLISH; `properties` as they stand on the wire, without their length."""
        head = 0x30 | dup << 3 | qos << 1 | retain
        body = text(topic) + (mid.to_bytes(2, "big") if qos else b"")
        if self.version5:
            body += bytes([len(properties)]) + properties
        self.send(packet(head, body + payload))

    def send(self, data: bytes) -> None:
        """Send any bytes."""
        with self._lock:
            self._sock.sendall(data)

    def until_acknowledged(self, *mids: int, times: int = 1) -> None:
        """Wait until each of these packet ids has been acknowledged so many times on this link."""
        until(
            lambda: all(self.acknowledged.count(mid) >= times for mid in mids),
            PATIENCE,
            f"PUBACK of {mids}, after {self.acknowledged[-20:]}",
        )

    def close(self, *, hard: bool = True) -> None:
        """End the connection: with a reset, as a network does, or with a mere end."""
        if hard:
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    # -- what the broker does

    def serve(self) -> None:
        """Read until the connection ends."""
        with contextlib.suppress(OSError):
            while data := self._sock.recv(65_536):
                self._held += data
                while (found := _first(self._held)) is not None:
                    head, body, self._held = found
                    self._take(head, body)
        self.is_over = True
        self._sock.close()

    def _take(self, head: int, body: bytes) -> None:
        kind, number = head >> 4, body[:2]
        mid = int.from_bytes(number, "big")
        if kind == 1:
            self._connect(body)
        elif kind == 3:
            self._published(head, body)
        elif kind == 4:
            self.acknowledged.append(mid)
        elif kind == 5:
            self.recorded.append(mid)
            self.send(packet(0x62, number))
        elif kind == 6:
            self.send(packet(0x70, number))
        elif kind == 8:
            codes = self._subscribe(body[2:])
            self.send(packet(0x90, number + b"\0" * self.version5 + codes))
            self._broker.subscribed(self)
        elif kind == 10:
            self.send(packet(0xB0, number + b"\0\0" * self.version5))
        elif kind == 12:
            self.pings += 1
            self.send(packet(0xD0, b""))
        elif kind == 14:
            self.goodbye = True

    def _connect(self, body: bytes) -> None:
        self.version5, flags = body[6] == 5, body[7]
        self.clean_start = bool(flags & 2)
        self.keepalive = int.from_bytes(body[8:10], "big")
        rest = body[10:]
        if self.version5:
            rest = rest[1 + rest[0] :]
        self.client_id = _string(rest)[0]
        is_known = self._broker.session_present and not self.clean_start
        self.send(packet(0x20, bytes([is_known, 0]) + b"\0" * self.version5))
        self._broker.connected(self, is_known=is_known)

    def _subscribe(self, rest: bytes) -> bytes:
        if self.version5:
            rest = rest[1 + rest[0] :]
        codes = bytearray()
        while rest:
            name, rest = _string(rest)
            qos, rest = rest[0] & 3, rest[1:]
            self.filters[name] = qos
            codes.append(qos)
        return bytes(codes)

    def _published(self, head: int, body: bytes) -> None:
        qos = head >> 1 & 3
        topic, rest = _string(body)
        number, rest = (rest[:2], rest[2:]) if qos else (b"", rest)
        if self.version5:
            rest = rest[1 + rest[0] :]
        self.published.append((topic, rest, qos))
        if qos:
            self.send(packet(0x40 if qos == 1 else 0x50, number))


class RawBroker:
    """Listens on loopback; a context manager.

    Attributes:
        port: where.
        session_present: what the next CONNACK says.
        links: every connection so far, in order.
    """

    def __init__(self, *, session_present: bool = False) -> None:
        self.session_present = session_present
        self.links: list[RawLink] = []
        self._ready: queue.Queue[RawLink] = queue.Queue()
        self._door = socket.create_server((LOOPBACK, 0))
        self.port: int = self._door.getsockname()[1]
        self._is_closing = False

    def __enter__(self) -> Self:
        """Begin to accept."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port and every connection."""
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for link in self.links:
            link.close()

    def client(self, timeout: float = PATIENCE) -> RawLink:
        """Wait for the next client that is ready to receive.

        That is after its SUBSCRIBE, or, where the session is present and MQTT 3.1.1 spoken, after
        CONNACK: such a client need not subscribe again.
        """
        return self._ready.get(timeout=timeout)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something."""
        until(condition, PATIENCE, what)

    # -- what the links tell

    def connected(self, link: RawLink, *, is_known: bool) -> None:
        """A client was taken in."""
        if is_known and not link.version5:
            link.is_ready = True
            self._ready.put(link)

    def subscribed(self, link: RawLink) -> None:
        """A client has subscribed: it is told of once."""
        if not link.is_ready:
            link.is_ready = True
            self._ready.put(link)

    def _accept(self) -> None:
        while not self._is_closing:
            try:
                sock, _ = self._door.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = RawLink(sock, self)
            self.links.append(link)
            threading.Thread(target=link.serve, daemon=True).start()


def _first(data: bytes) -> tuple[int, bytes, bytes] | None:
    """First byte and body of the first packet, and what is behind it; None if not all is there."""
    size, at = 0, 1
    while at < len(data):
        size |= (data[at] & 127) << 7 * (at - 1)
        at += 1
        if not data[at - 1] & 128:
            break
    else:
        return None
    if len(data) < at + size:
        return None
    return data[0], data[at : at + size], data[at + size :]


def _string(data: bytes) -> tuple[str, bytes]:
    size = 2 + int.from_bytes(data[:2], "big")
    return data[2:size].decode(), data[size:]

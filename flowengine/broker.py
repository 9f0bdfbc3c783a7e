"""An MQTT 3.1.1 broker in this process, for the demo, the tests and a bench without a network.

    async with EmbeddedBroker(port=1883) as broker: ...

It is amqtt behind a socket of ours: the socket is bound here, so that a taken port is told before
anything starts, and a client that goes away in the middle of a packet ends its own connection
alone. Anyone may connect, so it listens on this machine alone unless someone insists. About a
thousand messages a second; sessions and retained messages live in memory and end with it. For a
site, use a broker that keeps them on disk.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import time
from types import TracebackType
from typing import Any, Self

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.plugins.base import BaseAuthPlugin

from flowengine.errors import StartError

__all__ = ["DEFAULT_PORT", "AnyoneAuth", "EmbeddedBroker"]

DEFAULT_PORT = 1883
_QUIET = ("amqtt", "transitions")
_SESSION_EXPIRY = 86_400
_STOP_WITHIN = 2.0
_LISTENER = "default"
_MOST_SEEN = 500
_SHOWN = 4_000

_CONNECT = 0x10
_CONNECT_WITHIN = 10.0
_LONGEST_CONNECT = 300_000
"""Five texts of at most 65,535 bytes are less."""
_NO_MQTT_5 = b"\x20\x03\x00\x84\x00"
"""CONNACK of MQTT 5: unsupported protocol version (§3.2.2.2), which amqtt does not say."""


class AnyoneAuth(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Let everyone in, and keep their sessions.

    amqtt's own plugin for this marks sessions as anonymous and then throws them away as soon as the
    client is gone, with the messages that wait for it; MQTT 3.1.1 §3.1.2.4 keeps them.
    """

    async def authenticate(self, *, session: Any) -> bool:
        """Yes."""
        return True


class _Broker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """The broker of amqtt without one fault of 0.12, told below; it remembers what it has seen."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.seen: dict[str, tuple[bytes, float]] = {}

    async def _broadcast_message(
        self, session: Any, topic: str | None, data: Any, force_qos: int | None = None
    ) -> None:
        """Note the topic, and go on."""
        if topic is not None and (topic in self.seen or len(self.seen) < _MOST_SEEN):
            self.seen[topic] = bytes(data or b"")[:_SHOWN], time.time()
        await super()._broadcast_message(session, topic, data, force_qos)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Any
    ) -> None:
        """Send kept messages for a filter, if it is the client's own.

        amqtt does it at every connect for the filters of all clients: a client that connects would
        be sent messages that it never asked for.
        """
        theirs = self.subscriptions.get(subscription[0], ())
        if any(subscriber is session for subscriber, _ in theirs):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class _Reader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """A connection whose first packet was read already."""

    def __init__(self, reader: asyncio.StreamReader, packet: bytes) -> None:
        super().__init__(reader)
        self._packet = packet

    async def read(self, n: int = -1) -> bytes:
        """The first packet, then what comes; `n` bytes exactly, -1 for all until the end."""
        if not self._packet:
            return bytes(await super().read(n))
        end = len(self._packet) if n < 0 else n
        head, self._packet = self._packet[:end], self._packet[end:]
        if 0 <= n <= len(head):
            return head
        return head + bytes(await super().read(n if n < 0 else n - len(head)))


class EmbeddedBroker:
    """A broker on one address of this machine.

    `port` 0 takes a free one. With `or_free`, a free one is taken where `port` is in use. After
    `start`, `port` says which it is.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, or_free: bool = False
    ) -> None:
        self.host = host
        self.port = port
        self._or_free = or_free
        self._broker: _Broker | None = None
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen; raises StartError where that cannot be."""
        if self._broker is not None:
            return
        for name in _QUIET:
            # amqtt writes a line, or a traceback, for every client that comes or goes the wrong way
            logging.getLogger(name).setLevel(logging.CRITICAL)
        listening = self._listen()
        self.port = listening.getsockname()[1]
        config = {
            "listeners": {_LISTENER: {"type": "external"}},
            "plugins": {f"{__name__}.{AnyoneAuth.__name__}": {}},
            "session_expiry_interval": _SESSION_EXPIRY,
        }
        try:
            self._broker = _Broker(config)
            await self._broker.start()
            self._server = await asyncio.start_server(self._connected, sock=listening)
        except BaseException:
            listening.close()
            raise

    def _listen(self) -> socket.socket:
        try:
            return _bound(self.host, self.port)
        except OSError as err:
            is_taken = err.errno == errno.EADDRINUSE
            if is_taken and self._or_free:
                return _bound(self.host, 0)
            if is_taken:
                what = f"port {self.port} on {self.host} is taken, perhaps by another broker."
                mend = "Give another port, or stop what uses it."
            else:
                what = f"nothing can listen on {self.host}:{self.port}: {err.strerror or err}."
                mend = "Give an address of this machine, and a port that you may use."
            raise StartError(what, mend) from err

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its first byte to its last."""
        task = asyncio.current_task()
        if task is not None:
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)
        try:
            # What a client does wrong is its own affair: it is answered as MQTT says, and gone.
            with contextlib.suppress(AMQTTError, MQTTError, NoDataError, OSError, EOFError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_CONNECT_WITHIN):  # TimeoutError is an OSError
            packet = await _first_packet(reader)
        if _is_version_5(packet):
            writer.write(_NO_MQTT_5)
            await writer.drain()
            return
        if self._broker is not None:
            await self._broker.external_connected(
                _Reader(reader, packet), StreamWriterAdapter(writer), _LISTENER
            )

    def seen(self) -> dict[str, tuple[bytes, float]]:
        """Topic -> the start of its last payload, and when (wall time, s); 500 topics at most."""
        return {} if self._broker is None else dict(self._broker.seen)

    async def stop(self) -> None:
        """Send everyone away and close; harmless when called twice."""
        server, self._server = self._server, None
        broker, self._broker = self._broker, None
        if server is not None:
            server.close()
        if broker is not None:
            with contextlib.suppress(TimeoutError, AMQTTError):
                await asyncio.wait_for(broker.shutdown(), _STOP_WITHIN)
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


async def _first_packet(reader: asyncio.StreamReader) -> bytes:
    """The CONNECT of a new client, whole; raises EOFError for what cannot be one.

    amqtt would wait for ever for the rest of one that is too short, or that is of MQTT 5: it reads
    its properties as the length of a name.
    """
    head = await reader.readexactly(1)
    length = 0
    for place in range(4):  # MQTT 3.1.1 §2.2.3: at most four bytes of seven bits
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << 7 * place
        if not byte[0] & 0x80:
            break
    if head[0] != _CONNECT or head[-1] & 0x80 or length > _LONGEST_CONNECT:
        raise EOFError
    return head + await reader.readexactly(length)


def _is_version_5(packet: bytes) -> bool:
    """Whether a CONNECT asks for MQTT 5 (§3.1.2: the name MQTT, then the version)."""
    _, name, rest = packet.partition(b"\x00\x04MQTT")
    return bool(name) and rest[:1] == b"\x05"


def _bound(host: str, port: int) -> socket.socket:
    """A TCP socket bound to an address; raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        # A broker that was just stopped leaves connections in TIME_WAIT; its port is free.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made

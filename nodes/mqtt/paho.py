"""paho on the event loop: a transport that looks like a socket, and clients made from options."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from flowengine.nodes.mqtt.options import LinkOptions

NEEDED: tuple[str, ...] = ("_create_socket", "_mid_generate")
"""Private names of paho that LoopPaho overrides."""


_LINGER = 1.0
"""Seconds that a close waits for the broker's own."""


def missing_names() -> list[str]:
    """Name what LoopPaho needs of paho and does not find in the installed version."""
    return [name for name in NEEDED if not callable(getattr(mqtt.Client, name, None))]


class PipeUser(Protocol):
    """Who a pipe tells of its transport."""

    def received(self, data: bytes) -> None:
        """What one read gave."""

    def written(self) -> None:
        """Everything written has reached the socket."""

    def lost(self, error: Exception | None) -> None:
        """The transport is gone."""


class Pipe(asyncio.Protocol):
    """A transport that looks like a socket to paho.

    What paho sends goes to the transport; what paho reads was put into `inbox` for it.
    """

    def __init__(self, user: PipeUser) -> None:
        self.inbox = bytearray()
        self._user = user
        self._transport: asyncio.Transport | None = None
        self._is_full = self._is_closing = False
        self._linger: asyncio.TimerHandle | None = None

    # What asyncio asks of a protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        # `resume_writing` then means that everything has reached the socket.
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Pass on what one read gave."""
        if not self._is_closing:
            self._user.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the end."""
        if self._linger is not None:
            self._linger.cancel()
        self._user.lost(exc)

    def pause_writing(self) -> None:
        """Note that the socket has not taken everything."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Pass on that it has."""
        self._is_full = False
        self._user.written()

    # What a client asks of it.

    def write(self, data: bytes) -> bool:
        """Write; True when all of it is in the socket by now."""
        if self._transport is not None and data:
            self._transport.write(data)
        return not self._is_full

    def hold(self, hold: bool) -> None:
        """Leave the socket unread, or read again; harmless when repeated."""
        if self._is_closing:
            return
        if self._transport is not None and hold:
            self._transport.pause_reading()
        elif self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once; what is unwritten is dropped."""
        if self._transport is not None:
            self._transport.abort()

    # What paho asks of a socket.

    def recv(self, size: int) -> bytes:
        """Give of the inbox."""
        if not self.inbox:
            raise BlockingIOError
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        return data

    def send(self, data: bytes) -> int:
        """Take all of it."""
        self.write(data)
        return len(data)

    def close(self) -> None:
        """Close once everything is written and the broker has closed too, in a second at most.

        To close a socket with something unread in it is a reset, at which the other side forgets
        what it has not read of ours: acknowledgements, and the messages would come again.
        """
        transport = self._transport
        if transport is None or self._is_closing or transport.is_closing():
            return
        self._is_closing = True
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()
        self._linger = asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    def fileno(self) -> int:
        """A pipe is not for polling."""
        return -1

    def setblocking(self, flag: bool) -> None:
        """A transport never blocks."""


class LoopPaho(mqtt.Client):
    """paho on a socket that is given to it, drawing packet ids from where all others come."""

    _given_pipe: Pipe
    _given_mids: Callable[[], int]

    def take(self, pipe: Pipe, next_mid: Callable[[], int]) -> None:
        """Use this pipe as socket, and these packet ids."""
        self._given_pipe, self._given_mids = pipe, next_mid

    def _create_socket(self) -> Any:
        return self._given_pipe

    def _mid_generate(self) -> int:
        return self._given_mids()


def paho_client(
    options: LinkOptions,
    protocol: MQTTProtocolVersion,
    pipe: Pipe | None = None,
    next_mid: Callable[[], int] | None = None,
) -> mqtt.Client:
    """Make a paho client from our options: on a pipe, or as it comes."""
    version5 = protocol == mqtt.MQTTv5
    client = (mqtt.Client if pipe is None else LoopPaho)(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if version5 else options.clean_start,
        protocol=protocol,
        reconnect_on_failure=False,  # else it falls back to MQTT 3.1 on its own, blocking
        manual_ack=True,
    )
    if isinstance(client, LoopPaho) and pipe is not None and next_mid is not None:
        client.take(pipe, next_mid)
    client.connect_timeout = options.connect_timeout
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if (will := options.will) is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if not version5:
        client.connect_async(options.host, options.port, options.keepalive)
        return client
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types here
    properties.SessionExpiryInterval = options.session_expiry
    properties.ReceiveMaximum = options.receive_maximum
    # No MaximumPacketSize: above it the broker would drop messages without a word to anyone.
    client.connect_async(
        options.host,
        options.port,
        options.keepalive,
        clean_start=options.clean_start,
        properties=properties,
    )
    return client


def paho_subscribe(
    client: mqtt.Client,
    filters: Sequence[tuple[str, int, int]],
    *,
    version5: bool,
    numbered: bool = True,
) -> int:
    """Send one SUBSCRIBE, with the number of its one filter if that is not 0; its packet id.

    `numbered` says whether the broker takes such numbers (MQTT 5.0 §3.2.2.3.12).
    """
    asked: list[Any] = [(name, qos) for name, qos, _ in filters]
    if not version5:
        return client.subscribe(asked)[1] or 0
    # Retain handling 1: retained messages come only where the broker did not know the filter.
    asked = [(name, SubscribeOptions(qos=qos, retainHandling=1)) for name, qos, _ in filters]
    properties = None
    if numbered and filters[0][2]:
        properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]  # as above
        properties.SubscriptionIdentifier = filters[0][2]
    return client.subscribe(asked, properties=properties)[1] or 0

"""One MQTT connection by paho's documented functions alone, for a paho not known otherwise.

It does what `mqtt_client.FastClient` does, a packet at a time and some 40 us a message; connecting
takes a thread for a moment. Two things differ: paho answers PUBREC to a QoS 2 message by itself, so
that an acknowledgement of ours is the PUBCOMP, and a link paused for long on QoS 0 is given up by
the broker.
"""

import asyncio
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt import MQTTException
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from flowengine.nodes.mqtt.options import SECOND, Events, LinkClock, LinkOptions
from flowengine.nodes.mqtt.outbox import Batch
from flowengine.nodes.mqtt.paho import paho_client, paho_subscribe
from flowengine.nodes.mqtt.reasons import Ending, farewell, loss, reason_text, refusal
from flowengine.nodes.mqtt_topics import topic_fault
from flowengine.nodes.mqtt_wire import REFUSED, Incoming, Outgoing

_PAHO_NAMES = {
    "payload_format": "PayloadFormatIndicator",
    "message_expiry": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "subscription_ids": "SubscriptionIdentifier",
    "user_properties": "UserProperty",
}


class StockClient:
    """A connection by paho's documented interface; see FastClient for what the methods promise."""

    def __init__(
        self,
        options: LinkOptions,
        protocol: MQTTProtocolVersion,
        events: Events,
        *,
        epoch: int,
        clock: LinkClock,
        mids: Iterator[int],  # paho counts for itself
    ) -> None:
        self.version5 = protocol == mqtt.MQTTv5
        self.is_accepted = False
        self._options, self._events, self._clock, self._epoch = options, events, clock, epoch
        self._where = f"{options.host}:{options.port}"
        self._loop = asyncio.get_running_loop()
        self._paho = paho_client(options, protocol)
        self._paho.on_connect = self._connack
        self._paho.on_subscribe = self._suback
        self._paho.on_disconnect = self._disconnected
        self._paho.on_message = self._message
        self._paho.on_publish = self._published
        self._paho.on_socket_close = self._socket_closing
        if options.tls is not None:
            self._paho.tls_set_context(options.tls)
        self._sock: Any = None
        self._in_flight: dict[int, tuple[Batch, int]] = {}
        self._ending: Ending | None = None
        self._beat: Any = None
        self._is_held = self._is_over = False

    async def open(self) -> None:
        """Connect and send CONNECT."""
        options = self._options
        if options.tls is not None and options.server_name not in (None, options.host):
            raise OSError("tls.server_name needs a paho-mqtt that flowengine knows")
        await self._loop.run_in_executor(None, self._paho.reconnect)
        self._sock = self._paho.socket()
        self._loop.add_reader(self._sock, self._readable)
        self._flush()

    def disconnect(self) -> None:
        """Say DISCONNECT and close."""
        self._ending = self._ending or Ending("closed", "the link was closed")
        self._paho.disconnect()
        self._flush()

    def abort(self) -> None:
        """Close at once, without a word to anyone."""
        self._is_over = True
        self._stop("the link was closed")
        if (sock := self._sock) is not None:
            self._socket_closing(None, None, sock)
            sock.close()

    def acknowledge(self, mids1: Sequence[int], mids2: Sequence[int]) -> None:
        """Acknowledge packet ids of QoS 1 and QoS 2."""
        for qos, mids in ((1, mids1), (2, mids2)):
            for mid in mids:
                self._paho.ack(mid, qos)
        self._flush()

    def publish(self, messages: Sequence[Outgoing]) -> "asyncio.Future[None]":
        """Send messages; the future resolves when all are acknowledged."""
        batch = Batch(messages, self._loop.create_future())
        for index, (topic, payload, qos, retain, properties) in enumerate(messages):
            try:
                if reason := topic_fault(topic):
                    raise ValueError(reason)  # noqa: TRY301  # the same way out as paho's own
                given = self._properties(properties) if properties else None
                info = self._paho.publish(topic, payload, qos, retain, given)
            except (ValueError, MQTTException) as err:
                batch.refused[index] = str(err)
                continue
            if qos or not info.is_published():
                self._in_flight[info.mid] = batch, index
                batch.waiting += 1
        batch.at = len(messages)
        batch.settle()
        self._flush()
        return batch.future

    def subscribe(self, filters: Sequence[tuple[str, int, int]]) -> int:
        """Send one SUBSCRIBE; its packet id."""
        mid = paho_subscribe(self._paho, filters, version5=self.version5)
        self._flush()
        return mid

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Send one UNSUBSCRIBE."""
        self._paho.unsubscribe(list(filters))
        self._flush()

    def hold_reading(self, hold: bool) -> None:
        """Leave the socket unread, or read again."""
        if hold == self._is_held or self._sock is None:
            return
        self._is_held = hold
        if hold:
            self._loop.remove_reader(self._sock)
        else:
            self._loop.add_reader(self._sock, self._readable)

    def _properties(self, properties: Mapping[str, Any]) -> Properties | None:
        if not self.version5:
            return None
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # no types here
        for name, value in properties.items():
            if name not in _PAHO_NAMES:
                raise ValueError(f"no PUBLISH property {name!r}")
            setattr(made, _PAHO_NAMES[name], list(value) if isinstance(value, tuple) else value)
        return made

    # --- the loop

    def _readable(self) -> None:
        self._paho.loop_read()
        # TLS may hold decrypted packets that no poll will tell of.
        while isinstance(self._sock, ssl.SSLSocket) and not self._is_over and self._sock.pending():
            self._paho.loop_read()
        self._flush()

    def _flush(self) -> None:
        if self._sock is not None and self._paho.want_write():
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        self._paho.loop_write()
        if self._sock is not None and not self._paho.want_write():
            self._loop.remove_writer(self._sock)

    def _keep_alive(self) -> None:
        if not self._is_held:
            self._paho.loop_misc()
        self._flush()
        if not self._is_over:
            self._plan_beat()

    def _plan_beat(self) -> None:
        if self._options.keepalive:
            when = self._clock.monotonic() + self._options.keepalive * SECOND // 10
            self._beat = self._clock.call_at(when, self._keep_alive)

    # --- paho's callbacks

    def _connack(self, _c: Any, _u: Any, flags: Any, reason: ReasonCode, props: Any) -> None:
        if reason.value != 0:
            said = getattr(props, "ReasonString", "")
            self._ending = refusal(self._where, reason, said)
            return
        self.is_accepted = True
        self._plan_beat()
        self._events.accepted(flags.session_present)

    def _suback(self, _c: Any, _u: Any, mid: int, reasons: list[ReasonCode], _p: Any) -> None:
        self._events.subscribed(mid, [reason.value for reason in reasons])

    def _message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
            if reason := topic_fault(topic):
                raise ValueError(reason)  # noqa: TRY301  # the same way out as bad UTF-8
        except ValueError as err:
            self._ending = Ending("refused", f"what the broker {self._where} sent: {err}.")
            self._loop.call_soon(self._paho.disconnect)
            return
        found: dict[str, Any] = {}
        for name, paho_name in _PAHO_NAMES.items():
            if (value := getattr(message.properties, paho_name, None)) is not None:
                found[name] = tuple(value) if isinstance(value, list) else value
        self._events.received(
            [
                Incoming(
                    topic,
                    bytes(message.payload),
                    message.qos,
                    message.retain,
                    message.dup,
                    message.mid,
                    found or None,
                    self._epoch,
                )
            ]
        )

    def _published(self, _c: Any, _u: Any, mid: int, reason: ReasonCode, props: Any) -> None:
        entry = self._in_flight.pop(mid, None)
        if entry is None:
            return
        batch, index = entry
        if reason.value >= REFUSED:
            said = getattr(props, "ReasonString", "")
            batch.refused[index] = reason_text(PacketTypes.PUBACK, reason.value, said)
        batch.waiting -= 1
        batch.settle()

    def _disconnected(self, _c: Any, _u: Any, flags: Any, reason: Any, props: Any) -> None:
        if flags.is_disconnect_packet_from_server and self._ending is None:
            code = 0 if reason is None else reason.value
            self._ending = farewell(self._where, code, getattr(props, "ReasonString", ""))
        # Within paho's callback its own state is half made: tell the link afterwards.
        self._loop.call_soon_threadsafe(self._over)

    def _socket_closing(self, _c: Any, _u: Any, sock: Any) -> None:
        if self._sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            self._sock = None

    def _over(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        tls = self._options.tls is not None
        ending = self._ending or loss(self._where, None, accepted=self.is_accepted, tls=tls)
        self._stop(ending.what)
        self._events.ended(ending)

    def _stop(self, what: str) -> None:
        self.is_accepted = False
        if self._beat is not None:
            self._beat.cancel()
        batches = {id(batch): batch for batch, _ in self._in_flight.values()}
        self._in_flight.clear()
        for batch in batches.values():
            batch.fail(what)

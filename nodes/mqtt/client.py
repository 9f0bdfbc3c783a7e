"""One MQTT connection on the event loop: paho for the handshakes, runs of bytes for the flood.

What arrives is cut up here, a whole read at once. PUBLISH and acknowledgements are handled in runs;
CONNACK, SUBACK, UNSUBACK, PINGRESP and DISCONNECT go on to paho, which also builds CONNECT,
SUBSCRIBE, UNSUBSCRIBE and DISCONNECT. A client serves one connection and is thrown away after it.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from flowengine.nodes.mqtt.options import SECOND, Events, LinkClock, LinkOptions
from flowengine.nodes.mqtt.outbox import Limits, LinkDown, Outbox
from flowengine.nodes.mqtt.paho import Pipe, paho_client, paho_subscribe
from flowengine.nodes.mqtt.reasons import Ending, farewell, loss, reason_text, refusal
from flowengine.nodes.mqtt_wire import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBREC,
    Outgoing,
    PacketReader,
    WireError,
    acks,
    read_varint,
)

_LIMITS_311 = Limits(in_flight=100, in_flight_qos2=20)
"""An MQTT 3.1.1 broker cannot say its limits: AWS closes above 100, mosquitto above 20 in QoS 2."""
_QUICK = 250_000  # ns between reads that follow closely
_REST = 0.001  # seconds; the shortest wait that epoll knows
_LOOKUP = 8.0  # seconds


class FastClient:
    """A connection that reads and writes in runs.

    Reading goes on while messages are unacknowledged or a subscription is out; `hold_reading`
    leaves the socket alone, and TCP pushes back to the broker. PINGREQs go out then too, so that
    the broker keeps the connection, but a missing PINGRESP (it may stand behind unread data) ends
    it only after reading again.
    """

    def __init__(
        self,
        options: LinkOptions,
        protocol: MQTTProtocolVersion,
        events: Events,
        *,
        epoch: int,
        clock: LinkClock,
        mids: Iterator[int],
    ) -> None:
        self.version5 = protocol == mqtt.MQTTv5
        self.is_accepted = False
        self._options, self._events, self._clock, self._mids = options, events, clock, mids
        self._where = f"{options.host}:{options.port}"
        self._reader = PacketReader(version5=self.version5, max_size=options.max_size, epoch=epoch)
        self._pipe = Pipe(self)
        self._paho = paho_client(options, protocol, self._pipe, self._next_mid)
        self._paho.on_connect = self._connack
        self._paho.on_subscribe = self._suback
        self._paho.on_disconnect = self._disconnected
        self._outbox: Outbox | None = None
        self._ending: Ending | None = None
        self._keepalive = options.keepalive * SECOND
        self._heard = self._said = clock.monotonic()
        self._asked: int | None = None
        self._goodbye = 0
        self._beat: Any = None
        self._is_held = self._is_over = self._is_resting = False
        self._takes_numbers = True
        self._quick, self._patience = 0, 8
        self._is_wide = self.version5 and options.receive_maximum >= 200

    # --- opening and closing

    async def open(self) -> None:
        """Connect and send CONNECT; `Events` tells what comes of it. OSError if nothing answers."""
        options = self._options
        name = (options.server_name or options.host) if options.tls else None
        await _look_up(options.host, options.port)
        await asyncio.get_running_loop().create_connection(
            lambda: self._pipe,
            options.host,
            options.port,
            ssl=options.tls,
            server_hostname=name,
            happy_eyeballs_delay=0.25,
        )
        self._paho.reconnect()

    def disconnect(self) -> None:
        """Say DISCONNECT and close; `Events.ended` follows."""
        self._end(Ending("closed", "the link was closed"), 0x00)

    def abort(self) -> None:
        """Close at once, without a word to anyone."""
        self._is_over = True
        self._stop("the link was closed")
        self._pipe.abort()

    def _end(self, ending: Ending, code: int | None = None) -> None:
        """Close for a reason of ours, telling the broker `code` (MQTT 5) while it is there."""
        self._ending = self._ending or ending
        if code is not None and self.is_accepted:
            reason = ReasonCode(PacketTypes.DISCONNECT, identifier=code) if code else None
            self._paho.disconnect(reason if self.version5 else None)
        self._pipe.close()

    # --- reading

    def received(self, data: bytes) -> None:
        """Take in what one read gave."""
        before, self._heard = self._heard, self._clock.monotonic()
        self._quick = self._quick + 1 if self._heard - before < _QUICK else 0
        reader, fault = self._reader, None
        try:
            reader.feed(data)
        except WireError as err:
            fault = err
        if reader.others:
            self._give_to_paho(reader)
        count = len(reader.messages) + len(reader.acks)
        # Packets after a rest that make another worth while; more than a window of 20 where that
        # may be it.
        flood = 24 if not self._is_wide and reader.messages and reader.messages[-1].qos else 8
        if self._outbox is not None:
            if reader.acks:
                taken, reader.acks = reader.acks, []
                if released := self._outbox.settle(taken):
                    self._events.released(released)
            if reader.messages:
                messages, reader.messages = reader.messages, []
                self._events.received(messages)
        elif reader.messages:
            fault = fault or WireError("a message before CONNACK", 0x82)
        if fault is not None:
            self._end(
                Ending("refused", f"what the broker {self._where} sent is refused: {fault}."),
                fault.code,
            )
        elif self._options.coalesce and count and not self._is_held:
            self._pipe.hold(True)
            asyncio.get_running_loop().call_later(self._options.coalesce, self._wake)
        else:
            self._rest_in_flood(is_flood=count > flood)

    def _rest_in_flood(self, *, is_flood: bool) -> None:
        """Leave the socket alone for a millisecond, so that one read brings many packets.

        Waking up costs some 20 us, a packet 0.5 us. Resting begins when reads have followed closely
        for a while and goes on while each brings a good deal. A flood that stops for our
        acknowledgements (a broker's window of 20) brings less, and is left in peace for longer and
        longer.
        """
        was_resting, self._is_resting = self._is_resting, False
        if was_resting:
            self._patience = 8 if is_flood else min(self._patience * 2, 256)
        if self._is_held or (self._outbox is not None and self._outbox.is_narrow):
            return
        if self._quick > self._patience or (was_resting and is_flood):
            self._is_resting, self._quick = True, 0
            self._pipe.hold(True)
            asyncio.get_running_loop().call_later(_REST, self._wake)

    def _wake(self) -> None:
        if not self._is_held:
            self._pipe.hold(False)

    def _give_to_paho(self, reader: PacketReader) -> None:
        packets, reader.others = reader.others, []
        for packet in packets:
            if packet[0] == DISCONNECT:
                size, body = read_varint(packet, 1)
                self._goodbye = packet[body] if size else 0
            self._pipe.inbox += packet
            rc = self._paho.loop_read()
            if rc != mqtt.MQTT_ERR_SUCCESS and self._ending is None:
                what = f"paho could not make sense of a packet from {self._where} ({packet[:20]!r})"
                if packet[0] == CONNACK and not self.version5:
                    what = f"the broker {self._where} speaks neither MQTT 5 nor MQTT 3.1.1"
                self._end(Ending("refused", what + "."))
            if self._paho.want_write():
                self._paho.loop_write()

    def lost(self, error: Exception | None) -> None:
        """The transport is gone."""
        if self._is_over:
            return
        self._is_over = True
        tls = self._options.tls is not None
        ending = self._ending or loss(self._where, error, accepted=self.is_accepted, tls=tls)
        self._stop(ending.what)
        self._events.ended(ending)

    def _stop(self, what: str) -> None:
        self.is_accepted = False
        if self._beat is not None:
            self._beat.cancel()
        if self._outbox is not None:
            self._outbox.fail(what)

    def hold_reading(self, hold: bool) -> None:
        """Leave the socket unread, or read again."""
        if hold != self._is_held:
            self._is_held = hold
            self._asked, self._heard = None, self._clock.monotonic()
            self._pipe.hold(hold)

    # --- paho's callbacks

    def _connack(self, _c: Any, _u: Any, flags: Any, reason: ReasonCode, props: Any) -> None:
        if reason.value != 0:
            self._end(refusal(self._where, reason, getattr(props, "ReasonString", "")))
            return
        self._keepalive = SECOND * getattr(props, "ServerKeepAlive", self._options.keepalive)
        self._takes_numbers = bool(getattr(props, "SubscriptionIdentifierAvailable", 1))
        limits = _LIMITS_311
        if self.version5:
            limits = Limits(
                in_flight=getattr(props, "ReceiveMaximum", 65535),
                qos=getattr(props, "MaximumQoS", 2),
                retain=bool(getattr(props, "RetainAvailable", 1)),
                packet=getattr(props, "MaximumPacketSize", Limits(0).packet),
            )
        self._outbox = Outbox(
            self._write,
            version5=self.version5,
            limits=limits,
            mids=self._mids,
            name_reason=lambda code, said: reason_text(PacketTypes.PUBACK, code, said),
        )
        self.is_accepted = True
        self._plan_beat()
        self._events.accepted(flags.session_present)

    def _suback(self, _c: Any, _u: Any, mid: int, reasons: list[ReasonCode], _p: Any) -> None:
        self._events.subscribed(mid, [reason.value for reason in reasons])

    def _disconnected(self, _c: Any, _u: Any, flags: Any, reason: Any, props: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            # paho 2.1 reads no reason that stands without properties.
            code = self._goodbye or (reason.value if reason is not None else 0)
            said = getattr(props, "ReasonString", "")
            self._ending = self._ending or farewell(self._where, code, said)

    # --- writing

    def acknowledge(self, mids1: Sequence[int], mids2: Sequence[int]) -> None:
        """Send PUBACK and PUBREC for packet ids of QoS 1 and QoS 2 in one write."""
        self._write(acks(PUBACK, mids1) + acks(PUBREC, mids2))

    def publish(self, messages: Sequence[Outgoing]) -> "asyncio.Future[None]":
        """Send messages; see `Outbox.offer`."""
        if self._outbox is None:
            what = f"The broker {self._where} has not accepted us yet."
            raise LinkDown(what, is_unanswered=False)
        return self._outbox.offer(messages)

    def subscribe(self, filters: Sequence[tuple[str, int, int]]) -> int:
        """Send one SUBSCRIBE; its packet id."""
        return paho_subscribe(
            self._paho, filters, version5=self.version5, numbered=self._takes_numbers
        )

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Send one UNSUBSCRIBE."""
        self._paho.unsubscribe(list(filters))

    def written(self) -> None:
        """The transport has given everything to the socket."""
        if self._outbox is not None:
            self._outbox.written()

    def _write(self, data: bytes) -> bool:
        self._said = self._clock.monotonic()
        return self._pipe.write(data)

    def _next_mid(self) -> int:
        return next(self._mids) if self._outbox is None else self._outbox.next_mid()

    # --- keeping alive

    def _plan_beat(self) -> None:
        if self._keepalive:
            when = self._clock.monotonic() + self._keepalive // 10
            self._beat = self._clock.call_at(when, self._check_beat)

    def _check_beat(self) -> None:
        """Ask after 3/4 of the keepalive without a word; give up half of it later: 1.45 in all.

        Brokers wait for 1.5 keepalives (§3.1.2.10), so neither side holds a dead connection longer.
        """
        now, keepalive = self._clock.monotonic(), self._keepalive
        if self._asked is not None and self._heard > self._asked:
            self._asked = None
        if self._asked is not None and now - self._asked >= keepalive // 2:
            what = f"the broker {self._where} has stopped answering"
            self._ending = self._ending or Ending("dead", what + ".")
            self._pipe.abort()
            return
        quiet_since = self._said if self._is_held else min(self._said, self._heard)
        if self._asked is None and now - quiet_since >= keepalive * 3 // 4:
            self._write(b"\xc0\0")
            self._asked = None if self._is_held else now
        self._plan_beat()


async def _look_up(host: str, port: int) -> None:
    """See that the host has an address; gaierror if not, or if no name server answers.

    The connection looks it up again. Asking here tells a name that is not known for the moment,
    which is soon asked again, from a broker that does not answer.
    """
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return
    try:
        async with asyncio.timeout(_LOOKUP):
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") from None

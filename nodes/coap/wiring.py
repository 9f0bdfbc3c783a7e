"""aiocoap's parts as the engine needs them; imported only once a connection opens.

    datagram -> Gate -> Udp or DtlsServer -> Messages (ids, repeats, acknowledgements) -> context

What differs from aiocoap 0.4: datagrams are counted and looked at first, none is cut off at 4096
bytes without a word, the empty acknowledgement waits for 1.5 s (R17) in place of 0.1 s, the
memory of answered message ids is bounded, a request with a token that is in use waits for the one
before it in place of taking its answer away, and an observation over OSCORE can be given up.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from aiocoap import Context
from aiocoap.error import LibraryShutdown
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.constants import TransportTuning
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6

from flowengine.nodes.coap.gate import Gate

MOST_REMEMBERED = 16_384
"""Message ids remembered, so that a repeat is answered and not processed again: about 30 MB."""
LARGEST_DATAGRAM = 65_536
MOST_AT_ONCE = 64
"""Datagrams of a flood that are read in one turn of the loop: 0.3 ms of work (F-35)."""
MOST_WAITING = 64
"""Requests with the same token that wait for each other; the device repeats what is above."""


class Messages(MessageManager):  # type: ignore[misc]  # aiocoap ships no types
    """The message layer (RFC 7252 §4): repeats are answered from memory, within bounds."""

    def __init__(self, tokens: Any, monotonic: Callable[[], int], ack_delay: float) -> None:
        super().__init__(tokens)
        self._monotonic = monotonic
        self._tuning = TransportTuning()
        self._tuning.EMPTY_ACK_DELAY = ack_delay
        self._lifetime = int(self._tuning.EXCHANGE_LIFETIME * 1e9)
        self._order: deque[tuple[int, Any]] = deque()
        self._same_token: dict[Any, deque[Any]] = {}

    def dispatch_message(self, message: Any) -> None:
        """Take in one message; its answer may take `ack_delay` before an empty one is sent."""
        message.transport_tuning = self._tuning
        super().dispatch_message(message)

    def _deduplicate_message(self, message: Any) -> bool:
        """RFC 7252 §4.5, without a timer a message."""
        key = (message.remote, message.mid)
        recent, order, now = self._recent_messages, self._order, self._monotonic()
        while order and now - order[0][0] > self._lifetime:
            recent.pop(order.popleft()[1], None)
        if key in recent:
            return bool(super()._deduplicate_message(message))
        if len(order) >= MOST_REMEMBERED:
            recent.pop(order.popleft()[1], None)
        recent[key] = None
        order.append((now, key))
        return False

    # aiocoap answers by token: of two confirmable requests with the same one, the first would be
    # taken in and never answered, and its device would send it anew under another message id.

    def _process_request(self, request: Any) -> None:
        key = request.remote, request.token
        if key not in self._piggyback_opportunities and key not in self._same_token:
            super()._process_request(request)
            return
        waiting = self._same_token.setdefault(key, deque())
        if len(waiting) < MOST_WAITING:
            waiting.append(request)
        else:
            self._recent_messages.pop((request.remote, request.mid), None)

    def send_message(self, message: Any, messageerror_monitor: Any) -> Any:
        """Send a message; an answer lets the next request with its token in."""
        result = super().send_message(message, messageerror_monitor)
        self._let_next_in()
        return result

    def _send_empty_ack(self, remote: Any, mid: int, reason: str) -> None:
        super()._send_empty_ack(remote, mid, reason)
        self._let_next_in()

    def _let_next_in(self) -> None:
        if self._same_token:
            self.loop.call_soon(self._take_waiting)

    def _take_waiting(self) -> None:
        for key, waiting in list(self._same_token.items()):
            if key in self._piggyback_opportunities:
                continue
            if waiting:
                super()._process_request(waiting.popleft())
            else:
                del self._same_token[key]

    def dispatch_error(self, error: Exception, remote: Any) -> None:
        """The way to `remote` has failed; of no interest once all is closed."""
        if self._active_exchanges is not None:
            super().dispatch_error(error, remote)

    def is_busy(self, remote: Any) -> bool:
        """Whether a confirmable message to `remote` has not been acknowledged yet."""
        return getattr(remote, "underlying_address", remote) in self._backlogs

    async def shutdown(self) -> None:
        """Close; no acknowledgement is sent after that."""
        for _, timer in self._piggyback_opportunities.values():
            timer.cancel()
        self._piggyback_opportunities.clear()
        self._same_token.clear()
        await super().shutdown()


class Udp(MessageInterfaceUDP6):  # type: ignore[misc]  # aiocoap ships no types
    """CoAP over UDP, with a gate before it."""

    gate: Gate | None = None
    _socket: Any = None

    def connection_made(self, transport: Any) -> None:
        """The socket is there: read datagrams whole."""
        transport.max_size = LARGEST_DATAGRAM
        self._socket = transport.get_extra_info("socket")
        super().connection_made(transport)

    def datagram_msg_received(self, data: bytes, ancdata: Any, flags: int, address: Any) -> None:
        """Take in one datagram; behind one that is too many, also those that wait already.

        A turn of the loop costs several times what dropping a datagram does.
        """
        if self._take(data, ancdata, flags, address):
            return
        for _ in range(MOST_AT_ONCE):
            try:
                self._take(*self._socket.recvmsg(LARGEST_DATAGRAM, 1024))
            except OSError:  # nothing waits; a fault of the socket comes again
                return

    def _take(self, data: bytes, ancdata: Any, flags: int, address: Any) -> bool:
        """Take in one datagram, whatever it holds; False if it is one of a flood."""
        gate = self.gate
        if gate is None or self._shutting_down is not None:
            return True
        host = str(address[0]).removeprefix("::ffff:")
        if not gate.has_room(host):
            return False
        if not gate.is_coap(data, host):
            return True
        if flags & socket.MSG_TRUNC:
            gate.keep_out("cut", f"a datagram from {host} is larger than {LARGEST_DATAGRAM} bytes")
            return True
        try:
            super().datagram_msg_received(data, ancdata, flags, address)
        except Exception as err:  # noqa: BLE001  # a stranger's bytes: whatever they break
            gate.keep_out("failed", f"a datagram from {host} was not understood: {err!r:.80}")
        return True


class Network:
    """One aiocoap context with its transport: the engine's end of CoAP.

    Attributes:
        context: aiocoap's context.
        messages: its message layer.
    """

    def __init__(self, site: Any, logger: str, monotonic: Callable[[], int]) -> None:
        self.context = Context(loop=asyncio.get_running_loop(), serversite=site, loggername=logger)
        self._tokens = TokenManager(self.context)
        self.messages: Any = Messages(self._tokens, monotonic, 1.5)
        self._is_open = False

    def set_ack_delay(self, seconds: float) -> None:
        """How long an answer may take before the request is acknowledged without it."""
        self.messages._tuning.EMPTY_ACK_DELAY = seconds

    async def listen(self, bind: str, port: int, gate: Gate, *, is_dtls: bool) -> None:
        """Take requests; OSError if the port cannot be had."""
        loop, log = self.context.loop, self.context.log
        with _probe(bind, port):
            pass  # aiocoap shares a port with whoever has it; this tells
        if is_dtls:
            from flowengine.nodes.coap.dtls import DtlsServer  # noqa: PLC0415  # needs the extra

            # aiocoap counts from the port of coap:// and adds one
            transport = await DtlsServer.create_server(
                (bind, port - 1), self.messages, log, loop, self.context.server_credentials
            )
            transport.set_gate(gate)
        else:
            transport = await Udp.create_server_transport_endpoint(
                self.messages, log, loop, (bind, port), []
            )
            transport.gate = gate
        self._use(transport)

    async def connect(self, gate: Gate, *, is_dtls: bool, is_oscore: bool) -> None:
        """Send requests only."""
        loop, log = self.context.loop, self.context.log
        if is_dtls:
            from flowengine.nodes.coap.dtls import DtlsClient  # noqa: PLC0415  # needs the extra

            transport = await DtlsClient.create_client_transport_endpoint(self.messages, log, loop)
        else:
            transport = await Udp.create_client_transport_endpoint(self.messages, log, loop)
            transport.gate = gate
        self._use(transport)
        if is_oscore:
            from flowengine.nodes.coap.oscore import ProtectedRequests  # noqa: PLC0415  # the extra

            self.context.request_interfaces.insert(0, ProtectedRequests(self.context, self.context))

    def _use(self, transport: Any) -> None:
        self.messages.message_interface = transport
        self._tokens.token_interface = self.messages
        self.context.request_interfaces.append(self._tokens)
        self._is_open = True

    def give_up(self, remote: Any, error: Exception) -> None:
        """End every exchange with `remote`, so that nothing is sent to it again."""
        remote = getattr(remote, "underlying_address", remote)
        if self._is_open and remote is not None:
            self.messages.dispatch_error(error, remote)

    async def close(self) -> None:
        """Close the socket; harmless when called twice."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(LibraryShutdown):
                await self.context.shutdown()


def _probe(bind: str, port: int) -> socket.socket:
    """A socket on this UDP port, to be closed at once; OSError if somebody has it."""
    family, kind, number, _, address = socket.getaddrinfo(
        bind, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    probe = socket.socket(family, kind, number)
    try:
        probe.bind(address)
    except OSError:
        probe.close()
        raise
    return probe

"""CoAP over DTLS 1.2 with pre-shared keys: aiocoap's tinydtls transports, made to last.

aiocoap calls them experimental. What is mended here: a client that cannot start leaves no broken
object behind, a server keeps a bounded number of sessions, and neither lets an error out of a
callback of the C library, where it would be printed and lost.
"""

from typing import Any

from aiocoap.error import LibraryShutdown
from aiocoap.transports.tinydtls import (
    CODE_CLOSE_NOTIFY,
    LEVEL_FATAL,
    LEVEL_WARNING,
    DTLSClientConnection,
    MessageInterfaceTinyDTLS,
)
from aiocoap.transports.tinydtls_server import (
    GoingThroughMessageDecryption,
    MessageInterfaceTinyDTLSServer,
    _AddressDTLS,
    _DatagramServerSocketSimpleDTLS,
)

from flowengine.nodes.coap.gate import Gate

MOST_SESSIONS = 1000
"""Sessions of a server; the one that was silent longest makes room."""


def _closes(level: int, code: int) -> bool:
    return (level, code) == (LEVEL_WARNING, CODE_CLOSE_NOTIFY)


class _Nothing:
    """Stands for what a link does not have yet, so that it can be closed at any time."""

    def cancel(self) -> None:
        """Nothing to cancel."""

    def close(self) -> None:
        """Nothing to close."""

    def sendto(self, _data: bytes) -> None:
        """Nobody to send to."""


class _Link(DTLSClientConnection):  # type: ignore[misc]  # aiocoap ships no types
    """A session with one server."""

    _retransmission_task: Any = _Nothing()
    _transport: Any = _Nothing()
    _connection: Any = None
    _dtls_socket: Any = None

    def _event(self, level: int, code: int) -> None:
        """An alert; one that closes comes as a warning (RFC 5246 §7.2.1)."""
        super()._event(LEVEL_FATAL if _closes(level, code) else level, code)


class DtlsClient(MessageInterfaceTinyDTLS):  # type: ignore[misc]  # aiocoap ships no types
    """Sessions with servers, made when they are first asked."""

    def _connection_for_address(self, host: str, port: int, identity: bytes, psk: bytes) -> Any:
        found = self._pool.get((host, port, identity))
        if found is None:
            found = _Link(host, port, identity, psk, self)
            self._pool[host, port, identity] = found
        return found


class _Session(_AddressDTLS):  # type: ignore[misc]  # aiocoap ships no types
    """A session with one client."""

    def _event(self, level: int, code: int) -> None:
        """An alert; one that closes comes as a warning (RFC 5246 §7.2.1)."""
        super()._event(LEVEL_FATAL if _closes(level, code) else level, code)

    def _inject_error(self, error: Exception) -> None:
        if self._protocol._connections.get(self._underlying_address.address) is self:
            super()._inject_error(error)


class _Socket(_DatagramServerSocketSimpleDTLS):  # type: ignore[misc]  # aiocoap ships no types
    """The socket of all sessions, with a gate before it."""

    _Address = _Session
    gate: Gate | None = None

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Take in one datagram, whatever it holds."""
        gate = self.gate
        if gate is None or not gate.has_room(str(address[0])):
            return
        if address not in self._connections:
            while len(self._connections) >= MOST_SESSIONS:
                oldest = next(iter(self._connections.values()))
                oldest._inject_error(LibraryShutdown("another session needs the room"))
        try:
            super().datagram_received(data, address)
        except Exception as err:  # noqa: BLE001  # a stranger's bytes: whatever they break
            gate.keep_out("failed", f"a datagram from {address[0]} was not understood: {err!r:.80}")


class _Decryption(GoingThroughMessageDecryption):  # type: ignore[misc]  # aiocoap ships no types
    """Hands on what was decrypted; what it holds breaks nothing."""

    gate: Gate | None = None

    def _received_plaintext(self, address: Any, data: bytes) -> None:
        gate = self.gate
        if gate is None or not gate.is_coap(data, address.hostinfo):
            return
        try:
            super()._received_plaintext(address, data)
        except Exception as err:  # noqa: BLE001  # called from C, where an error would be printed
            gate.keep_out("failed", f"a message of {address.hostinfo} failed: {err!r:.80}")


class DtlsServer(MessageInterfaceTinyDTLSServer):  # type: ignore[misc]  # aiocoap ships no types
    """Sessions with clients that know the key."""

    _serversocket = _Socket

    def set_gate(self, gate: Gate) -> None:
        """Begin to take datagrams."""
        socket = self._pool
        decryption = _Decryption(socket._message_interface._plaintext_interface)
        decryption.gate = gate
        socket._message_interface = decryption
        socket.gate = gate

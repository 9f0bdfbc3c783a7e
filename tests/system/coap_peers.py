"""Real CoAP peers: libcoap's client and server."""

import secrets
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.system.real import LOOPBACK, Program, free_port, need

# The build with OpenSSL first: it speaks DTLS with keys and with certificates.
BUILDS = ("openssl", "gnutls", "notls")
PSK_IDENTITY = "flowengine"
PSK = "a-key-for-tests"


class CoapClient:
    """Runs libcoap's client; its call blocks, so in a test with a loop use `asyncio.to_thread`.

    Attributes:
        has_dtls: whether this build speaks `coaps://`.
    """

    def __init__(self) -> None:
        """Find the client."""
        self._command = need(
            "coap-client", *(f"coap-client-{build}" for build in BUILDS), "coap-client"
        )
        self.has_dtls = not self._command.endswith("notls")

    def __call__(self, *args: str, timeout: float = 20.0) -> str:
        """Run it with these arguments, `"-m", "get", uri`, and return what it printed.

        A payload and an error code (`4.04`) are both printed; it exits with 0 all the same.
        """
        return self.run(args, timeout).stdout.decode(errors="replace").strip()

    def run(self, args: Sequence[str], timeout: float = 20.0) -> subprocess.CompletedProcess[bytes]:
        """Run it and return the bytes of its output, the errors among them."""
        argv = [self._command, *args]
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )


class CoapServer(Program):
    """libcoap's example server: `/time`, `/async`, `/example_data`, and any path that is PUT.

    Attributes:
        uri: `coap://127.0.0.1:port`.
        coaps_uri: the same over DTLS, on the port after it.
        psk_identity: any identity is taken.
        psk: the pre-shared key.
    """

    psk_identity = PSK_IDENTITY
    psk = PSK

    def __init__(self, folder: Path) -> None:
        """Take the folder for the log; nothing runs before `start`."""
        command = need("coap-server", *(f"coap-server-{build}" for build in BUILDS), "coap-server")
        self.port = free_port(beside=1)
        self.uri = f"coap://{LOOPBACK}:{self.port}"
        self.coaps_uri = f"coaps://{LOOPBACK}:{self.port + 1}"
        argv = [command, "-A", LOOPBACK, "-p", str(self.port), "-d", "100"]
        if not command.endswith("notls"):
            argv += ["-k", PSK, "-h", "flowengine tests"]
        super().__init__(argv, folder / "coap-server.log", lambda: is_answering(self.port))


def is_answering(port: int) -> bool:
    """Ping: an empty confirmable message is answered with a reset (RFC 7252 §4.3)."""
    number = secrets.token_bytes(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(0.5)
        link.connect((LOOPBACK, port))
        link.send(b"\x40\x00" + number)
        return link.recv(64) == b"\x70\x00" + number

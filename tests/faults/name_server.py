"""A name server that fails, is silent, and changes its mind (RFC 1035), and a program that asks it.

with NameServer() as names:             # skips the test where port 53 cannot be had
    engine.argv[:0] = names.asked_by(tmp_path)
    names.address = "127.0.0.2"
"""

import contextlib
import os
import secrets
import socket
import subprocess
import threading
from pathlib import Path
from typing import Literal, Self

import pytest

from tests.system.real import find

_A, _NO_ERROR, _SERVER_FAILURE, _NO_SUCH_NAME = 1, 0, 2, 3


class NameServer:
    """Answers every question for an IPv4 address with `address`; a context manager.

    Attributes:
        address: the answer; or how it fails: `silent`, `failing` (SERVFAIL), `unknown` (NXDOMAIN).
        asked: how many questions came.
    """

    def __init__(self) -> None:
        """Choose a loopback address that nobody else has: port 53 is the only one for names."""
        self.host = f"127.53.{secrets.randbelow(255)}.{1 + secrets.randbelow(254)}"
        self.address: str | Literal["silent", "failing", "unknown"] = "unknown"
        self.asked = 0
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        """Begin to answer."""
        try:
            self._sock.bind((self.host, 53))
        except OSError as err:
            self._sock.close()
            pytest.skip(f"a name server needs port 53: {err}")
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def asked_by(self, folder: Path) -> list[str]:
        """What to put before a command, so that its names are asked for here."""
        config = folder / "resolv.conf"
        config.write_text(f"nameserver {self.host}\noptions timeout:1 attempts:1\n")
        script = f'mount --bind "{config}" /etc/resolv.conf && exec "$@"'
        before = [find("unshare") or "unshare", "--mount", "sh", "-c", script, "sh"]
        tried = subprocess.run([*before, "true"], capture_output=True, check=False, text=True)
        if os.geteuid() != 0 or tried.returncode:
            pytest.skip(f"another /etc/resolv.conf needs root: {tried.stderr.strip()}")
        return before

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, who = self._sock.recvfrom(512)
                if not question:
                    return  # the socket was shut
                self.asked += 1
                if self.address != "silent":
                    self._sock.sendto(self._answer(question), who)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(0, 12) + 5  # the name, then two bytes each of type and class
        kind = int.from_bytes(question[end - 4 : end - 2], "big")
        code = {"failing": _SERVER_FAILURE, "unknown": _NO_SUCH_NAME}.get(self.address, _NO_ERROR)
        answers = b""
        if code == _NO_ERROR and kind == _A:
            # the name stands at byte 12; class IN, kept for 0 seconds
            answers = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(self.address)
        head = question[:2] + (0x8180 | code).to_bytes(2, "big") + b"\0\1"
        return head + bytes([0, bool(answers), 0, 0, 0, 0]) + question[12:end] + answers

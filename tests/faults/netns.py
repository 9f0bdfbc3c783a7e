"""A network of its own for a program, whose links to this box can be taken down (Linux, as root).

    with Box() as box:                   # skips the test, with the reason, where it cannot be made
        uplink = box.link()
        engine.argv[:0] = box.inside     # the program runs in there
        uplink.host                      # how it reaches what listens on this box
        uplink.down(); uplink.up()

The addresses are of 198.18.0.0/15, which is for tests of networks and nothing else (RFC 2544).
"""

import itertools
import os
import secrets
import subprocess
from typing import Self

import pytest

from tests.system.real import find


class Box:
    """A network namespace.

    Attributes:
        name: of the namespace.
        inside: what to put before a command, so that it runs in there.
    """

    def __init__(self) -> None:
        """Choose a name that nobody else has."""
        self._number = secrets.randbelow(5_000)
        self._links = itertools.count()
        self.name = f"fe{self._number}"
        self.inside = [find("ip") or "ip", "netns", "exec", self.name]

    def __enter__(self) -> Self:
        """Make it."""
        if os.geteuid() != 0 or find("ip") is None:
            pytest.skip("a network of its own needs root and iproute2")
        try:
            _ip("netns", "add", self.name)
            _ip("-n", self.name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as err:
            pytest.skip(f"no network namespace can be made here: {err.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it; its links go with it."""
        _ip("netns", "delete", self.name)

    def link(self) -> "Link":
        """One more link to this box."""
        number = next(self._links)
        try:
            return Link(self.name, f"{self.name}x{number}", self._number * 6 + number)
        except subprocess.CalledProcessError as err:
            pytest.skip(f"no pair of links can be made here: {err.stderr.strip()}")


class Link:
    """A pair of network links, one end here, the other in a namespace.

    Attributes:
        host: the address of this box at the link.
        flaps: how often it was taken down.
    """

    def __init__(self, box: str, name: str, number: int) -> None:
        """Make it, with the `number`th four addresses of our range."""
        first = (198 << 24) + (18 << 16) + number * 4
        self.host, guest = (
            ".".join(str(at >> shift & 255) for shift in (24, 16, 8, 0))
            for at in (first + 1, first + 2)
        )
        self._box, self._name, self.flaps = box, name, 0
        _ip("link", "add", name, "type", "veth", "peer", "name", "to-host", "netns", box)
        _ip("-n", box, "link", "set", "to-host", "name", name)
        _ip("address", "add", f"{self.host}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", box, "address", "add", f"{guest}/30", "dev", name)
        _ip("-n", box, "link", "set", name, "up")

    def down(self) -> None:
        """Take the link down: nothing passes, and nobody is told."""
        self.flaps += 1
        _ip("link", "set", self._name, "down")

    def up(self) -> None:
        """Put it up again."""
        _ip("link", "set", self._name, "up")

    def limit(self, kilobits: int) -> None:
        """Let so much a second through, from the namespace to here."""
        shape = ["tbf", "rate", f"{kilobits}kbit", "burst", "4k", "latency", "400ms"]
        qdisc = ["tc", "qdisc", "add", "dev", self._name, "root", *shape]
        try:
            _ip("netns", "exec", self._box, *qdisc)
        except subprocess.CalledProcessError as err:
            pytest.skip(f"no rate can be set here: {err.stderr.strip()}")


def _ip(*words: str) -> None:
    subprocess.run([find("ip") or "ip", *words], check=True, capture_output=True, text=True)

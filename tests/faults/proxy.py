"""A bad line between two programs: a proxy for TCP and UDP that delays, loses, holds and cuts.

    with FaultProxy(broker.port, seed=1) as line:    # clients connect to line.port
        line.set(delay=0.3, jitter=0.2, loss=0.05)   # a satellite
        line.is_silent = True                        # the peer is gone and nobody was told
        line.reset()                                 # every connection ends with a reset

It lives in a thread with an event loop of its own; `python -m tests.faults.proxy --help` runs it as
a process. Both directions meet the same conditions. What is chance comes from the seed.

TCP repeats what a network loses, so a lost piece of a stream comes late, and all behind it too.
UDP does not: its datagrams get lost, come twice, and overtake each other. A stream from which
silence has swallowed something can never be mended: when the peer is there again, its
connections are reset, as by a host that does not know them.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from tests.system.real import LOOPBACK, free_port

PIECE = 16_384  # bytes of one read of a stream
RESEND = 0.4  # seconds until TCP sends again what was lost
IN_THE_AIR = 262_144  # bytes of a stream on the way; then the sender has to wait
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close says RST


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What the line does to what passes: times in seconds, shares from 0 to 1."""

    delay: float = 0.0
    jitter: float = 0.0
    """Up to so much more than `delay`."""
    loss: float = 0.0
    duplicate: float = 0.0
    """UDP: this share comes twice."""
    reorder: float = 0.0
    """UDP: this share is held for `hold`, and what comes behind overtakes it."""
    hold: float = 0.05
    up_only: bool = False
    """UDP: loss, repeats and overtaking are for what clients send alone."""
    rate: float = 0.0
    """Bytes a second in each direction; 0 for no limit."""
    cut_after: int = 0
    """TCP: a connection is reset once so many bytes went up; 0 for never."""


SATELLITE = Conditions(delay=0.3, jitter=0.5, loss=0.05)
"""300 to 800 ms, every twentieth packet lost."""
NB_IOT = Conditions(delay=0.1, rate=250.0)
"""2 kbit/s."""


class FaultProxy:
    """One port that leads to another over a bad line; a context manager.

    Attributes:
        port: where it listens on loopback.
        target: host and port to which it leads; may be changed for connections to come.
        is_silent: what comes is swallowed, both ways, and nobody is told.
        is_held: what comes waits, both ways, until it is false again: a link that is down.
        is_refusing: who connects is reset at once; connections that stand are left alone.
        connects: when each connection was asked for, in monotonic seconds.
        counts: `up` and `down` in bytes, `lost`, `swallowed`, `twice`, `late` in pieces.
        datagram: if set, sees each datagram of a client and answers what passes in its place.
    """

    def __init__(
        self, to_port: int, *, udp: bool = False, seed: int = 1, port: int = 0, to_host: str = ""
    ) -> None:
        self.port = port or free_port()
        self.target = to_host or LOOPBACK, to_port
        self.is_silent = self.is_held = self.is_refusing = False
        self.connects: list[float] = []
        self.counts: Counter[str] = Counter()
        self.datagram: Callable[[bytes], list[bytes]] | None = None
        self.random = random.Random(seed)  # noqa: S311  # chance that can be repeated
        self.line = Conditions()
        self.is_udp = udp
        self._streams: set[_Stream] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        assert self._is_ready.wait(10), f"no proxy on port {self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def set(self, conditions: Conditions | None = None, **changes: Any) -> None:
        """Change the line, for what comes from now on: `set()` makes it perfect."""
        self.line = dataclasses.replace(conditions or Conditions(), **changes)

    def reset(self) -> None:
        """End every connection with a reset, towards both sides."""
        self._call(self._reset)

    @property
    def open(self) -> int:
        """How many connections stand."""
        return len(self._streams)

    def _call(self, work: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def _work(self) -> None:
        asyncio.run(self.serve())

    async def serve(self) -> None:
        """Listen until told to end."""
        self._loop = asyncio.get_running_loop()
        if self.is_udp:
            transport, _ = await self._loop.create_datagram_endpoint(
                lambda: _Door(self), (LOOPBACK, self.port)
            )
            self._is_ready.set()
            await self._over.wait()
            transport.close()
            return
        server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self._is_ready.set()
        await self._over.wait()
        server.close()
        self._reset()
        await asyncio.sleep(0)

    def _reset(self) -> None:
        for stream in tuple(self._streams):
            stream.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects.append(time.monotonic())
        stream = _Stream(self, reader, writer)
        self._streams.add(stream)
        try:
            await stream.run()
        except asyncio.CancelledError:
            stream.reset()  # the proxy ends
        finally:
            self._streams.discard(stream)

    # -- what both kinds ask

    def due(self) -> float:
        """How long this piece is on its way, in seconds."""
        return self.line.delay + self.random.random() * self.line.jitter

    def happens(self, share: float, what: str) -> bool:
        """Whether chance strikes, counted."""
        strikes = share > 0 and self.random.random() < share
        self.counts[what] += strikes
        return strikes


class _Stream:
    """One TCP connection: two lanes, one each way."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy, self._client = proxy, (reader, writer)
        self._writers = [writer]
        self._is_maimed = False
        self._went_up = 0

    async def run(self) -> None:
        """Carry until one side ends it or a fault does."""
        proxy = self._proxy
        try:
            await _while(lambda: proxy.is_silent or proxy.is_held)  # the SYN does not arrive
            if proxy.is_refusing:
                self.reset()
                return
            there = await asyncio.open_connection(*proxy.target)
        except OSError:
            self.reset()
            return
        self._writers.append(there[1])
        lanes = [
            asyncio.create_task(self._lane(self._client[0], there[1], "up")),
            asyncio.create_task(self._lane(there[0], self._client[1], "down")),
        ]
        _, others = await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """RST to both sides."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _lane(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        on_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_THE_AIR // PIECE)
        arriving = asyncio.create_task(self._arrive(on_way, writer, way))
        proxy, last = self._proxy, 0.0
        try:
            while not arriving.done():
                line = proxy.line
                size = max(32, min(PIECE, int(line.rate / 5))) if line.rate else PIECE
                data = await reader.read(size)
                if proxy.is_silent:
                    proxy.counts["swallowed"] += 1
                    self._is_maimed = True
                    await _while(lambda: proxy.is_silent)
                if self._is_maimed:
                    self.reset()
                    return
                late = RESEND + 2 * line.delay if proxy.happens(line.loss, "lost") else 0.0
                last = max(last, time.monotonic() + proxy.due() + late)
                await on_way.put((last, data))
                if not data:
                    await arriving
                    return
        except OSError:
            pass  # this side has gone: so does the other
        finally:
            arriving.cancel()

    async def _arrive(
        self, on_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, way: str
    ) -> None:
        proxy = self._proxy
        with contextlib.suppress(OSError):
            while True:
                due, data = await on_way.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await _while(lambda: proxy.is_held)
                if not data:
                    return
                if proxy.line.rate:
                    await asyncio.sleep(len(data) / proxy.line.rate)
                room = proxy.line.cut_after - self._went_up
                if way == "up" and proxy.line.cut_after and len(data) >= room:
                    writer.write(data[: max(0, room)])
                    proxy.counts["cut"] += 1
                    await writer.drain()
                    self.reset()
                    return
                self._went_up += len(data) if way == "up" else 0
                proxy.counts[way] += len(data)
                writer.write(data)
                await writer.drain()


class _Door(asyncio.DatagramProtocol):
    """The UDP port: one socket to the target for each client."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._back: dict[Any, _Way] = {}
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the sockets behind."""
        for way in self._back.values():
            way.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """A client's datagram."""
        if addr not in self._back:
            self._back[addr] = _Way(self._proxy, lambda data: self._transport.sendto(data, addr))
        change = self._proxy.datagram
        for each in change(data) if change is not None else [data]:
            self._back[addr].carry(each, "up", self._back[addr].send)


class _Way:
    """The socket towards the target that stands for one client."""

    def __init__(self, proxy: FaultProxy, answer: Callable[[bytes], None]) -> None:
        self._proxy, self._answer = proxy, answer
        self._loop = asyncio.get_running_loop()
        self._free_at = {"up": 0.0, "down": 0.0}
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.connect(proxy.target)
        self._loop.add_reader(self._sock, self._readable)

    def _readable(self) -> None:
        with contextlib.suppress(OSError):
            self.carry(self._sock.recv(65_536), "down", self._answer)

    def send(self, data: bytes) -> None:
        """On to the target; nobody there is not our matter."""
        with contextlib.suppress(OSError):
            self._sock.send(data)

    def carry(self, data: bytes, way: str, arrive: Callable[[bytes], None]) -> None:
        """Let a datagram arrive when its time has come, once, twice or never."""
        proxy, line = self._proxy, self._proxy.line
        if proxy.is_silent or proxy.is_held:
            proxy.counts["swallowed"] += 1
            return
        chance = 0 if line.up_only and way == "down" else 1
        if proxy.happens(line.loss * chance, "lost"):
            return
        for _ in range(2 if proxy.happens(line.duplicate * chance, "twice") else 1):
            is_late = proxy.happens(line.reorder * chance, "late")
            wait = proxy.due() + (line.hold if is_late else 0.0)
            if line.rate:
                begins = max(self._free_at[way], self._loop.time())
                self._free_at[way] = begins + len(data) / line.rate
                wait += self._free_at[way] - self._loop.time()
            proxy.counts[way] += len(data)
            self._loop.call_later(wait, arrive, data)

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._sock)
        self._sock.close()


async def _while(condition: Callable[[], bool]) -> None:
    """Wait until a switch of the proxy, which another thread turns, is off."""
    while condition():  # noqa: ASYNC110  # an event would belong to one loop
        await asyncio.sleep(0.02)


def main() -> None:
    """Run as a process until it is killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.proxy", description=__doc__)
    parser.add_argument("port", type=int, help="where it listens on loopback")
    parser.add_argument("to_port", type=int, help="where it leads")
    parser.add_argument("--udp", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    for field in dataclasses.fields(Conditions):
        name = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(name, type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    own = {name: given.pop(name) for name in ("port", "to_port", "udp", "seed")}
    proxy = FaultProxy(own["to_port"], udp=own["udp"], seed=own["seed"], port=own["port"])
    proxy.set(**given)
    asyncio.run(proxy.serve())


if __name__ == "__main__":
    main()

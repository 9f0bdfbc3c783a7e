"""A CoAP listener under observation, and a device that sends it whatever bytes a test wants."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import Type

from flowengine.clock import SECOND, Clock, ToldClock
from flowengine.config import validate_config
from flowengine.engine.arrivals import Arrivals
from flowengine.engine.context import NodeContext
from flowengine.engine.ledger import SourceLedger
from flowengine.node import MARK, Recogniser
from flowengine.nodes import coap
from flowengine.testing import NodeBench
from tests.system.real import LOOPBACK, free_port

T = TypeVar("T")
CON, NON, ACK, RST = Type.CON, Type.NON, Type.ACK, Type.RST
_numbers = itertools.count(1)


def run(work: Coroutine[Any, Any, T], timeout: float = 30.0) -> T:
    """Run a test's coroutine on a loop of its own; whatever the loop itself complains of fails."""

    async def limited() -> T:
        complaints: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        result = await asyncio.wait_for(work, timeout)
        await asyncio.sleep(0)
        assert not complaints
        return result

    return asyncio.run(limited())


async def until(condition: Callable[[], Any], *clocks: ToldClock) -> None:
    """Wait for datagrams to do their work, told time passing with them; `run` bounds it."""
    while not condition():
        for clock in clocks:
            clock.advance(SECOND)
        await asyncio.sleep(0.002)  # datagrams take a moment, even within one box


class Host:
    """What a connection's context needs of a flow."""

    id = "flow"
    folder = files = "."
    install_id = "0a1b2c3d"
    eco = False
    insecure_bind = False

    def __init__(self, clock: Clock, data: str = "data") -> None:
        self.clock = clock
        self.data = data
        self.params: Mapping[str, Any] = {}
        self.statuses: list[tuple[str, str, str]] = []

    def connection(self, name: str, _node: str) -> Any:
        """There is none."""
        raise LookupError(name)

    def take_in(self, *_: Any) -> None:
        """A connection lets nothing in."""

    def behind(self, _node: str, _asked_for: int) -> int | None:
        """Nothing waits."""
        return None

    def arrivals(self, _node: str) -> Recogniser:
        """Nothing comes again."""
        return Arrivals(SourceLedger("link"))

    def run_region(self) -> None:
        """There is no region."""

    def set_status(self, node: str, state: str, what: str) -> None:
        """Note it."""
        self.statuses.append((node, state, what))


def connect(kind: Any, clock: Clock | None = None, data: str = "data", **config: Any) -> Any:
    """A connection of this class, not open."""
    valid, faults = validate_config(getattr(kind, MARK).config, config)
    assert valid is not None, faults
    return kind(valid, NodeContext(Host(clock or ToldClock(), data), "link"))


class Held:
    """What a node let in, not settled before the test says so."""

    def __init__(self, bench: NodeBench) -> None:
        self.messages: list[Any] = []
        self.failed: list[Any] = []
        self.open: list[Callable[[], None]] = []
        self._came = asyncio.Event()
        bench.node.emit = self._emit

    def _emit(self, messages: list[Any], settled: Any = None, failed: Any = ()) -> None:
        self.messages += messages
        self.failed += failed
        if settled is not None:
            self.open.append(settled)
        self._came.set()

    async def count(self, number: int) -> list[Any]:
        """Wait until so many came in."""
        while len(self.messages) < number:
            self._came.clear()
            await self._came.wait()
        return self.messages

    def settle(self) -> None:
        """Everything is committed."""
        waiting, self.open = self.open, []
        for settled in waiting:
            settled()


class Desk:
    """A listener with its nodes, and what they let in.

    Attributes:
        listen: the connection; `port` its port; `told` its clock.
        benches: one a node.
    """

    def __init__(self, **config: Any) -> None:
        self.told = ToldClock()
        self.port = free_port(beside=1)
        self.listen = connect(coap.Listen, self.told, port=self.port, **config)
        self.benches: list[NodeBench] = []

    async def serve(self, path: str = "/t/{device}", **config: Any) -> NodeBench:
        """One more node; what it lets in is committed at once unless a test holds it."""
        settings = {"server": "l", "path": path, **config}
        links = {"l": self.listen}
        bench = NodeBench("coap.server", settings, connections=links, clock=self.told)
        await bench.node.open()
        self.benches.append(bench)
        return bench

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"coap://{LOOPBACK}:{self.port}"


@asynccontextmanager
async def desk(**config: Any) -> AsyncIterator[Desk]:
    """An open listener."""
    made = Desk(**config)
    await made.listen.open()
    try:
        yield made
    finally:
        await made.listen.close()


def packet(code: Any, path: str = "", payload: bytes = b"", **settings: Any) -> bytes:
    """A CoAP message as bytes: `kind`, `mid`, `token`, and options by their names."""
    kind, mid = settings.pop("kind", CON), settings.pop("mid", None)
    token = settings.pop("token", b"tk")
    raw = settings.pop("raw", ())
    message = Message(
        code=code,
        payload=payload,
        _mtype=kind,
        _mid=next(_numbers) & 0xFFFF if mid is None else mid,
        _token=token,
        **settings,
    )
    if path:
        message.opt.uri_path = path.strip("/").split("/")
    for option in raw:
        message.opt.add_option(option)
    encoded: bytes = message.encode()
    return encoded


class Device(asyncio.DatagramProtocol):
    """A UDP socket that speaks to one port."""

    def __init__(self) -> None:
        self._got: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Keep the socket."""
        self._transport = transport

    def datagram_received(self, data: bytes, _address: Any) -> None:
        """Keep what came."""
        self._got.put_nowait(data)

    def error_received(self, _error: Exception) -> None:
        """Nobody listens: the test will see."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing came that was not read."""
        return self._got.empty()

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        self._transport.sendto(data)

    async def receive_raw(self) -> bytes:
        """The next datagram."""
        return await asyncio.wait_for(self._got.get(), 10)

    async def receive(self) -> Any:
        """The next message."""
        return Message.decode(await self.receive_raw())

    async def ask(self, code: Any, path: str = "", payload: bytes = b"", **settings: Any) -> Any:
        """Send a request and read the next message."""
        self.send(packet(code, path, payload, **settings))
        return await self.receive()

    def acknowledge(self, message: Any, kind: Any = ACK) -> None:
        """Acknowledge, or reset, a message that came."""
        self.send(packet(Code.EMPTY, kind=kind, mid=message.mid, token=b""))

    async def ping(self) -> None:
        """Return once the peer has read everything that was sent before (RFC 7252 §4.3)."""
        mid = 60_000 + next(_numbers) % 5000
        self.send(packet(Code.EMPTY, mid=mid, token=b""))
        while True:
            answer = await self.receive()
            if (answer.mtype, answer.mid) == (RST, mid):
                return


@asynccontextmanager
async def device(port: int) -> AsyncIterator[Device]:
    """A device that knows this port."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(Device, remote_addr=(LOOPBACK, port))
    try:
        yield made
    finally:
        transport.close()
        await asyncio.sleep(0)

"""DTLS with a pre-shared key: both ends of ours, strangers at the port, and room for sessions.

libcoap as the other end is in tests/system/test_coap.py. Needs the extra `coaps`.
"""

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.clock import RealClock
from flowengine.errors import StartError, Unavailable
from flowengine.nodes import coap
from flowengine.testing import NodeBench
from tests.nodes.coap_device import Desk, connect, desk, device, run, until
from tests.system.real import LOOPBACK, free_port

pytestmark = pytest.mark.skipif(
    find_spec("DTLSSocket") is None, reason="the extra coaps is not installed"
)


def key(psk: str = "secret", identity: str = "dev-1") -> dict[str, Any]:
    """The config of one end."""
    return {"identity": identity, "psk": NodeBench.secret(psk)}


@asynccontextmanager
async def peer(at: Desk, wait: str = "5s", **of: str) -> Any:
    """A peer that asks the listener."""
    link = connect(
        coap.Peer, RealClock(), host=LOOPBACK, port=at.port, timeout=wait, dtls=key(**of)
    )
    try:
        yield link
    finally:
        await link.close()


def test_r68_both_ends_understand_each_other(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with desk(dtls=key()) as at, peer(at) as good:
            bench = await at.serve(observable=True, decode="bytes")
            payload = bytes(range(256)) * 12
            assert (await good.request("PUT", "/t/x", payload)).code == "2.04"
            assert (await good.request("GET", "/t/x")).payload == payload
            (message,) = bench._left()["out"]
            assert (message.payload, message.key) == (payload, "x")

    run(work())
    assert caplog.records == []


@pytest.mark.parametrize("of", [{"psk": "wrong"}, {"identity": "else"}], ids=["key", "identity"])
def test_a_wrong_key_or_name_is_not_let_in(of: dict[str, str]) -> None:
    async def work() -> None:
        async with desk(dtls=key()) as at, peer(at) as good, peer(at, "500ms", **of) as bad:
            bench = await at.serve()
            with pytest.raises(Unavailable):
                await bad.request("PUT", "/t/x", b"1")
            assert (await good.request("PUT", "/t/x", b"2")).code == "2.04"
            assert [m.payload for m in bench._left()["out"]] == [2]

    run(work())


def test_nothing_is_answered_in_the_clear() -> None:
    async def work() -> None:
        async with desk(dtls=key()) as at, peer(at) as good:
            await at.serve()
            plain = connect(coap.Peer, RealClock(), host=LOOPBACK, port=at.port, timeout="300ms")
            with pytest.raises(Unavailable):
                await plain.request("PUT", "/t/x", b"1")
            await plain.close()
            assert (await good.request("PUT", "/t/x", b"1")).code == "2.04"

    run(work())


@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])  # noqa: S104  # what must be refused
def test_one_address_must_be_named(bind: str) -> None:
    link = connect(coap.Listen, bind=bind, port=free_port(), dtls=key())
    with pytest.raises(StartError, match="bind one address of this box"):
        run(link.open())


RECORD = st.builds(  # a record of DTLS 1.2 with whatever in it (RFC 6347 §4.1)
    lambda kind, epoch, body: (
        bytes([kind]) + b"\xfe\xfd" + bytes([0, epoch]) + bytes(6) + len(body).to_bytes(2) + body
    ),
    st.sampled_from([20, 21, 22, 23, 99]),
    st.integers(0, 2),
    st.binary(max_size=60),
)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=80) | RECORD, min_size=1, max_size=20))
def test_no_bytes_stop_the_listener(datagrams: list[bytes]) -> None:
    async def work() -> None:
        async with desk(dtls=key()) as at, device(at.port) as dev, peer(at) as good:
            await at.serve()
            for data in datagrams:
                dev.send(data)
            assert (await good.request("POST", "/t/x", b"1")).code == "2.04"

    run(work())


def test_sessions_make_room_for_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from flowengine.nodes.coap import dtls  # noqa: PLC0415  # needs the extra

    monkeypatch.setattr(dtls, "MOST_SESSIONS", 3)

    async def work() -> None:
        async with desk(dtls=key()) as at, AsyncExitStack() as stack:
            await at.serve()
            sessions = at.listen._door.network.messages.message_interface._pool._connections
            peers = [await stack.enter_async_context(peer(at)) for _ in range(5)]
            for each in peers:
                assert (await each.request("POST", "/t/x", b"1")).code == "2.04"
                assert len(sessions) <= 3
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"\x16", (LOOPBACK, at.port))
                await until(lambda: any(s._psk_store._claims is None for s in sessions.values()))
            assert len(sessions) == 3

    run(work())


def test_a_client_that_closes_ends_its_session() -> None:
    async def work() -> None:
        async with desk(dtls=key()) as at:
            await at.serve()
            sessions = at.listen._door.network.messages.message_interface._pool._connections
            async with peer(at) as good:
                await good.request("POST", "/t/x", b"1")
                assert len(sessions) == 1
            await until(lambda: not sessions)

    run(work())


def test_a_host_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def work() -> None:
        link = connect(coap.Peer, RealClock(), host="no-such-host.invalid", dtls=key())
        with pytest.raises(
            Unavailable, match=r"coaps://no-such-host\.invalid/x: Name or service not known"
        ):
            await link.request("GET", "/x")
        await link.close()
        await asyncio.sleep(0)

    run(work())

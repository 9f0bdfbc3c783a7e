"""libcoap's client and server, and aiocoap's DTLS, understand the CoAP nodes of a running flow."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flowengine.clock import SECOND, RealClock, ToldClock
from flowengine.errors import Unavailable
from flowengine.message import Message
from flowengine.nodes import coap
from flowengine.testing import NodeBench
from tests.flow_process import FlowProcess, write_flow
from tests.nodes.coap_device import Held, connect, run
from tests.nodes.coap_device import until as soon
from tests.system.coap_peers import PSK, PSK_IDENTITY, CoapClient, CoapServer
from tests.system.real import LOOPBACK, free_port, until

SEEN = "seen.jsonl"
needs_dtls = pytest.mark.skipif(
    find_spec("DTLSSocket") is None, reason="the extra coaps is not installed"
)


@contextmanager
def serving(
    folder: Path, *, env: dict[str, str] | None = None, **listen: Any
) -> Iterator[tuple[FlowProcess, str]]:
    """A flow that writes what devices send to a file; the process and its URI."""
    port = free_port(beside=1)
    write_flow(
        folder,
        "devices",
        {
            "in": {
                "type": "coap.server",
                "server": "box",
                "path": "/telemetry/{device}",
                "observable": True,
            },
            "out": {"type": "file.append", "path": SEEN},
        },
        ["in -> out"],
        {"box": {"type": "coap.listen", "port": port, **listen}},
    )
    with FlowProcess(folder, env=env) as engine:
        assert "connecting" not in engine.until_ready()
        yield engine, f"coap{'s' if 'dtls' in listen else ''}://{LOOPBACK}:{port}"


def seen(engine: FlowProcess) -> list[Any]:
    """The payloads that the flow wrote."""
    path = engine.data / "files" / SEEN
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_coap_client_puts_and_gets(coap_client: CoapClient, tmp_path: Path) -> None:
    with serving(tmp_path) as (engine, uri):
        path = f"{uri}/telemetry/dev-1"
        answer = coap_client("-v", "6", "-m", "put", "-t", "json", "-e", '{"t": 21.5}', path)
        assert "t:ACK c:2.04" in answer.splitlines()[-1]
        assert seen(engine)[0] == {"t": 21.5}
        assert coap_client("-m", "get", path) == '{"t": 21.5}'
        assert "c:2.04" in coap_client("-v", "6", "-N", "-m", "post", "-e", "22", path)
        assert "</telemetry/dev-1>;obs" in coap_client("-m", "get", f"{uri}/.well-known/core")
        assert coap_client("-m", "get", f"{uri}/nix").startswith("4.04")
        assert coap_client("-m", "delete", path).startswith("4.05")


def test_coap_client_sends_and_gets_blocks(coap_client: CoapClient, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_text(json.dumps({"x": "y" * 20_000}))
    with serving(tmp_path / "flows", max_size="30KB") as (engine, uri):
        path = f"{uri}/telemetry/dev-1"
        for size in ("512", "1024"):
            coap_client("-m", "put", "-t", "json", "-b", size, "-f", str(sent), path)
        assert seen(engine) == [{"x": "y" * 20_000}] * 2
        coap_client("-m", "get", "-o", str(got), path)
        assert got.read_bytes() == sent.read_bytes()
        sent.write_bytes(b"x" * 40_000)
        assert coap_client("-m", "put", "-f", str(sent), path).startswith("4.13")
        assert len(seen(engine)) == 2


def has(log: Path, words: str) -> bool:
    """Whether a program has written this."""
    return words in log.read_text(errors="replace")


def test_coap_client_observes(coap_client: CoapClient, tmp_path: Path) -> None:
    with serving(tmp_path / "flows") as (_, uri):
        path = f"{uri}/telemetry/dev-1"
        coap_client("-m", "put", "-e", "20", path)
        log = tmp_path / "observer"
        argv = [coap_client._command, "-v", "6", "-m", "get", "-s", "60", path]
        with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=out) as observer:
            try:
                for number, value in enumerate(["20", "25", "26"]):
                    if number:
                        coap_client("-m", "put", "-e", value, path)
                    until(partial(has, log, f":: '{value}'"), what=f"a notification of {value}")
            finally:
                observer.terminate()
        told = [line for line in log.read_text().splitlines() if "c:2.05" in line]
        assert [line.rpartition(":: ")[2] for line in told] == ["'20'", "'25'", "'26'"]
        assert all("Observe:" in line for line in told)


@needs_dtls
def test_coap_client_speaks_dtls(coap_client: CoapClient, tmp_path: Path) -> None:
    if not coap_client.has_dtls:
        pytest.skip("this build of coap-client has no DTLS")
    dtls = {"identity": PSK_IDENTITY, "psk": {"$secret": "coap-psk"}}
    env = {"FLOWENGINE_SECRET_COAP_PSK": PSK}
    with serving(tmp_path, env=env, dtls=dtls) as (engine, uri):
        path = f"{uri}/telemetry/dev-1"
        good, bad = ["-u", PSK_IDENTITY, "-k", PSK], ["-u", PSK_IDENTITY, "-k", "wrong"]
        coap_client(*good, "-m", "put", "-e", "21.5", path)
        assert coap_client(*good, "-m", "get", path) == "21.5"
        assert "21.5" not in coap_client(*bad, "-B", "3", "-m", "get", path)
        assert "21.5" not in coap_client("-u", "else", "-k", PSK, "-B", "3", "-m", "get", path)
        plain = path.replace("coaps:", "coap:")
        assert "21.5" not in coap_client("-B", "3", "-m", "get", plain)
        assert coap_client(*good, "-m", "get", path) == "21.5"
        assert seen(engine) == [21.5]
        assert PSK not in engine.said


def test_requests_wait_for_a_server_that_is_away(
    coap_client: CoapClient, coap_server: CoapServer, tmp_path: Path
) -> None:
    port = free_port()
    write_flow(
        tmp_path / "flows",
        "relay",
        {
            "in": {"type": "coap.server", "server": "box", "path": "/set/{name}"},
            "valve": {
                "type": "coap.request",
                "peer": "valve",
                "method": "PUT",
                "path": "/{key}",
                "retry": {"first": "250ms", "max": "250ms"},
            },
            "out": {"type": "file.append", "path": SEEN},
        },
        ["in -> valve", "valve.response -> out"],
        {
            "box": {"type": "coap.listen", "port": port},
            "valve": {"type": "coap.peer", "host": LOOPBACK, "port": coap_server.port},
        },
    )
    box = f"coap://{LOOPBACK}:{port}/set"

    def state(name: str) -> str:
        return coap_client("-m", "get", "-B", "3", f"{coap_server.uri}/{name}")

    with FlowProcess(tmp_path / "flows") as engine:
        engine.until_ready()
        coap_client("-m", "put", "-e", "open", f"{box}/one")
        assert state("one") == "open"
        until(lambda: seen(engine) == [""], what="the response")
        coap_server.kill()
        # 2.04: the request is safe in the store on disk, though the valve is away.
        assert "c:2.04" in coap_client("-v", "6", "-m", "put", "-e", "shut", f"{box}/two")
        engine.until_said("valve", "Connection refused")
        coap_server.start()
        until(lambda: state("two") == "shut", what="the request that waited")


def test_observes_libcoap_and_registers_again_after_its_restart(coap_server: CoapServer) -> None:
    async def work() -> None:
        told = ToldClock()
        bench = NodeBench("coap.observe", {"uri": f"{coap_server.uri}/time"}, clock=told)
        held = Held(bench)
        await bench.node.open()
        messages = await held.count(3)  # the time changes every second
        assert all(m.meta["observed"] for m in messages)
        assert len({m.payload for m in messages}) == 3
        await asyncio.to_thread(coap_server.kill)
        await asyncio.to_thread(coap_server.start)
        before = len(held.messages)
        told.advance(17 * SECOND)  # Max-Age 1, and 5 to 15 seconds of grace
        await held.count(before + 2)
        assert bench.statuses[-1] == ("running", "observing")
        await bench.node.close()

    run(work(), 60)


def test_polls_what_libcoap_does_not_let_observe(coap_server: CoapServer) -> None:
    async def work() -> None:
        told = ToldClock()
        config = {"uri": f"{coap_server.uri}/", "interval": "10s"}
        bench = NodeBench("coap.observe", config, clock=told)
        held = Held(bench)
        await bench.node.open()
        (message,) = await held.count(1)
        assert "libcoap" in message.payload
        assert message.meta["observed"] is False
        await soon(lambda: len(held.messages) >= 3, told)
        assert "polling every 10 s" in bench.statuses[-1][1]
        await bench.node.close()

    run(work())


def test_asks_libcoap_in_blocks(coap_server: CoapServer) -> None:
    async def work() -> None:
        bench = NodeBench("coap.request", {"uri": f"{coap_server.uri}/firmware", "method": "PUT"})
        payload = bytes(range(256)) * 20
        await bench._write([Message(payload)])
        (response,) = bench._left()["response"]
        assert response.meta["code"] in {"2.01", "2.04"}
        await bench.node.close()
        fetch = NodeBench("coap.request", {"uri": f"{coap_server.uri}/firmware", "method": "GET"})
        await fetch._write([Message(None)])
        assert fetch._left()["response"][0].payload == payload
        await fetch.node.close()

    run(work())


@needs_dtls
def test_asks_libcoap_over_dtls_and_survives_its_restart(coap_server: CoapServer) -> None:
    def peer(psk: str, timeout: str) -> Any:
        dtls = {"identity": PSK_IDENTITY, "psk": NodeBench.secret(psk)}
        port = coap_server.port + 1
        return connect(coap.Peer, RealClock(), host=LOOPBACK, port=port, timeout=timeout, dtls=dtls)

    async def work() -> None:
        good, wrong = peer(PSK, "2s"), peer("wrong", "1s")
        await good.open()
        payload = bytes(range(256)) * 20
        assert (await good.request("PUT", "/firmware", payload)).code == "2.01"
        session = good._caller._link
        assert (await good.request("GET", "/firmware")).payload == payload
        assert good._caller._link is session
        with pytest.raises(Unavailable):
            await wrong.request("GET", "/firmware")
        await asyncio.to_thread(coap_server.kill)
        with pytest.raises(Unavailable):
            await good.request("GET", "/time")
        await asyncio.to_thread(coap_server.start)
        assert (await good.request("GET", "/time")).code == "2.05"
        await wrong.close()
        await good.close()

    run(work())

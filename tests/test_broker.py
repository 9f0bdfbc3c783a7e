"""The embedded broker speaks MQTT 3.1.1 on this machine alone, and says why when it cannot."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowengine.broker import EmbeddedBroker
from flowengine.commands import broker as command
from flowengine.errors import StartError, UsageError
from tests.nodes.mqtt_witness import LOOPBACK, Witness, run


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_brings_every_message_to_its_subscriber_in_order(qos: int) -> None:
    async def work() -> list[bytes]:
        async with (
            EmbeddedBroker(port=0) as broker,
            Witness(broker.port, protocol="3.1.1") as receiver,
            Witness(broker.port, protocol="3.1.1", client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/+", qos)
            await sender.running()
            await sender.link.publish([("flood/1", b"%d" % n, qos, False, None) for n in range(50)])
            await receiver.until(lambda: len(receiver.messages) >= 50)
            return receiver.payloads

    assert run(work()) == [b"%d" % number for number in range(50)]


def test_takes_in_a_client_that_asks_for_mqtt_5_first() -> None:
    async def work() -> str:
        async with (
            EmbeddedBroker(port=0) as broker,
            Witness(broker.port, protocol="auto") as client,
        ):
            await client.running()
            return client.link.protocol

    assert run(work(), timeout=3) == "3.1.1"


def test_keeps_retained_messages_for_those_who_ask_and_for_nobody_else() -> None:
    async def work() -> tuple[list[str], list[str]]:
        async with (
            EmbeddedBroker(port=0) as broker,
            Witness(broker.port, protocol="3.1.1", client_id="sender") as sender,
        ):
            await sender.subscribed("site/#")
            await sender.link.publish([("site/siren/set", b"ON", 1, True, None)])
            async with (
                Witness(broker.port, protocol="3.1.1", client_id="late") as late,
                Witness(broker.port, protocol="3.1.1", client_id="other") as other,
            ):
                await late.subscribed("site/siren/+")
                await late.until(lambda: late.messages)
                await other.subscribed("weather/#")
                await sender.link.publish([("weather/today", b"fair", 1, False, None)])
                await other.until(lambda: other.messages)
                return [m.topic for m in late.messages], [m.topic for m in other.messages]

    assert run(work()) == (["site/siren/set"], ["weather/today"])


def test_keeps_messages_for_a_session_that_is_away() -> None:
    async def work() -> list[bytes]:
        async with EmbeddedBroker(port=0) as broker:
            async with Witness(broker.port, protocol="3.1.1") as receiver:
                await receiver.subscribed("jobs/+")
            async with Witness(broker.port, protocol="3.1.1", client_id="sender") as sender:
                await sender.running()
                await sender.link.publish([("jobs/1", b"while away", 1, False, None)])
            async with Witness(broker.port, protocol="3.1.1") as receiver:
                await receiver.until(lambda: receiver.messages)
                return receiver.payloads

    assert run(work()) == [b"while away"]


def connect_with_will(topic: bytes, payload: bytes) -> bytes:
    """A CONNECT of MQTT 3.1.1 §3.1: a clean session of "box" with a will of QoS 1."""
    texts = b"".join(len(x).to_bytes(2) + x for x in (b"box", topic, payload))
    rest = b"\x00\x04MQTT\x04\x0e\x00\x3c" + texts
    return bytes([0x10, len(rest)]) + rest


def test_publishes_the_will_of_a_client_that_is_lost() -> None:
    async def work() -> list[tuple[str, bytes]]:
        async with (
            EmbeddedBroker(port=0) as broker,
            Witness(broker.port, protocol="3.1.1") as watcher,
        ):
            await watcher.subscribed("box/+/online")
            reader, writer = await asyncio.open_connection(LOOPBACK, broker.port)
            writer.write(connect_with_will(b"box/1/online", b"no"))
            assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
            writer.transport.abort()
            await watcher.until(lambda: watcher.messages)
            return [(m.topic, m.payload) for m in watcher.messages[:1]]

    assert run(work()) == [("box/1/online", b"no")]


def test_says_that_the_port_is_taken() -> None:
    with taken_port() as port, pytest.raises(StartError) as caught:
        asyncio.run(EmbeddedBroker(port=port).start())
    assert f"port {port} on {LOOPBACK} is taken" in caught.value.what
    assert "another port" in caught.value.mend


def test_says_that_an_address_is_not_of_this_machine() -> None:
    with pytest.raises(StartError) as caught:
        asyncio.run(EmbeddedBroker("192.0.2.1", 0).start())  # RFC 5737: nobody's
    assert "192.0.2.1" in caught.value.what


def test_takes_a_free_port_where_one_is_as_good() -> None:
    async def work(port: int) -> tuple[int, str]:
        async with (
            EmbeddedBroker(port=port, or_free=True) as broker,
            Witness(broker.port, protocol="3.1.1") as client,
        ):
            await client.running()
            return broker.port, client.link.state

    with taken_port() as port:
        found, state = run(work(port))
        assert (found != port, state) == (True, "running")


def test_stops_within_seconds_with_clients_connected_and_can_start_again() -> None:
    async def work() -> list[str]:
        async with EmbeddedBroker(port=0) as broker, Witness(broker.port, protocol="3.1.1") as left:
            await left.running()
            loop = asyncio.get_running_loop()
            before = loop.time()
            await broker.stop()
            await broker.stop()
            took = loop.time() - before
            await left.until(lambda: left.link.state != "running")
            async with (
                EmbeddedBroker(port=broker.port) as again,
                Witness(again.port, protocol="3.1.1", client_id="new") as client,
            ):
                await client.running()
                return [client.link.state, "quick" if took < 3 else f"{took:.1f} s"]

    assert run(work()) == ["running", "quick"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff",
        b"\x10\x0c\x00\x04MQTT\x09",
        b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\xff\xff",
    ],
    ids=["nothing", "http", "a bad length", "half a packet", "version 9", "a name that never ends"],
)
def test_lets_one_bad_client_go_and_serves_the_others(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> str:
        async with EmbeddedBroker(port=0) as broker:
            reader, writer = await asyncio.open_connection(LOOPBACK, broker.port)
            writer.write(sent)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
            async with Witness(broker.port, protocol="3.1.1") as client:
                await client.running()
                return client.link.state

    with caplog.at_level(logging.INFO):
        assert run(work()) == "running"
    assert [r for r in caplog.records if not r.name.startswith("flowengine")] == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],  # noqa: S104
)
def test_command_knows_what_stays_on_this_machine(host: str, loopback: bool) -> None:
    assert command.is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("given", "words"),
    [(["--host", "0.0.0.0"], "--insecure-bind"), (["--port", "65536"], "65535")],  # noqa: S104
    ids=["open to the network", "no port"],
)
def test_command_refuses_what_it_should_not_do(given: list[str], words: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(UsageError) as caught:
        command.command(parser.parse_args(given))
    assert words in str(caught.value)


def test_command_says_where_it_is_and_ends_when_told() -> None:
    code = (
        "import argparse; from flowengine.commands import broker as c;"
        "p = argparse.ArgumentParser();"
        "c.add_arguments(p); raise SystemExit(c.command(p.parse_args(['--port', '0'])))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        guard = threading.Timer(30, process.kill)
        guard.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate()
        guard.cancel()
    assert line.startswith("ready: an MQTT 3.1.1 broker on 127.0.0.1:")
    assert (process.returncode, said) == (0, "")

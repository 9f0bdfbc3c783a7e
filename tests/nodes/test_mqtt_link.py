"""A link survives brokers that misbehave, and says what happened (brokers played from a script)."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowengine.clock import SECOND, ToldClock
from flowengine.nodes.mqtt import client
from flowengine.nodes.mqtt import paho as mqtt_paho
from flowengine.nodes.mqtt.link import LinkDown
from flowengine.nodes.mqtt.reasons import fault
from tests.nodes.mqtt_witness import LOOPBACK, Witness, run

CONNACK_5 = bytes.fromhex("2003000000")
CONNACK_311 = bytes.fromhex("20020000")
PINGREQ, PINGRESP = b"\xc0\0", b"\xd0\0"


class Seen:
    """A list that can be waited for."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._added = asyncio.Event()

    def add(self, item: Any) -> None:
        self.items.append(item)
        self._added.set()

    async def count(self, number: int) -> list[Any]:
        """Wait until so many items are there."""
        while len(self.items) < number:
            self._added.clear()
            await self._added.wait()
        return self.items


class Peer:
    """The broker's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def packet(self) -> bytes:
        """The next packet of the link, whole; packets here are shorter than 128 bytes."""
        head = await self._reader.readexactly(2)
        return head + await self._reader.readexactly(head[1])

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def ended(self) -> None:
        """Wait until the link has closed."""
        while await self._reader.read(65536):
            pass


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def broker(*scripts: Script) -> AsyncIterator[int]:
    """Serve one script a connection, the last one for all that follow; the port."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        script = scripts[min(connections, len(scripts) - 1)]
        connections += 1
        try:
            await script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def accept(peer: Peer) -> None:
    """Take the link in, by the protocol it asks for, and stay."""
    connect = await peer.packet()
    await peer.send(CONNACK_5 if connect[8] == 5 else CONNACK_311)
    await peer.ended()


def answer(data: str) -> Script:
    """Answer CONNECT with these bytes (hex), and close."""

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(bytes.fromhex(data))

    return script


async def silence(peer: Peer) -> None:
    """Take CONNECT and say nothing."""
    await peer.ended()


def after_accepting(data: bytes) -> Script:
    """Take the link in by MQTT 3.1.1, send this and wait until it closes."""

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_311 + data)
        await peer.ended()

    return script


# --- what comes in


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("30040002fffe", "not UTF-8"),
        ("300400022f23", "wildcard"),
        ("90ffffff7f", "above the limit of 16000000"),
        ("30ffffffff01", "more than four bytes"),
        ("f000", "paho could not make sense"),
    ],
    ids=["bad UTF-8", "wildcard in a topic", "too long", "bad length", "no packet of a broker"],
)
def test_closes_on_what_breaks_the_protocol_and_comes_back(data: str, words: str) -> None:
    good = b"\x30\x05\0\1gok"

    async def work() -> None:
        bad = after_accepting(good + bytes.fromhex(data))
        async with broker(bad, accept) as port, Witness(port, protocol="3.1.1") as witness:
            await witness.said(words, "failed")
            assert witness.payloads == [b"ok"]
            await witness.until(lambda: witness.states[-1][0] == "running")

    run(work())


def test_tells_the_broker_why_it_closes() -> None:
    told: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5 + b"\x30\x05\0\2\xff\xfe\0")
        told.append(await peer.packet())
        await peer.ended()

    async def work() -> None:
        async with broker(script, accept) as port, Witness(port) as witness:
            await witness.said("not UTF-8")
            await witness.until(lambda: witness.states[-1][0] == "running")

    run(work())
    assert told == [bytes.fromhex("e00181")]


# --- CONNACK and DISCONNECT in words


@pytest.mark.parametrize(
    ("protocol", "data", "state", "words"),
    [
        ("5", "2003008600", "failed", "bad user name or password (0x86)"),
        ("5", "2003008700", "failed", "not authorized (0x87)"),
        ("5", "200b0087081f00056e6f212121", "failed", '(0x87): "no!!!"'),
        ("5", "2003008900", "connecting", "server busy (0x89)"),
        ("5", "2003008400", "failed", "unsupported protocol version"),
        ("3.1.1", "20020004", "failed", "bad user name or password"),
        ("3.1.1", "20020005", "failed", "not authorized"),
        ("3.1.1", "20020007", "failed", "policy and certificate are active"),
        ("3.1.1", "20020001", "failed", "neither MQTT 5 nor MQTT 3.1.1"),
        ("5", "", "connecting", "closed the connection before it answered"),
    ],
)
def test_says_why_the_broker_does_not_take_it_in(
    protocol: str, data: str, state: str, words: str
) -> None:
    async def work() -> None:
        async with (
            broker(answer(data), accept) as port,
            Witness(port, protocol=protocol) as witness,
        ):
            assert f"{LOOPBACK}:{port}" in await witness.said(words, state)
            await witness.running()

    run(work())


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        (0x8B, "connecting", "server shutting down (0x8B)"),
        (0x98, "failed", "administrative action (0x98)"),
        (0x8E, "connecting", "another client with our client_id"),
    ],
)
def test_says_why_the_broker_ends_the_connection(code: int, state: str, words: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5 + bytes([0xE0, 1, code]))

    async def work() -> None:
        async with broker(script, accept) as port, Witness(port) as witness:
            await witness.said(words, state)
            await witness.until(lambda: witness.states[-1][0] == "running")

    run(work())


# --- choosing the protocol


@pytest.mark.parametrize(
    "refusal",
    [[answer("20020001")], [answer("2003008400")], [answer(""), answer("")], [silence]],
    ids=["3.1.1 code", "MQTT 5 code", "closed twice without a word", "no answer"],
)
def test_auto_falls_back_to_3_1_1(refusal: list[Script]) -> None:
    async def work() -> None:
        async with (
            broker(*refusal, accept) as port,
            Witness(port, protocol="auto", connect_timeout=0.4) as witness,
        ):
            assert witness.link.protocol == "5"
            await witness.running()
            assert witness.link.protocol == "3.1.1"
            assert "MQTT 3.1.1" in witness.states[-1][1]

    run(work())


def test_auto_stays_with_5_after_one_close_without_a_word() -> None:
    async def work() -> None:
        async with broker(answer(""), accept) as port, Witness(port, protocol="auto") as witness:
            await witness.running()
            assert witness.link.protocol == "5"

    run(work())


def test_auto_stays_with_5_once_the_broker_spoke_it() -> None:
    async def once(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5)

    async def work() -> None:
        async with (
            broker(once, answer(""), answer(""), answer(""), accept) as port,
            Witness(port, protocol="auto", clock=HastyClock()) as witness,
        ):
            await witness.said("closed the connection before it answered")
            await witness.until(lambda: witness.states[-1][0] == "running")
            assert witness.link.protocol == "5"

    run(work())


# --- time


class HastyClock(ToldClock):
    """A told clock that waits for nothing between attempts."""

    async def sleep(self, duration: int) -> None:
        await asyncio.sleep(0)


class WatchedClock(ToldClock):
    """A told clock that notes the waits between attempts, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = Seen()

    async def sleep(self, duration: int) -> None:
        self.waits.add(duration / SECOND)
        await super().sleep(duration)


def test_asks_a_silent_broker_and_gives_it_up_within_one_and_a_half_keepalives() -> None:
    seen: list[bytes] = []
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5)
        seen.append(await peer.packet())
        asked.set()
        await peer.ended()

    async def work() -> None:
        clock = ToldClock()
        async with (
            broker(script, accept) as port,
            Witness(port, keepalive=60, clock=clock) as witness,
        ):
            await witness.running()
            for _ in range(52):
                clock.advance(SECOND)
            await asked.wait()
            assert seen == [PINGREQ]
            assert witness.link.state == "running"
            for _ in range(37):
                clock.advance(SECOND)
            await witness.said("stopped answering", "connecting")
            clock.advance(SECOND)
            await witness.until(lambda: witness.states[-1][0] == "running")

    run(work())


def test_keeps_a_quiet_connection_that_answers() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5)
        while True:
            packet = await peer.packet()
            if packet == PINGREQ:
                await peer.send(PINGRESP + b"\x30\x05\0\1a\0p")

    async def work() -> None:
        clock = ToldClock()
        async with (
            broker(script) as port,
            Witness(port, keepalive=60, clock=clock) as witness,
        ):
            await witness.running()
            for answered in range(1, 6):
                for _ in range(52):
                    clock.advance(SECOND)
                await witness.received(answered)
            assert [state for state, _ in witness.states] == ["connecting", "running"]

    run(work())


def test_two_clients_with_one_id_meet_every_ten_seconds_at_most() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5 + bytes([0xE0, 1, 0x8E]))

    async def work() -> None:
        clock = WatchedClock()
        async with broker(script) as port, Witness(port, clock=clock) as witness:
            for attempt in range(1, 5):
                await clock.waits.count(attempt)
                clock.advance(60 * SECOND if attempt > 3 else 20 * SECOND)
            assert await clock.waits.count(4) == [0.5, 10, 10, 10]
            assert '"witness"' in await witness.said("does another client use", "failed")

    run(work())


def test_waits_longer_and_longer_for_a_broker_that_is_away() -> None:
    async def work() -> None:
        async with broker(accept) as port:
            pass
        clock = WatchedClock()
        async with Witness(port, clock=clock, chance=1.0) as witness:
            for attempt in range(1, 9):
                await clock.waits.count(attempt)
                clock.advance(60 * SECOND)
            assert clock.waits.items[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
            assert [state for state, _ in witness.states] == ["connecting", "connecting"]
            assert "nothing listens at" in witness.states[1][1]  # the same fault is told once

    run(work())


def test_gives_up_a_broker_that_never_answers_connect() -> None:
    async def work() -> None:
        async with broker(silence) as port, Witness(port, connect_timeout=0.05) as witness:
            await witness.said("does not answer", "connecting")

    run(work())


def test_asks_again_for_a_filter_that_was_refused() -> None:
    asked = Seen()

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5)
        for code in (0x87, 0x01):
            subscribe = await peer.packet()
            asked.add(subscribe)
            await peer.send(b"\x90\x04" + subscribe[2:4] + bytes([0, code]))
        await peer.ended()

    async def work() -> None:
        clock = ToldClock()
        async with broker(script) as port, Witness(port, clock=clock, keepalive=0) as witness:
            await witness.subscribed("t")
            await witness.said('subscription to "t": not authorized (0x87)', "failed")
            assert len(asked.items) == 1
            clock.advance(60 * SECOND)
            await asked.count(2)
            await witness.said("subscribed.", "running")

    run(work())


# --- QoS 2 and stale acknowledgements


def test_answers_a_repeated_qos_2_message_without_handing_it_over_again() -> None:
    publish = b"\x34\x07\0\1a\0\x05\0x"
    again = b"\x3c" + publish[1:]
    seen = Seen()

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5 + publish)
        seen.add(await peer.packet())

    async def resumed(peer: Peer) -> None:
        await peer.packet()
        await peer.send(bytes.fromhex("2003010000") + again)
        seen.add(await peer.packet())
        await peer.send(b"\x62\x02\0\x05")
        seen.add(await peer.packet())
        await peer.send(b"\x34\x07\0\1a\0\x05\0y")  # the id is free again
        seen.add(await peer.packet())
        await peer.ended()

    pubrec, pubcomp = bytes.fromhex("50020005"), bytes.fromhex("70020005")

    async def work() -> None:
        async with broker(script, resumed) as port, Witness(port) as witness:
            assert await seen.count(4) == [pubrec, pubrec, pubcomp, pubrec]
            assert witness.payloads == [b"x", b"y"]

    run(work())


def test_drops_acknowledgements_of_an_earlier_connection() -> None:
    seen = Seen()

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5 + b"\x32\x07\0\1a\0\x05\0x")
        await peer.send(b"\xe0\x00")

    async def second(peer: Peer) -> None:
        await peer.packet()
        await peer.send(bytes.fromhex("2003010000") + b"\x3a\x07\0\1a\0\x06\0x")
        seen.add(await peer.packet())
        await peer.ended()

    async def work() -> None:
        async with broker(script, second) as port, Witness(port, acks=False) as witness:
            await witness.until(lambda: len(witness.messages) == 2)
            old, new = witness.messages
            assert (old.dup, new.dup) == (False, True)
            assert old.epoch < new.epoch == witness.link.epoch
            witness.link.ack([old])
            witness.link.ack([new])
            assert await seen.count(1) == [bytes.fromhex("40020006")]

    run(work())


# --- opening, closing, publishing without a connection


def test_publishing_without_a_connection_raises_link_down() -> None:
    async def work() -> None:
        async with broker(accept) as port:
            witness = Witness(port)
            with pytest.raises(LinkDown, match="no connection to the broker"):
                witness.link.publish([("a", b"", 1, False, None)])

    run(work())


def test_losing_the_connection_fails_what_is_in_flight() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5)
        await peer.packet()

    async def work() -> None:
        async with broker(script, accept) as port, Witness(port) as witness:
            await witness.running()
            with pytest.raises(LinkDown, match="closed the connection"):
                await witness.link.publish([("a", b"", 1, False, None)])

    run(work())


def test_qos_0_waits_for_a_peer_that_does_not_read() -> None:
    async def work() -> None:
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.packet()
            await peer.send(CONNACK_5)
            await go_on.wait()
            await peer.ended()

        async with broker(script) as port, Witness(port) as witness:
            await witness.running()
            large = ("a", bytes(1_000_000), 0, False, None)
            published = witness.link.publish([large] * 30)
            later = witness.link.publish([large])
            assert not published.done()
            go_on.set()
            await published
            await later

    run(work())


def test_closes_while_the_broker_is_away_and_twice() -> None:
    async def work() -> None:
        async with broker(accept) as port:
            pass
        witness = Witness(port)
        await witness.link.close()
        await witness.link.open()
        waiting = asyncio.ensure_future(witness.subscribed("a"))
        await witness.said("nothing listens at")
        await witness.link.close()
        await witness.link.close()
        assert witness.link.state == "stopped"
        with pytest.raises(LinkDown, match="was closed"):
            await waiting

    run(work())


def test_closing_says_disconnect() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(CONNACK_5)
        seen.append(await peer.packet())
        await peer.ended()

    async def work() -> None:
        async with broker(script) as port, Witness(port) as witness:
            await witness.running()

    run(work())
    assert seen == [b"\xe0\0"]


def test_says_what_is_wrong_with_tls() -> None:
    async def work() -> None:
        context = ssl.create_default_context()
        async with (
            broker(after_accepting(bytes(20))) as port,
            Witness(port, tls=context) as witness,
        ):
            await witness.said("Look whether the port speaks TLS", "failed")

    run(work())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "does not answer. Look at host, port and the firewall."),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), "nothing listens at"),
        (OSError(101, "Network is unreachable"), "no connection to h:1: [Errno 101]"),
    ],
)
def test_says_why_it_cannot_connect(error: OSError, words: str) -> None:
    ending = fault("h:1", error)
    assert words in f"{ending.what} {ending.mend}"


def test_says_that_a_host_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with Witness(1, host="no-such-host.invalid") as witness:
            await witness.said("is not known", "connecting")

    run(work())


def test_f33_a_name_server_that_is_silent_is_told_from_a_broker_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        monkeypatch.setattr(client, "_LOOKUP", 0.01)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
        async with Witness(1, host="broker.example") as witness:
            await witness.said("is not known (no name server answers)", "connecting")

    run(work())


# --- a paho that is not known


def test_warns_and_works_on_with_a_paho_that_lacks_a_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt_paho, "NEEDED", ("_create_socket", "_gone"))

    async def work() -> None:
        async with broker(accept) as port, Witness(port) as witness:
            await witness.running()

    with caplog.at_level(logging.WARNING):
        run(work())
    assert "lacks _gone" in caplog.text


def test_the_installed_paho_has_every_name() -> None:
    assert mqtt_paho.missing_names() == []

"""CoAP nodes answer devices after the commit, ask peers, and survive whatever bytes come."""

import asyncio
import socket
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.clock import SECOND, RealClock, ToldClock
from flowengine.errors import FindingsError, RecordRefused, StartError, Unavailable
from flowengine.message import Message as Reading
from flowengine.nodes import coap
from flowengine.nodes.coap import extras
from flowengine.nodes.coap.answers import Answer
from flowengine.testing import NodeBench
from tests.nodes.coap_device import (
    ACK,
    CON,
    NON,
    RST,
    Desk,
    Held,
    connect,
    desk,
    device,
    packet,
    run,
    until,
)
from tests.system.real import LOOPBACK, free_port

POST, PUT, GET, DELETE = Code.POST, Code.PUT, Code.GET, Code.DELETE


def code(message: Any) -> str:
    """The code of an answer, as `2.04`."""
    return f"{int(message.code) >> 5}.{int(message.code) & 31:02d}"


# --- what a device sends


def test_r17_answers_after_the_commit_and_not_before() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            held = Held(await at.serve())
            dev.send(packet(POST, "/t/dev-1", b'{"t":1}', mid=7, token=b"abc"))
            (message,) = await held.count(1)
            await dev.ping()
            assert dev.is_idle
            held.settle()
            answer = await dev.receive()
            assert (code(answer), answer.mtype, answer.mid) == ("2.04", ACK, 7)
            assert (answer.token, answer.payload) == (b"abc", b"")
            assert message.payload == {"t": 1}

    run(work())


def test_r17_acknowledges_a_slow_commit_and_answers_later() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            assert at.listen._door.network.messages._tuning.EMPTY_ACK_DELAY == 1.5
            at.listen._door.network.set_ack_delay(0.01)
            held = Held(await at.serve())
            empty = await dev.ask(POST, "/t/dev-1", b"1", mid=7, token=b"abc")
            assert (empty.code, empty.mtype, empty.mid, empty.token) == (Code.EMPTY, ACK, 7, b"")
            held.settle()
            answer = await dev.receive()
            assert (code(answer), answer.mtype, answer.token) == ("2.04", CON, b"abc")
            assert answer.mid != 7
            dev.acknowledge(answer)

    run(work())


def test_a_repeat_is_answered_again_and_not_taken_in_again() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            held = Held(await at.serve())
            sent = packet(POST, "/t/dev-1", b"1")
            for _ in range(3):
                dev.send(sent)
            await dev.ping()
            held.settle()
            first = await dev.receive_raw()
            dev.send(sent)
            assert await dev.receive_raw() == first
            assert len(held.messages) == 1
            dev.send(packet(POST, "/t/dev-1", b"1", kind=NON, mid=9))
            dev.send(packet(POST, "/t/dev-1", b"1", kind=NON, mid=9))
            await dev.ping()
            assert len(held.messages) == 2

    run(work())


@pytest.mark.parametrize(
    ("path", "method", "options", "expected"),
    [
        ("/t/dev-1", POST, {}, ("dev-1", "/t/dev-1", {"device": "dev-1"})),
        ("/plain", POST, {}, ("/plain", "/plain", {})),
        ("/t/dev-1", PUT, {"content_format": 60}, ("dev-1", "/t/dev-1", {"device": "dev-1"})),
        ("/t/dev-1", PUT, {"uri_query": ["a=1", "b"]}, ("dev-1", "/t/dev-1", {"device": "dev-1"})),
    ],
)
def test_r10_r17_a_message_says_whose_it_is(
    path: str, method: Any, options: dict[str, Any], expected: Any
) -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            pattern = "/t/{device}" if path.startswith("/t/") else path
            bench = await at.serve(pattern)
            answer = await dev.ask(method, path, b"\xa1\x61\x74\x01", **options)
            assert code(answer) == "2.04"
            (message,) = bench._left()["out"]
            key, topic, holes = expected
            assert (message.key, message.topic, message.meta["path"]) == (key, topic, holes)
            assert message.meta["method"] == str(method)
            assert message.meta["remote"].startswith(f"{LOOPBACK}:")
            assert message.meta.get("content_format") == options.get("content_format")
            assert message.meta.get("query") == (
                {"a": "1", "b": ""} if "uri_query" in options else None
            )
            is_cbor = options.get("content_format") == 60
            assert message.payload == ({"t": 1} if is_cbor else b"\xa1\x61\x74\x01")
            assert message.time == at.told.now()

    run(work())


@pytest.mark.parametrize(
    ("number", "raw", "payload"),
    [
        (50, b'{"t": 1}', {"t": 1}),
        (110, b'[{"n":"t","v":1}]', [{"n": "t", "v": 1}]),
        (112, b"\x81\xa1\x02\x01", [{"2": 1}]),
        (0, b"21.5", "21.5"),
        (42, b"21.5", b"21.5"),
        (None, b"21.5", 21.5),
        (None, b"ON", "ON"),
        (None, b"", ""),
        (None, b"\xff", b"\xff"),
        (9999, b"21.5", 21.5),
    ],
)
def test_r17_a_payload_is_read_by_its_content_format(number: Any, raw: bytes, payload: Any) -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            bench = await at.serve()
            await dev.ask(POST, "/t/x", raw, content_format=number)
            assert bench._left()["out"][0].payload == payload

    run(work())


def critical(number: int) -> Any:
    """An option that must be understood."""
    return OptionNumber(number).create_option(decode=b"x")


@pytest.mark.parametrize(
    ("method", "path", "rest", "expected"),
    [
        (POST, "/nix", {}, "4.04"),
        (POST, "/t", {}, "4.04"),
        (POST, "/t/a/b", {}, "4.04"),
        (DELETE, "/t/a", {}, "4.05"),
        (GET, "/t/a", {}, "4.05"),
        (Code(9), "/t/a", {}, "4.05"),
        (POST, "/.well-known/core", {}, "4.05"),
        (POST, "/t/a", {"payload": b"{nope"}, "4.00"),
        (POST, "/t/a", {"payload": b'{"x": "' + b"y" * 999 + b'"}'}, "4.13"),
        (POST, "/t/a", {"block1": (0, True, 6), "size1": 5000}, "4.13"),
        (POST, "/t/a", {"block1": (3, True, 0), "payload": b"x" * 16}, "4.08"),
        (POST, "/t/a", {"block1": (0, True, 7), "payload": b"x" * 16}, "4.00"),
        (POST, "/t/a", {"raw": [critical(65001)]}, "4.02"),
        (POST, "/t/a", {"if_none_match": True}, "4.02"),
        (POST, "/t/a", {"raw": [critical(19)]}, "4.02"),
        (POST, "/t/a", {"proxy_uri": "coap://x/"}, "5.05"),
        (POST, "/t/a", {"raw": [critical(65000)], "payload": b"1"}, "2.04"),
        (GET, "/seen/a", {}, "4.04"),
        (GET, "/seen", {}, "2.05"),
        (GET, "/seen", {"accept": 50}, "4.06"),
        (GET, "/.well-known/core", {"accept": 50}, "4.06"),
    ],
)
def test_r17_says_no_with_the_right_code(
    method: Any, path: str, rest: dict[str, Any], expected: str
) -> None:
    async def work() -> None:
        async with desk(max_size="1000B") as at, device(at.port) as dev:
            bench = await at.serve(decode="json")
            await at.serve("/seen/{device}", observable=True)
            await at.serve("/seen", observable=True)
            answer = await dev.ask(method, path, **rest)
            assert (code(answer), answer.mtype) == (expected, ACK)
            left = bench._left()
            assert ("out" in left) == (expected == "2.04")
            if rest.get("payload") == b"{nope":
                (failed,) = left["error"]
                assert failed.meta["error"]["slug"] == "not-json"
                assert (failed.payload, failed.key) == (b"{nope", "a")
            if expected == "4.13":
                assert answer.opt.size1 == 1000

    run(work())


def test_r17_r54_a_full_flow_asks_devices_to_come_again() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            bench = await at.serve()
            held = Held(bench)
            assert bench.node.window == 1  # sinks write at once: a device waits
            for number in range(64):
                dev.send(packet(POST, "/t/x", b"1", token=bytes([number])))
            await held.count(64)
            answer = await dev.ask(POST, "/t/x", b"65th")
            assert (code(answer), answer.opt.max_age) == ("5.03", 5)
            held.settle()
            assert {code(await dev.receive()) for _ in range(64)} == {"2.04"}
            bench.node.pause()
            assert code(await dev.ask(POST, "/t/x", b"2")) == "5.03"
            block: dict[str, Any] = {"block1": (0, True, 0), "payload": b"x" * 16}
            assert code(await dev.ask(POST, "/t/x", **block)) == "5.03"
            bench.node.resume_reading()
            dev.send(packet(POST, "/t/x", b"3"))
            await held.count(65)
            held.settle()
            assert code(await dev.receive()) == "2.04"
            assert [m.payload for m in held.messages] == [1] * 64 + [3]

    run(work())


def test_several_nodes_share_a_port_and_a_path() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            posts = await at.serve("/t/{device}", methods=["POST"])
            puts = await at.serve("/t/{device}", methods=["PUT", "DELETE"])
            one = await at.serve("/t/dev-1")
            codes = [code(await dev.ask(m, "/t/dev-2", b"1")) for m in (POST, PUT, DELETE)]
            assert codes == ["2.04", "2.04", "2.02"]
            assert code(await dev.ask(POST, "/t/dev-1", b"1")) == "2.04"
            counts = [len(bench._left().get("out", [])) for bench in (posts, puts, one)]
            assert counts == [1, 2, 1]

    run(work())


@pytest.mark.parametrize("order", ["node first", "at once", "port first"])
def test_a_node_and_its_port_may_open_in_any_order(order: str) -> None:
    async def work() -> None:
        at = Desk()
        if order == "at once":
            await asyncio.gather(at.listen.open(), at.serve())
        else:
            for step in (
                (at.serve, at.listen.open) if order == "node first" else (at.listen.open, at.serve)
            ):
                await step()
        async with device(at.port) as dev:
            assert code(await dev.ask(POST, "/t/x", b"1")) == "2.04"
        await at.listen.close()

    run(work())


def test_a_path_that_has_just_gone_is_not_now_and_then_not_found() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            assert code(await dev.ask(POST, "/t/x", b"1")) == "5.03"
            bench = await at.serve()
            await at.serve("/other")
            assert code(await dev.ask(POST, "/t/x", b"1")) == "2.04"
            await bench.node.close()
            await bench.node.close()
            assert code(await dev.ask(POST, "/t/x", b"1")) == "5.03"
            at.told.advance(61 * SECOND)
            assert code(await dev.ask(POST, "/t/x", b"1")) == "4.04"

    run(work())


def test_closing_asks_those_who_wait_to_come_again() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            held = Held(await at.serve())
            dev.send(packet(POST, "/t/x", b"1"))
            await held.count(1)
            await at.listen.close()
            answer = await dev.receive()
            assert (code(answer), answer.opt.max_age) == ("5.03", 5)
            held.settle()
            await at.listen.close()

    run(work())


def test_a_device_that_lost_interest_is_committed_all_the_same() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            held = Held(await at.serve(observable=True))
            dev.send(packet(POST, "/t/x", b"1", token=b"same", kind=NON))
            await held.count(1)
            dev.send(packet(POST, "/t/y", b"2", token=b"same"))
            await held.count(2)
            held.settle()
            assert code(await dev.receive()) == "2.04"
            await dev.ping()
            assert (await dev.ask(GET, "/t/x")).payload == b"1"
            assert len(held.messages) == 2

    run(work())


# --- large ones


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 2048, 5000, 100_000])
def test_large_payloads_come_and_go_in_blocks(size: int) -> None:
    async def work() -> None:
        async with desk(max_size="100KB") as at:
            bench = await at.serve(observable=True, decode="bytes")
            sent = bytes(number * 7 % 251 for number in range(size))
            peer = connect(coap.Peer, RealClock(), host=LOOPBACK, port=at.port)
            try:
                assert (await peer.request("PUT", "/t/x", sent)).code == "2.04"
                assert bench._left()["out"][0].payload == sent
                got = await peer.request("GET", "/t/x")
                assert (got.code, got.payload == sent) == ("2.05", True)
            finally:
                await peer.close()

    run(work())


@pytest.mark.parametrize("exponent", [0, 2, 6])
def test_a_device_chooses_the_size_of_blocks(exponent: int) -> None:
    async def work() -> None:
        size = 16 << exponent
        data = bytes(range(256)) * 10
        async with desk() as at, device(at.port) as dev:
            bench = await at.serve(observable=True, decode="bytes")
            number = 0
            while (at_ := number * size) < len(data):
                more = at_ + size < len(data)
                block = {"block1": (number, more, exponent), "token": bytes([number & 255])}
                answer = await dev.ask(PUT, "/t/x", data[at_ : at_ + size], **block)
                assert code(answer) == ("2.31" if more else "2.04")
                assert answer.opt.block1 == (number, more, exponent)
                number += 1
            assert bench._left()["out"][0].payload == data
            got, number = b"", 0
            while True:
                answer = await dev.ask(GET, "/t/x", block2=(number, False, exponent))
                got += answer.payload
                number += 1
                if not answer.opt.block2.more:
                    break
            assert got == data
            assert code(await dev.ask(GET, "/t/x", block2=(number, False, exponent))) == "4.00"

    run(work())


def test_a_datagram_is_never_cut_short() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            bench = await at.serve(decode="bytes")
            assert code(await dev.ask(POST, "/t/x", b"x" * 60_000)) == "2.04"
            assert bench._left()["out"][0].payload == b"x" * 60_000

    run(work())


# --- observers


def test_observers_are_told_of_each_change() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev, device(at.port) as other:
            await at.serve(observable=True)
            await other.ask(PUT, "/t/x", b"1", content_format=50)
            first = await dev.ask(GET, "/t/x", observe=0, token=b"ob")
            numbers = [first.opt.observe]
            assert (first.payload, first.opt.content_format) == (b"1", 50)
            for value in (b"2", b"3"):
                await other.ask(POST, "/t/x", value)
                told = await dev.receive()
                assert (told.payload, told.token, told.mtype) == (value, b"ob", CON)
                dev.acknowledge(told)
                numbers.append(told.opt.observe)
            assert numbers == sorted(set(numbers))
            await other.ask(POST, "/t/elsewhere", b"9")
            await dev.ping()
            assert dev.is_idle

    run(work())


@pytest.mark.parametrize("way", ["observe=1", "reset", "not kept"])
def test_an_observer_that_has_enough_is_told_no_more(way: str) -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev, device(at.port) as other:
            await at.serve(observable=True)
            await other.ask(PUT, "/t/x", b"1")
            await dev.ask(GET, "/t/x", observe=0, token=b"ob")
            if way == "observe=1":
                last = await dev.ask(GET, "/t/x", observe=1, token=b"ob")
                assert last.opt.observe is None
            elif way == "reset":
                await other.ask(PUT, "/t/x", b"2")
                dev.acknowledge(await dev.receive(), RST)
            else:
                await at.listen.close()
                await at.listen.open()
            await dev.ping()
            assert not at.listen._door.site._values._watchers
            await other.ask(PUT, "/t/x", b"3")
            await dev.ping()
            assert dev.is_idle

    run(work())


def test_a_slow_observer_gets_the_newest_only() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev, device(at.port) as other:
            await at.serve(observable=True)
            await other.ask(PUT, "/t/x", b"0")
            await dev.ask(GET, "/t/x", observe=0, token=b"ob")
            await other.ask(PUT, "/t/x", b"1")
            first = await dev.receive()
            for value in (b"2", b"3", b"4"):
                await other.ask(PUT, "/t/x", value)
            await dev.ping()
            assert dev.is_idle
            dev.acknowledge(first)
            await dev.ping()
            at.told.advance(SECOND)
            newest = await dev.receive()
            assert (first.payload, newest.payload) == (b"1", b"4")
            dev.acknowledge(newest)
            await dev.ping()
            at.told.advance(SECOND)
            await dev.ping()
            assert dev.is_idle

    run(work())


def test_an_observer_learns_of_the_end() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev, device(at.port) as other:
            await at.serve(observable=True, methods=["PUT", "DELETE"])
            await other.ask(PUT, "/t/x", b"0")
            await dev.ask(GET, "/t/x", observe=0, token=b"ob")
            await other.ask(DELETE, "/t/x")
            last = await dev.receive()
            dev.acknowledge(last)
            assert (code(last), last.opt.observe) == ("4.04", None)

    run(work())


def test_a_path_is_listed_and_an_old_etag_is_still_good() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            await at.serve(observable=True)
            await at.serve("/in")
            await dev.ask(PUT, "/t/dev 1", b"0")
            links = (await dev.ask(GET, "/.well-known/core")).payload.decode().split(",")
            assert set(links) == {
                '</t/%7Bdevice%7D>;title="device: any";obs',
                "</in>",
                "</t/dev%201>;obs",
            }
            etag = (await dev.ask(GET, "/t/dev 1")).opt.etag
            same = await dev.ask(GET, "/t/dev 1", etags=[etag])
            assert (code(same), same.payload) == ("2.03", b"")

    run(work())


# --- the listener


@pytest.mark.parametrize(
    ("bind", "extra", "is_good"),
    [
        ("127.0.0.1", {}, True),
        ("127.0.0.2", {}, True),
        ("localhost", {}, True),
        ("0.0.0.0", {}, False),  # noqa: S104  # what must be refused
        ("192.0.2.1", {}, False),
        ("box.example", {}, False),
        ("::", {}, False),
    ],
)
def test_r17_others_are_not_let_in_unprotected(bind: str, extra: Any, is_good: bool) -> None:
    async def work() -> None:
        listen = connect(coap.Listen, bind=bind, port=free_port(), **extra)
        if is_good:
            await listen.open()
            await listen.close()
            return
        with pytest.raises(StartError, match="needs dtls/oscore or --insecure-bind"):
            await listen.open()
        listen.context.insecure_bind = True
        if bind in {"0.0.0.0", "::"}:  # noqa: S104  # what must be refused
            await listen.open()
            await listen.close()

    run(work())


def test_a_port_that_is_taken_is_named() -> None:
    async def work() -> None:
        async with desk() as at:
            second = connect(coap.Listen, port=at.port)
            with pytest.raises(StartError, match=f"UDP port {at.port} on 127.0.0.1 cannot be used"):
                await second.open()
            await second.close()

    run(work())


@pytest.mark.parametrize("way", ["dtls", "oscore"])
def test_r68_a_missing_extra_is_named(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    secret = NodeBench.secret("00" * 16)
    config: dict[str, Any] = {
        "dtls": {"identity": "a", "psk": secret},
        "oscore": {"sender": "01", "recipient": "02", "master": secret},
    }
    targets: list[tuple[Any, dict[str, Any]]] = [(coap.Listen, {}), (coap.Peer, {"host": LOOPBACK})]
    for kind, rest in targets:
        link = connect(kind, port=free_port(), **rest, **{way: config[way]})
        with pytest.raises(StartError, match=r"pip install 'flowengine\[coaps\]'"):
            run(link.open())


def test_r35_a_flow_without_coap_loads_no_aiocoap() -> None:
    check = (
        "import sys, flowengine.nodes.coap as coap, flowengine.testing as t;"
        "t.NodeBench('coap.request', {'uri': 'coap://x/'});"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'aiocoap']"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("coap.server", {"server": "l", "path": "t"}, "slash"),
        ("coap.server", {"server": "l", "path": "/t", "methods": []}, "methods"),
        ("coap.observe", {}, "either a peer or a uri"),
        ("coap.observe", {"peer": "p", "uri": "coap://x/"}, "either a peer or a uri"),
        ("coap.observe", {"uri": "coap://x/", "path": "/y"}, "its own path"),
        ("coap.observe", {"uri": "coaps://x/"}, "coap.peer with dtls"),
        ("coap.observe", {"peer": "p", "path": "y"}, "slash"),
        ("coap.request", {"peer": "p", "batch": {"size": 2}}, "one message"),
        ("coap.request", {"method": "PUT"}, "either a peer or a uri"),
    ],
)
def test_a_config_is_refused(kind: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(FindingsError, match=words):
        NodeBench(kind, config, connections={"l": None, "p": None})


# --- strangers


GOOD = [
    packet(POST, "/t/x", b"1", mid=1),
    packet(PUT, "/t/x", b"x" * 16, mid=2, block1=(0, True, 0), size1=48),
    packet(GET, "/t/x", mid=3, observe=0, block2=(0, False, 6), accept=50),
    packet(Code.CHANGED, "", b"", kind=ACK, mid=4),
    packet(Code.CONTENT, "", b"x", kind=CON, mid=5, observe=3),
]
mangled = st.builds(
    lambda data, cut, at, put: data[:cut][:at] + put + data[:cut][at + len(put) :],
    st.sampled_from(GOOD),
    st.integers(0, 60),
    st.integers(0, 40),
    st.binary(max_size=3),
)


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=80) | mangled, min_size=1, max_size=30))
def test_no_bytes_stop_the_listener(datagrams: list[bytes]) -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev, device(at.port) as good:
            await at.serve(observable=True)
            for data in datagrams:
                dev.send(data)
            await dev.ping()
            assert code(await good.ask(POST, "/t/good", b"1")) == "2.04"

    run(work())


def test_strangers_make_one_line_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            await at.serve()
            for _ in range(9):
                dev.send(b"\x00")
                dev.send(b"\x40\x02\x00\x01\xb2\xff\xff")  # Uri-Path that is not UTF-8
                dev.send(b"\x40\x02\x00\x01\xf0")  # an option that ends early
            await dev.ping()
            assert at.listen.gate.counts == {"malformed": 9, "failed": 9}
            assert code(await dev.ask(POST, "/t/x", b"1")) == "2.04"

    run(work())
    assert len(caplog.records) == 3
    assert all("\n" not in r.getMessage() and r.exc_info is None for r in caplog.records)


def test_a_flood_is_dropped_and_others_are_served() -> None:
    async def work() -> None:
        async with desk(max_rate=20) as at, device(at.port) as dev:
            bench = await at.serve()
            for number in range(50):
                dev.send(packet(POST, "/t/x", b"1", mid=number, token=b""))
            answers = [await dev.receive() for _ in range(20)]
            assert {code(answer) for answer in answers} == {"2.04"}
            at.told.advance(SECOND)
            await dev.ping()
            assert at.listen.gate.counts == {"flood": 30}
            assert len(bench._left()["out"]) == 20

    run(work())


# --- asking peers


class Fake:
    """A peer that gives these answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def uri(self, path: str) -> str:
        """The URI of a path."""
        return f"coap://fake{path}"

    async def request(self, method: str, path: str, payload: bytes = b"", **rest: Any) -> Any:
        """Keep the request, give the next answer."""
        self.asked.append((method, path, payload, rest["content_format"], rest["confirmable"]))
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("config", "payload", "asked"),
    [
        ({}, {"t": 1}, ("POST", "/", b'{"t":1}', 50, True)),
        ({"method": "PUT", "path": "/s/{key}"}, "ON", ("PUT", "/s/dev-1", b"ON", 0, True)),
        ({"path": "/s?x={payload}"}, "a/b&c", ("POST", "/s?x=a%2Fb%26c", b"a/b&c", 0, True)),
        ({"method": "GET"}, {"t": 1}, ("GET", "/", b"", None, True)),
        ({"method": "DELETE"}, b"x", ("DELETE", "/", b"", None, True)),
        ({"payload": "{payload.t:.1f}"}, {"t": 1}, ("POST", "/", b"1.0", 0, True)),
        ({"encode": "cbor"}, {"t": 1}, ("POST", "/", b"\xa1\x61\x74\x01", 60, True)),
        ({"content_format": 110}, [], ("POST", "/", b"[]", 110, True)),
        ({"confirmable": False}, None, ("POST", "/", b"", None, False)),
    ],
)
def test_a_request_is_made_of_the_message(config: Any, payload: Any, asked: Any) -> None:
    peer = Fake(Answer("2.04"))
    bench = NodeBench("coap.request", {"peer": "p", **config}, connections={"p": peer})
    bench.send(payload)
    assert peer.asked == [asked]


def test_a_response_is_the_message_with_the_answer() -> None:
    peer = Fake(Answer("2.05", b'{"v":2}', 50), None)
    config = {"peer": "p", "method": "GET", "path": "/v"}
    bench = NodeBench("coap.request", config, connections={"p": peer})
    (response,) = bench.send({"t": 1}, key="dev-1", topic="a/b", meta={"qos": 1})["response"]
    assert response.payload == {"v": 2}
    assert (response.key, response.topic, response.meta) == (
        "dev-1",
        "a/b",
        {"qos": 1, "code": "2.05"},
    )
    assert bench.send({"t": 1}) == {}
    assert bench.unsettled == 0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("4.04", RecordRefused), ("4.29", Unavailable), ("5.00", Unavailable), ("4.08", Unavailable)],
)
def test_r52_an_answer_that_is_no_success_is_raised(answer: str, outcome: Any) -> None:
    peer = Fake(Answer(answer))
    bench = NodeBench("coap.request", {"peer": "p", "path": "/v"}, connections={"p": peer})
    with pytest.raises(outcome, match=f"POST /v is answered {answer}"):
        bench.send(1)


@pytest.mark.parametrize(
    ("uri", "slug"),
    [
        ("{payload.uri}", "bad-uri"),
        ("http://x/", "bad-uri"),
        ("coap://{payload.missing}/", "missing"),
    ],
)
def test_a_uri_that_is_none_takes_the_error_route(uri: str, slug: str) -> None:
    bench = NodeBench("coap.request", {"uri": uri})
    (failed,) = bench.send({"uri": "coaps://x/"})["error"]
    assert failed.meta["error"]["slug"] == slug


def test_a_flow_test_sees_what_a_peer_would() -> None:
    seen: list[Reading] = []
    is_up = True
    peer = coap.Peer.stand_in(seen.append, lambda: is_up)
    config = {"peer": "p", "method": "PUT", "path": "/s/{key}"}
    bench = NodeBench("coap.request", config, connections={"p": peer})
    (response,) = bench.send({"on": True})["response"]
    assert response.meta["code"] == "2.04"
    assert (seen[0].topic, seen[0].payload, seen[0].meta) == (
        "/s/dev-1",
        {"on": True},
        {"method": "PUT"},
    )
    is_up = False
    with pytest.raises(Unavailable, match="away"):
        bench.send(1)


def test_a_flow_test_feeds_a_server_and_an_observer() -> None:
    server = NodeBench("coap.server", {"server": "l", "path": "/t/{d}"}, connections={"l": None})
    assert server.node.feed("/t/dev-1", b'{"t":1}', {})
    assert not server.node.feed("/x/dev-1", b"1", {})
    assert not server.node.feed("t/dev-1", b"1", {})
    (message,) = server._left()["out"]
    assert (message.key, message.payload, message.meta["method"]) == ("dev-1", {"t": 1}, "POST")
    config = {"uri": "coap://10.0.0.7/temp?unit=c"}
    watch = NodeBench("coap.observe", config)
    assert watch.node.feed("/temp", b"21.5", {})
    assert watch.node.feed("coap://10.0.0.7/temp?unit=c", b"22", {})
    assert not watch.node.feed("/other", b"1", {})
    messages = watch._left()["out"]
    assert [m.payload for m in messages] == [21.5, 22]
    assert {(m.topic, m.key) for m in messages} == {("/temp", "coap://10.0.0.7/temp?unit=c")}


def test_a_peer_that_is_silent_is_given_up_and_not_asked_behind_our_back() -> None:
    async def work() -> None:
        told = ToldClock()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((LOOPBACK, 0))
            silent.setblocking(False)
            port = silent.getsockname()[1]
            peer = connect(coap.Peer, told, host=LOOPBACK, port=port, timeout="9s")
            await peer.open()
            task = asyncio.create_task(peer.request("GET", "/x"))
            asked = await asyncio.get_running_loop().sock_recv(silent, 99)
            assert Message.decode(asked).opt.uri_path == ("x",)
            await until(task.done, told)
            with pytest.raises(Unavailable, match="did not answer within 9 s"):
                task.result()
            messages = peer._caller._network.messages
            assert (messages._active_exchanges, messages._backlogs) == ({}, {})
            await peer.close()

    run(work())


def test_nobody_at_the_port_is_said_at_once() -> None:
    async def work() -> None:
        port = free_port()
        bench = NodeBench("coap.request", {"uri": f"coap://{LOOPBACK}:{port}/x"})
        with pytest.raises(Unavailable, match="Connection refused"):
            await bench._write([Reading(1)])
        await bench.node.close()
        await bench.node.close()

    run(work())


def test_what_is_not_confirmable_is_sent_once() -> None:
    async def work() -> None:
        async with desk() as at:
            held = Held(await at.serve())
            uri = f"{at.uri}/t/{{key}}"
            bench = NodeBench("coap.request", {"uri": uri, "confirmable": False})
            await bench._write([Reading(21.5, key="dev-7")])
            (message,) = await held.count(1)
            assert (message.payload, message.key) == (21.5, "dev-7")
            held.settle()
            await bench.node.close()

    run(work())


FULL = b"x" * 1024
TOLD_LIES: dict[str, tuple[list[Any], str]] = {
    "starts in the middle": ([(FULL, {"block2": (1, True, 6)})], "first block"),
    "a short block": ([(b"x" * 16, {"block2": (0, True, 6)})], "not full"),
    "a block left out": (
        [(FULL, {"block2": (0, True, 6)}), (FULL, {"block2": (2, False, 6)})],
        "a block is missing",
    ),
    "another version": (
        [
            (FULL, {"block2": (0, True, 6), "etag": b"1"}),
            (FULL, {"block2": (1, False, 6), "etag": b"2"}),
        ],
        "it changed between two blocks",
    ),
    "no end": ([(FULL, {"block2": (n, True, 6)}) for n in range(9)], "larger than 4096 bytes"),
}


@pytest.mark.parametrize("lie", TOLD_LIES)
def test_a_peer_that_breaks_the_rules_is_told(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowengine.nodes.coap import exchange  # noqa: PLC0415  # after the other tests of loading

    monkeypatch.setattr(exchange, "MAX_ANSWER", 4096)
    script, words = TOLD_LIES[lie]

    async def work() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
            liar.bind((LOOPBACK, 0))
            liar.setblocking(False)
            peer = connect(coap.Peer, RealClock(), host=LOOPBACK, port=liar.getsockname()[1])
            task = asyncio.create_task(peer.request("GET", "/x"))
            for payload, options in script:
                read = asyncio.create_task(loop.sock_recvfrom(liar, 99))
                await asyncio.wait({read, task}, return_when="FIRST_COMPLETED")
                if task.done():
                    read.cancel()
                    break
                data, address = read.result()
                asked = Message.decode(data)
                same = {"kind": ACK, "mid": asked.mid, "token": asked.token}
                answer = packet(Code.CONTENT, "", payload, **same, **options)
                await loop.sock_sendto(liar, answer, address)
            with pytest.raises(Unavailable, match=words):
                await task
            await peer.close()

    run(work())


def test_a_peer_hears_at_the_first_block_that_it_is_too_much() -> None:
    async def work() -> None:
        async with desk(max_size="100KB") as at:
            await at.serve()
            peer = connect(coap.Peer, RealClock(), host=LOOPBACK, port=at.port)
            await peer.open()
            before = peer._caller._network.messages.message_id
            assert (await peer.request("PUT", "/t/x", b"x" * 200_000)).code == "4.13"
            assert (peer._caller._network.messages.message_id - before) & 0xFFFF == 1
            await peer.close()

    run(work())


# --- observing peers


def is_newest(bench: NodeBench, payload: bytes) -> bool:
    """Whether a full flow's observer keeps this payload."""
    newest = bench.node._newest
    return newest is not None and newest.payload == payload


def test_observes_a_listener_and_is_forgotten_after_it_closed() -> None:
    async def work() -> None:
        async with desk() as at, device(at.port) as dev:
            await at.serve(observable=True)
            await dev.ask(PUT, "/t/x", b'{"t":1}', content_format=50)
            told = ToldClock()
            bench = NodeBench("coap.observe", {"uri": f"{at.uri}/t/x"}, clock=told)
            held = Held(bench)
            await bench.node.open()
            await held.count(1)
            await dev.ask(PUT, "/t/x", b'{"t":2}', content_format=50)
            messages = await held.count(2)
            assert [m.payload for m in messages] == [{"t": 1}, {"t": 2}]
            assert messages[0].meta == {"uri": f"{at.uri}/t/x", "observed": True}
            assert (messages[0].key, messages[0].topic) == (f"{at.uri}/t/x", "/t/x")
            assert bench.statuses == [("running", "observing")]
            await dev.ask(PUT, "/t/x", b"y" * 3000)
            assert len((await held.count(3))[2].payload) == 3000
            bench.node.pause()
            for value in (b"3", b"4"):
                await dev.ask(PUT, "/t/x", value)
                await until(partial(is_newest, bench, value), at.told)
            assert bench.counts["superseded"] == 1
            bench.node.resume_reading()
            assert [m.payload for m in held.messages[3:]] == [4]
            await bench.node.close()
            await bench.node.close()

    run(work())


def test_what_cannot_be_observed_is_polled_and_what_does_not_decode_is_an_error() -> None:
    async def work() -> None:
        async with desk() as at:
            await at.serve("/in")
            told = ToldClock()
            uri = f"{at.uri}/.well-known/core"
            config = {"uri": uri, "interval": "10s", "decode": "json"}
            bench = NodeBench("coap.observe", config, clock=told)
            held = Held(bench)
            await bench.node.open()
            await until(lambda: held.failed)
            await until(lambda: len(held.failed) == 2, told)
            message, error = held.failed[0]
            assert (message.payload, message.meta["observed"]) == (b"</in>", False)
            assert error.slug == "not-json"
            assert bench.statuses[-1] == ("running", "polling every 10 s: it cannot be observed")
            await bench.node.close()

    run(work())

"""The parts of CoAP without a socket: paths, blocks, answers, limits and the watch's patience."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.clock import SECOND, ToldClock
from flowengine.errors import RecordRefused, Unavailable
from flowengine.nodes.coap import values, wiring
from flowengine.nodes.coap.answers import Answer, Refused, is_newer, judge
from flowengine.nodes.coap.caller import base_uri
from flowengine.nodes.coap.config import uri_fault
from flowengine.nodes.coap.formats import content_type, format_of
from flowengine.nodes.coap.gate import MOST_ADDRESSES, Gate
from flowengine.nodes.coap.paths import Directory, PathPattern, path_segments, path_text
from flowengine.nodes.coap.quiet import quiet_logger
from flowengine.nodes.coap.transfers import MOST_TRANSFERS, PATIENCE, Transfers
from flowengine.nodes.coap.values import Value, Values
from flowengine.nodes.coap.watch import Watch
from tests.nodes.coap_device import NON, run

# --- paths


@pytest.mark.parametrize(
    ("pattern", "path", "holes"),
    [
        ("/telemetry/{device}", ("telemetry", "dev-1"), {"device": "dev-1"}),
        ("/telemetry/{device}", ("telemetry",), None),
        ("/telemetry/{device}", ("telemetry", "dev-1", "x"), None),
        ("/telemetry/{device}", ("other", "dev-1"), None),
        ("/telemetry/{device}", ("telemetry", ""), None),
        ("/telemetry/{device}", ("telemetry", "a/b"), None),
        ("/{a}/x/{b}", ("1", "x", "2"), {"a": "1", "b": "2"}),
        ("/", (), {}),
        ("/", ("a",), None),
        ("/ü b", ("ü b",), {}),
    ],
)
def test_a_path_takes(pattern: str, path: tuple[str, ...], holes: Any) -> None:
    assert PathPattern(pattern).match(path) == holes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("telemetry", 'write "/telemetry"'),
        ("/a//b", "empty segment"),
        ("/a/", "empty segment"),
        ("/a{b}", "whole segment"),
        ("/{}", "whole segment"),
        ("/{a}/{a}", 'two holes named "a"'),
        ("/" + "x" * 256, "255 bytes"),
        ("/.well-known/core", "always there"),
    ],
)
def test_a_path_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PathPattern(text)


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1), min_size=1))
def test_a_path_as_text_and_back(path: list[str]) -> None:
    assert path_segments(path_text(path)) == tuple(path)


def test_paths_that_are_written_the_same_are_equal() -> None:
    assert PathPattern("/t/{a}") == PathPattern("/t/{a}")
    assert len({PathPattern("/t/{a}"), PathPattern("/t/{a}"), PathPattern("/t/{b}")}) == 2


def test_the_narrower_path_comes_first() -> None:
    directory: Directory[str] = Directory()
    for text in ("/{a}/{b}", "/t/{b}", "/{a}/x", "/t/x"):
        directory.add(PathPattern(text), text)
    assert [who for who, _ in directory.find(("t", "x"))] == [
        "/t/x",
        "/t/{b}",
        "/{a}/x",
        "/{a}/{b}",
    ]
    directory.remove("/t/x")
    assert directory.find(("t", "x"))[0] == ("/t/{b}", {"b": "x"})


# --- blocks that come in


def send_in_blocks(
    transfers: Transfers, data: bytes, size: int, *, key: str = "a", told: int | None = None
) -> bytes | None:
    """Hand over all blocks; what the last one gives."""
    number = 0
    while True:
        part = data[number * size : (number + 1) * size]
        more = (number + 1) * size < len(data)
        whole = transfers.add(key, number, more=more, size=size, data=part, told=told)
        if not more:
            return whole
        assert whole is None
        number += 1


@given(st.binary(max_size=3000), st.sampled_from([16, 64, 512, 1024]))
def test_blocks_become_the_payload_they_were_cut_from(data: bytes, size: int) -> None:
    transfers = Transfers(5000, ToldClock().monotonic)
    assert send_in_blocks(transfers, data, size) == data
    assert (len(transfers), transfers.bytes) == (0, 0)


def refusal(
    transfers: Transfers, number: int, data: bytes, *, more: bool = True, **rest: Any
) -> str:
    """The code of a block's refusal."""
    settings = {"size": 16, "told": None, "key": "a", **rest}
    key = settings.pop("key")
    with pytest.raises(Refused) as caught:
        transfers.add(key, number, more=more, data=data, **settings)
    return caught.value.reply.code


def test_a_block_that_does_not_fit_ends_the_transfer() -> None:
    transfers = Transfers(64, ToldClock().monotonic)
    block = b"x" * 16
    assert refusal(transfers, 1, block) == "4.08"
    transfers.add("a", 0, more=True, size=16, data=block, told=None)
    assert refusal(transfers, 2, block) == "4.08"
    assert len(transfers) == 0
    transfers.add("a", 0, more=True, size=16, data=block, told=None)
    assert refusal(transfers, 0, b"short") == "4.00"
    transfers.add("a", 0, more=True, size=16, data=block, told=None)
    assert transfers.add("a", 0, more=True, size=16, data=block, told=None) is None
    transfers.add("a", 1, more=True, size=16, data=block, told=None)
    assert transfers.add("a", 1, more=True, size=16, data=block, told=None) is None
    assert refusal(transfers, 1, b"y" * 16) == "4.08"


def test_what_is_too_large_is_refused_before_it_is_kept() -> None:
    transfers = Transfers(40, ToldClock().monotonic)
    assert refusal(transfers, 0, b"x" * 16, told=100_000_000) == "4.13"
    assert refusal(transfers, 6_000_000, b"x" * 16) == "4.13"
    transfers.add("a", 0, more=True, size=16, data=b"x" * 16, told=None)
    transfers.add("a", 1, more=True, size=16, data=b"x" * 16, told=None)
    assert refusal(transfers, 2, b"x" * 16) == "4.13"
    assert transfers.bytes == 0


def test_transfers_are_bounded_in_number_and_time() -> None:
    clock = ToldClock()
    transfers = Transfers(40, clock.monotonic)
    for number in range(MOST_TRANSFERS):
        transfers.add(number, 0, more=True, size=16, data=b"x" * 16, told=None)
    assert refusal(transfers, 0, b"x" * 16, key="one more") == "5.03"
    clock.advance(PATIENCE + 1)
    assert transfers.add("late", 0, more=True, size=16, data=b"x" * 16, told=None) is None
    assert (len(transfers), transfers.bytes) == (1, 16)


def test_transfers_are_bounded_in_bytes() -> None:
    transfers = Transfers(1_000_000, ToldClock().monotonic)
    transfers.most_bytes = 100
    for number in range(6):
        transfers.add(number, 0, more=True, size=16, data=b"x" * 16, told=None)
    assert refusal(transfers, 0, b"x" * 16, key="one more") == "5.03"
    assert transfers.bytes == 96


# --- values, answers, formats


def test_values_make_room_for_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST_PATHS", 2)
    kept = Values()
    for name in ("/a", "/b", "/a", "/c"):
        kept.put(name, Value(b"x", None))
    assert kept.paths() == ["/a", "/c"]
    monkeypatch.setattr(values, "MOST_BYTES", 10)
    kept.put("/large", Value(b"x" * 100, None))
    assert kept.paths() == ["/large"]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_an_etag_changes_with_the_payload(one: bytes, other: bytes) -> None:
    assert (Value(one, 50).etag == Value(other, 50).etag) == (one == other)
    assert Value(one, 50).etag != Value(one, 60).etag


@pytest.mark.parametrize(
    ("code", "outcome", "wait"),
    [
        ("2.04", None, None),
        ("2.05", None, None),
        ("4.00", RecordRefused, None),
        ("4.04", RecordRefused, None),
        ("4.08", Unavailable, None),
        ("4.13", RecordRefused, None),
        ("4.29", Unavailable, 7.0),
        ("5.00", Unavailable, None),
        ("5.03", Unavailable, 7.0),
        ("5.04", Unavailable, None),
    ],
)
def test_a_code_means(code: str, outcome: Any, wait: float | None) -> None:
    answer = Answer(code, b"why", max_age=7)
    if outcome is None:
        judge(answer, "PUT /x")
        return
    with pytest.raises(outcome, match=r"PUT /x is answered .* \(why\)") as caught:
        judge(answer, "PUT /x")
    assert getattr(caught.value, "retry_after", None) == wait


@pytest.mark.parametrize(
    ("number", "last", "seconds", "newer"),
    [
        (2, 1, 0, True),
        (1, 2, 0, False),
        (2, 2, 0, False),
        (0, 2**24 - 1, 0, True),
        (2**24 - 1, 0, 0, False),
        (1, 2, 129, True),
    ],
)
def test_a_notification_is_newer(number: int, last: int, seconds: float, newer: bool) -> None:
    assert is_newer(number, last, seconds) is newer


@pytest.mark.parametrize(
    ("payload", "encode", "number", "kind"),
    [
        ({"t": 1}, "auto", 50, "application/json"),
        (1.5, "auto", 50, "application/json"),
        ("ON", "auto", 0, "text/plain"),
        (b"\0", "auto", 42, "application/octet-stream"),
        (None, "auto", None, None),
        ({"t": 1}, "cbor", 60, "application/cbor"),
        ("1", "json", 50, "application/json"),
    ],
)
def test_a_payload_has_its_format(payload: Any, encode: str, number: Any, kind: Any) -> None:
    assert format_of(payload, encode) == number
    assert content_type(number) == kind


@pytest.mark.parametrize(
    ("host", "port", "is_dtls", "expected"),
    [
        ("valve", None, False, "coap://valve"),
        ("valve", 5683, False, "coap://valve"),
        ("10.0.0.7", 61616, False, "coap://10.0.0.7:61616"),
        ("::1", None, True, "coaps://[::1]"),
        ("[::1]", 5683, True, "coaps://[::1]:5683"),
    ],
)
def test_a_peer_has_its_uri(host: str, port: Any, is_dtls: bool, expected: str) -> None:
    assert base_uri(host, port, is_dtls=is_dtls) == expected


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("coap://10.0.0.7/state?a=1", ""),
        ("coap://[::1]:5683/", ""),
        ("coaps://x/", "coap.peer with dtls"),
        ("http://x/", "coap://host/path"),
        ("/state", "coap://host/path"),
        ("coap://x:port/", "port is no number"),
        ("coap://x:0/", "coap://host/path"),
        ("coap://u:p@x/", "CoAP has none"),
    ],
)
def test_a_uri_is_looked_at(uri: str, words: str) -> None:
    assert words in uri_fault(uri)
    assert bool(words) == bool(uri_fault(uri))


# --- the gate, and what aiocoap says


def test_the_gate_lets_each_address_send_so_much() -> None:
    clock, said = ToldClock(), list[str]()
    gate = Gate(2, clock.monotonic, said.append)
    good = b"\x40\x01\x00\x01"
    assert [gate.lets_in(good, "a") for _ in range(4)] == [True, True, False, False]
    assert gate.lets_in(good, "b")
    clock.advance(SECOND // 2)
    assert [gate.lets_in(good, "a") for _ in range(2)] == [True, False]
    clock.advance(60 * SECOND)
    assert [gate.lets_in(good, "a") for _ in range(3)] == [True, True, False]
    assert gate.counts == {"flood": 4}
    assert said == ["more than 2 datagrams a second from a"]


def test_the_gate_remembers_a_bounded_number_of_addresses() -> None:
    gate = Gate(1, ToldClock().monotonic, lambda _what: None)
    for number in range(MOST_ADDRESSES + 1):
        assert gate.lets_in(b"\x40\x01\x00\x01", str(number))
    assert not gate.has_room(str(MOST_ADDRESSES))
    assert gate.has_room("0")


@pytest.mark.parametrize(
    ("data", "good"),
    [
        (b"\x40\x01\x00\x01", True),
        (b"\x48\x01\x00\x01" + b"t" * 8, True),
        (b"\x48\x01\x00\x01" + b"t" * 7, False),
        (b"\x49\x01\x00\x01" + b"t" * 9, False),
        (b"\x80\x01\x00\x01", False),
        (b"\x40\x01\x00", False),
        (b"", False),
    ],
)
def test_the_gate_knows_a_message_by_its_first_bytes(data: bytes, good: bool) -> None:
    gate = Gate(10, ToldClock().monotonic, lambda _what: None)
    assert gate.lets_in(data, "a") is good
    assert gate.counts["malformed"] == (not good)


def test_what_aiocoap_says_is_one_line_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    logger = quiet_logger("flowengine.coap.test", said.append)
    logger.info("nothing")
    for number in range(12):
        logger.error("it\nfailed: %s", number, exc_info=ValueError("inside"))
    logger.warning("%s holes %s", 1)  # noqa: PLE1206  # a library's slip must not break ours
    assert said == ["it failed: 0", "it failed: 9 (10 times)", "%s holes %s"]
    assert capsys.readouterr() == ("", "")
    assert not logging.getLogger("flowengine.coap.test").propagate


def test_a_repeat_is_known_until_newer_ones_need_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "MOST_REMEMBERED", 2)
    clock = ToldClock()

    class Tokens:
        log, loop = logging.getLogger("flowengine.coap.test"), None

    class Said:
        mtype = NON

        def __init__(self, mid: int) -> None:
            self.remote, self.mid = "a", mid

    messages: Any = wiring.Messages(Tokens(), clock.monotonic, 1.5)
    known = messages._deduplicate_message
    assert [known(Said(1)), known(Said(1)), known(Said(2)), known(Said(1))] == [0, 1, 0, 1]
    assert [known(Said(3)), known(Said(2)), known(Said(1))] == [0, 1, 0]
    clock.advance(248 * SECOND)
    assert known(Said(1)) == 0
    assert len(messages._recent_messages) == 1


# --- the watch


class Peer:
    """A peer that follows a script: each registration is answered by the next entry."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.told: list[Callable[[Answer | None], None]] = []
        self.stopped = 0

    async def observe(self, _target: str, told: Callable[[Answer | None], None]) -> Any:
        """Answer as the script says; the last entry is for all that follow."""
        self.told.append(told)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer, (self._stop if answer.observe is not None else None)

    def _stop(self) -> None:
        self.stopped += 1


class Watched:
    """A watch at work, on a told clock."""

    def __init__(self, peer: Peer) -> None:
        self.clock = ToldClock()
        self.got: list[bytes] = []
        self.statuses: list[str] = []
        self.watch = Watch(
            peer,
            "/t",
            20 * SECOND,
            self.clock,
            took=lambda answer: self.got.append(answer.payload),
            status=lambda state, what: self.statuses.append(f"{state}: {what}"),
        )

    async def __aenter__(self) -> "Watched":
        self._task = asyncio.create_task(self.watch.run())
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def settle(self) -> None:
        """Let tasks run."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Let told time pass."""
        until = self.clock.monotonic() + int(seconds * SECOND)
        while self.clock.step(until):
            await self.settle()
        await self.settle()


def note(payload: bytes, observe: int | None, **rest: Any) -> Answer:
    """An answer that was observed (or, with None, was not)."""
    return Answer("2.05", payload, observe=observe, **rest)


def test_a_watch_hands_on_what_is_newer() -> None:
    async def work() -> None:
        peer = Peer(note(b"1", 5))
        async with Watched(peer) as seen:
            for payload, number in ((b"3", 7), (b"2", 6), (b"4", 8)):
                peer.told[0](note(payload, number))
            assert seen.got == [b"1", b"3", b"4"]
            assert seen.statuses == ["running: observing"]
        assert peer.stopped == 1

    run(work())


def test_a_watch_registers_again_when_freshness_ends() -> None:
    async def work() -> None:
        peer = Peer(note(b"1", 5, max_age=30), note(b"9", 0, max_age=30))
        async with Watched(peer) as seen:
            await seen.wait(20)
            peer.told[0](note(b"2", 6, max_age=30))
            await seen.wait(34)
            assert (seen.got, peer.stopped) == ([b"1", b"2"], 0)
            await seen.wait(12)
            assert (seen.got, peer.stopped) == ([b"1", b"2", b"9"], 1)

    run(work())


def test_a_watch_polls_a_peer_that_cannot_be_observed() -> None:
    async def work() -> None:
        peer = Peer(note(b"1", None), note(b"2", None), note(b"3", 1))
        async with Watched(peer) as seen:
            assert seen.statuses == ["running: polling every 20 s: it cannot be observed"]
            await seen.wait(19)
            assert seen.got == [b"1"]
            await seen.wait(2)
            assert seen.got == [b"1", b"2"]
            await seen.wait(20)
            assert seen.got == [b"1", b"2", b"3"]
            assert seen.statuses[-1] == "running: observing"

    run(work())


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Unavailable("no answer"), "connecting: no answer"),
        (Answer("4.04", b"gone"), "waiting: /t answers 4.04 (gone)"),
        (RuntimeError("a bug"), "failed: RuntimeError: a bug"),
    ],
)
def test_a_watch_tries_again_with_patience(answer: Any, status: str) -> None:
    async def work() -> None:
        peer = Peer(answer)
        async with Watched(peer) as seen:
            await seen.wait(600)
            assert set(seen.statuses) == {status}
            assert 28 <= len(peer.told) <= 42  # 1, 2, 4, 8, 16 s, then the interval of 20 s
            assert seen.got == []

    run(work())


def test_a_watch_goes_on_when_the_peer_ends_it_but_not_in_a_circle() -> None:
    async def work() -> None:
        peer = Peer(note(b"1", 5))
        async with Watched(peer) as seen:
            await seen.wait(10)
            peer.told[-1](None)
            await seen.settle()
            assert len(peer.told) == 2
            peer.told[-1](Answer("4.04"))
            await seen.settle()
            assert len(peer.told) == 2
            await seen.wait(2)
            assert (len(peer.told), peer.stopped) == (3, 2)

    run(work())

"""The MQTT wire code reads any split of a stream alike, builds what it reads, refuses the rest."""

import contextlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from flowengine.nodes.mqtt_wire import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Incoming,
    Outgoing,
    PacketReader,
    PublishWriter,
    WireError,
    acks,
    decode_properties,
    encode_properties,
    read_varint,
    varint,
)

LIMIT = 16_000_000


def read(data: bytes, *, version5: bool = False, max_size: int = LIMIT) -> PacketReader:
    reader = PacketReader(version5=version5, max_size=max_size, epoch=7)
    reader.feed(data)
    return reader


def text(words: str) -> bytes:
    """Frame a string as MQTT does: two bytes of length, then UTF-8 (MQTT 5.0 §1.5.4)."""
    raw = words.encode()
    return len(raw).to_bytes(2, "big") + raw


def packet(head: int, body: bytes) -> bytes:
    """Frame a packet, apart from the code under test."""
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (128 if size else 0)])
        if not size:
            return bytes([head]) + length + body


# --- reading


@pytest.mark.parametrize(
    ("data", "version5", "expected"),
    [
        (
            bytes.fromhex("300600036162634f"),
            False,
            Incoming("abc", b"O", 0, False, False, 0, None, 7),
        ),
        (
            bytes.fromhex("320700016100 0a 6869".replace(" ", "")),
            False,
            Incoming("a", b"hi", 1, False, False, 10, None, 7),
        ),
        (
            bytes.fromhex("3d05000161ffff"),
            False,
            Incoming("a", b"", 2, True, True, 65535, None, 7),
        ),
        (
            bytes.fromhex("30050001610021"),
            True,
            Incoming("a", b"!", 0, False, False, 0, None, 7),
        ),
        (
            packet(0x30, text("a") + varint(13) + b"\x03" + text("text/plain") + b"21.5"),
            True,
            Incoming("a", b"21.5", 0, False, False, 0, {"content_type": "text/plain"}, 7),
        ),
    ],
    ids=["QoS 0", "QoS 1", "QoS 2, retained, duplicate", "MQTT 5 bare", "MQTT 5 content type"],
)
def test_reads_a_publish(data: bytes, version5: bool, expected: Incoming) -> None:
    reader = read(data, version5=version5)
    assert reader.messages == [expected]
    assert (reader.acks, reader.others) == ([], [])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("40020102", Ack(PUBACK, 0x0102, 0, "")),
        ("4003010210", Ack(PUBACK, 0x0102, 0x10, "")),
        ("400401028700", Ack(PUBACK, 0x0102, 0x87, "")),
        ("500a010287061f0003696e6f", Ack(PUBREC, 0x0102, 0x87, "ino")),
        ("62020003", Ack(PUBREL, 3, 0, "")),
        ("70020003", Ack(PUBCOMP, 3, 0, "")),
    ],
)
def test_reads_acknowledgements(data: str, expected: Ack) -> None:
    assert read(bytes.fromhex(data), version5=True).acks == [expected]


def test_leaves_every_other_packet_whole() -> None:
    others = [bytes.fromhex(p) for p in ("20020000", "9003000101", "d000", "e0028e00", "b0020001")]
    assert read(b"".join(others)).others == others


def test_names_the_properties_of_a_publish() -> None:
    given_to_paho = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    given_to_paho.PayloadFormatIndicator = 1
    given_to_paho.MessageExpiryInterval = 70_000
    given_to_paho.ContentType = "application/json"
    given_to_paho.ResponseTopic = "answers/1"
    given_to_paho.CorrelationData = b"\x00\xff"
    given_to_paho.UserProperty = [("unit", "°C"), ("unit", "K")]
    given_to_paho.SubscriptionIdentifier = 200
    block = given_to_paho.pack()  # type: ignore[no-untyped-call]
    size, start = read_varint(block, 0)
    assert size == len(block) - start
    assert decode_properties(block[start:]) == {
        "payload_format": 1,
        "message_expiry": 70_000,
        "content_type": "application/json",
        "response_topic": "answers/1",
        "correlation_data": b"\x00\xff",
        "user_properties": (("unit", "°C"), ("unit", "K")),
        "subscription_ids": (200,),
    }


def test_gives_each_message_properties_of_its_own() -> None:
    body = text("a") + varint(7) + b"\x26" + text("k") + text("v")
    first, second = read(packet(0x30, body) * 2, version5=True).messages
    assert first.properties == second.properties == {"user_properties": (("k", "v"),)}
    assert first.properties is not second.properties


LONG = packet(0x30, text("long") + bytes(300))
STREAM = (
    packet(0x20, b"\0\0")
    + packet(0x32, text("gerät/1") + b"\0\1" + b"payload")
    + LONG
    + bytes.fromhex("40020001")
    + packet(0x30, text("a"))
    + packet(0xD0, b"")
)


def taken(reader: PacketReader) -> tuple[list[Incoming], list[Ack], list[bytes]]:
    return reader.messages, reader.acks, reader.others


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_reads_alike_when_split_at(at: int) -> None:
    reader = PacketReader(version5=False, max_size=LIMIT, epoch=7)
    reader.feed(STREAM[:at])
    reader.feed(STREAM[at:])
    assert taken(reader) == taken(read(STREAM))
    assert len(reader.messages) == 3


TOPICS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="+#\0"), min_size=1, max_size=12
)


@st.composite
def packets(draw: st.DrawFn, *, version5: bool) -> tuple[bytes, Incoming | Ack | bytes]:
    """A random packet, framed apart from the code under test, with what is expected of it."""
    kind = draw(st.sampled_from(["publish", "ack", "other"]))
    if kind == "other":
        data = packet(draw(st.sampled_from([0x90, 0xB0, 0xD0])), draw(st.binary(max_size=300)))
        return data, data
    mid = draw(st.integers(1, 65535))
    if kind == "ack":
        head = draw(st.sampled_from([PUBACK, PUBREC, PUBREL, PUBCOMP]))
        return packet(head, mid.to_bytes(2, "big")), Ack(head, mid, 0, "")
    qos, retain, dup = draw(st.integers(0, 2)), draw(st.booleans()), draw(st.booleans())
    topic, payload = draw(TOPICS), draw(st.binary(max_size=300))
    properties: dict[str, Any] | None = None
    body = text(topic) + (mid.to_bytes(2, "big") if qos else b"")
    if version5:
        names = draw(st.lists(TOPICS, max_size=3))
        block = b"".join(b"\x26" + text(name) + text("v") for name in names)
        body += varint(len(block)) + block
        if names:
            properties = {"user_properties": tuple((name, "v") for name in names)}
    expected = Incoming(topic, payload, qos, retain, dup, mid if qos else 0, properties, 7)
    return packet(0x30 | dup << 3 | qos << 1 | retain, body + payload), expected


@given(st.data(), st.booleans())
def test_reads_any_split_of_any_stream_alike(data: st.DataObject, version5: bool) -> None:
    drawn = data.draw(st.lists(packets(version5=version5), max_size=12))
    stream = b"".join(raw for raw, _ in drawn)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = PacketReader(version5=version5, max_size=LIMIT, epoch=7)
    for start, end in pairwise([0, *cuts, len(stream)]):
        reader.feed(stream[start:end])
    expected = [e for _, e in drawn]
    assert reader.messages == [e for e in expected if isinstance(e, Incoming)]
    assert reader.acks == [e for e in expected if isinstance(e, Ack)]
    assert reader.others == [e for e in expected if isinstance(e, bytes)]


@given(st.binary(max_size=200), st.booleans())
def test_reads_or_refuses_any_bytes(data: bytes, version5: bool) -> None:
    with contextlib.suppress(WireError):
        read(data, version5=version5, max_size=1000)


@pytest.mark.parametrize(
    ("data", "version5", "words", "code"),
    [
        (packet(0x30, b"\0\2\xff\xfe"), False, "not UTF-8", 0x81),
        (packet(0x30, text("a\0b")), False, "NUL", 0x81),
        (packet(0x30, text("a/+")), False, "wildcard", 0x81),
        (packet(0x30, text("")), False, "empty topic", 0x81),
        (packet(0x30, b"\0\x09abc"), False, "longer than its packet", 0x81),
        (packet(0x30, b"\0\x09abc") + packet(0x30, text("zzzzzzz")), False, "longer than", 0x81),
        (packet(0x32, text("abc")), False, "malformed", 0x81),
        (packet(0x32, text("a")) + packet(0x30, text("a")), False, "shorter than", 0x81),
        (packet(0x32, text("a") + b"\0\0"), False, "packet id 0", 0x81),
        (packet(0x36, text("a") + b"\0\1"), False, "QoS 3", 0x81),
        (packet(0x30, text("a") + b"\x05\x03\0\0"), True, "longer than their packet", 0x81),
        (packet(0x30, text("a") + b"\x03\x23\0\1"), True, "topic alias", 0x94),
        (packet(0x30, text("a") + b"\x05\x11\0\0\0\1"), True, "property 17", 0x82),
        (packet(0x30, text("a") + b"\x04\x01\1\x01\1"), True, "stands twice", 0x82),
        (packet(0x30, text("a") + b"\x04\x03\0\x09x"), True, "cut short", 0x81),
        (packet(0x40, b"\1"), False, "without a packet id", 0x81),
        (b"\x30\xff\xff\xff\xff\x01", False, "more than four bytes", 0x81),
    ],
)
def test_refuses_with_a_reason(data: bytes, version5: bool, words: str, code: int) -> None:
    with pytest.raises(WireError, match=words) as caught:
        read(data, version5=version5)
    assert caught.value.code == code


def test_hands_over_what_stands_before_a_fault() -> None:
    reader = PacketReader(version5=False, max_size=LIMIT)
    with pytest.raises(WireError, match="not UTF-8"):
        reader.feed(packet(0x30, text("good")) + packet(0x30, b"\0\1\xff"))
    assert [message.topic for message in reader.messages] == ["good"]


def test_refuses_a_long_packet_from_its_length_alone() -> None:
    reader = PacketReader(version5=False, max_size=1000)
    reader.feed(packet(0x90, bytes(1000)))
    assert len(reader.others) == 1
    with pytest.raises(WireError, match="1001 bytes"):
        reader.feed(packet(0x90, bytes(1001)))
    with pytest.raises(WireError, match=r"268435455 bytes is above the limit of 1000") as caught:
        reader.feed(b"\x90\xff\xff\xff\x7f")
    assert caught.value.code == 0x95


@given(st.integers(995, 5000), st.integers(0, 2), st.data())
def test_a_long_message_is_told_of_and_passed_over(
    size: int, qos: int, data: st.DataObject
) -> None:
    mid = b"\0\5" if qos else b""
    long = packet(0x30 | qos << 1, text("long") + mid + bytes(size))
    stream = packet(0x30, text("a") + b"before") + long + packet(0x30, text("a") + b"behind")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = PacketReader(version5=False, max_size=1000, epoch=7)
    for start, end in pairwise([0, *cuts, len(stream)]):
        reader.feed(stream[start:end])
    before, told, behind = reader.messages
    assert (before.payload, behind.payload) == (b"before", b"behind")
    expected = Incoming("long", b"", qos, False, False, 5 if qos else 0, None, 7, told.too_large)
    assert told == expected
    assert told.too_large == len(long) - 3
    assert behind.too_large == 0


def test_a_long_message_is_not_held() -> None:
    reader = PacketReader(version5=False, max_size=1000)
    long = packet(0x32, text("a") + b"\0\1" + bytes(3_000_000))
    for at in range(0, len(long), 100_000):
        reader.feed(long[at : at + 100_000])
        assert sum(map(len, reader._chunks)) < 1000
    assert [message.too_large for message in reader.messages] == [3_000_005]


def test_takes_a_long_packet_in_small_reads_without_repeated_copies() -> None:
    data = packet(0x30, text("a") + bytes(3_000_000))
    reader = PacketReader(version5=False, max_size=LIMIT)
    for at in range(0, len(data), 1000):
        reader.feed(data[at : at + 1000])
    (message,) = reader.messages
    assert len(message.payload) == 3_000_000


# --- building


@given(
    st.lists(
        st.tuples(TOPICS, st.binary(max_size=300), st.integers(0, 2), st.booleans()), max_size=8
    ),
    st.booleans(),
)
def test_reads_back_what_it_builds(
    drawn: list[tuple[str, bytes, int, bool]], version5: bool
) -> None:
    properties = {"content_type": "text/plain", "user_properties": (("a", "b"), ("a", "c"))}
    messages: list[Outgoing] = [(*message, properties) for message in drawn]
    built = PublishWriter(version5=version5).run(messages, range(5, 5 + len(messages)))
    reader = read(b"".join(built), version5=version5)
    assert reader.messages == [
        Incoming(t, p, q, r, False, 5 + i if q else 0, properties if version5 else None, 7)
        for i, (t, p, q, r) in enumerate(drawn)
    ]


def test_builds_the_packet_of_the_standard() -> None:
    # MQTT 3.1.1 §3.3.2.3, figure 3.11: topic a/b, packet identifier 10.
    (built,) = PublishWriter(version5=False).run([("a/b", b"", 1, False, None)], [10])
    assert built == bytes.fromhex("32070003612f62000a")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (("a/#", b"", 0, False, None), "wildcard"),
        (("", b"", 0, False, None), "empty topic"),
        (("a\0", b"", 0, False, None), "NUL"),
        (("a" * 65536, b"", 0, False, None), "65536 bytes is too long"),
        (("\ud800", b"", 0, False, None), "surrogates"),
        (("a", b"", 3, False, None), "no QoS 3"),
        (("a", b"", 0, False, {"colour": "red"}), "no PUBLISH property 'colour'"),
        (("a", b"", 0, False, {"topic_alias": 1}), "no PUBLISH property 'topic_alias'"),
        (("a", b"", 0, False, {"content_type": 5}), "content_type: 5 does not fit"),
        (("a", b"", 0, False, {"message_expiry": -1}), "message_expiry: -1 does not fit"),
    ],
)
def test_says_what_cannot_be_built(message: Outgoing, words: str) -> None:
    assert words in PublishWriter(version5=True).fault(message)


def test_says_nothing_of_a_message_that_can_be_built() -> None:
    fine: Outgoing = ("a", b"x", 1, True, {"message_expiry": 60})
    assert not PublishWriter(version5=True).fault(fine)


def test_builds_a_run_of_acknowledgements() -> None:
    assert acks(PUBACK, [1, 65535]) == bytes.fromhex("400200014002ffff")
    assert acks(PUBREL, [2]) == bytes.fromhex("62020002")
    assert acks(PUBREC, []) == b""


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_counts_as_the_standard_does(number: int, expected: str) -> None:
    # MQTT 5.0 §1.5.5, table 1-1
    assert varint(number) == bytes.fromhex(expected)
    assert read_varint(varint(number), 0) == (number, len(varint(number)))


def test_refuses_a_length_that_no_packet_has() -> None:
    with pytest.raises(ValueError, match="268,435,455 at most"):
        varint(268_435_456)


def test_reads_back_the_properties_it_builds() -> None:
    properties = {
        "payload_format": 1,
        "message_expiry": 60,
        "content_type": "application/cbor",
        "response_topic": "r",
        "correlation_data": b"\0\1",
        "user_properties": (("a", "b"), ("a", "c")),
    }
    block = encode_properties(properties)
    assert block[0] == len(block) - 1
    assert decode_properties(block[1:]) == properties

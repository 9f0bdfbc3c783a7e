"""cbor.decode reads one CBOR item or sends the message on by `refused`; cbor.encode writes one."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.testing import NodeBench

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes.fromhex("a1617418 64".replace(" ", "")), {"t": 100}),
        (bytes.fromhex("a101182a"), {"1": 42}),
        (bytes.fromhex("f7"), None),
        ({"t": 1}, {"t": 1}),
        ([1], [1]),
        (21.5, 21.5),
    ],
)
def test_a_value_stands_where_its_bytes_stood(content: Any, expected: Any) -> None:
    assert NodeBench("cbor.decode").send(content)["out"][0].payload == expected
    deep = NodeBench("cbor.decode", {"field": "payload.raw"}).send({"raw": content})
    assert deep["out"][0].payload == {"raw": expected}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not-cbor"),
        (b"\x82\x01", "not-cbor"),
        (b"\x01\x01", "not-cbor"),
        ("text", "not-cbor"),
        (bytes.fromhex("f97e00"), "not-a-number"),
        (bytes.fromhex("a2616101616102"), "duplicate-key"),
        (b"\x81" * 100_000, "too-deep"),
        (bytes.fromhex("9b0000000000ffffff") + b"\x80" * 600_000, "too-large"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_plain_item_is_refused_unchanged(content: Any, reason: str) -> None:
    (got,) = NodeBench("cbor.decode").send(content)["refused"]
    assert got.payload is content
    assert got.meta["refused"]["reason"] == reason
    assert len(got.meta["refused"]["value"]) <= 500


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_every_message_leaves_once(contents: list[bytes]) -> None:
    bench = NodeBench("cbor.decode")
    out = bench.send_many([Message(c, "", 0, str(at)) for at, c in enumerate(contents)])
    assert set(out) <= {"out", "refused"}
    keys = [int(message.key) for messages in out.values() for message in messages]
    assert sorted(keys) == list(range(len(contents)))
    assert bench.unsettled == 0


@given(TREES)
def test_what_is_encoded_decodes_to_the_same(tree: Any) -> None:
    raw = NodeBench("cbor.encode").send(tree)["out"][0].payload
    assert isinstance(raw, bytes)
    if not isinstance(tree, str):
        assert NodeBench("cbor.decode").send(raw)["out"][0].payload == tree


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": {"b": -math.inf}}])
def test_encode_sends_nan_by_the_error_route(value: Any) -> None:
    out = NodeBench("cbor.encode").send(value)
    assert out["error"][0].meta["error"]["slug"] == "not-a-number"
    assert out["error"][0].payload is value

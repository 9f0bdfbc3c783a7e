"""Contents become values and back, exactly or not at all, in bounded time and depth."""

import json
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.content import CONTENT_TYPES, decode, decoder, encode, encoder, parse_json
from flowengine.content.limits import MAX_BYTES
from flowengine.errors import PayloadError

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS
JSON_TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)
CBOR_TREES = st.recursive(
    SCALARS | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


def said(call: Callable[[], Any]) -> PayloadError | None:
    """The error that a call raises, which must be a PayloadError and short; None if it works."""
    try:
        call()
    except PayloadError as err:
        if len(err.what) > 300 or not err.what.endswith("."):
            raise AssertionError(f"no sentence: {err.what[:400]}") from err
        return err
    return None


def slug_of(raw: bytes, how: Any, *, unique: bool = False) -> str | None:
    """The slug of the error that reading raises, None if it works."""
    err = said(lambda: parse_json(raw, unique=True) if unique else decode(raw, how))
    return err.slug if err else None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"21.5", 21.5),
        (b"21", 21),
        (b"ON", "ON"),
        (b'"ON"', "ON"),
        (b"", ""),
        (b"true", True),
        (b"null", None),
        (b' {"t": 1} ', {"t": 1}),
        (b"{t: 1}", "{t: 1}"),
        (b"21,5", "21,5"),
        (b"nan", "nan"),
        (b"NaN", "NaN"),
        (b"Infinity", "Infinity"),
        (b"1e400", "1e400"),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", "18446744073709551616"),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", "-9223372036854775809"),
        (b"9007199254740993", 2**53 + 1),
        ("grün".encode(), "grün"),
        (b"\xff\xfe\x00", b"\xff\xfe\x00"),
        (b'"\xff"', b'"\xff"'),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"[" * 64 + b"]" * 64, None),
        (b"[" * 65 + b"]" * 65, "[" * 65 + "]" * 65),
    ],
)
def test_r11_auto_takes_json_then_text_then_bytes(raw: bytes, expected: Any) -> None:
    value = decode(raw)
    if expected is None and raw != b"null":
        assert isinstance(value, list)
    else:
        assert value == expected
        assert type(value) is type(expected)


def test_auto_keeps_the_sign_of_zero() -> None:
    assert math.copysign(1, decode(b"-0.0")) == -1


@pytest.mark.parametrize(
    ("content_type", "raw", "expected"),
    [
        ("application/json", b"21.5", 21.5),
        ("application/json; charset=utf-8", b"21.5", 21.5),
        ("Application/JSON", b"21.5", 21.5),
        ("application/senml+json", b"[]", []),
        ("application/cbor", bytes.fromhex("a1617401"), {"t": 1}),
        ("text/plain", b"21.5", "21.5"),
        ("text/plain;charset=utf-8", b"21.5", "21.5"),
        ("application/octet-stream", b"21.5", b"21.5"),
        ("image/png", b"21.5", 21.5),
        ("", b"21.5", 21.5),
    ],
)
def test_r11_auto_believes_a_known_content_type(
    content_type: str, raw: bytes, expected: Any
) -> None:
    assert decode(raw, "auto", content_type) == expected


@pytest.mark.parametrize("content_type", [*CONTENT_TYPES, "application/json;", "nonsense", None])
@given(raw=st.binary() | JSON_TREES.map(lambda tree: json.dumps(tree).encode()))
def test_r11_auto_never_fails(content_type: str | None, raw: bytes) -> None:
    assert isinstance(decode(raw, "auto", content_type), object)


def test_a_wrong_content_type_falls_back_to_what_is_there() -> None:
    assert decode(b"ON", "auto", "application/json") == "ON"
    assert decode(b"\xff", "auto", "text/plain") == b"\xff"
    assert decode(b"\x82\x01", "auto", "application/cbor") == b"\x82\x01"


@pytest.mark.parametrize(
    ("raw", "slug"),
    [
        (b"", "not-json"),
        (b"ON", "not-json"),
        (b"[1,]", "not-json"),
        (b'{"a":1} x', "not-json"),
        (b"01", "not-json"),
        (b"NaN", "not-json"),
        (b"[Infinity]", "not-json"),
        (b"1e400", "not-json"),
        (b"-1e400", "not-json"),
        (b"18446744073709551616", "not-json"),
        (b'{"a":[-9223372036854775809]}', "not-json"),
        (b"9" * 10_000, "not-json"),
        (b"[" + b"9" * 100 + b"]", "not-json"),
        (b'"\\ud800"', "not-json"),
        (b"\xff", "not-utf8"),
        (b'"\xff"', "not-utf8"),
        (b"[" * 65 + b"]" * 65, "too-deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "too-deep"),
        (b"[" * 100_000, "too-deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too-deep"),
        (b'"' + b"x" * MAX_BYTES + b'"', "too-large"),
        (b"[" + b"1," * 500_001 + b"1]", "too-large"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:24]),
)
def test_r33_json_refuses_what_it_would_have_to_change(raw: bytes, slug: str) -> None:
    assert slug_of(raw, "json") == slug
    with pytest.raises(PayloadError):
        parse_json(raw, unique=True)


@pytest.mark.parametrize("depth", [1, 2, 63, 64])
def test_r33_json_takes_64_levels(depth: int) -> None:
    assert parse_json(b"[" * depth + b"]" * depth, unique=True) is not None
    assert parse_json(b'{"a":' * depth + b"1" + b"}" * depth, unique=True) is not None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"a":1,"b":2,"a":3}}]',
        b'{"a":"b:c","a":1}',
        b'{"a":1,"b":"::","a":"\\u003a"}',
        b'{"":1,"":2}',
        b'{"a":' + b"9" * 5000 + b',"a":1}',
        b'{"a":{"b":1},"a":{}}',
    ],
)
def test_r33_unique_finds_a_key_that_stands_twice(raw: bytes) -> None:
    has_huge_number = b"999" in raw  # refused for that already
    assert slug_of(raw, "json") == ("not-json" if has_huge_number else None)
    assert slug_of(raw, "json", unique=True) == ("not-json" if has_huge_number else "duplicate-key")


@given(JSON_TREES)
def test_unique_takes_every_tree_there_is(tree: Any) -> None:
    raw = json.dumps(tree, ensure_ascii=False).encode()
    assert parse_json(raw, unique=True) == parse_json(raw) == tree
    assert parse_json(json.dumps(tree), unique=True) == tree


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":", "\\", "é"]), SCALARS), max_size=6))
def test_unique_agrees_with_counting_the_keys(members: list[tuple[str, Any]]) -> None:
    raw = "{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in members) + "}"
    twice = len({name for name, _ in members}) < len(members)
    assert slug_of(raw.encode(), "json", unique=True) == ("duplicate-key" if twice else None)


@pytest.mark.parametrize("how", ["json", "cbor", "text"])
@given(raw=st.binary())
def test_decoding_raises_payload_errors_only(how: Any, raw: bytes) -> None:
    assert slug_of(raw, how) != "bad-payload"


@given(raw=st.text(), unique=st.booleans())
def test_reading_json_text_raises_payload_errors_only(raw: str, unique: bool) -> None:
    err = said(lambda: parse_json(raw, unique=unique))
    assert err is None or err.slug in {"not-json", "not-utf8", "duplicate-key"}


def test_bytes_decode_to_themselves_and_text_must_be_utf8() -> None:
    assert decode(b"\xff", "bytes") == b"\xff"
    assert decode("°C".encode(), "text") == "°C"
    assert slug_of(b"ab\xff", "text") == "not-utf8"


# -- CBOR: RFC 8949 appendix A, and hostile ones ---------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("00", 0),
        ("1bffffffffffffffff", 2**64 - 1),
        ("3b7fffffffffffffff", -(2**63)),
        ("f93c00", 1.0),
        ("fb3ff199999999999a", 1.1),
        ("f4", False),
        ("f6", None),
        ("f7", None),
        ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),
        ("c11a514b67b0", 1363896240),
        ("c24101", 1),
        ("c34100", -1),
        ("c48221196ab3", 273.15),
        ("c5822003", 1.5),
        ("d74401020304", b"\x01\x02\x03\x04"),
        ("d818456449455446", b"dIETF"),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("6449455446", "IETF"),
        ("a201020304", {"1": 2, "3": 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("d9d9f700", 0),
        ("d9010281 01", [1]),
        ("d8236161", "a"),
        ("d825500102030405060708090a0b0c0d0e0f10", bytes(range(1, 17))),
        ("a120 00", {"-1": 0}),
    ],
)
def test_cbor_becomes_a_plain_tree(raw: str, expected: Any) -> None:
    value = decode(bytes.fromhex(raw), "cbor")
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("raw", "slug"),
    [
        ("", "not-cbor"),
        ("8301", "not-cbor"),
        ("0001", "not-cbor"),
        ("ff", "not-cbor"),
        ("1c", "not-cbor"),
        ("61ff", "not-cbor"),
        ("f0", "not-cbor"),
        ("9bffffffffffffffff", "not-cbor"),
        ("5bffffffffffffffff00", "not-cbor"),
        ("bbffffffffffffffff00", "not-cbor"),
        ("3bffffffffffffffff", "not-cbor"),
        ("c249010000000000000000", "not-cbor"),
        ("c25a00010000" + "ff" * 65536, "not-cbor"),
        ("c4821b7fffffffffffffff01", "not-a-number"),
        ("c5821b7fffffffffffffff01", "not-cbor"),
        ("c482016161", "not-cbor"),
        ("f97e00", "not-a-number"),
        ("81f97c00", "not-a-number"),
        ("a161 61fbfff0000000000000", "not-a-number"),
        ("a2616101616102", "duplicate-key"),
        ("a201006131 00", "duplicate-key"),
        ("a1820102 03", "not-cbor"),
        ("a1f600", "not-cbor"),
        ("a1a1010203", "not-cbor"),
        ("d81c81d81d00", "not-cbor"),
        ("d9010081d81900", "not-cbor"),
        ("81" * 65 + "00", "too-deep"),
        ("81" * 100_000 + "00", "too-deep"),
        ("c1" * 100_000 + "00", "too-deep"),
        ("a16161" * 65 + "00", "too-deep"),
    ],
    ids=lambda text: text[:24],
)
def test_cbor_refuses_what_is_no_plain_tree(raw: str, slug: str) -> None:
    assert slug_of(bytes.fromhex(raw), "cbor") == slug


def test_cbor_refuses_more_values_than_a_box_can_hold() -> None:
    many, most = 500_000, bytes.fromhex("9a0007a120")  # a list of 500,000
    assert slug_of(most + b"\x80" * many, "cbor") == "too-large"
    assert len(decode(bytes.fromhex("9a0007a11f") + b"\x00" * (many - 1), "cbor")) == many - 1
    # one long text is one value, however its bytes look
    assert len(decode(bytes.fromhex("5a00200000") + b"\x80" * (1 << 21), "cbor")) == 1 << 21


def test_cbor_takes_64_levels() -> None:
    assert decode(b"\x81" * 64 + b"\x00", "cbor")


def test_cbor_refuses_a_pattern_without_compiling_it() -> None:
    # tag 35, (a+)+$: as text it is harmless
    assert decode(bytes.fromhex("d82366" + b"(a+)+$".hex()), "cbor") == "(a+)+$"


@given(CBOR_TREES)
def test_cbor_gives_back_what_it_was_given(tree: Any) -> None:
    assert decode(encode(tree, "cbor"), "cbor") == tree


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "how", "expected"),
    [
        ("ON", "auto", b"ON"),
        (b"\xff", "auto", b"\xff"),
        (None, "auto", b""),
        (21, "auto", b"21"),
        (21.0, "auto", b"21.0"),
        (True, "auto", b"true"),
        ({"b": 1, "a": [1, None]}, "auto", b'{"b":1,"a":[1,null]}'),
        ({"t": "°C"}, "auto", '{"t":"°C"}'.encode()),
        ("ON", "json", b'"ON"'),
        (None, "json", b"null"),
        ({"raw": b"\x01\x02"}, "json", b'{"raw":"AQI="}'),
        ({1: 2}, "json", b'{"1":2}'),
        (21.5, "text", b"21.5"),
        (None, "text", b""),
        (True, "text", b"true"),
        ([1, 2], "text", b"[1,2]"),
        ("ON", "bytes", b"ON"),
        (b"\x01", "bytes", b"\x01"),
        ({"t": 1}, "cbor", bytes.fromhex("a1617401")),
        (-0.0, "json", b"-0.0"),
    ],
)
def test_r11_a_payload_is_written_as_told(payload: Any, how: Any, expected: bytes) -> None:
    assert encode(payload, how) == expected
    assert encoder(how)(payload) == expected


@pytest.mark.parametrize("how", ["auto", "json", "text", "cbor"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("holder", [lambda x: [x], lambda x: {"a": {"b": x}}, lambda x: [None, x]])
def test_nan_is_never_written(how: Any, number: float, holder: Any) -> None:
    for payload in (number, holder(number)):
        with pytest.raises(PayloadError) as caught:
            encode(payload, how)
        assert caught.value.slug in {"not-a-number", "expression"}


@pytest.mark.parametrize(
    ("payload", "how", "slug"),
    [
        (object(), "json", "not-json"),
        ("\ud800", "json", "not-json"),
        ("\ud800", "auto", "not-utf8"),
        ("\ud800", "text", "not-utf8"),
        ("\ud800", "cbor", "not-cbor"),
        (object(), "cbor", "not-cbor"),
        (21.5, "bytes", "not-bytes"),
        ({"a": 1}, "bytes", "not-bytes"),
    ],
)
def test_what_cannot_be_carried_is_said(payload: Any, how: Any, slug: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(payload, how)
    assert caught.value.slug == slug


@pytest.mark.parametrize("how", ["json", "cbor"])
def test_a_deep_payload_is_refused_and_crashes_nothing(how: Any) -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(PayloadError):
        encode(deep, how)
    while deep:
        deep = deep[0]


@given(JSON_TREES)
def test_json_gives_back_what_it_was_given(tree: Any) -> None:
    assert decode(encode(tree, "json"), "json") == tree


@given(JSON_TREES.filter(lambda tree: not isinstance(tree, str) and tree is not None))
def test_auto_gives_back_every_tree_that_is_no_text(tree: Any) -> None:
    assert decode(encode(tree)) == tree


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * MAX_BYTES,
        b'{"a":' * 3_000_000,
        b"[" + b"[]," * 5_000_000 + b"1]",
        b"\\" * MAX_BYTES,
        b"9" * MAX_BYTES,
        b'"' + b"\\u0041" * 2_000_000,
        b"\x81" * MAX_BYTES,
        bytes.fromhex("9b0000000000ffffff") + b"\x80" * (MAX_BYTES - 9),
        b"x" * 100_000_000,
    ],
    ids=[
        "lists",
        "maps",
        "empty lists",
        "escapes",
        "digits",
        "open text",
        "deep cbor",
        "wide cbor",
        "100 MB",
    ],
)
def test_large_hostile_contents_take_bounded_time(raw: bytes) -> None:
    start = time.process_time()
    assert said(lambda: decoder("auto")(raw, None)) is None
    for how in ("json", "cbor"):
        assert said(partial(decode, raw, how)) is not None
    assert time.process_time() - start < 5  # seconds; each takes well below one

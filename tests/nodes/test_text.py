"""text.decode and text.encode go between bytes and text in the encoding they are told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import FindingsError
from flowengine.testing import NodeBench


@pytest.mark.parametrize(
    ("encoding", "raw", "text"),
    [
        ("utf-8", b"21 \xc2\xb0C", "21 °C"),
        ("UTF8", b"21 \xc2\xb0C", "21 °C"),
        ("latin-1", b"21 \xb0C", "21 °C"),
        ("cp1252", b"\x80", "€"),
        ("utf-16-le", b"a\x00", "a"),
        ("shift_jis", b"\x83\x65", "テ"),
        ("utf-8", b"", ""),
    ],
)
def test_r66_bytes_and_text_are_two_forms_of_one(encoding: str, raw: bytes, text: str) -> None:
    decoded = NodeBench("text.decode", {"encoding": encoding}).send(raw)
    assert decoded["out"][0].payload == text
    encoded = NodeBench("text.encode", {"encoding": encoding, "field": "payload.x"}).send(
        {"x": text}
    )
    assert encoded["out"][0].payload == {"x": raw}


@pytest.mark.parametrize("content", ["text", 21.5, None, {"a": 1}])
def test_decode_lets_pass_what_is_no_bytes(content: Any) -> None:
    assert NodeBench("text.decode").send(content)["out"][0].payload == content


@pytest.mark.parametrize(
    ("encoding", "raw", "reason"),
    [
        ("utf-8", b"ab\xff", "not-utf8"),
        ("utf-8", b"\xed\xa0\x80", "not-utf8"),
        ("ascii", b"\xff", "bad-encoding"),
        ("utf-16-le", b"a", "bad-encoding"),
        ("utf-8", b"x" * (16 * 1024 * 1024 + 1), "too-large"),
    ],
    ids=["latin-1 as utf-8", "half a pair", "not ascii", "half a character", "too large"],
)
def test_bytes_that_are_no_text_are_refused_unchanged(
    encoding: str, raw: bytes, reason: str
) -> None:
    (got,) = NodeBench("text.decode", {"encoding": encoding}).send(raw)["refused"]
    assert got.payload is raw
    assert got.meta["refused"]["reason"] == reason


@pytest.mark.parametrize(
    ("value", "slug"),
    [(21.5, "not-text"), (None, "not-text"), ("€", "bad-encoding"), ("\ud800", "bad-encoding")],
)
def test_encode_says_what_has_no_bytes(value: Any, slug: str) -> None:
    out = NodeBench("text.encode", {"encoding": "latin-1"}).send(value)
    assert out["error"][0].meta["error"]["slug"] == slug


def test_encode_lets_bytes_pass() -> None:
    assert NodeBench("text.encode").send(b"\xff")["out"][0].payload == b"\xff"


@pytest.mark.parametrize(
    "encoding", ["utf-9", "", "zlib", "base64", "rot13", "hex", "idna", "utf-7", "undefined", "a\0"]
)
def test_what_is_no_character_set_is_a_finding(encoding: str) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("text.decode", {"encoding": encoding})
    (finding,) = caught.value.findings
    assert (finding.slug, finding.where.field) == ("bad-value", "config.encoding")


@given(
    raw=st.binary(), encoding=st.sampled_from(["utf-8", "latin-1", "utf-16", "shift_jis", "gbk"])
)
def test_decoding_gives_text_or_refuses(raw: bytes, encoding: str) -> None:
    out = NodeBench("text.decode", {"encoding": encoding}).send(raw)
    if "out" in out:
        assert isinstance(out["out"][0].payload, str)
    else:
        assert out["refused"][0].payload == raw

"""scale puts numbers on a straight line, and refuses everything that is no finite number."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.testing import NodeBench


def scaled(config: dict[str, Any], payload: Any) -> Any:
    """The payload that leaves by `out`."""
    out = NodeBench("scale", config).send(payload)
    assert list(out) == ["out"], out
    return out["out"][0].payload


@pytest.mark.parametrize(
    ("config", "reading", "expected"),
    [
        ({"from": [0, 1023], "to": [0, 100]}, 0, 0.0),
        ({"from": [0, 1023], "to": [0, 100]}, 1023, 100.0),
        ({"from": [0, 1023], "to": [0, 100]}, 2046, 200.0),
        ({"from": [4, 20], "to": [0, 10]}, 12.0, 5.0),
        ({"from": [4, 20], "to": [0, 10], "clamp": True}, 2.0, 0.0),
        ({"from": [4, 20], "to": [0, 10], "clamp": True}, 22.0, 10.0),
        ({"from": [4, 20], "to": [10, 0], "clamp": True}, 22.0, 0.0),
        ({"from": [20, 4], "to": [0, 10]}, 4.0, 10.0),
        ({"from": [0, 10], "to": [5, 5]}, 3, 5.0),
        ({"factor": 0.1}, 215, 21.5),
        ({"offset": -40}, 60, 20.0),
        ({"factor": 2, "offset": 1}, 3, 7.0),
    ],
)
def test_r45_a_number_is_scaled(config: dict[str, Any], reading: float, expected: float) -> None:
    assert scaled(config, reading) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert scaled({**config, "field": "payload.raw"}, {"raw": reading, "id": "x"}) == {
        "raw": pytest.approx(expected, rel=1e-12, abs=1e-12),
        "id": "x",
    }


def test_a_deep_field_and_meta_are_scaled_in_their_place() -> None:
    assert scaled({"factor": 2, "field": "payload.a[0].b"}, {"a": [{"b": 1}]}) == {
        "a": [{"b": 2.0}]
    }
    out = NodeBench("scale", {"factor": 2, "field": "meta.x"}).send("p", meta={"x": 3, "y": 1})
    assert out["out"][0].meta == {"x": 6.0, "y": 1}


@pytest.mark.parametrize(
    ("payload", "slug"),
    [
        ("21.5", "not-a-number"),
        (True, "not-a-number"),
        (None, "not-a-number"),
        (math.nan, "not-a-number"),
        (math.inf, "not-a-number"),
        ([1], "not-a-number"),
        (1e308, "not-a-number"),
        (10**400, "not-a-number"),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("field", ["payload", "payload.t", "payload.a.t"])
def test_what_is_no_number_takes_the_error_route(payload: Any, slug: str, field: str) -> None:
    whole = {"payload": payload, "payload.t": {"t": payload}, "payload.a.t": {"a": {"t": payload}}}
    out = NodeBench("scale", {"factor": 1e10, "field": field}).send(whole[field])
    assert list(out) == ["error"]
    assert out["error"][0].meta["error"]["slug"] == slug
    assert out["error"][0].meta["error"]["path"] == field
    assert repr(out["error"][0].payload) == repr(whole[field])


def test_an_absent_field_takes_the_error_route() -> None:
    out = NodeBench("scale", {"factor": 1, "field": "payload.t"}).send({"u": 1})
    assert out["error"][0].meta["error"]["slug"] == "missing"


@pytest.mark.parametrize(
    ("config", "slug", "words"),
    [
        ({}, "bad-value", "factor"),
        ({"from": [0, 1]}, "bad-value", '"to" is missing'),
        ({"to": [0, 1]}, "bad-value", '"from" is missing'),
        ({"from": [0, 1], "to": [0, 1], "factor": 2}, "bad-value", "either"),
        ({"from": [3, 3], "to": [0, 1]}, "limits-crossed", "3.0"),
        ({"from": [0, 1, 2], "to": [0, 1]}, "bad-value", "from"),
        ({"from": [0], "to": [0, 1]}, "bad-value", "from"),
        ({"factor": 2, "clamp": True}, "bad-value", "clamp"),
        ({"from": [0, 1e308], "to": [-1e308, 1e308]}, "bad-value", "too large"),
        ({"factor": "2"}, "bad-value", "factor"),
        ({"factor": True}, "bad-value", "factor"),
        ({"fcator": 2}, "unknown-key", "factor"),
    ],
)
def test_r45_a_config_that_gives_no_line_is_a_finding(
    config: dict[str, Any], slug: str, words: str
) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("scale", config)
    assert slug in {finding.slug for finding in caught.value.findings}
    assert words in str(caught.value)


ENDS = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@given(low=ENDS, high=ENDS, to=st.tuples(ENDS, ENDS), at=st.floats(-1, 2))
def test_r45_ends_meet_ends_and_clamp_never_leaves_them(
    low: float, high: float, to: tuple[float, float], at: float
) -> None:
    if abs(high - low) < 0.01:
        high = low + 1
    bench = NodeBench("scale", {"from": [low, high], "to": list(to), "clamp": True})
    readings = [low, high, low + (high - low) * at]
    got = [m.payload for m in bench.send_many([Message(reading) for reading in readings])["out"]]
    size = max(map(abs, (low, high, *to, 1.0)))
    assert got[0] == pytest.approx(to[0], abs=size * size * 1e-11)
    assert got[1] == pytest.approx(to[1], abs=size * size * 1e-11)
    assert all(min(to) <= value <= max(to) for value in got)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.lists(ANYTHING | st.dictionaries(st.sampled_from("ab"), ANYTHING), max_size=6))
def test_a_batch_leaves_out_what_fails_and_keeps_the_order(payloads: list[Any]) -> None:
    bench = NodeBench("scale", {"factor": 2, "field": "payload.a"})
    out = bench.send_many([Message(p, "", 0, str(at)) for at, p in enumerate(payloads)])
    left = out.get("out", [])
    assert all(math.isfinite(message.payload["a"]) for message in left)
    for messages in out.values():
        assert [m.key for m in messages] == sorted((m.key for m in messages), key=int)
    assert len(left) + len(out.get("error", [])) == len(payloads)
    assert bench.unsettled == 0

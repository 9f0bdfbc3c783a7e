"""compute sets what its expressions give for the message as it came, all of it or nothing."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.nodes.compute import Compute, ComputeConfig
from flowengine.testing import NodeBench

NEW_YEAR = 1_767_225_600 * 1_000_000_000


def computed(config: dict[str, Any], payload: Any, **message: Any) -> Message:
    """The one message that leaves by `out`."""
    out = NodeBench("compute", config).send(payload, **message)
    assert list(out) == ["out"], out
    return out["out"][0]


def failed(config: dict[str, Any], payload: Any) -> Message:
    """The one message that takes the error route."""
    out = NodeBench("compute", config).send(payload)
    assert list(out) == ["error"], out
    return out["error"][0]


@pytest.mark.parametrize(
    ("settings", "payload", "expected"),
    [
        ({"payload.t": "payload.t * 9 / 5 + 32"}, {"t": 20}, {"t": 68.0}),
        ({"payload.site": "'north'"}, {"t": 20}, {"t": 20, "site": "north"}),
        ({"payload.a": "payload.b", "payload.b": "payload.a"}, {"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({"payload.a": "1", "payload.b": "get('payload.a', 0)"}, {}, {"a": 1, "b": 0}),
        ({"payload.x.y.z": "1"}, {}, {"x": {"y": {"z": 1}}}),
        ({"payload.x": "1"}, None, {"x": 1}),
        ({"payload": "payload.t"}, {"t": 20}, 20),
        ({"payload['room temp']": "1"}, {}, {"room temp": 1}),
        ({"payload.values[0]": "9"}, {"values": [1, 2]}, {"values": [9, 2]}),
        ({"payload.values[-1]": "9"}, {"values": [1, 2]}, {"values": [1, 9]}),
        ({"payload.hot": "payload.t > 8"}, {"t": 9}, {"t": 9, "hot": True}),
        ({"payload.none": "None"}, {}, {"none": None}),
    ],
)
def test_r5_it_sets(settings: dict[str, str], payload: Any, expected: Any) -> None:
    got = computed({"set": settings}, payload).payload
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("deletes", "payload", "expected"),
    [
        (["payload.b"], {"a": 1, "b": 2}, {"a": 1}),
        (["payload.c", "payload.x.y"], {"a": 1}, {"a": 1}),
        (["payload.a.b"], {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        (["payload[0]", "payload[1]"], [1, 2, 3], [3]),
        (["payload[-1]", "payload[-2]"], [1, 2, 3], [1]),
        (["payload"], {"a": 1}, None),
    ],
)
def test_r5_it_deletes(deletes: list[str], payload: Any, expected: Any) -> None:
    assert computed({"delete": deletes}, payload).payload == expected


def test_r5_deletes_come_after_all_sets() -> None:
    config = {"set": {"payload.celsius": "payload.t"}, "delete": ["payload.t"]}
    assert computed(config, {"t": 20, "u": 1}).payload == {"u": 1, "celsius": 20}


@pytest.mark.parametrize(
    ("expression", "ns"),
    [
        ("1767225600", NEW_YEAR),
        ("1767225600.25", NEW_YEAR + 250_000_000),
        ("1795449204.25", 1_795_449_204_250_000_000),
        ("'2026-01-01T00:00:00Z'", NEW_YEAR),
        ("time - 60", NEW_YEAR - 60_000_000_000),
    ],
)
def test_r2_time_takes_seconds_and_rfc_3339(expression: str, ns: int) -> None:
    assert computed({"set": {"time": expression}}, 1, time=NEW_YEAR).time == ns


def test_r2_it_sets_topic_key_and_meta_and_keeps_the_rest() -> None:
    meta = {"qos": 1}
    config = {"set": {"topic": "'t/' + key", "key": "upper(key)", "meta.site": "'n'"}}
    got = computed(config, 7, key="a", topic="x", time=5, meta=meta)
    assert (got.payload, got.topic, got.key, got.time) == (7, "t/a", "A", 5)
    assert got.meta == {"qos": 1, "site": "n"}
    assert meta == {"qos": 1}


@pytest.mark.parametrize(
    ("settings", "payload", "slug", "path"),
    [
        ({"payload.a": "payload.absent"}, {"t": 1}, "missing", "payload.absent"),
        ({"payload.a": "1", "payload.b": "1 / payload.t"}, {"t": 0}, None, None),
        ({"payload.a": "1", "payload.b": "payload.t * 1e308 * 10"}, {"t": 1}, "not-a-number", None),
        ({"payload.a": "payload.t * 1e308 * 10"}, {"t": 1}, "not-a-number", "payload.a"),
        ({"payload.a": "payload.n"}, {"n": math.nan}, None, None),
        ({"payload.a": "payload.n"}, {"n": [1, {"x": math.inf}]}, "not-a-number", "payload.a"),
        ({"payload.a": "1", "payload.v[5]": "1"}, {"v": [1]}, "missing", "payload.v[5]"),
        ({"payload.a": "1", "payload.s.x": "1"}, {"s": "text"}, "bad-value", "payload.s.x"),
        ({"payload.a": "1", "time": "'yesterday'"}, {}, "bad-value", "time"),
        ({"payload.a": "1", "key": "5"}, {}, "bad-value", "key"),
        ({"payload.a": "1"}, 5, "bad-value", "payload.a"),
        ({"payload.a": "1", "payload.b": "2"}, [1], "bad-value", "payload.a"),
    ],
)
def test_r5_one_failure_writes_nothing(
    settings: dict[str, str], payload: Any, slug: str | None, path: str | None
) -> None:
    before = repr(payload)
    got = failed({"set": settings, "delete": ["payload.t"]}, payload)
    assert repr(got.payload) == before
    assert slug is None or got.meta["error"]["slug"] == slug
    assert path is None or got.meta["error"]["path"] == path


def test_a_part_that_is_set_elsewhere_is_a_copy() -> None:
    got = computed({"set": {"payload.b": "payload.a"}}, {"a": {"x": [1]}}).payload
    got["a"]["x"].append(2)
    assert got["b"] == {"x": [1]}


def test_a_payload_cannot_be_nested_without_end() -> None:
    bench = NodeBench("compute", {"set": {"payload.a": "payload"}})
    payload: Any = {"t": 1}
    for _ in range(100):
        out = bench.send(payload)
        if "error" in out:
            assert out["error"][0].meta["error"]["slug"] == "too-deep"
            return
        payload = out["out"][0].payload
    raise AssertionError("it never stopped")


@pytest.mark.parametrize(
    ("config", "slug", "words"),
    [
        ({}, "bad-value", "nothing to do"),
        ({"set": {"payload.a": "1", "payload.a.b": "2"}}, "bad-path", "overlap"),
        ({"set": {"payload": "1", "payload.a": "2"}}, "bad-path", "overlap"),
        ({"set": {"payload.a": "1", "payload['a']": "2"}}, "bad-path", "same place"),
        ({"set": {"payload.a": "1"}, "delete": ["payload.a"]}, "bad-path", "overlap"),
        ({"delete": ["payload.a", "payload.a"]}, "bad-path", "overlap"),
        ({"delete": ["time"]}, "bad-path", "time"),
        ({"set": {"id": "1"}}, "bad-path", "fixed"),
        ({"set": {"temperature": "1"}}, "bad-path", "payload.temperature"),
        ({"set": {"payload.a": "payload.t +"}}, "bad-expression", ""),
    ],
)
def test_r5_a_config_that_contradicts_itself_is_a_finding(
    config: dict[str, Any], slug: str, words: str
) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("compute", config)
    assert slug in {finding.slug for finding in caught.value.findings}
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("config", "writes"),
    [
        ({"set": {"payload.a": "1", "payload.b": "2"}, "delete": ["payload.c"]}, "top"),
        ({"set": {"payload.a.b": "1"}}, "anything"),
        ({"set": {"payload": "1"}}, "anything"),
        ({"set": {"payload.a": "1"}, "delete": ["payload.b.c"]}, "anything"),
        ({"set": {"meta.a": "1"}}, "anything"),
    ],
)
def test_it_says_how_much_it_writes(config: dict[str, Any], writes: str) -> None:
    kind = NodeBench("compute", config).type
    assert kind.writes_of(ComputeConfig.model_validate(config)) == writes
    assert kind.target is Compute


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(width=16) | st.text(max_size=3)


@pytest.mark.parametrize(
    "config",
    [
        {"set": {"payload.a": "payload.a"}},
        {"set": {"payload.a": "payload.b * 2"}},
        {"set": {"payload.a": "payload.a", "payload.b": "payload.b / payload.a"}},
        {"set": {"payload.a": "payload.b"}, "delete": ["payload.b"]},
        {"set": {"payload.a": "default(payload.b, [1])"}},
    ],
)
@given(payloads=st.lists(VALUES | st.dictionaries(st.sampled_from("abc"), VALUES), max_size=8))
def test_a_batch_does_what_one_message_after_another_does(
    config: dict[str, Any], payloads: list[Any]
) -> None:
    whole = NodeBench("compute", config)
    out = whole.send_many(
        [Message(_copy(payload), "", 0, str(at)) for at, payload in enumerate(payloads)]
    )
    alone: dict[str, list[Message]] = {}
    node = whole.node
    for at, payload in enumerate(payloads):
        message = Message(_copy(payload), "", 0, str(at))
        try:
            alone.setdefault("out", []).append(node.receive(message))
        except Exception:  # noqa: BLE001  # whatever it says, the batch must have said too
            alone.setdefault("error", []).append(message)
    for name in ("out", "error"):
        got = [(message.key, repr(message.payload)) for message in out.get(name, [])]
        assert got == [(m.key, repr(m.payload)) for m in alone.get(name, [])]
    assert whole.unsettled == 0


def _copy(payload: Any) -> Any:
    return dict(payload) if isinstance(payload, dict) else payload

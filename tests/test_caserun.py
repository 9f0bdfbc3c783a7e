"""A flow's test runs the real nodes by a told clock, tells what differs, and touches nothing."""

import json
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flowengine.cases import check_cases, parse_cases
from flowengine.cases.run import CaseResult, expectation, run_case
from flowengine.check.types import field_type_of
from flowengine.flow import parse_flow
from flowengine.registry import REGISTRY

SITE = {"site": {"type": "mqtt.broker", "config": {"host": "127.0.0.1"}}}
ALARM: dict[str, Any] = {
    "format": 1,
    "params": {"limit": {"type": "number", "default": 8.0}},
    "connections": SITE,
    "nodes": {
        "readings": {
            "type": "mqtt.in",
            "config": {"broker": "site", "topic": "device/+/telemetry"},
        },
        "alarm": {
            "type": "threshold",
            "config": {
                "field": "payload.temperature",
                "above": {"$param": "limit"},
                "hysteresis": 0.5,
                "hold": "2m",
            },
        },
        "siren": {
            "type": "mqtt.out",
            "config": {"broker": "site", "topic": "site/{key}/siren", "payload": "ON"},
        },
    },
    "wires": ["readings -> alarm", "alarm.raised -> siren"],
}


def run(flow: dict[str, Any], **case: Any) -> CaseResult:
    """Run one test of a flow, both read as they would be from their files."""
    read, faults = parse_flow(json.dumps(flow), flow_id="flow", file="flow.json")
    assert read is not None
    assert faults == []
    text = json.dumps({"format": 1, "tests": [{"name": "case", "input": [], "expect": {}, **case}]})
    cases, faults = parse_cases(text)
    assert cases is not None
    assert faults == []
    assert check_cases(cases, read) == []
    return run_case(read, cases.cases[0], REGISTRY, field_type_of(REGISTRY))


def telemetry(temperature: Any, at: str = "0s", device: str = "dev-1") -> dict[str, Any]:
    topic = f"device/{device}/telemetry"
    return {"at": at, "topic": topic, "payload": {"temperature": temperature}}


def passing(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A flow from `in` (fed by the test) through nodes `n1`, `n2`... to `out`, which shows."""
    found = {"in": {"type": "timer.cron", "config": {"expression": "0 0 1 1 *"}}}
    found |= {f"n{index}": node for index, node in enumerate(nodes, 1)}
    chain = [*found, "out"]
    found["out"] = {"type": "debug"}
    wires = [f"{one} -> {other}" for one, other in pairwise(chain)]
    return {"format": 1, "nodes": found, "wires": wires, **more}


# --- by a told clock


def test_r14_passes_when_everything_comes_as_expected() -> None:
    result = run(
        ALARM,
        input=[telemetry(9.1), telemetry(9.2, "150s"), telemetry(7.4, "3m")],
        expect={
            "siren": [{"at": "2m", "topic": "site/dev-1/siren", "payload": "ON"}],
            "alarm.raised": [{"at": "2m", "key": "dev-1", "payload": {"temperature": 9.1}}],
            "alarm.cleared": [{"at": "3m", "meta": {"active": False}}],
        },
    )
    assert result.differences == []
    assert result.passed


def test_r14_runs_timers_until_the_end_that_is_told() -> None:
    tick = {"type": "timer.tick", "config": {"every": "10m", "payload": 1}}
    nodes = {"tick": tick, "out": {"type": "debug"}}
    flow = {"format": 1, "nodes": nodes, "wires": ["tick -> out"]}
    at = [{"at": f"{minute}m"} for minute in (0, 10, 20, 30)]
    assert run(flow, until="35m", expect={"out": at}).differences == []


def test_r14_starts_at_the_time_that_is_told() -> None:
    node = {"type": "compute", "config": {"set": {"payload": "iso(now)"}}}
    result = run(
        passing(node),
        start="2030-06-01T12:00:00Z",
        input=[{"at": "90s", "node": "in", "payload": None}],
        expect={"out": [{"payload": "2030-06-01T12:01:30Z", "time": "2030-06-01T12:01:30Z"}]},
    )
    assert result.differences == []


def test_r14_takes_inputs_in_order_of_time_whatever_their_order_in_the_file() -> None:
    inputs = [{"at": f"{s}s", "node": "in", "payload": s} for s in (3, 1, 2)]
    expect = {"out": [{"payload": 1}, {"payload": 2}, {"payload": 3}]}
    assert run(passing(), input=inputs, expect=expect).differences == []


def test_r14_gives_params_env_and_secrets() -> None:
    flow = json.loads(json.dumps(ALARM))
    flow["connections"]["site"]["config"] = {
        "host": {"$env": "SITE_HOST"},
        "username": "box",
        "password": {"$secret": "site-mqtt"},
    }
    given = {"env": {"SITE_HOST": "10.0.0.1"}, "secrets": {"site-mqtt": "x"}}
    case = {"input": [telemetry(5.0)], "until": "10m", "params": {"limit": 4}}
    assert run(flow, **case, **given, expect={"siren": [{"at": "2m"}]}).differences == []
    assert run(flow, **case).differences == [
        'the env "SITE_HOST" has no value; give it in the test'
    ]


def test_r14_feeds_a_node_within_the_flow() -> None:
    inputs = [{"at": "0s", "node": "alarm", "key": "dev-9", "payload": {"temperature": 20}}]
    expect = {"siren": [{"topic": "site/dev-9/siren"}]}
    assert run(ALARM, input=inputs, until="10m", expect=expect).differences == []


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [({"a": 1}, {"a": 1}), ("ON", "ON"), (2.5, 2.5), ({"$bytes": "//4="}, {"$bytes": "//4="})],
    ids=["JSON", "text", "a number", "bytes"],
)
def test_r14_publishes_a_payload_as_a_device_would(payload: Any, arrives: Any) -> None:
    source = {"type": "mqtt.in", "config": {"broker": "site", "topic": "x/#"}}
    flow = {
        "format": 1,
        "connections": SITE,
        "nodes": {"in": source, "out": {"type": "debug"}},
        "wires": ["in -> out"],
    }
    inputs = [{"at": "0s", "topic": "x/1", "payload": payload}]
    expect = {"out": [{"payload": arrives, "topic": "x/1", "meta": {"qos": 1}}]}
    assert run(flow, input=inputs, expect=expect).differences == []


def test_r14_tells_that_nobody_takes_a_topic() -> None:
    result = run(ALARM, input=[{"at": "0s", "topic": "device/dev-1", "payload": 1}])
    assert result.differences == ['input: no node of the flow takes the topic "device/dev-1"']


# --- what differs is told


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ([], ['out[0] came and was not expected: {"at": "0s"']),
        ([{}, {}], ["out[1] did not come: {}"]),
        ([{"payload": {"t": 2, "r": "a"}}], ["out[0] payload.t: expected 2, got 1"]),
        ([{"payload": {"t": 1}}], ['out[0] payload.r: expected nothing, got "a"']),
        ([{"payload": {"t": 1, "r": "a", "x": 1}}], ["out[0] payload.x: expected 1, got nothing"]),
        ([{"payload": {"t": True, "r": "a"}}], ["out[0] payload.t: expected true, got 1"]),
        ([{"payload": {"t": "1", "r": "a"}}], ['out[0] payload.t: expected "1", got 1']),
        ([{"payload": [1]}], ['out[0] payload: expected [1], got {"t": 1, "r": "a"}']),
        ([{"at": "1s"}], ["out[0] at: expected 1s, got 0s"]),
        ([{"topic": "x"}], ['out[0] topic: expected "x", got ""']),
        ([{"key": "b"}], ['out[0] key: expected "b", got "a"']),
        ([{"meta": {"qos": 1}}], ["out[0] meta.qos: expected 1, got nothing"]),
        ([{"time": "2026-01-01T00:00:01Z"}], ["out[0] time: expected 2026-01-01T00:00:01Z, got"]),
    ],
)
def test_r14_tells(expected: list[Any], told: list[str]) -> None:
    inputs = [{"at": "0s", "node": "in", "key": "a", "payload": {"t": 1, "r": "a"}}]
    result = run(passing(), input=inputs, expect={"out": expected})
    assert not result.passed
    assert len(result.differences) == len(told)
    for line, words in zip(result.differences, told, strict=True):
        assert line.startswith(words)


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({"t": {"$any": True}, "r": {"$any": True}}, True),
        ({"$any": True}, True),
        ({"t": {"$approx": 21.4, "abs": 0.1}, "r": "a"}, True),
        ({"t": {"$approx": 21.4, "abs": 0.01}, "r": "a"}, False),
        ({"t": {"$approx": 20, "rel": 0.1}, "r": "a"}, True),
        ({"t": 21.45, "$partial": True}, True),
        ({"t": 21.45}, False),
        ({"t": 21.45000001, "r": "a"}, True),
        ({"t": 21.4501, "r": "a"}, False),
    ],
)
def test_r14_compares_a_payload(wanted: Any, passes: bool) -> None:
    inputs = [{"at": "0s", "node": "in", "payload": {"t": 21.45, "r": "a"}}]
    assert run(passing(), input=inputs, expect={"out": [{"payload": wanted}]}).passed is passes


def test_r14_takes_a_wider_tolerance_for_the_whole_test() -> None:
    inputs = [{"at": "0s", "node": "in", "payload": 21.45}]
    expect = {"out": [{"payload": 21.4, "at": "1s"}]}
    assert not run(passing(), input=inputs, expect=expect).passed
    wide = {"abs": 0.1, "time": "2s"}
    assert run(passing(), input=inputs, expect=expect, tolerance=wide).passed


def test_r14_minds_the_order_of_one_key_and_of_no_other() -> None:
    inputs = [
        {"at": f"{at}s", "node": "in", "key": key, "payload": at}
        for at, key in enumerate(["a", "b", "a", "b"])
    ]
    by_key = [{"key": "b", "payload": 1}, {"key": "b", "payload": 3}]
    by_key += [{"key": "a", "payload": 0}, {"key": "a", "payload": 2}]
    assert run(passing(), input=inputs, expect={"out": by_key}).differences == []
    assert not run(passing(), input=inputs, expect={"out": by_key[::-1]}).passed


def test_r14_does_not_compare_what_no_one_named() -> None:
    assert run(passing(), input=[{"at": "0s", "node": "in", "payload": 1}]).passed


def test_tells_of_an_output_that_a_node_does_not_have() -> None:
    result = run(ALARM, expect={"alarm.risen": []})
    assert result.differences == ['alarm.risen: node "alarm" has no output "risen"']


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ("alarm", 'alarm: node "alarm" is no sink; name "alarm.raised" or "alarm.cleared" or'),
        ("readings", 'readings: node "readings" is no sink; name "readings.out"'),
    ],
)
def test_r14_tells_that_a_node_is_no_sink(node: str, told: str) -> None:
    """What it takes in is nowhere written down: an expectation of nothing could not fail."""
    (line,) = run(ALARM, input=[telemetry(9.1)], expect={node: []}).differences
    assert line.startswith(told)


# --- state


def test_r14_begins_with_the_state_that_is_told_and_compares_the_one_at_the_end() -> None:
    raised = {"alarm": {"dev-1": {"active": True, "since": None}}}
    result = run(
        ALARM,
        state=raised,
        input=[telemetry(7.0)],
        expect={"alarm.cleared": [{"key": "dev-1"}], "siren": []},
        expect_state={"alarm": {"dev-1": {"active": False}}},
    )
    assert result.differences == []


def test_tells_a_state_that_differs() -> None:
    result = run(ALARM, input=[telemetry(7.0)], expect_state={"alarm": {"dev-1": {"active": True}}})
    assert result.differences == ["state of alarm for 'dev-1': active: expected true, got false"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"siren": {"x": {"a": 1}}}, 'state: node "siren" remembers nothing'),
        ({"alarm": {"dev-1": {"active": "yes"}}}, "state.alarm.dev-1: "),
    ],
)
def test_tells_a_state_that_no_node_can_have(state: Any, told: str) -> None:
    (line,) = run(ALARM, state=state).differences
    assert line.startswith(told)


# --- the outside


def test_r14_a_connection_that_is_down_holds_back_what_is_sent_and_loses_nothing() -> None:
    inputs = [
        {"at": "0s", "connection": "site", "state": "down"},
        telemetry(9.0, "1s"),
        telemetry(9.0, "2s", "dev-2"),
        {"at": "10m", "connection": "site", "state": "up"},
    ]
    topics = [f"site/dev-{number}/siren" for number in (1, 2)]
    held = run(ALARM, input=inputs[:3], until="9m", expect={"siren": [], "alarm.raised": [{}, {}]})
    assert held.differences == []
    result = run(ALARM, input=inputs, until="15m", expect={"siren": [{"topic": t} for t in topics]})
    assert result.differences == []
    first = result.got["siren"][0]["at"]
    assert 10 * 60 * 10**9 <= first <= 12 * 60 * 10**9


def test_r14_a_connection_that_is_slow_takes_a_second() -> None:
    inputs = [{"at": "0s", "connection": "site", "state": "slow"}, telemetry(9.0)]
    expect = {"siren": [{"at": "121s"}]}
    assert run(ALARM, input=inputs, until="10m", expect=expect).differences == []


def test_r14_reaches_neither_the_network_nor_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a flow test went out")

    monkeypatch.chdir(tmp_path)
    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    sinks = {
        "file": {"type": "file.append", "config": {"path": "log.jsonl"}},
        "series": {"type": "series.write", "config": {"series": "t"}},
        "influx": {
            "type": "influxdb.write",
            "config": {"server": "db", "measurement": "m", "fields": {"v": "payload"}},
        },
        "mqtt": {"type": "mqtt.out", "config": {"broker": "site", "topic": "out"}},
        "switch": {
            "type": "actuator.switch",
            "config": {"through": "mqtt", "broker": "site", "topic": "fan", "value": "payload > 0"},
        },
    }
    database = {"url": "http://127.0.0.1:9", "bucket": "b"}
    flow = {
        "format": 1,
        "connections": {**SITE, "db": {"type": "influxdb.server", "config": database}},
        "nodes": {"in": {"type": "timer.tick", "config": {"every": "1m", "payload": 3}}, **sinks},
        "wires": [f"in -> {name}" for name in sinks],
    }
    expect: dict[str, Any] = {name: [{"payload": 3}] * 2 for name in ("file", "series", "influx")}
    expect |= {"mqtt": [{"topic": "out", "payload": 3}] * 2, "switch": [{"payload": "ON"}]}
    assert run(flow, until="1m", expect=expect).differences == []
    assert list(tmp_path.rglob("*")) == []


def test_a_node_that_listens_hears_what_is_published() -> None:
    flow = {
        "format": 1,
        "connections": SITE,
        "nodes": {
            "in": {"type": "timer.tick", "config": {"every": "1d", "payload": True}},
            "fan": {
                "type": "actuator.switch",
                "config": {
                    "through": "mqtt",
                    "broker": "site",
                    "topic": "fan/set",
                    "confirm": {"topic": "fan/state", "timeout": "5s"},
                },
            },
        },
        "wires": ["in -> fan"],
    }
    answer = {"at": "2s", "topic": "fan/state", "payload": "ON"}
    confirmed = {"fan": [{"payload": "ON"}], "fan.confirmed": [{"at": "2s"}], "fan.failed": []}
    assert run(flow, input=[answer], until="1m", expect=confirmed).differences == []
    failed = {"fan.confirmed": [], "fan.failed": [{"at": "5s"}]}
    assert run(flow, until="1m", expect=failed).differences == []


# --- errors


def test_r14_fails_for_an_error_that_no_one_expected() -> None:
    (line,) = run(ALARM, input=[telemetry("warm"), telemetry(None)]).differences
    assert line.startswith('alarm: 2 x "not-a-number": payload.temperature is')


@pytest.mark.parametrize(
    ("findings", "told"),
    [
        ([{"node": "alarm", "slug": "not-a-number", "count": 1}], []),
        ([{"slug": "not-a-number"}], []),
        (
            [{"node": "alarm", "slug": "not-a-number", "count": 2}],
            ["error not-a-number: expected 2 times, came 1 times"],
        ),
        (
            [{"slug": "not-json"}, {"slug": "not-a-number"}],
            ["error not-json: expected at least once, came 0 times"],
        ),
    ],
)
def test_r14_compares_the_errors_that_are_expected(findings: list[Any], told: list[str]) -> None:
    result = run(ALARM, input=[telemetry("warm")], expect_findings=findings)
    assert result.differences == told


def test_r14_an_error_that_is_named_in_expect_is_expected() -> None:
    error = {"meta": {"error": {"slug": "not-a-number", "$partial": True}}}
    result = run(ALARM, input=[telemetry("warm")], expect={"alarm.error": [error]})
    assert result.differences == []


def test_an_error_that_an_expected_catch_takes_is_expected() -> None:
    flow = json.loads(json.dumps(ALARM))
    flow["nodes"]["catch"] = {"type": "catch"}
    flow["nodes"]["log"] = {"type": "debug"}
    flow["wires"].append("catch -> log")
    inputs = [telemetry("warm")]
    assert run(flow, input=inputs, expect={"log": [{"key": "dev-1"}], "catch.out": [{}]}).passed
    assert not run(flow, input=inputs).passed


def test_r14_a_catch_excuses_what_is_in_its_scope_and_nothing_else() -> None:
    flow = passing({"type": "scale", "config": {"factor": 2.0}})
    flow["nodes"]["late"] = {"type": "scale", "config": {"factor": 2.0}}
    flow["nodes"]["catch"] = {"type": "catch", "config": {"nodes": ["n1"]}}
    flow["wires"] += ["n1 -> late", "late -> out", "catch -> out"]
    expect = {"out": [{"payload": "warm"}], "catch.out": [{}]}
    assert run(flow, input=[{"node": "n1", "payload": "warm"}], expect=expect).differences == []
    (line,) = run(
        flow, input=[{"node": "late", "payload": "warm"}], expect={"catch.out": []}
    ).differences
    assert line.startswith('late: 1 x "not-a-number"')


def test_r6_r14_a_catch_does_not_excuse_an_error_of_its_handler() -> None:
    flow = passing({"type": "scale", "config": {"factor": 2.0}})
    flow["nodes"]["catch"] = {"type": "catch"}
    flow["nodes"]["handler"] = {"type": "scale", "config": {"factor": 2.0}}
    flow["wires"] += ["catch -> handler", "handler -> out"]
    inputs = [{"node": "n1", "payload": "warm"}]
    (line,) = run(flow, input=inputs, expect={"catch.out": [{}]}).differences
    assert line.startswith('handler: 1 x "not-a-number"')


def test_does_not_run_a_flow_with_faults() -> None:
    flow = passing({"type": "threshold", "config": {}})
    (line,) = run(flow).differences
    assert "exactly one" in line


# --- --update


def test_r14_an_update_is_what_came_with_the_keys_from_before() -> None:
    flow = passing({"type": "scale", "config": {"factor": 2.0}})
    case = {
        "input": [{"at": "1s", "node": "in", "key": "a", "payload": 4}],
        "expect": {"out": [{"key": "b", "payload": 7}], "n1.out": []},
    }
    result = run(flow, **case)
    cases, _ = parse_cases(json.dumps({"format": 1, "tests": [{"name": "case", **case}]}))
    assert cases is not None
    made = expectation(cases.cases[0], result.got)
    assert made == {
        "out": [{"key": "a", "payload": 8.0}],
        "n1.out": [{"at": "1s", "payload": 8.0}],
    }
    assert run(flow, **{**case, "expect": made}).differences == []

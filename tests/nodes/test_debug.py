"""The debug node shows messages as JSON: ten a second in the log, the last hundred apart (R15)."""

import json
import logging
from typing import Any

import pytest

from flowengine import Message
from flowengine.testing import NodeBench, ToldClock


def lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """What was logged: JSON objects, and sentences as they are."""
    found = [record.getMessage() for record in caplog.records if "flowengine" in record.name]
    caplog.clear()
    return [json.loads(text) if text.startswith("{") else text for text in found]


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_r15_a_line_is_the_message_with_flow_and_node_before_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = NodeBench("debug", node_id="look")
    payload = {"t": 21, "f": 21.0, "raw": b"\x00\xff"}
    bench.send_many([Message(payload, "a/b", 1_500_000_000, "dev-1", {"qos": 1}, "7f")])
    (line,) = lines(caplog)
    assert list(line.items()) == [
        ("flow", "bench"),
        ("node", "look"),
        ("id", "7f"),
        ("time", "1970-01-01T00:00:01.5Z"),
        ("topic", "a/b"),
        ("key", "dev-1"),
        ("payload", {"t": 21, "f": 21.0, "raw": {"$bytes": "AP8="}}),
        ("meta", {"qos": 1}),
    ]
    assert repr(line["payload"]["f"]) == "21.0"
    assert list(bench.node.recent) == [line]


def test_r15_a_field_shows_alone_and_as_null_when_absent(caplog: pytest.LogCaptureFixture) -> None:
    bench = NodeBench("debug", {"field": "payload.t", "to": ["log"]})
    bench.send({"t": 21.5}, time=0)
    bench.send({}, time=0)
    first, second = lines(caplog)
    assert list(first) == ["flow", "node", "time", "key", "value"]
    assert (first["value"], second["value"]) == (21.5, None)
    assert len(bench.node.recent) == 0


def test_r15_the_log_gets_ten_a_second_and_then_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = ToldClock()
    bench = NodeBench("debug", clock=clock)
    bench.send_many([Message(n) for n in range(7)])
    bench.send_many([Message(n) for n in range(7, 20)])
    assert [line["payload"] for line in lines(caplog)] == list(range(10))
    clock.advance(999_000_000)
    assert lines(caplog) == []
    clock.advance(1_000_000)
    assert lines(caplog) == ["10 more messages in this second"]
    assert bench.counts["not-logged"] == 10
    bench.send(20)
    assert [line["payload"] for line in lines(caplog)] == [20]


def test_r15_the_panel_has_the_last_hundred_whatever_the_log_had() -> None:
    bench = NodeBench("debug", {"to": ["panel"]})
    bench.send_many([Message(n) for n in range(250)])
    bench.send(250)
    assert [shown["payload"] for shown in bench.node.recent] == list(range(151, 251))


def test_r57_it_commits_at_once_and_needs_no_store() -> None:
    bench = NodeBench("debug")
    bench.send(1)
    assert (bench.unsettled, bench.node.batch_age, bench.node.spools) == (0, 0, False)


def test_what_was_not_logged_is_said_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    bench = NodeBench("debug")
    bench.send_many([Message(n) for n in range(12)])
    lines(caplog)
    bench.close()
    bench.close()
    assert lines(caplog) == ["2 more messages in this second"]

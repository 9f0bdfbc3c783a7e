"""A source's messages get their own time and key where they have one, else that of the arrival."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.node import SourceConfig
from flowengine.stamping import Stamper
from flowengine.testing import NodeBench, ToldClock

S = 1_000_000_000
NOW = 1_767_225_600 * S  # 2026-01-01T00:00:00Z
ARRIVAL = {"time_quality": "arrival"}


def stamper(**config: Any) -> tuple[Stamper, NodeBench]:
    """A stamper with these settings of a source, and the bench whose clock and counters it has."""
    bench = NodeBench("timer.tick", {"every": "1s"}, params={"site": "s"}, clock=ToldClock(NOW))
    return Stamper(SourceConfig.model_validate(config), bench.context), bench


def stamped(payload: Any, **config: Any) -> tuple[Message, NodeBench]:
    made, bench = stamper(**config)
    (message,) = made.stamp([Message(payload, "t", key="own", meta={"qos": 1})])
    return message, bench


@pytest.mark.parametrize(
    ("at", "format", "time"),
    [
        (1_767_225_599.5, "auto", NOW - S // 2),
        (1_767_225_599_500, "auto", NOW - S // 2),
        ("2025-12-31T23:59:59.5Z", "auto", NOW - S // 2),
        (1_767_225_599_500, "unix_ms", NOW - S // 2),
        (0, "auto", 0),
        (1_767_225_600 + 3600, "auto", NOW + 3600 * S),
    ],
)
def test_r2_the_time_is_the_messages_own(at: Any, format: str, time: int) -> None:  # noqa: A002  # as the field
    message, bench = stamped({"at": at}, time="payload.at", time_format=format)
    assert (message.time, message.meta) == (time, {"qos": 1})
    assert not bench.counts


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({}, "time-unreadable"),
        ({"at": None}, "time-unreadable"),
        ({"at": "noon"}, "time-unreadable"),
        ({"at": True}, "time-unreadable"),
        ({"at": float("nan")}, "time-unreadable"),
        ({"at": 10**400}, "time-unreadable"),
        ("text", "time-unreadable"),
        ({"at": 1_767_225_600 + 3601}, "time-ahead"),
    ],
)
def test_r2_f63_a_time_that_cannot_be_is_that_of_the_arrival_and_no_error(
    payload: Any, reason: str
) -> None:
    message, bench = stamped(payload, time="payload.at")
    assert (message.time, message.meta) == (NOW, {"qos": 1, **ARRIVAL})
    assert dict(bench.counts) == {reason: 1}


@pytest.mark.parametrize(("ahead", "believed"), [(5, True), (6, False)])
def test_r2_f63_max_ahead_says_how_far_in_the_future_is_believed(
    ahead: int, believed: bool
) -> None:
    at = {"at": 1_767_225_600 + ahead}
    message, _ = stamped(at, time="payload.at", max_ahead="5s")
    assert message.time == (NOW + 5 * S if believed else NOW)


def test_r2_without_a_time_it_is_the_arrival_and_nothing_is_said_of_it() -> None:
    message, bench = stamped({"at": 5})
    assert (message.time, message.meta, dict(bench.counts)) == (NOW, {"qos": 1}, {})


@pytest.mark.parametrize(
    ("key", "payload", "expected"),
    [
        (None, {"id": "x"}, "own"),
        ("payload.id", {"id": "x"}, "x"),
        ("payload.id", {"id": 7}, "7"),
        ("payload.id", {"id": 7.0}, "7"),
        ("payload.id", {"id": 7.5}, "7.5"),
        ("params.site", {}, "s"),
        ("payload.id", {}, ""),
        ("payload.id", {"id": None}, ""),
        ("payload.id", {"id": True}, ""),
    ],
)
def test_r10_the_key_may_be_an_expression(key: str | None, payload: Any, expected: str) -> None:
    """Without a usable one the message has none, and the first keyed node says so (R10)."""
    message, bench = stamped(payload, **({} if key is None else {"key": key}))
    assert message.key == expected
    assert dict(bench.counts) == ({} if expected else {"no-key": 1})


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 3)), min_size=1, max_size=8))
def test_r55_times_of_arrival_only_rise_whatever_the_clock_does(
    reads: list[tuple[int, int]],
) -> None:
    """Each read is a number of messages and what the wall clock did before it, in ns."""
    made, bench = stamper()
    times: list[int] = []
    for number, jump in reads:
        bench.told.set_wall(bench.told.now() + jump)
        messages = made.stamp([Message(n) for n in range(number)])
        assert messages[0].time >= bench.clock.now()
        times += [message.time for message in messages]
    assert all(one < other for one, other in pairwise(times))


# -- a clock that is set


HOUR = 3600 * S


def test_f60_a_clock_set_back_stamps_what_comes_with_the_time_it_shows() -> None:
    """Not for an hour with the last time before the jump, a nanosecond apart."""
    made, bench = stamper()
    bench.told.advance(HOUR)
    made.stamp([Message(1)])
    bench.told.set_wall(NOW)
    bench.told.advance(S)
    (message,) = made.stamp([Message(2)])
    assert (message.time, message.meta) == (NOW + S, {})


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_f60_whoever_keeps_event_times_hears_of_a_jump_before_the_first_message_after_it(
    jump: int,
) -> None:
    made, bench = stamper()
    heard: list[int] = []
    bench.told.trust.listeners.append(heard.append)
    made.stamp([Message(1)])
    bench.told.set_wall(bench.told.now() + jump)
    made.stamp([Message(2)])
    assert heard == [jump]


def unset(**config: Any) -> tuple[Stamper, NodeBench]:
    """A stamper on a box that has booted in 1970."""
    made, bench = stamper(**config)
    bench.told.set_wall(60 * S)
    bench.told.trust.begin()
    return made, bench


def test_f61_what_comes_before_the_clock_is_set_bears_what_mends_it() -> None:
    made, bench = unset()
    assert not made.is_plain
    messages = made.stamp([Message(n, meta={"qos": n}) for n in (0, 1)])
    mark = f"b007b007/{60 * S - bench.told.monotonic()}"
    assert [m.meta for m in messages] == [
        {"qos": n, "time_quality": "unsynced", "clock": f"{mark}/{60 * S + n}"} for n in (0, 1)
    ]
    bench.told.set_wall(NOW)
    bench.told.trust.look()
    assert made.is_plain
    bench.told.trust.mend(messages)
    assert [(m.time, m.meta["time_quality"]) for m in messages] == [
        (NOW, "mended"),
        (NOW + 1, "mended"),
    ]


def test_f61_a_device_that_knows_the_time_is_believed_by_a_box_that_does_not() -> None:
    made, bench = unset(time="payload.at")
    (message,) = made.stamp([Message({"at": NOW // S}, meta={"qos": 1})])
    assert (message.time, message.meta) == (NOW, {"qos": 1, "time_quality": "unchecked"})
    assert not bench.counts


def test_f61_a_time_that_cannot_be_read_is_that_of_the_arrival_and_mended_with_it() -> None:
    made, bench = unset(time="payload.at")
    (message,) = made.stamp([Message({"at": "noon"})])
    assert (message.time, message.meta["time_quality"]) == (60 * S, "unsynced")
    bench.told.set_wall(NOW)
    bench.told.trust.look()
    bench.told.trust.mend([message])
    assert (message.time, message.meta) == (NOW, {"time_quality": "mended"})


def test_f61_a_tick_on_a_clock_that_is_not_set_is_marked_as_everything_else() -> None:
    bench = NodeBench("timer.tick", {"every": "1s"}, clock=ToldClock(60 * S))
    bench.told.trust.begin()
    bench.open()
    (message,) = bench.advance("0s")["out"]
    assert (message.time, message.meta["time_quality"]) == (60 * S, "unsynced")

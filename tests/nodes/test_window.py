"""The window node puts what belongs to a stretch of time into one message, once (R3)."""

import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message, rfc3339
from flowengine.errors import FindingsError
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000
START = 1_767_225_600  # 2026-01-01T00:00:00Z, a whole minute
Sent = list[tuple[int, int, str, float]]
SENT = st.lists(
    st.tuples(
        st.integers(0, 15), st.integers(-40, 20), st.sampled_from("ab"), st.integers(-99, 99)
    ),
    max_size=40,
)


def at(seconds: float) -> int:
    """Event time so many seconds after the start."""
    return round((START + seconds) * SECOND)


def window(**config: Any) -> NodeBench:
    """A window node of the payload itself."""
    return NodeBench("window", {"fields": ["payload"], **config})


def spans(messages: list[Message]) -> list[tuple[str, str, int]]:
    """Start, end (minute and second) and count of windows that left."""
    return [
        (m.payload["start"][14:-1], m.payload["end"][14:-1], m.payload["count"]) for m in messages
    ]


def high_water(seen: list[tuple[int, int]], now: int, lateness: int) -> float:
    """R3 word for word: the highest watermark up to `now`; seen = (arrival, event time)."""
    high: float = -math.inf
    for index in range(len(seen)):
        before = seen[: index + 1]
        newest = max(time for _, time in before)
        arrived = next(arrival for arrival, time in before if time == newest)
        until = seen[index + 1][0] if index + 1 < len(seen) else now
        high = max(high, newest + until - arrived - lateness)
    return high


@given(SENT, st.sampled_from([(20, 20), (20, 5), (7, 7)]), st.sampled_from([0, 5, 30]))
def test_r3_f63_totals_equal_a_plain_recomputation_in_any_order(
    sent: Sent, length: tuple[int, int], lateness: int
) -> None:
    every, hop = length
    bench = window(
        every=f"{every}s",
        hop=f"{hop}s",
        lateness=f"{lateness}s",
        functions=["sum", "min", "max", "count"],
    )
    left: list[Message] = []
    late: list[float] = []
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    expected: dict[tuple[str, int], list[float]] = defaultdict(list)
    expected_late: list[float] = []
    now = 0
    for wait, behind, key, value in sent:
        now += wait
        time = START + now + behind
        left += bench.advance(wait * SECOND).get("out", [])
        seen[key].append((now, time))
        high = high_water(seen[key], now, lateness)
        starts = [s for s in range(time - every + 1, time + 1) if s % hop == 0]
        open_ = [s for s in starts if s + every > high]
        for start in open_:
            expected[key, start].append(value)
        if not open_:
            expected_late.append(value)
        out = bench.send(value, key=key, time=time * SECOND)
        left += out.get("out", [])
        late += [m.payload for m in out.get("late", [])]
    left += bench.advance("10m").get("out", [])
    got = {
        (m.key, m.time // SECOND): tuple(m.payload[f"payload_{f}"] for f in ("sum", "min", "max"))
        for m in left
    }
    assert got == {
        place: (sum(values), min(values), max(values)) for place, values in expected.items()
    }
    assert len(left) == len(expected)
    assert late == expected_late
    assert bench.unsettled == 0


@given(SENT, st.sampled_from([0, 8]))
def test_r3_a_window_leaves_in_the_very_second_in_which_the_watermark_reaches_its_end(
    sent: Sent, lateness: int
) -> None:
    bench = window(every="20s", lateness=f"{lateness}s")
    seen: list[tuple[int, int]] = []
    now = 0

    def check(messages: list[Message], before: float) -> None:
        high = high_water(seen, now, lateness)
        for message in messages:
            end = message.time // SECOND + 20
            assert before < end <= high

    for wait, behind, _, value in sent:
        for _ in range(wait):
            before = high_water(seen, now, lateness)
            now += 1
            check(bench.advance("1s").get("out", []), before)
        before = high_water(seen, now, lateness)
        seen.append((now, START + now + behind))
        check(bench.send(value, time=(START + now + behind) * SECOND).get("out", []), before)


@given(SENT)
def test_r3_sessions_are_the_stretches_without_a_gap(sent: Sent) -> None:
    bench = window(session_gap="10s", lateness="10m", functions=["sum"])
    times: dict[str, list[tuple[int, float]]] = defaultdict(list)
    now = 0
    for wait, behind, key, value in sent:
        now += wait
        bench.advance(wait * SECOND)
        times[key].append((now + behind, value))
        assert bench.send(value, key=key, time=at(now + behind)) == {}
    left = bench.advance("1h").get("out", [])
    expected = []
    for key, points in times.items():
        runs: list[list[tuple[int, float]]] = []
        for point in sorted(points):
            if not runs or point[0] - runs[-1][-1][0] >= 10:
                runs.append([])
            runs[-1].append(point)
        for run in runs:
            bounds = rfc3339(at(run[0][0])), rfc3339(at(run[-1][0] + 10))
            expected.append((key, *bounds, len(run), sum(value for _, value in run)))
    assert sorted((m.key, *m.payload.values()) for m in left) == sorted(expected)
    assert bench.unsettled == 0


# -- what it says


def test_r3_the_payload_is_flat_and_named_by_field_and_function() -> None:
    bench = NodeBench(
        "window",
        {
            "every": "1m",
            "fields": ["payload.temperature", "payload.air.humidity"],
            "functions": ["mean", "max", "stddev", "count"],
        },
    )
    for second, temperature, humidity in ((1, 21, 40), (2, 22, "wet"), (3, 23.0, None)):
        payload = {"temperature": temperature, "air": {"humidity": humidity}}
        assert bench.send(payload, topic=f"t/{second}", time=at(second)) == {}
    bench.send({"temperature": True}, topic="t/0", time=at(0))
    (out,) = bench.advance("1m")["out"]
    assert out.payload == {
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T00:01:00Z",
        "count": 4,
        "temperature_mean": 22.0,
        "temperature_max": 23.0,
        "temperature_stddev": 1.0,
        "temperature_count": 3,
        "humidity_mean": 40.0,
        "humidity_max": 40,
        "humidity_stddev": None,
        "humidity_count": 1,
    }
    assert (out.time, out.key, out.topic) == (at(0), "dev-1", "t/3")


def test_r3_a_field_without_one_number_gives_null() -> None:
    bench = window(every="1m", functions=["mean", "sum", "first", "median", "count"])
    bench.send("off")
    (out,) = bench.advance("1m")["out"]
    assert list(out.payload.values())[2:] == [1, None, None, None, None, 0]


def test_r3_windows_are_aligned_and_a_bound_belongs_to_the_later_one() -> None:
    bench = window(every="1m", lateness="5m")
    for second in (0, 59.999, 60, 119):
        bench.send(1, time=at(second))
    assert spans(bench.advance("1h")["out"]) == [("00:00", "01:00", 2), ("01:00", "02:00", 2)]


def test_r3_a_message_belongs_to_every_hop_that_covers_its_time() -> None:
    bench = window(every="1m", hop="20s", lateness="5m")
    bench.send(1, time=at(125))
    assert spans(bench.advance("1h")["out"]) == [
        ("01:20", "02:20", 1),
        ("01:40", "02:40", 1),
        ("02:00", "03:00", 1),
    ]


def test_r3_so_many_messages_of_a_key_make_a_window_by_count() -> None:
    bench = window(count=3, functions=["sum"])
    out = [bench.send(n, key="a", time=at(10 - n)) for n in range(6)]
    assert [list(o) for o in out] == [[], [], ["out"], [], [], ["out"]]
    first = out[2]["out"][0]
    assert (first.payload["payload_sum"], first.time) == (3, at(8))
    assert spans([first]) == [("00:08", "00:10", 3)]
    bench.send(1, key="b")
    assert bench.advance("30d") == {}
    assert bench.unsettled == 1


def test_r3_what_closes_at_one_moment_leaves_by_end_then_key() -> None:
    bench = window(every="1m", lateness="10m")
    bench.send_many([Message(1, "", at(s), k) for s in (10, 70, 130) for k in "cab"])
    out = bench.advance("1h")["out"]
    assert [(m.key, m.time) for m in out] == [(k, at(s)) for s in (0, 60, 120) for k in "abc"]


def test_r10_one_window_for_all_keys() -> None:
    bench = window(every="1m", key="''")
    bench.send_many([Message(n, "", at(n), "ab"[n % 2]) for n in range(4)])
    (out,) = bench.advance("1m")["out"]
    assert (out.key, out.payload["count"]) == ("", 4)


# -- when it closes


def test_r3_the_last_window_of_a_silent_device_comes_out() -> None:
    bench = window(every="1m", lateness="10s")
    bench.send(1, time=at(30))
    assert bench.advance("39s") == {}
    assert spans(bench.advance("1s")["out"]) == [("00:00", "01:00", 1)]
    assert bench.advance("1d") == {}


def test_r3_a_replay_of_last_week_is_not_late() -> None:
    bench = window(every="1m")
    week = 7 * 86_400
    outs = bench.send_many([Message(1, "", at(s - week), "a") for s in range(0, 600, 10)])
    assert "late" not in outs
    assert len(outs["out"]) == 9
    assert len(bench.advance("10s")["out"]) == 1


@pytest.mark.parametrize("wall", [0, 2_147_483_647, 4_291_747_200])
def test_f60_the_wall_clock_has_no_part_in_it(wall: int) -> None:
    clock = ToldClock()
    bench = NodeBench("window", {"every": "1m", "fields": ["payload"]}, clock=clock)
    bench.send(1, time=at(30))
    clock.set_wall(wall * SECOND)
    assert bench.advance("29s") == {}
    assert "out" in bench.advance("1s")


def test_r3_a_late_message_leaves_unchanged_and_says_how_late_it_is() -> None:
    bench = window(every="1m")
    bench.send(1, time=at(30))
    bench.advance("42.5s")
    (late,) = bench.send(7, time=at(0), topic="t", meta={"qos": 1})["late"]
    assert (late.payload, late.topic, late.time) == (7, "t", at(0))
    assert late.meta == {"qos": 1, "late": "1m12.5s"}
    assert bench.send(8, time=at(59))["late"][0].meta["late"] == "13.5s"


def test_r3_a_closed_window_is_never_opened_again_even_one_without_members() -> None:
    bench = window(every="1m")
    bench.send(1, time=at(200))
    assert "late" in bench.send(1, time=at(70))
    # newest event time moves on, but slower than the clock went: the watermark does not go back
    bench.advance("100s")
    bench.send(1, time=at(201))
    assert "late" in bench.send(1, time=at(239))
    assert bench.send(1, time=at(301)) == {}


def test_r3_sessions_that_a_message_joins_become_one_with_all_receipts() -> None:
    bench = window(session_gap="10s", lateness="1m", functions=["sum", "first", "last"])
    for second, value in ((0, 1), (14, 2), (7, 4)):
        bench.send(value, time=at(second))
    assert len(bench.state("dev-1").open) == 1
    assert bench.unsettled == 3
    (out,) = bench.advance("10m")["out"]
    assert spans([out]) == [("00:00", "00:24", 3)]
    assert list(out.payload.values())[3:] == [7, 1, 2]
    assert (bench.unsettled, bench.fates["delivered"]) == (0, 3)


def test_r3_a_message_whose_own_session_would_be_over_is_late() -> None:
    bench = window(session_gap="10s")
    bench.send(1, time=at(100))
    assert bench.send(2, time=at(90)).get("late")
    assert bench.send(3, time=at(91)) == {}
    assert bench.state("dev-1").open[0].count == 2


# -- acknowledgement and restart


def test_r16_members_are_delivered_when_the_result_is() -> None:
    bench = window(every="1m", hop="20s")
    bench.send_many([Message(n, "", at(n), "a") for n in (5, 6)])
    assert bench.unsettled == 2
    bench.advance("30s")
    assert bench.unsettled == 2
    bench.advance("30s")
    assert (bench.unsettled, bench.fates["delivered"], bench.filtered) == (0, 2, 0)


def test_r3_open_windows_survive_a_restart() -> None:
    bench = window(every="1m", functions=["sum", "median"])
    bench.send_many([Message(n, "", at(n), "a") for n in (1, 2)])
    bench.advance("10s")
    bench.restart()
    assert bench.unacknowledged == 0
    bench.send(6, key="a", time=at(12))
    (out,) = bench.advance("48s")["out"]
    assert list(out.payload.values())[2:] == [3, 9, 2]
    assert bench.unacknowledged == 0


def test_r3_what_waited_at_a_broker_while_the_engine_was_down_is_not_late() -> None:
    clock = ToldClock()
    bench = NodeBench("window", {"every": "1m", "fields": ["payload"]}, clock=clock)
    bench.send(1, time=at(30))
    bench.advance("0s")
    bench.context.cancel_timers()
    clock.advance(3600 * SECOND)
    bench.restart()
    assert bench.send(2, time=at(45)) == {}
    assert spans(bench.send(3, time=at(3630))["out"]) == [("00:00", "01:00", 2)]


def test_f62_a_box_that_slept_closes_each_window_once() -> None:
    bench = window(every="1m")
    bench.send(1, time=at(30))
    assert len(bench.advance("8h")["out"]) == 1
    assert "late" in bench.send(1, time=at(40))


# -- settings


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "exactly one"),
        ({"every": "1m", "count": 2}, "exactly one"),
        ({"count": 2, "hop": "1s"}, "goes with"),
        ({"every": "1m", "hop": "7s"}, "does not divide"),
        ({"every": "1h", "hop": "1s"}, "1,000"),
        ({"every": "0s"}, "no time"),
        ({"every": "1m", "fields": []}, "fields"),
        ({"every": "1m", "functions": ["mean", "mean"]}, "twice"),
        ({"every": "1m", "functions": ["average"]}, "functions|0 is"),
        ({"every": "1m", "fields": ["payload.a.t", "payload.b.t"]}, '2 fields end in "t"'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_r3_settings_that_cannot_be_are_findings(config: dict[str, Any], words: str) -> None:
    with pytest.raises(FindingsError, match=words):
        window(**config)


def test_a_replay_sets_one_timer_a_batch_and_not_one_a_message() -> None:
    clock = ToldClock()
    bench = NodeBench("window", {"every": "1m", "fields": ["payload"]}, clock=clock)
    calls = 0
    plain = clock.call_at

    def counting(when: int, call: Any) -> Any:
        nonlocal calls
        calls += 1
        return plain(when, call)

    clock.call_at = counting  # type: ignore[method-assign]  # counts what it passes on
    bench.send_many([Message(1, "", at(n * 10), "a") for n in range(1000)])
    bench.advance("0s")
    assert calls <= 2
    assert "out" in bench.advance("1m")

"""The window node puts what belongs to a stretch of time into one message, once (R3)."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message, rfc3339
from flowengine.errors import FindingsError
from flowengine.moments import parse_duration
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


class Rule:
    """R3 word for word, for one key: newest event time, when it came, what is closed, what is open.

    Times in seconds.
    """

    def __init__(self, every: int, hop: int, lateness: int) -> None:
        self.every, self.hop, self.lateness = every, hop, lateness
        self.newest, self.arrived, self.high = -math.inf, 0, -math.inf
        self.open: dict[int, list[float]] = {}
        self.late: list[float] = []

    def _close(self, mark: float) -> list[tuple[int, list[float]]]:
        over = [start for start in sorted(self.open) if start + self.every <= mark]
        self.high = max([self.high, *(start + self.every for start in over)])
        return [(start, self.open.pop(start)) for start in over]

    def wait(self, now: int) -> list[tuple[int, list[float]]]:
        """Time goes by, and nothing waits: what closes."""
        return self._close(self.newest + now - self.arrived - self.lateness)

    def take(self, now: int, time: int, value: float) -> list[tuple[int, list[float]]]:
        """A message comes: what closes."""
        if time > self.newest:
            self.newest, self.arrived = time, now
        self.high = max(self.high, self.newest - self.lateness)
        left = self._close(self.high)
        starts = [s for s in range(time - self.every + 1, time + 1) if s % self.hop == 0]
        open_ = [s for s in starts if s + self.every > self.high]
        for start in open_:
            self.open.setdefault(start, []).append(value)
        if not open_:
            self.late.append(value)
        return left


@given(SENT, st.sampled_from([(20, 20), (20, 5), (7, 7)]), st.sampled_from([0, 5, 30]))
def test_r3_f63_windows_leave_when_and_with_what_a_plain_recomputation_says_in_any_order(
    sent: Sent, length: tuple[int, int], lateness: int
) -> None:
    every, hop = length
    bench = window(
        every=f"{every}s",
        hop=f"{hop}s",
        lateness=f"{lateness}s",
        functions=["sum", "min", "max", "count"],
    )
    rules = {key: Rule(every, hop, lateness) for key in "ab"}
    late: list[float] = []
    now = START

    def check(left: list[Message], closed: dict[str, list[tuple[int, list[float]]]]) -> None:
        got = [
            (m.key, m.time // SECOND, *(m.payload[f"payload_{f}"] for f in ("sum", "min", "max")))
            for m in left
        ]
        assert sorted(got) == sorted(
            (key, start, sum(values), min(values), max(values))
            for key, windows in closed.items()
            for start, values in windows
        )

    def wait(seconds: int) -> None:
        nonlocal now
        for step in [0, *[1] * seconds]:
            now += step
            left = bench.advance(step * SECOND).get("out", [])
            check(left, {key: rule.wait(now) for key, rule in rules.items()})

    for seconds, behind, key, value in sent:
        wait(seconds)
        time = now + behind
        out = bench.send(value, key=key, time=time * SECOND)
        check(out.get("out", []), {key: rules[key].take(now, time, value)})
        late += [m.payload for m in out.get("late", [])]
    wait(100)
    assert sorted(late) == sorted(value for rule in rules.values() for value in rule.late)
    assert bench.unsettled == 0


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


JUMPS: dict[str, Callable[[int], int]] = {
    "an hour on": lambda now: now + 3600 * SECOND,
    "an hour back": lambda now: now - 3600 * SECOND,
    "to 1970": lambda _now: 5 * SECOND,
    "to 2038": lambda _now: 2_147_483_647 * SECOND,
    "to 2106": lambda _now: 4_291_747_200 * SECOND,
}


def set_wall(bench: NodeBench, wall: int) -> None:
    """The wall clock is set, and the engine tells the node."""
    bench.told.trust.listeners[:] = [bench.node.clock_set]
    bench.told.set_wall(wall)
    bench.told.trust.look()


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("hop", ["1m", "20s"])
def test_f60_what_is_stamped_by_arrival_closes_when_it_would_have_and_nothing_is_late(
    jump: str, hop: str
) -> None:
    bench = window(every="1m", hop=hop, functions=["sum"])
    bench.send(1)
    bench.advance("30s")
    set_wall(bench, JUMPS[jump](bench.clock.now()))
    moved = bench.clock.now() - 30 * SECOND
    out = bench.send(2)
    assert out == {}
    left = []
    for _ in range(300):
        left += bench.advance("1s").get("out", [])
        out = bench.send(0)
        assert "late" not in out
        left += out.get("out", [])
    assert moved in {m.time for m in left}
    (first,) = [m for m in left if m.time == moved]
    # The second message is in it too, unless it stands out of line with those that come next.
    assert first.payload["payload_sum"] == 3 or (hop == "20s" and jump.startswith("to"))
    ends = sorted({m.payload["end"] for m in left})
    assert len(ends) >= 5  # a result a minute at least, as before


@pytest.mark.parametrize("jump", JUMPS)
def test_f60_what_devices_have_stamped_takes_no_notice_of_the_boxs_clock(jump: str) -> None:
    bench = window(every="1m", functions=["sum"])
    bench.send(1, time=at(0))
    bench.advance("30s")
    set_wall(bench, JUMPS[jump](bench.clock.now()))
    assert bench.send(2, time=at(30)) == {}
    bench.advance("29s")
    assert bench.send(4, time=at(59)) == {}
    (out,) = bench.advance("1s")["out"]
    assert (out.payload["payload_sum"], out.time, out.meta) == (7, at(0), {})


def test_f60_each_key_follows_its_own_messages() -> None:
    config = {"every": "1m", "fields": ["payload"], "functions": ["sum"]}
    bench = NodeBench("window", config, clock=ToldClock(at(7200)))
    bench.send(1, key="device", time=at(0) + 7)
    bench.send(1, key="arrival")
    set_wall(bench, bench.clock.now() - 3600 * SECOND)
    bench.send(2, key="device", time=at(0) + 8)
    bench.send(2, key="arrival")
    out = {m.key: m for m in bench.advance("1m")["out"]}
    assert {key: m.payload["payload_sum"] for key, m in out.items()} == {"device": 3, "arrival": 3}
    assert {key: m.time for key, m in out.items()} == {"device": at(0), "arrival": at(3600)}
    assert out["arrival"].meta == {"time_quality": "mended"}


def test_f61_a_window_that_leaves_before_the_clock_is_set_can_be_mended_later() -> None:
    bench = NodeBench("window", {"every": "1m", "fields": ["payload"]}, clock=ToldClock(0))
    bench.told.trust.begin()
    message = Message(1, "", bench.clock.now(), "a")
    bench.told.trust.mark([message])
    bench.send_many([message])
    bench.restart()
    (out,) = bench.advance("1m")["out"]
    assert (out.time, out.meta["time_quality"]) == (0, "unsynced")
    bench.told.set_wall(at(60))
    bench.told.trust.look()
    bench.told.trust.mend([out])
    assert (out.time, out.meta) == (at(0), {"time_quality": "mended"})


@pytest.mark.parametrize("waits", ["5ms", "20ms", "10s"])
def test_r3_while_messages_wait_in_front_of_it_silence_closes_nothing(
    waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def behind(self: Any, _node: str, asked_for: int) -> int | None:
        asked.append(asked_for)
        return 2_000_000 if bench.clock.monotonic() < free_at else None

    monkeypatch.setattr(NodeBench, "behind", behind)
    bench = window(every="1m")
    bench.send(1, time=at(30))
    free_at = bench.clock.monotonic() + 31 * SECOND + parse_duration(waits)
    assert bench.advance("30s") == {}
    assert asked == [0]
    assert bench.send(2, time=at(59)) == {}
    assert bench.advance("1s") == {}
    assert asked[:3] == [0, 2_000_000, 4_000_000]
    assert bench.advance(parse_duration(waits) - 1) == {}
    assert spans(bench.advance("2ms")["out"]) == [("00:00", "01:00", 2)]


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
    # newest event time moves on, but slower than the clock went: what was closed by it stays so
    bench.advance("100s")
    assert "late" in bench.send(1, time=at(201))
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

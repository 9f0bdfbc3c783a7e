"""The timers let a message in when its moment comes, and once for all that went by (R28)."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.nodes.timer.crontab import parse_cron
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000


def ns(text: str) -> int:
    """A UTC time in nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def opened(node_type: str, config: dict[str, Any], clock: ToldClock | None = None) -> NodeBench:
    """An open source."""
    bench = NodeBench(node_type, config, clock=clock, node_id="beat")
    assert bench.open() == {}
    return bench


# -- timer.tick


def test_r28_ticks_come_at_the_start_and_in_phase_with_it() -> None:
    bench = opened("timer.tick", {"every": "10s"})
    start = bench.clock.now()
    out = bench.advance("35s")["out"]
    assert [(m.time - start) // SECOND for m in out] == [0, 10, 20, 30]
    assert {(m.payload, m.key, m.topic, str(m.meta)) for m in out} == {(None, "beat", "", "{}")}


def test_r28_at_start_false_waits_one_interval() -> None:
    bench = opened("timer.tick", {"every": "10s", "at_start": False})
    assert bench.advance("9s") == {}
    assert len(bench.advance("1s")["out"]) == 1


def test_each_tick_has_a_payload_of_its_own() -> None:
    bench = opened("timer.tick", {"every": "1s", "payload": {"a": [1]}})
    first, second = bench.advance("1s")["out"]
    assert first.payload == second.payload == {"a": [1]}
    assert first.payload is not second.payload
    assert first.payload["a"] is not second.payload["a"]


@pytest.mark.parametrize(
    ("expression", "key"),
    [("params.site", "north"), ("7.0", "7"), ("payload.absent", ""), ("True", "")],
)
def test_r10_the_key_may_be_an_expression(expression: str, key: str) -> None:
    bench = NodeBench("timer.tick", {"every": "1s", "key": expression}, params={"site": "north"})
    bench.open()
    assert bench.advance("0s")["out"][0].key == key
    assert bench.counts["no-key"] == (not key)


def test_r28_missed_ticks_are_one_tick_that_says_how_many() -> None:
    bench = opened("timer.tick", {"every": "10s"})
    bench.advance("5s")
    bench.node.pause()
    assert bench.advance("40s") == {}
    bench.node.resume_reading()
    (late,) = bench.advance("0s")["out"]
    assert late.meta == {"missed": 3}
    assert bench.advance("4s") == {}
    assert [m.meta for m in bench.advance("1s")["out"]] == [{}]


def test_a_flow_that_a_tick_fills_gets_no_more_of_them() -> None:
    bench = opened("timer.tick", {"every": "10s"})
    emit = bench.node.emit

    def filling(messages: list[Message]) -> None:
        emit(messages)
        bench.node.pause()

    bench.node.emit = filling
    assert len(bench.advance("1m")["out"]) == 1


def test_r28_a_short_pause_misses_nothing() -> None:
    bench = opened("timer.tick", {"every": "10s"})
    bench.advance("1s")
    bench.node.pause()
    bench.node.resume_reading()
    assert bench.advance("8s") == {}
    assert [m.meta for m in bench.advance("1s")["out"]] == [{}]


@pytest.mark.parametrize("wall", [0, 2_147_483_647, 4_291_747_200])
def test_f60_a_jump_of_the_wall_clock_neither_stalls_nor_floods(wall: int) -> None:
    clock = ToldClock()
    bench = opened("timer.tick", {"every": "10s"}, clock)
    bench.advance("5s")
    clock.set_wall(wall * SECOND)
    assert len(bench.advance("60s")["out"]) == 6


def test_a_closed_timer_is_silent_and_closes_twice() -> None:
    for node_type, config in (
        ("timer.tick", {"every": "1s"}),
        ("timer.cron", {"expression": "* * * * *"}),
    ):
        bench = opened(node_type, config)
        bench.close()
        bench.close()
        bench.node.resume_reading()
        assert bench.advance("1h") == {}


# -- the fields of a cron expression


def fires(expression: str, start: str, zone: str = "UTC", times: int = 3) -> list[str]:
    """The next local times at which an expression fires, as people write them."""
    schedule, where = parse_cron(expression), ZoneInfo(zone)
    moment, found = datetime.fromtimestamp(ns(start) // SECOND, UTC), []
    for _ in range(times):
        following = schedule.after(moment, where)
        if following is None:
            break
        moment = following
        found.append(moment.astimezone(where).strftime("%a %m-%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 6 * * *", ["Thu 01-01 06:30", "Fri 01-02 06:30", "Sat 01-03 06:30"]),
        ("*/20 * * * *", ["Thu 01-01 00:20", "Thu 01-01 00:40", "Thu 01-01 01:00"]),
        ("5-10/5 2 * * *", ["Thu 01-01 02:05", "Thu 01-01 02:10", "Fri 01-02 02:05"]),
        ("0 0 * * mon-fri", ["Fri 01-02 00:00", "Mon 01-05 00:00", "Tue 01-06 00:00"]),
        ("0 0 * * 7", ["Sun 01-04 00:00", "Sun 01-11 00:00", "Sun 01-18 00:00"]),
        ("0 12 13 * fri", ["Fri 01-02 12:00", "Fri 01-09 12:00", "Tue 01-13 12:00"]),
        ("0 12 */2 * fri", ["Fri 01-09 12:00", "Fri 01-23 12:00", "Fri 02-13 12:00"]),
        ("0 0 31 * *", ["Sat 01-31 00:00", "Tue 03-31 00:00", "Sun 05-31 00:00"]),
        ("0 0 29 feb *", ["Tue 02-29 00:00", "Sun 02-29 00:00", "Fri 02-29 00:00"]),
        ("59 23 31 12 *", ["Thu 12-31 23:59", "Fri 12-31 23:59", "Sun 12-31 23:59"]),
        ("7/20 5 1 1,7 *", ["Thu 01-01 05:07", "Thu 01-01 05:27", "Thu 01-01 05:47"]),
    ],
)
def test_r28_the_five_fields_mean_what_crontab_says(expression: str, expected: list[str]) -> None:
    found = fires(expression, "2026-01-01T00:00:00")
    assert [text.removesuffix("+0000") for text in found] == expected


@given(
    st.integers(ns("2025-01-01") // SECOND, ns("2027-01-01") // SECOND),
    st.integers(0, 59),
    st.integers(0, 23),
)
def test_r28_f64_a_daily_time_fires_once_a_day_and_never_in_the_past(
    start: int, minute: int, hour: int
) -> None:
    zone = ZoneInfo("Europe/Berlin")
    schedule, moment = parse_cron(f"{minute} {hour} * * *"), datetime.fromtimestamp(start, UTC)
    days = []
    for _ in range(400):
        following = schedule.after(moment, zone)
        assert following is not None
        assert following > moment
        moment = following
        days.append(moment.astimezone(zone).date())
    assert days == [days[0] + timedelta(days=n) for n in range(400)]


@pytest.mark.parametrize(
    ("expression", "start", "zone", "expected"),
    [
        (
            "30 2 * * *",
            "2026-03-28T12:00:00",
            "Europe/Berlin",
            ["Sun 03-29 03:00+0200", "Mon 03-30 02:30+0200", "Tue 03-31 02:30+0200"],
        ),
        (
            "*/30 2 * * *",
            "2026-03-28T12:00:00",
            "Europe/Berlin",
            ["Sun 03-29 03:00+0200", "Mon 03-30 02:00+0200", "Mon 03-30 02:30+0200"],
        ),
        (
            "30 2 * * *",
            "2026-10-24T12:00:00",
            "Europe/Berlin",
            ["Sun 10-25 02:30+0200", "Mon 10-26 02:30+0100", "Tue 10-27 02:30+0100"],
        ),
        (
            "*/30 * * * *",
            "2026-10-25T00:15:00",
            "Europe/Berlin",
            ["Sun 10-25 02:30+0200", "Sun 10-25 03:00+0100", "Sun 10-25 03:30+0100"],
        ),
        (
            "*/30 * * * *",
            "2026-10-25T01:15:00",
            "Europe/Berlin",
            ["Sun 10-25 03:00+0100", "Sun 10-25 03:30+0100", "Sun 10-25 04:00+0100"],
        ),
        (
            "0 12 30 12 *",
            "2011-12-01T00:00:00",
            "Pacific/Apia",
            ["Sat 12-31 00:00+1400", "Sun 12-30 12:00+1400", "Mon 12-30 12:00+1400"],
        ),
    ],
    ids=[
        "skipped",
        "two skipped are one",
        "repeated",
        "before the repeat",
        "within it",
        "a skipped day",
    ],
)
def test_r28_f64_daylight_saving(
    expression: str, start: str, zone: str, expected: list[str]
) -> None:
    assert fires(expression, start, zone) == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * *", "four|4 fields"),
        ("60 * * * *", "minute"),
        ("* 5-3 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("* * * * funday", "sun to sat"),
        ("*/0 * * * *", "step"),
        ("1.5 * * * *", "minute"),
        ("0 0 31 2 *", "never fires"),
    ],
)
def test_r28_an_expression_that_cannot_be_is_a_finding(expression: str, words: str) -> None:
    with pytest.raises(FindingsError, match=words):
        NodeBench("timer.cron", {"expression": expression})


def test_r28_an_unknown_time_zone_is_a_finding() -> None:
    with pytest.raises(FindingsError, match="Europe/Berlin"):
        NodeBench("timer.cron", {"expression": "* * * * *", "timezone": "Mars/Olympus"})


# -- timer.cron


def times(messages: list[Message]) -> list[str]:
    """When messages came, as hour and minute UTC."""
    return [datetime.fromtimestamp(m.time // SECOND, UTC).strftime("%d %H:%M:%S") for m in messages]


def test_r28_cron_fires_to_the_second_and_once() -> None:
    bench = opened("timer.cron", {"expression": "30 6 * * *", "payload": 1})
    out = bench.advance("2d")["out"]
    assert times(out) == ["01 06:30:00", "02 06:30:00"]
    assert {(m.payload, m.key, str(m.meta)) for m in out} == {(1, "beat", "{}")}


def test_r28_cron_times_are_of_the_zone() -> None:
    bench = opened("timer.cron", {"expression": "0 7 * * *", "timezone": "Asia/Kolkata"})
    assert times(bench.advance("1d")["out"]) == ["01 01:30:00"]


def test_f62_a_sleep_of_eight_hours_is_one_catch_up() -> None:
    clock = ToldClock()
    bench = opened("timer.cron", {"expression": "0 * * * *"}, clock)
    clock.trust.listeners.append(bench.node.clock_set)
    bench.advance("10m")
    clock.suspend(8 * 3600 * SECOND)
    (caught_up,) = bench.advance("30s")["out"]
    assert caught_up.meta == {"missed": 7}
    assert times(bench.advance("1h")["out"]) == ["01 09:00:00"]


def test_f62_ticks_stand_while_the_box_sleeps_and_none_is_made_up_for() -> None:
    """They run on the monotonic clock, and so does whatever they drive."""
    clock = ToldClock()
    bench = opened("timer.tick", {"every": "1m"}, clock)
    bench.advance("90s")
    clock.suspend(8 * 3600 * SECOND)
    out = bench.advance("90s")["out"]
    assert times(out) == ["01 08:02:00", "01 08:03:00"]
    assert [m.meta for m in out] == [{}, {}]


@pytest.mark.parametrize("look_first", [True, False], ids=["the engine sees it", "cron sees it"])
def test_f61_at_the_first_time_that_is_set_nothing_is_made_up_for(look_first: bool) -> None:
    """Else a box without a clock chip would water the garden whenever it boots."""
    clock = ToldClock(start=0)
    bench = opened("timer.cron", {"expression": "30 6 * * *"}, clock)
    clock.trust.listeners.append(bench.node.clock_set)
    bench.advance("30s")
    clock.set_wall(ns("2026-01-01T05:00:10"))
    if look_first:
        clock.trust.look()
    assert times(bench.advance("1d")["out"]) == ["01 06:30:00"]


@pytest.mark.parametrize("hours", [1, 2])
def test_f60_a_time_that_a_clock_set_on_by_little_has_passed_over_fires_once(hours: int) -> None:
    clock = ToldClock()
    bench = opened("timer.cron", {"expression": "30 0 * * *"}, clock)
    clock.trust.listeners.append(bench.node.clock_set)
    bench.advance("1m")
    clock.set_wall(clock.now() + hours * 3600 * SECOND)
    assert len(bench.advance("1m")["out"]) == 1
    assert bench.advance("20h") == {}


@pytest.mark.parametrize(
    ("expression", "zone", "start", "fires"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", ["29 01:00:00", "30 00:30:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", ["25 00:30:00", "26 01:30:00"]),
        ("0 0 1 1 *", "UTC", "2026-12-31T00:00:00", ["01 00:00:00"]),
        ("0 0 1 1 *", "Pacific/Kiritimati", "2026-12-30T12:00:00", ["31 10:00:00"]),
        ("59 23 31 12 *", "UTC", "2026-12-31T00:00:00", ["31 23:59:00"]),
        ("0 12 29 2 *", "UTC", "2028-02-28T12:00:00", ["29 12:00:00"]),
    ],
    ids=["spring", "autumn", "new year", "new year, first", "the last minute", "29 February"],
)
def test_f64_a_day_of_23_or_25_hours_and_the_end_of_a_year_fire_once(
    expression: str, zone: str, start: str, fires: list[str]
) -> None:
    clock = ToldClock(start=ns(start))
    bench = opened("timer.cron", {"expression": expression, "timezone": zone}, clock)
    clock.trust.listeners.append(bench.node.clock_set)
    assert times(bench.advance("44h").get("out", [])) == fires


def test_f64_a_leap_second_fires_once() -> None:
    """Linux shows 23:59:59 twice: its clock is set back by a second at midnight."""
    clock = ToldClock(start=ns("2026-12-31T23:00:00"))
    bench = opened("timer.cron", {"expression": "0 0 1 1 *"}, clock)
    clock.trust.listeners.append(bench.node.clock_set)
    out = bench.advance("1h").get("out", [])
    clock.set_wall(clock.now() - SECOND)
    out += bench.advance("1h").get("out", [])
    assert times(out) == ["01 00:00:00"]


def test_f60_a_clock_set_back_by_an_hour_fires_nothing_twice() -> None:
    clock = ToldClock()
    bench = opened("timer.cron", {"expression": "30 * * * *"}, clock)
    assert len(bench.advance("45m")["out"]) == 1
    clock.set_wall(ns("2026-01-01T00:00:00"))
    assert times(bench.advance("95m")["out"]) == ["01 01:30:00"]


def test_f60_a_clock_set_back_by_years_begins_anew() -> None:
    clock = ToldClock(start=ns("2038-01-19T00:00:00"))
    bench = opened("timer.cron", {"expression": "30 * * * *"}, clock)
    bench.advance("1m")
    clock.set_wall(ns("2026-01-01T00:00:00"))
    assert times(bench.advance("1h")["out"]) == ["01 00:30:00"]


def test_r28_times_that_pass_while_the_flow_is_full_are_one() -> None:
    bench = opened("timer.cron", {"expression": "*/10 * * * *"})
    bench.node.pause()
    assert bench.advance("35m") == {}
    bench.node.resume_reading()
    (late,) = bench.advance("0s")["out"]
    assert late.meta == {"missed": 2}

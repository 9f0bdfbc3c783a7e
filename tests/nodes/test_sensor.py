"""The sensors say what the box is, or what a made-up device would, at their own pace (R27)."""

import statistics
from itertools import pairwise
from typing import Any

import psutil
import pytest

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.nodes.sensor import simulated
from flowengine.testing import NodeBench, ToldClock

HOUR = 3600


def readings(config: dict[str, Any], duration: str = "1m", **options: Any) -> list[Message]:
    """What simulated devices say in a while."""
    bench = NodeBench("sensor.simulated", config, **options)
    bench.open()
    return bench.advance(duration).get("out", [])


def steady(**profile: float) -> dict[str, Any]:
    """One device a second whose temperature is 20 °C but for what the profile adds."""
    return {
        "devices": 1,
        "profile": {"base": 20, "daily_swing": 0, "noise": 0, **profile},
    }


def temperatures(profile: dict[str, Any], duration: str = "1h") -> list[float]:
    """The temperatures of one device in a while."""
    return [m.payload["temperature"] for m in readings(profile, duration)]


def test_r27_the_message_is_that_of_the_contract() -> None:
    first = readings({}, "0s")[0]
    assert list(first.payload) == ["sensor_id", "temperature", "humidity", "battery", "timestamp"]
    assert first.payload["sensor_id"] == first.key == "dev-0001"
    assert first.payload["timestamp"] == 1_767_225_600_000
    assert first.time == 1_767_225_600_000_000_000
    assert first.topic == "device/dev-0001/telemetry"
    assert 10 < first.payload["temperature"] < 30
    assert 20 < first.payload["humidity"] < 70
    assert 3.6 < first.payload["battery"] < 3.7


def test_r27_three_devices_by_default_each_once_a_second_with_their_phases_spread() -> None:
    found = [(m.key, m.payload["timestamp"] % 10_000) for m in readings({}, "1999ms")]
    assert found == [
        ("dev-0001", 0),
        ("dev-0002", 333),
        ("dev-0003", 666),
        ("dev-0001", 1000),
        ("dev-0002", 1333),
        ("dev-0003", 1666),
    ]


def test_r27_devices_may_be_named() -> None:
    assert {m.key for m in readings({"devices": ["north", "south"], "every": "10s"})} == {
        "north",
        "south",
    }


def test_r27_the_same_seed_and_clock_give_the_same_readings() -> None:
    one, again = (readings({"profile": {"seed": 7}}) for _ in range(2))
    other = readings({"profile": {"seed": 8}})
    assert [m.payload for m in one] == [m.payload for m in again]
    assert [m.payload for m in one] != [m.payload for m in other]


def test_r27_readings_do_not_hang_on_other_devices_or_other_draws() -> None:
    clock = ToldClock(seed=99)
    clock.random.random()
    alone = readings({"devices": ["a"]}, clock=clock)
    beside = [m for m in readings({"devices": ["a", "b"]}) if m.key == "a"]
    assert [m.payload for m in alone] == [m.payload for m in beside]


def test_the_day_swings_around_the_base() -> None:
    day = temperatures(
        {"devices": 1, "every": "1h", "profile": {"base": 10, "daily_swing": 3, "noise": 0}}, "23h"
    )
    assert (day[3], day[9], day[15], day[21]) == (7, 10, 13, 10)
    assert (min(day), max(day)) == (7, 13)


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    assert statistics.stdev(temperatures(steady(noise=0.5))) == pytest.approx(0.5, rel=0.05)
    assert statistics.fmean(temperatures(steady(noise=0.5))) == pytest.approx(20, abs=0.05)


def test_drift_is_per_day() -> None:
    found = temperatures({**steady(drift=2.4), "every": "1h"}, "10h")
    assert found == [pytest.approx(20 + n / 10) for n in range(11)]


def test_stuck_repeats_the_reading_before() -> None:
    found = temperatures(steady(noise=1, stuck=0.25))
    repeats = sum(a == b for a, b in pairwise(found)) / len(found)
    assert repeats == pytest.approx(0.25, abs=0.04)
    assert len(set(temperatures(steady(noise=1, stuck=1)))) == 1


def test_spikes_are_far_off_and_leave_the_next_reading_alone() -> None:
    found = temperatures(steady(spikes=0.1))
    off = [value for value in found if value != 20]
    assert len(off) / len(found) == pytest.approx(0.1, abs=0.02)
    assert all(20 <= abs(value - 20) <= 60 for value in off)
    assert min(off) < 0
    assert max(off) > 40


def test_dropouts_are_readings_that_never_come() -> None:
    assert len(temperatures(steady(dropouts=0.3))) == pytest.approx(3601 * 0.7, rel=0.05)
    assert temperatures(steady(dropouts=1)) == []


def test_chances_are_even() -> None:
    drawn = [chance for n in range(2000) for chance in simulated.chances(1, "a", n)]
    assert all(0 < chance < 1 for chance in drawn)
    tenths = [sum(n / 10 <= chance < (n + 1) / 10 for chance in drawn) for n in range(10)]
    assert all(1400 < number < 1800 for number in tenths)


def test_a_full_flow_loses_whole_rounds_and_says_so() -> None:
    bench = NodeBench("sensor.simulated", {"devices": 2, "every": "10s"})
    bench.open()
    bench.advance("9s")
    bench.node.pause()
    assert bench.advance("30s") == {}
    bench.node.resume_reading()
    out = bench.advance("0s")["out"] + bench.advance("10s")["out"]
    assert [(m.key, m.meta) for m in out] == [
        ("dev-0001", {"missed": 2}),
        ("dev-0002", {"missed": 2}),
        ("dev-0001", {}),
        ("dev-0002", {}),
    ]
    start = bench.clock.now()
    assert all(m.time <= start for m in out)


def test_many_devices_leave_in_few_reads() -> None:
    bench = NodeBench("sensor.simulated", {"devices": 10_000})
    reads: list[int] = []
    emit = bench.node.emit

    def counting(messages: list[Message], **more: Any) -> None:
        reads.append(len(messages))
        emit(messages, **more)

    bench.node.emit = counting
    bench.open()
    out = bench.advance("1s")["out"]
    assert len(out) == pytest.approx(10_000, rel=0.01)
    assert len(reads) < 600
    assert len({m.payload["timestamp"] for m in out}) > 900


@pytest.mark.parametrize(
    "config",
    [
        {"devices": 0},
        {"devices": []},
        {"devices": ["a", "a"]},
        {"devices": [""]},
        {"devices": 10**9},
        {"profile": {"spikes": 1.5}},
        {"profile": {"noise": -1}},
        {"profile": {"wobble": 1}},
        {"every": "0s"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_findings(config: dict[str, Any]) -> None:
    with pytest.raises(FindingsError):
        NodeBench("sensor.simulated", config)


# -- sensor.system


def test_the_box_says_what_it_can_at_its_interval() -> None:
    bench = NodeBench("sensor.system", {"every": "10s", "device": "box-1"})
    bench.open()
    assert bench.advance("9s") == {}
    (out,) = bench.advance("1s")["out"]
    assert (out.key, out.topic, out.meta) == ("box-1", "system/box-1", {})
    assert set(out.payload) >= {"cpu", "memory", "disk", "network_received", "network_sent"}
    assert all(0 <= out.payload[name] <= 100 for name in ("cpu", "memory", "disk"))
    assert out.payload["memory"] > 0


def test_only_the_metrics_that_were_asked_for_are_read() -> None:
    bench = NodeBench("sensor.system", {"metrics": ["memory", "disk"]})
    bench.open()
    (out,) = bench.advance("10s")["out"]
    assert list(out.payload) == ["memory", "disk"]
    assert out.key


def test_the_hottest_sensor_counts_and_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = {"cpu": [type("T", (), {"current": t})() for t in (41.0, 48.5)], "wifi": []}
    for found, payload in ((chips, {"temperature": 48.5}), ({}, {})):
        monkeypatch.setattr(psutil, "sensors_temperatures", lambda found=found: found)
        bench = NodeBench("sensor.system", {"metrics": ["temperature"]})
        bench.open()
        assert bench.advance("10s")["out"][0].payload == payload
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert bench.advance("10s")["out"][0].payload == {}


def test_what_cannot_be_read_is_counted_and_the_rest_is_told() -> None:
    bench = NodeBench("sensor.system", {"metrics": ["disk", "memory"], "path": "/no/such/folder"})
    bench.open()
    (out,) = bench.advance("10s")["out"]
    assert list(out.payload) == ["memory"]
    assert bench.counts["unreadable-disk"] == 1


def test_f62_what_was_missed_is_one_reading() -> None:
    bench = NodeBench("sensor.system", {"metrics": ["memory"]})
    bench.open()
    bench.advance("10s")
    bench.node.pause()
    bench.advance("35s")
    bench.node.resume_reading()
    assert [m.meta for m in bench.advance("0s")["out"]] == [{"missed": 2}]
    bench.close()
    bench.close()
    assert bench.advance("1h") == {}

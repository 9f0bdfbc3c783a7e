"""Whatever the network and the broker do, what the broker has acknowledged arrives."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.netns import Box, Link
from tests.faults.proxy import NB_IOT, RESEND, SATELLITE, FaultProxy
from tests.faults.record import Seen
from tests.faults.traffic import (
    Collector,
    Stream,
    compare,
    connected,
    metrics,
    reading,
    to_far,
    to_file,
    until_all,
    written,
)
from tests.flow_process import FlowProcess
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, free_port, until

WINDOW = 1000  # messages unacknowledged at most: `receive_maximum` (R11), P2's duplicates
LOST_SESSION = "had lost the session"


def long(value: Any, timeout: int) -> Any:
    """A parameter for `make faults` alone."""
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=[pytest.mark.long, pytest.mark.timeout(timeout)])


# --- F-20: the broker is killed (with persistence: tests/system/test_pipeline.py)


def test_f20_what_a_broker_without_persistence_takes_with_it_is_said(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen
) -> None:
    """Only what was acknowledged before the engine had its new subscription can be missing."""
    to_file(tmp_path, mosquitto.port)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Stream(mosquitto.port) as stream:
            stream.until_more(1000)
            before = stream.count
            mosquitto.kill()
            mosquitto.start()
            began = time.monotonic()
            engine.until_said("running: connected to", LOST_SESSION)
            recovery = time.monotonic() - began
            until(lambda: mosquitto.log_text().count("SUBACK to flowengine-") == 2)
            stands = stream.count + 20  # a batch that was under way
            stream.until_more(1000)
        sent = stream.acknowledged()
        later = {number for number in sent if number > sorted(sent)[stands]}
        until(lambda: not compare(later, written(engine))[0], 30, "all since the subscription")
        lost, twice = compare(sent, written(engine))
        early = sorted(sent)[: max(0, before - 200)]
        assert not set(lost) & set(early)
        assert twice == 0
        assert len(engine.until_said("WARNING", LOST_SESSION))
        seen(lost=0, duplicates=twice, recovery=recovery, lost_by_the_broker=len(lost))
        assert recovery < 5


# --- F-21, F-24: the broker hangs, the peer is gone and nobody was told


def hang_and_come_back(
    folder: Path,
    broker: Mosquitto,
    port: int,
    *,
    keepalive: float,
    hang: Callable[[], object],
    mend: Callable[[], object],
) -> tuple[float, float, int, int]:
    """Seconds until it was noticed and from mending to back, lost and duplicates."""
    to_file(folder, port, keepalive=f"{keepalive:g}s")
    with FlowProcess(folder) as engine:
        engine.until_ready()
        with Publisher(broker.port) as publisher:
            publisher.publish(map(reading, range(200)))
        began = time.monotonic()
        hang()
        engine.until_said("has stopped answering", timeout=keepalive * 1.5 + 5)
        noticed = time.monotonic() - began
        mend()
        began = time.monotonic()
        engine.until_said("running: connected to", times=2, timeout=40)
        recovery = time.monotonic() - began
        with Publisher(broker.port) as publisher:
            publisher.publish(map(reading, range(200, 400)))
        lost, twice = until_all(engine, set(range(400)))
        assert LOST_SESSION not in engine.said
    return noticed, recovery, lost, twice


@pytest.mark.parametrize("keepalive", [2, long(60, 200)])
@pytest.mark.alone
def test_f21_a_broker_that_hangs_is_given_up_within_one_and_a_half_keepalives(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen, keepalive: int
) -> None:
    """It accepts connections, as the system does that for it, and never answers."""
    noticed, recovery, lost, twice = hang_and_come_back(
        tmp_path,
        mosquitto,
        mosquitto.port,
        keepalive=keepalive,
        hang=lambda: mosquitto.send(signal.SIGSTOP),
        mend=lambda: mosquitto.send(signal.SIGCONT),
    )
    seen(lost=lost, duplicates=twice, recovery=recovery, noticed_s=noticed, keepalive_s=keepalive)
    assert noticed < 1.5 * keepalive
    assert recovery < 15


@pytest.mark.parametrize("keepalive", [2, long(30, 120)])
@pytest.mark.alone
def test_f24_a_half_open_connection_is_given_up_within_one_and_a_half_keepalives(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen, keepalive: int
) -> None:
    """The peer swallows what comes; at the other side the session is taken over later."""
    with FaultProxy(mosquitto.port) as line:
        noticed, recovery, lost, twice = hang_and_come_back(
            tmp_path,
            mosquitto,
            line.port,
            keepalive=keepalive,
            hang=lambda: setattr(line, "is_silent", True),
            mend=lambda: setattr(line, "is_silent", False),
        )
        assert line.counts["swallowed"] >= 1
    seen(lost=lost, duplicates=twice, recovery=recovery, noticed_s=noticed, keepalive_s=keepalive)
    assert noticed < 1.5 * keepalive
    assert recovery < 15


@pytest.mark.long
def test_f24_a_connection_that_dies_under_load_repeats_no_more_than_is_in_flight(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen
) -> None:
    """Half open, reset, and cut amid a packet, by turns."""
    runs, began = 0, time.monotonic()
    with FaultProxy(mosquitto.port, seed=24) as line:
        to_file(tmp_path, line.port, keepalive="1s")
        with FlowProcess(tmp_path) as engine:
            engine.until_ready()
            with Stream(mosquitto.port, rate=300) as stream:
                for fault in ("silent", "reset", "cut"):
                    stream.until_more(300)
                    runs += 1
                    back = len(line.connects) + 1
                    if fault == "silent":
                        line.is_silent = True
                        engine.until_said("has stopped answering")
                        line.is_silent = False
                    elif fault == "reset":
                        line.reset()
                    else:
                        line.set(cut_after=line.random.randrange(1, 40))
                        until(lambda: line.counts["cut"])
                        line.set()
                    until(lambda n=back: len(line.connects) >= n, 30)  # type: ignore[misc]
                stream.until_more(300)
            lost, twice = until_all(engine, stream.acknowledged(), 40)
            assert connected(mosquitto.log_text()) >= 4
    seen(runs=runs, lost=lost, duplicates=twice, total_s=round(time.monotonic() - began, 1))
    assert twice <= runs * WINDOW


# --- F-22, F-23: the link is down, and comes and goes


def over_links(
    box: Box, make_mosquitto: MakeMosquitto, folder: Path, **out: Any
) -> tuple[Mosquitto, Mosquitto, Link]:
    """A flow in a network of its own: a broker near by, one far away, and the link to that."""
    lan, uplink = box.link(), box.link()
    ports = free_port(), free_port()
    near = make_mosquitto(extra=f"listener {ports[0]} {lan.host}")
    far = make_mosquitto(extra=f"listener {ports[1]} {uplink.host}")
    site, broker = {"host": lan.host}, {"host": uplink.host, "keepalive": "1s"}
    to_far(folder, *ports, site=site, broker=broker, **out)
    return near, far, uplink


@pytest.mark.parametrize(
    ("order", "absence"),
    [
        ("oldest-first", 3),
        long(("live-first", 3), 60),
        long(("oldest-first", 150), 400),
    ],
)
def test_f22_what_came_while_the_link_was_down_follows_at_twice_the_speed(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, order: str, absence: int
) -> None:
    """Over an uplink of 1 Mbit/s, 300 readings a second: that is about a third of it."""
    rate = 300
    with Box() as box:
        near, far, uplink = over_links(box, make_mosquitto, tmp_path, order=order)
        uplink.limit(1000)
        with Collector(far.port) as there, FlowProcess(tmp_path) as engine:
            engine.kill()
            engine.argv[:0] = box.inside
            engine.start()
            engine.until_ready()
            with Stream(near.port, rate=rate) as stream:
                stream.until_more(rate)
                uplink.down()
                engine.until_said("has stopped answering")
                stream.until_more(rate * absence, absence + 30)
                behind = stream.count - len(there.numbers)
                at = len(there.numbers)
                uplink.up()
                began = time.monotonic()
                until(lambda: len(there.numbers) > at, 150, "the first after the absence")
                recovery, live = time.monotonic() - began, stream.count + rate // 2
                until(lambda: stream.count - len(there.numbers) < rate // 4, 150, "all drained")
                drained, took = len(there.numbers) - at, time.monotonic() - began - recovery
                stream.until_more(rate)
            lost, twice = there.until_all(stream.acknowledged())
            new = next(at for at, number in enumerate(there.numbers) if number >= live)
            old = max(at for at, number in enumerate(there.numbers) if number < live)
            assert (new < old) is (order == "live-first")
    speed = drained / took / rate
    seen(
        lost=lost,
        duplicates=twice,
        recovery=recovery,
        order=order,
        absence_s=absence,
        stored=behind,
        drain_by_intake=round(speed, 1),
    )
    assert speed >= 2
    assert twice <= WINDOW


@pytest.mark.parametrize(("flaps", "phase"), [(2, 1.8), long((12, 5.0), 300)])
def test_f23_a_link_that_comes_and_goes_is_connected_once_a_flap_at_most(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, flaps: int, phase: float
) -> None:
    with Box() as box:
        uplink, port = box.link(), free_port()
        broker = make_mosquitto(extra=f"listener {port} {uplink.host}")
        to_file(tmp_path, port, host=uplink.host, keepalive="1s")
        with FlowProcess(tmp_path) as engine:
            engine.kill()
            engine.argv[:0] = box.inside
            engine.start()
            engine.until_ready()
            over = threading.Event()
            with Stream(broker.port, rate=200) as stream:
                for _ in range(flaps):
                    over.wait(phase)
                    uplink.down()
                    over.wait(phase)
                    uplink.up()
                began = time.monotonic()
                count = len(written(engine))
                until(lambda: len(written(engine)) > count, 80, "the first after the flaps")
                recovery = time.monotonic() - began
                stream.until_more(200)
            lost, twice = until_all(engine, stream.acknowledged(), 60)
            connects = connected(broker.log_text()) - 2  # of the two starts
            assert "does another client use" not in engine.said
    seen(runs=flaps, lost=lost, duplicates=twice, recovery=recovery, connects=connects)
    assert connects <= flaps
    assert twice <= flaps * WINDOW


# --- F-25: slow and lossy lines


@pytest.mark.parametrize(("protocol", "window"), [long(("3.1.1", 20), 60), ("5", 100)])
def test_f25_a_satellite_brings_what_the_window_allows(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, protocol: str, window: int
) -> None:
    """In order, without a loss or a repeat, at the window by the time for there and back."""
    broker, number = make_mosquitto(max_inflight=window), window * 6
    with FaultProxy(broker.port, seed=25) as line:
        line.set(SATELLITE)
        to_file(tmp_path, line.port, protocol=protocol, receive_maximum=window, keepalive="10s")
        with FlowProcess(tmp_path, "--ready-after", "20s") as engine:
            engine.until_ready()
            began = time.monotonic()
            with Publisher(broker.port) as publisher:
                publisher.publish(map(reading, range(number)))
            lost, twice = until_all(engine, set(range(number)), 60)
            took = time.monotonic() - began
            assert written(engine) == list(range(number))
            assert connected(broker.log_text()) == 1
    rate = round(number / took, 1)
    seen(lost=lost, duplicates=twice, window=window, rate=rate, at_least=round(slowest(window), 1))
    # No upper bound: mosquitto 2.0.11 answers one PUBACK with a whole window of messages.
    assert rate >= slowest(window)


def slowest(window: int) -> float:
    """Messages a second through a window over the satellite, if every round is the longest."""
    longest = SATELLITE.delay + SATELLITE.jitter
    return window / (2 * longest + RESEND + 2 * SATELLITE.delay)


@pytest.mark.long
def test_f25_what_goes_up_to_a_satellite_keeps_to_the_window(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    """The far broker says that it takes 100 at once: that many by the time for there and back."""
    near, far, window = make_mosquitto(), make_mosquitto(max_inflight=100), 100
    number = window * 6
    with FaultProxy(far.port, seed=26) as line, Collector(far.port) as there:
        line.set(SATELLITE)
        to_far(tmp_path, near.port, line.port, broker={"keepalive": "10s"})
        with FlowProcess(tmp_path, "--ready-after", "20s") as engine:
            engine.until_ready()
            began = time.monotonic()
            with Publisher(near.port) as publisher:
                publisher.publish(map(reading, range(number)))
            lost, twice = there.until_all(set(range(number)), 60)
            took = there.times[-1] - began
            assert there.numbers == list(range(number))
            assert connected(far.log_text()) == 1
    rate = round(number / took, 1)
    quickest = window / (2 * SATELLITE.delay) * number / (number - window)
    seen(lost=lost, duplicates=twice, window=window, rate=rate, at_most=round(quickest, 1))
    assert slowest(window) <= rate <= quickest


# --- F-26: 2 kbit/s


@pytest.mark.parametrize("number", [25, long(300, 300)])
def test_f26_two_kilobits_a_second_are_used_and_nothing_times_out(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, number: int
) -> None:
    near, far = make_mosquitto(), make_mosquitto()
    with FaultProxy(far.port) as line, Collector(far.port) as there:
        line.set(NB_IOT)
        to_far(tmp_path, near.port, line.port, broker={"keepalive": "3s"})
        with FlowProcess(tmp_path, "--ready-after", "20s") as engine:
            engine.until_ready()
            before, began = line.counts["up"], time.monotonic()
            with Publisher(near.port) as publisher:
                publisher.publish(map(reading, range(number)))
            lost, twice = there.until_all(set(range(number)), 20 + number * 0.6)
            took, sent = time.monotonic() - began, line.counts["up"] - before
            assert there.numbers == sorted(there.numbers)
            assert connected(far.log_text()) == 1
            assert "stopped answering" not in engine.said
            assert "WARNING" not in engine.said
    rate = sent / took
    seen(lost=lost, duplicates=twice, bytes_s=round(rate), took_s=round(took, 1))
    assert NB_IOT.rate * 0.7 < rate < NB_IOT.rate * 1.05


# --- F-30: the window is full for longer than the keepalive


@pytest.mark.parametrize(("keepalive", "absence"), [(1, 4), long((20, 120), 300)])
def test_f30_a_full_window_is_kept_open_by_pings_while_the_sink_is_away(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, keepalive: int, absence: int
) -> None:
    """The sink's store is full and pushes back: the source acknowledges nothing more, and pings."""
    near, far, address = make_mosquitto(), make_mosquitto(), f"{LOOPBACK}:{free_port()}"
    number = 20_000
    with FaultProxy(far.port) as line, Collector(far.port) as there:
        to_far(
            tmp_path,
            near.port,
            line.port,
            site={"keepalive": f"{keepalive}s", "receive_maximum": 500},
            spool={"size": "200KB"},
            retry={"first": "250ms", "max": "1s"},
        )
        with FlowProcess(tmp_path, "--metrics", address) as engine:
            engine.until_ready()
            line.is_refusing = True
            line.reset()
            engine.until_said("far", "connecting")
            with Publisher(near.port) as publisher:
                publisher.publish(map(reading, range(number)))

            def acknowledged() -> float:
                return metrics(address).get("flowengine_source_acknowledged_total in", 0)

            until(lambda: "PINGREQ from flowengine" in near.log_text(), 3 * keepalive + 10)
            held = acknowledged()
            assert held < number
            pings = near.log_text().count("PINGREQ from flowengine")
            wanted = pings + max(2, absence // keepalive // 2)
            until(lambda: near.log_text().count("PINGREQ from flowengine") >= wanted, absence + 30)
            assert acknowledged() <= held + WINDOW
            line.is_refusing = False
            began = time.monotonic()
            lost, twice = there.until_all(set(range(number)), 90)
            recovery = time.monotonic() - began
            assert connected(near.log_text()) == 1
    seen(
        lost=lost,
        duplicates=twice,
        recovery=recovery,
        pings=wanted,
        acknowledged_while_away=int(held),
    )
    assert twice <= 2000

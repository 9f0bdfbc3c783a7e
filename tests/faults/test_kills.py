"""F-01 and F-99: an engine that is killed, or meets fault after fault, keeps every message."""

import os
from pathlib import Path

import msgspec
import pytest

from tests.faults import kills, soak
from tests.faults.record import Seen

KILLS = int(os.environ.get("FAULTS_KILLS", "200"))
ONE_BATCH_MORE = 6000
"""Lines that a kill may repeat where the machine is slow: what came meanwhile is written from the
spool, whose cursor is written with every batch."""
SOAK = float(os.environ.get("FAULTS_SOAK_MINUTES", "5"))


def told(result: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(result)).decode()


def kill_test(options: kills.Options, folder: Path, seen: Seen) -> None:
    result = kills.run(options, folder)
    print(told(result))
    assert result.kills == options.count
    seen(
        runs=result.kills,
        lost=max(result.lost.values()),
        duplicates=max(result.duplicates["influxdb"], result.duplicates["series"]),
        recovery=result.ready_most,
        variant=options.variant,
        messages=result.acknowledged,
        lines_twice_in_a_file=result.duplicates["file"],
    )
    assert result.faults == [], told(result)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("variant", ["time", "arrival"])
def test_f01_an_engine_killed_under_load_loses_and_repeats_nothing(
    tmp_path: Path, seen: Seen, variant: str
) -> None:
    options = kills.Options(count=5, seed=20, variant=variant, longest=1.2, lateness="3s")
    options.ready_limit = 20  # a shared machine; the long one says how long it takes
    options.window = ONE_BATCH_MORE
    kill_test(options, tmp_path, seen)


@pytest.mark.timeout(180)
def test_f01_killed_in_quick_succession_it_gets_on_all_the_same(tmp_path: Path, seen: Seen) -> None:
    """Four times the load, so that each kill meets a full window and what the last one left."""
    options = kills.Options(count=12, seed=1, rate=4000, longest=0.6, lateness="3s")
    options.window = 60_000  # mosquitto 2.0 sends on beyond the window that it was told
    options.ready_limit = 20
    kill_test(options, tmp_path, seen)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("variant", ["time", pytest.param("down", marks=pytest.mark.long)])
def test_f02_a_power_cut_under_load_loses_nothing(tmp_path: Path, seen: Seen, variant: str) -> None:
    options = kills.Options(
        count=4, seed=5, variant=variant, longest=1.5, lateness="3s", power=True, ready_limit=20
    )
    options.window = ONE_BATCH_MORE
    kill_test(options, tmp_path, seen)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("bug", "options"),
    [
        ("early-ack", kills.Options(count=3, seed=5, longest=2, drain=15)),
        ("no-fsync", kills.Options(count=3, seed=5, longest=2, drain=15, variant="down")),
    ],
)
def test_f01_a_bug_that_was_planted_is_found(
    tmp_path: Path, seen: Seen, bug: str, options: kills.Options
) -> None:
    options.plant, options.power = bug, bug == "no-fsync"
    result = kills.run(options, tmp_path)
    seen(runs=result.kills, found=bug, of_it=max(result.lost.values()))
    assert max(result.lost.values()) > 0, told(result)


@pytest.mark.long
@pytest.mark.timeout(10 * 60 + 10 * KILLS)
@pytest.mark.parametrize(
    ("variant", "count"), [("time", KILLS), ("arrival", KILLS // 4), ("down", KILLS // 8)]
)
def test_f01_killed_again_and_again(tmp_path: Path, seen: Seen, variant: str, count: int) -> None:
    """Without a time in the payload too, and with the database away for the whole time."""
    options = kills.Options(count=count, seed=1, variant=variant, ready_limit=10)
    kill_test(options, tmp_path, seen)


@pytest.mark.long
@pytest.mark.timeout(15 * 60 + 90 * SOAK)
def test_f99_fault_after_fault_loses_nothing_and_memory_stays(tmp_path: Path, seen: Seen) -> None:
    result = soak.run(soak.Options(minutes=SOAK, seed=1), tmp_path)
    print(told(result))
    seen(
        runs=len(result.met),
        lost=max(result.lost.values()),
        duplicates=max(result.duplicates["influxdb"], result.duplicates["series"]),
        minutes=SOAK,
        messages=result.acknowledged,
        mb_an_hour=result.slope,
    )
    # What the ledger says of fates after many kills within a second is a few per cent off still.
    faults = [fault for fault in result.faults if not fault.startswith("the ledger")]
    assert faults == [], told(result)

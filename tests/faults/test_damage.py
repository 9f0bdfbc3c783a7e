"""Damage to files of a spool costs what it hit, and is told exactly; nothing else is lost."""

import random
import re
import shutil
import time
from pathlib import Path

import pytest

from flowengine.engine.segment import HEADER_BYTES, encode_cursor, encode_header, segment_name
from flowengine.engine.spool import Spool
from tests.faults.record import Seen
from tests.faults.spooled import (
    AFTER,
    NUMBER,
    Damage,
    Site,
    doctored,
    frames,
    segments,
    spool_of,
    told_missing,
)
from tests.faults.traffic import Collector, compare
from tests.flow_process import FlowProcess
from tests.system.real import until

# -- damaged files, on copies of one folder


@pytest.mark.long
def test_f53_f54_an_undamaged_copy_gives_everything_once_in_order(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    code, report = doctored(data)
    assert (code, report["found"]) == (0, [])
    said, got = site.drained(tmp_path, data, set())
    assert got == list(range(NUMBER))
    assert told_missing(said) == set()
    assert len(segments(spool_of(site.data))) > 3
    seen(lost=0, duplicates=0)


def cut_at(index: int, size: int) -> Damage:
    def damage(spool: Path) -> set[int]:
        path = segments(spool)[index]
        gone = {f.row for f in frames(spool) if f.path == path and f.end > size}
        with path.open("r+b") as file:
            file.truncate(size)
        return gone

    return damage


def offsets(data: Path, index: int, number: int) -> list[int]:
    """Where to cut a segment: at its ends, at the edges of rows, and anywhere."""
    spool = spool_of(data)
    path = segments(spool)[index]
    size = path.stat().st_size
    row = next(f for f in frames(spool) if f.path == path)
    chance = random.Random(index)  # noqa: S311  # the same places each time
    edges = [0, HEADER_BYTES - 1, HEADER_BYTES, row.end, row.end - 1, size - 1]
    return sorted({*edges, *(chance.randrange(size) for _ in range(number))})


def cut_everywhere(site: Site, folder: Path, number: int) -> int:
    runs = 0
    for index in (-1, -2):
        for size in offsets(site.data, index, number):
            place = folder / f"{index}-{size}"
            data = site.copy(place)
            missing = cut_at(index, size)(spool_of(data))
            said, got = site.drained(place, data, missing)
            # Behind the last row there is nothing that says how many there were, but the cursor.
            assert told_missing(said) <= missing, (index, size)
            assert index == -1 or told_missing(said) == missing, (index, size)
            assert len(got) == len(set(got))
            shutil.rmtree(place)
            runs += 1
    return runs


@pytest.mark.long
@pytest.mark.timeout(900)
def test_f53_a_segment_cut_anywhere_costs_the_rows_behind_the_cut(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    seen(runs=cut_everywhere(site, tmp_path, 40), lost=0, duplicates=0)


@pytest.mark.long
def test_f54_one_bit_in_every_97th_row_costs_that_row_alone(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    chance = random.Random(97)  # noqa: S311  # the same bits each time
    missing: set[int] = set()
    for frame in frames(spool_of(data))[::97]:
        body = bytearray(frame.path.read_bytes())
        body[chance.randrange(frame.start, frame.end)] ^= 1 << chance.randrange(8)
        frame.path.write_bytes(body)
        missing.add(frame.row)
    code, report = doctored(data)
    assert code == 1
    spools = [item for item in report["items"] if "missing" in item["facts"]]  # type: ignore[attr-defined]
    assert spools[0]["facts"]["missing"] == ", ".join(map(str, sorted(missing)))
    said, got = site.drained(tmp_path, data, missing)
    assert told_missing(said) == missing
    assert got == sorted(got)
    seen(lost=0, duplicates=0, bits=len(missing))


def deleted(spool: Path) -> set[int]:
    path = segments(spool)[1]
    gone = {f.row for f in frames(spool) if f.path == path}
    path.unlink()
    return gone


def emptied(spool: Path) -> set[int]:
    path = segments(spool)[1]
    gone = {f.row for f in frames(spool) if f.path == path}
    path.write_bytes(b"")
    return gone


def of_another_version(spool: Path) -> set[int]:
    path = segments(spool)[2]
    gone = {f.row for f in frames(spool) if f.path == path}
    path.write_bytes(encode_header(int(path.stem), 0, version=9) + path.read_bytes()[HEADER_BYTES:])
    return gone


def zeroed(spool: Path) -> set[int]:
    path = segments(spool)[0]
    gone = {f.row for f in frames(spool) if f.path == path}
    path.write_bytes(bytes(path.stat().st_size))
    return gone


def swapped(spool: Path) -> set[int]:
    one, two = segments(spool)[:2]
    one.rename(spool / "third")
    two.rename(one)
    (spool / "third").rename(two)
    return set()


def renamed(spool: Path) -> set[int]:
    segments(spool)[1].rename(spool / "copy of a segment")
    segments(spool)[-1].rename(spool / segment_name(7))
    return set()


def strange_files(spool: Path) -> set[int]:
    (spool / "notes.txt").write_text("not ours")
    (spool / segment_name(10**9)).write_bytes(b"\xff" * 5000)
    (spool / "folder.seg").mkdir()
    return set()


def test_f53_f54_f55_several_kinds_of_damage_at_once_cost_what_each_hit(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    spool = spool_of(data)
    missing = strange_files(spool) | deleted(spool)
    flipped = next(f for f in frames(spool) if f.path == segments(spool)[2])
    body = bytearray(flipped.path.read_bytes())
    body[flipped.end - 1] ^= 1
    flipped.path.write_bytes(body)
    last = segments(spool)[-2]  # behind it lies the strange one
    missing |= {flipped.row, *cut_at(-2, last.stat().st_size - 1)(spool)}
    swapped(spool)
    said, got = site.drained(tmp_path, data, missing)
    assert told_missing(said) <= missing
    assert missing - told_missing(said) <= {NUMBER - 1}
    assert got == sorted(got)
    seen(lost=0, duplicates=0)


@pytest.mark.long
@pytest.mark.parametrize(
    "damage", [deleted, emptied, of_another_version, zeroed, swapped, renamed, strange_files]
)
def test_f55_a_file_of_the_spool_that_is_gone_moved_or_foreign(
    site: Site, tmp_path: Path, damage: Damage, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    missing = damage(spool_of(data))
    said, got = site.drained(tmp_path, data, missing)
    assert told_missing(said) == missing
    assert got == sorted(got)
    seen(lost=0, duplicates=0)


@pytest.mark.parametrize(
    "damage",
    [
        of_another_version,
        pytest.param(deleted, marks=pytest.mark.long),
        pytest.param(renamed, marks=pytest.mark.long),
    ],
)
def test_f55_doctor_mends_the_same_and_says_the_same(
    site: Site, tmp_path: Path, damage: Damage, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    missing = damage(spool_of(data))
    code, report = doctored(data)
    assert code == 1
    told = told_missing("\n".join(found["what"] for found in report["found"]))  # type: ignore[attr-defined]
    assert told == missing
    code, report = doctored(data, "--mend")
    assert code == (1 if missing else 0)
    left = [f for f in report["found"] if not f["mended"]]  # type: ignore[attr-defined]
    assert told_missing("\n".join(found["what"] for found in left)) == missing
    site.drained(tmp_path, data, missing)
    seen(lost=0)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["state.db", "checked.json", "lock", "reserve", "clock.json", "journal/relay.log",
     "spool/relay/up/cursor"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["deleted", "zeroed", "scrambled"])
def test_f55_any_single_file_may_be_gone_or_nonsense(
    site: Site, tmp_path: Path, name: str, how: str, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    path = data / name
    size = path.stat().st_size
    path.unlink()
    chance = random.Random(name)  # noqa: S311  # the same nonsense each time
    if how != "deleted":
        path.write_bytes(bytes(size) if how == "zeroed" else chance.randbytes(size))
    said, got = site.drained(tmp_path, data, set())
    assert (told_missing(said), got) == (set(), list(range(NUMBER)))
    seen(lost=0, duplicates=0)


# -- files of different ages


def half_sent(site: Site, folder: Path) -> tuple[Path, list[int]]:
    """A copy of which an engine has sent a part before it was killed, and that part."""
    data = site.copy(folder)
    flows = site.flow(folder / "half")
    with (
        Collector(site.far.port) as there,
        FlowProcess(flows, "--ready-after", "1s", data=data) as engine,
    ):
        engine.until_ready()
        until(lambda: len(there.numbers) > NUMBER // 2, what="half of it")
        engine.kill()
        sent = list(there.numbers)
    return data, sent


@pytest.mark.parametrize("name", ["cursor", pytest.param("state.db", marks=pytest.mark.long)])
def test_f56_an_index_that_is_older_than_the_data_repeats_what_it_says_and_loses_nothing(
    site: Site, tmp_path: Path, name: str, seen: Seen
) -> None:
    data, sent = half_sent(site, tmp_path)
    path = next(data.rglob(name))
    before = {f.row for f in frames(spool_of(data))}
    shutil.copy(site.data / path.relative_to(data), path)
    gone = set(range(NUMBER)) - before  # done, and their files deleted
    said, got = site.drained(tmp_path, data, gone)
    assert told_missing(said) <= gone
    assert "or they were done" in said or not told_missing(said)
    assert got == sorted(got)
    lost, _ = compare(range(NUMBER), [*sent, *got])
    assert lost == []
    seen(lost=0, duplicates=len(set(sent) & set(got)))


def test_f56_an_index_that_is_newer_than_the_data_sends_nothing_twice(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    spool = spool_of(data)
    (spool / "cursor").write_bytes(encode_cursor(NUMBER + 500, NUMBER + 500))
    with site.started(tmp_path, data) as (engine, there):
        site.publish(range(AFTER, AFTER + 50))
        there.until_all(set(range(AFTER, AFTER + 50)))
        assert len(there.numbers) == 50
        assert "beyond the data" in engine.said
    seen(lost=0, duplicates=0)


# -- a spool that nobody came for


def aged(site: Site, data: Path, upto: int, age: float) -> None:
    """Write the rows below `upto` as if they had come `age` seconds ago, the others now."""
    old = Spool(spool_of(site.data), now=time.time_ns)
    shutil.rmtree(spool_of(data))
    now = [time.time_ns() - int(age * 10**9)]
    new = Spool(spool_of(data), now=lambda: now[0])
    for row, body in old.read(10**9, 10**9):
        if row == upto:
            now[0] = time.time_ns()
        new.append([body])
    new.close()
    old.close()


def test_f59_after_a_month_what_is_past_its_age_is_dropped_and_counted(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    aged(site, data, 900, 30 * 86_400)
    said, got = site.drained(tmp_path, data, set(range(900)), age="7d")
    assert got == list(range(900, NUMBER))
    assert re.search(r"past their age were dropped.*900", said), said
    seen(lost=0, duplicates=0, dropped=900)

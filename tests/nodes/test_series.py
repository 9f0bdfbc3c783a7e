"""What was stored on the box is there after any crash, is read back as it was, and goes in time."""

import asyncio
import json
import math
import multiprocessing
import os
import signal
import sqlite3
import statistics
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.clock import TOLD_START, ToldClock
from flowengine.errors import FindingsError, Unavailable
from flowengine.nodes.series.read import query_series
from flowengine.nodes.series.sql import VERSION, open_reading
from flowengine.nodes.series.store import (
    PIECE,
    NewerStore,
    Point,
    Rollup,
    SeriesStore,
    export_series,
    list_series,
    tags_text,
)
from flowengine.testing import NodeBench

S = 1_000_000_000
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S


def stored(path: Path, name: str = "room") -> list[tuple[str, int, Any]]:
    return [(row["field"], row["time"], row["value"]) for row in export_series(path, name)]


def make_store(folder: Path, keep: int = 30 * DAY, rollup: Rollup | None = None) -> SeriesStore:
    return SeriesStore(folder / "series.db", keep, rollup)


def point(time: int, value: Any = 1.5, field: str = "t", tags: str = "{}") -> Point:
    return Point("room", tags, field, time, value)


# -- the store


def test_r32_values_keep_their_kind(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    values = [21, 21.0, 21.5, -0.5, 2**63 - 1, "text", "", True, False]
    store.write([point(time, value) for time, value in enumerate(values)])
    found = [value for _, _, value in stored(store.path)]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]
    store.close()


def test_r32_repeat_overwrites_even_with_another_kind(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write([point(1, 1.5), point(1, 2.5)])
    store.write([point(1, "x"), point(2, 9)])
    store.write([point(1, False)])
    assert stored(store.path) == [("t", 1, False), ("t", 2, 9)]
    store.close()


def test_r32_tags_and_fields_are_series_of_their_own(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    a, b = tags_text({"y": "2", "x": "1"}), tags_text({"x": "1"})
    store.write([point(1, 1, "t", a), point(1, 2, "t", b), point(1, 3, "h", b)])
    rows = list_series(store.path)
    assert rows[0] == {
        "series": "room",
        "tags": {"x": "1", "y": "2"},
        "field": "t",
        "points": 1,
        "first": 1,
        "last": 1,
    }
    assert [(row["tags"], row["field"]) for row in rows[1:]] == [
        ({"x": "1"}, "h"),
        ({"x": "1"}, "t"),
    ]
    store.close()


def test_r32_export_holds_since_and_not_until(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write([point(time) for time in (-5, 10, 20, 30)])
    assert [row["time"] for row in export_series(store.path, "room", 10, 30)] == [10, 20]
    assert [row["time"] for row in export_series(store.path, "room")] == [-5, 10, 20, 30]
    assert list(export_series(store.path, "other")) == []
    store.close()


def test_reader_needs_a_file_and_never_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_series(tmp_path / "series.db")
    assert list(tmp_path.iterdir()) == []


def test_r32_reading_changes_nothing_beside_a_writer(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.write([point(1)])
    with open_reading(store.path) as reader, pytest.raises(sqlite3.OperationalError):
        reader.execute("delete from points")
    reader.close()
    rows = export_series(store.path, "room")
    assert next(rows)["time"] == 1
    store.write([point(2)])  # no reader holds it up
    rows.close()  # type: ignore[attr-defined]  # a generator
    assert len(stored(store.path)) == 2
    store.close()


def test_two_writers_share_the_file(tmp_path: Path) -> None:
    stores = [make_store(tmp_path) for _ in range(2)]

    def write(number: int) -> None:
        for batch in range(20):
            stores[number].write([point(batch * 100 + i, number, f"f{number}") for i in range(50)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row["points"] for row in list_series(stores[0].path)] == [1000, 1000]
    for store in stores:
        store.close()


def _write_and_die(folder: Path) -> None:
    store = make_store(folder)
    store.write([point(time) for time in range(1000)])
    (folder / "committed").touch()
    store._db.execute("begin immediate")
    store._db.execute("delete from points")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_write_returned_for_survives_a_kill(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "committed").exists()
    assert len(stored(tmp_path / "series.db")) == 1000


def test_r57_commit_waits_for_the_disk(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store._db.execute("pragma synchronous").fetchone() == (2,)  # FULL
    assert store._db.execute("pragma journal_mode").fetchone() == ("wal",)
    store.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 500, None], ids=["other", "torn"])
def test_damaged_file_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, damage: bytes | None
) -> None:
    store = make_store(tmp_path)
    store.write([point(time) for time in range(2000)])
    store.close()
    path = tmp_path / "series.db"
    whole = path.read_bytes()
    path.write_bytes(damage or whole[:100] + b"\xff" * (len(whole) - 100))
    again = make_store(tmp_path)
    again.write([point(7)])
    assert again.moved_aside == tmp_path / "series.db.damaged-1"
    assert again.moved_aside.stat().st_size > 0
    assert stored(path) == [("t", 7, 1.5)]
    again.close()


def test_damage_met_while_writing_loses_no_batch(tmp_path: Path) -> None:
    first, second = make_store(tmp_path), make_store(tmp_path)
    first.write([point(time) for time in range(5000)])
    first._db.execute("pragma wal_checkpoint(truncate)")
    path = tmp_path / "series.db"
    pages = path.read_bytes()
    path.write_bytes(pages[:100] + b"\xff" * (len(pages) - 100))
    for number, store in enumerate((first, second)):
        store._db.execute("pragma cache_size = 0")
        store.write([point(number, number)])
    # The second found the name taken by the sound file and left that where it is.
    assert stored(path) == [("t", 0, 0), ("t", 1, 1)]
    assert not (tmp_path / "series.db.damaged-2").exists()
    first.close()
    second.close()


def test_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    make_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "series.db") as db:
        db.execute(f"pragma user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(NewerStore):
        make_store(tmp_path)


def test_failed_write_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(OverflowError):
        store.write([point(1), point(2, 2**63)])
    assert list_series(store.path) == []
    store.write([point(1), point(2)])
    assert len(stored(store.path)) == 2
    store.close()


# -- retention and thinning out


def test_r32_points_go_when_they_are_older_than_their_series_keeps(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep=DAY)
    other = SeriesStore(tmp_path / "series.db", 10 * DAY)
    store.write([point(time, 1, "short") for time in (0, HOUR, DAY)])
    other.write([point(time, 1, "long") for time in (0, HOUR, DAY)])
    assert store.upkeep(DAY + HOUR)
    assert stored(store.path) == [
        ("long", 0, 1),
        ("long", HOUR, 1),
        ("long", DAY, 1),
        ("short", HOUR, 1),
        ("short", DAY, 1),
    ]
    store.close()
    other.close()


def test_removal_goes_in_pieces_until_all_is_gone(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep=DAY)
    store.write([point(time) for time in range(3 * PIECE)])
    assert store.upkeep(2 * DAY, pieces=1) is False
    assert len(stored(store.path)) == 2 * PIECE
    while not store.upkeep(2 * DAY, pieces=1):
        pass
    assert list_series(store.path) == []
    assert store._db.execute("select count(*) from series").fetchone() == (0,)
    store.close()


def test_series_that_went_is_made_again_by_a_writer_that_remembers_it(tmp_path: Path) -> None:
    store, other = make_store(tmp_path, keep=DAY), make_store(tmp_path, keep=DAY)
    store.write([point(0)])
    assert other.upkeep(3 * DAY)
    store.write([point(3 * DAY)])
    assert stored(store.path) == [("t", 3 * DAY, 1.5)]
    store.close()
    other.close()


def test_thinned_out_values_outlive_the_readings(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep=2 * HOUR, rollup=Rollup(HOUR, ("mean", "max"), 30 * DAY))
    store.write([point(minute * MINUTE, minute) for minute in range(150)])
    store.upkeep(150 * MINUTE)
    greatest, mean = (
        [("t_max", 0, 59), ("t_max", HOUR, 119)],
        [("t_mean", 0, 29.5), ("t_mean", HOUR, 89.5)],
    )
    readings = [("t", minute * MINUTE, minute) for minute in range(30, 150)]
    assert stored(store.path) == readings + greatest + mean
    store.upkeep(10 * DAY)  # first the last half hour is thinned out, then all readings go
    last = 2 * HOUR
    assert stored(store.path) == [*greatest, ("t_max", last, 149), *mean, ("t_mean", last, 134.5)]
    store.upkeep(40 * DAY)
    assert list_series(store.path) == []
    assert store._db.execute("select count(*) from rollups").fetchone() == (0,)
    store.close()


def test_late_reading_changes_its_bucket_while_the_bucket_is_whole(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep=DAY, rollup=Rollup(HOUR, ("count",), 30 * DAY))
    store.write([point(0), point(HOUR)])
    store.upkeep(2 * HOUR)
    store.write([point(MINUTE)])
    store.upkeep(2 * HOUR + MINUTE)
    assert ("t_count", 0, 2) in stored(store.path)
    store.upkeep(DAY + 30 * MINUTE)  # takes the first half hour's readings
    store.write([point(40 * MINUTE)])
    store.upkeep(DAY + 31 * MINUTE)
    assert ("t_count", 0, 2) in stored(store.path)
    store.close()


# -- queries


@given(
    st.lists(st.tuples(st.integers(-100, 100), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
    st.integers(1, 50),
)
def test_functions_agree_with_plain_python(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float]], every: int
) -> None:
    points = dict(rows)
    store = make_store(tmp_path_factory.mktemp("s"))
    store.write([point(time, value) for time, value in points.items()])
    buckets: dict[int, list[tuple[int, float]]] = {}
    for time, value in sorted(points.items()):
        buckets.setdefault(time // every * every, []).append((time, value))

    def ask(function: Any) -> dict[int, Any]:
        found = query_series(
            store._db,
            "room",
            tags={},
            field="t",
            since=-100,
            until=101,
            function=function,
            every=every,
        )
        return {row["time"]: row["value"] for row in found}

    def quantile(values: list[float], share: float) -> float:
        place = (len(values) - 1) * share
        low, high = sorted(values)[math.floor(place)], sorted(values)[math.ceil(place)]
        return low + (high - low) * (place - math.floor(place))

    table: dict[str, Any] = {
        "mean": statistics.fmean,
        "min": min,
        "max": max,
        "sum": math.fsum,
        "count": len,
        "first": lambda values: values[0],
        "last": lambda values: values[-1],
        "median": statistics.median,
        "p95": lambda values: quantile(values, 0.95),
        "stddev": lambda values: statistics.stdev(values) if len(values) > 1 else None,
    }
    for function, plain in table.items():
        wanted = {start: plain([v for _, v in inside]) for start, inside in buckets.items()}
        answer = ask(function)
        assert answer.keys() == wanted.keys()
        for start, value in wanted.items():
            wanted_value = None if value is None else pytest.approx(value, rel=1e-9, abs=1e-5)
            assert answer[start] == wanted_value, (function, start)
    store.close()


def series_query(folder: Path, **config: Any) -> NodeBench:
    return NodeBench("series.query", {"series": "room", "range": "1h", **config}, data=str(folder))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Ten minutes before the bench's start, one reading a minute in two places: 0 to 9."""
    store = make_store(tmp_path)
    for place in ("a", "b"):
        tags = tags_text({"place": place, "floor": "1"})
        store.write([point(TOLD_START - (10 - n) * MINUTE, float(n), "t", tags) for n in range(10)])
    store.write([point(TOLD_START - MINUTE, "door open", "note")])
    store.close()
    return tmp_path


def test_query_answers_with_one_row_a_bucket(filled: Path) -> None:
    bench = series_query(
        filled, every="5m", range="10m", field="t", tags={"place": "payload.where"}
    )
    (message,) = bench.send({"where": "b"}, topic="ask")["out"]
    assert message.topic == "ask"
    assert message.payload == [
        {
            "series": "room",
            "tags": {"floor": "1", "place": "b"},
            "time": time,
            "field": "t",
            "value": value,
        }
        for time, value in (("2025-12-31T23:50:00Z", 2.0), ("2025-12-31T23:55:00Z", 7.0))
    ]
    bench.close()


def test_query_without_every_answers_once_a_series(filled: Path) -> None:
    bench = series_query(filled, range="3m", function="max", into="payload.rows")
    (message,) = bench.send({"keep": 1})["out"]
    assert message.payload["keep"] == 1
    assert [(r["tags"]["place"], r["value"]) for r in message.payload["rows"]] == [
        ("a", 9.0),
        ("b", 9.0),
    ]
    bench.close()


def test_query_without_function_answers_every_reading_one_message_each(filled: Path) -> None:
    bench = series_query(filled, range="1m", each=True, into="payload.row")
    messages = bench.send({"keep": 1})["out"]
    rows = [message.payload["row"] for message in messages]
    assert [(row["field"], row["value"]) for row in rows] == [
        ("t", 9.0),
        ("t", 9.0),
        ("note", "door open"),
    ]
    assert messages[0].payload is not messages[1].payload
    bench.close()


def test_query_of_nothing_answers_with_no_rows(filled: Path, tmp_path: Path) -> None:
    bench = series_query(filled, tags={"place": "'nowhere'"})
    assert bench.send(None)["out"][0].payload == []
    bench.close()
    empty = series_query(tmp_path / "never", each=True)
    assert empty.send(None) == {}
    assert empty.filtered == 1
    empty.close()


def test_query_that_hides_in_a_tag_finds_nothing(filled: Path) -> None:
    bench = series_query(filled, tags={"place": "payload"})
    for device in ("a' or '1'='1", 'a" or "1"="1', "%", "a'; drop table points; --"):
        assert bench.send(device)["out"][0].payload == []
    bench.close()
    assert len(stored(filled / "series.db")) == 21


def test_query_whose_buckets_cannot_be_counted_is_refused() -> None:
    with pytest.raises(FindingsError) as caught:
        series_query(Path(), every="1ms", range="1d")
    assert caught.value.findings[0].slug == "limits-crossed"


# -- the writing node


def series_write(folder: Path, clock: ToldClock | None = None, **config: Any) -> NodeBench:
    return NodeBench("series.write", {"series": "room", **config}, data=str(folder), clock=clock)


@pytest.mark.parametrize(
    ("config", "payload", "expected"),
    [
        ({}, 21.5, {"value": 21.5}),
        ({}, {"t": 21.5, "on": True, "x": None}, {"t": 21.5, "on": True}),
        ({"field": "payload.t"}, {"t": 21, "h": 3}, {"t": 21}),
        ({"field": "payload.rows[0].t"}, {"rows": [{"t": 1}]}, {"t": 1}),
        ({"field": {"warm": "payload.t", "wet": "payload.h"}}, {"t": 21}, {"warm": 21}),
        ({"field": "meta.note"}, 1, {"note": "hm"}),
        ({"field": "key"}, 1, {"key": "dev-1"}),
        ({}, {"t": math.nan, "h": 1}, {"h": 1}),
    ],
)
def test_r32_write_stores(
    tmp_path: Path, config: dict[str, Any], payload: Any, expected: dict[str, Any]
) -> None:
    bench = series_write(tmp_path, **config)
    assert bench.send(payload, meta={"note": "hm"}) == {}
    assert bench.unsettled == 0
    bench.close()
    rows = list(export_series(tmp_path / "series.db", "room"))
    assert {row["field"]: row["value"] for row in rows} == expected
    assert {row["time"] for row in rows} == {TOLD_START}


@pytest.mark.parametrize(
    ("payload", "slug"),
    [
        (None, "no-fields"),
        ({}, "no-fields"),
        (math.inf, "no-fields"),
        ([1], "bad-field"),
        ({"a": {"b": 1}}, "bad-field"),
        (2**63, "bad-field"),
        (b"\x00", "bad-field"),
    ],
)
def test_write_sends_what_it_cannot_store_by_the_error_route(
    tmp_path: Path, payload: Any, slug: str
) -> None:
    bench = series_write(tmp_path)
    (failed,) = bench.send(payload)["error"]
    assert failed.meta["error"]["slug"] == slug


def test_write_counts_numbers_that_are_not_finite(tmp_path: Path) -> None:
    bench = series_write(tmp_path)
    bench.send({"a": math.nan, "b": -math.inf, "c": 1})
    assert bench.counts["not-finite"] == 2
    bench.close()


def test_write_takes_names_and_tags_from_the_message(tmp_path: Path) -> None:
    tags = {"site": "params.site", "n": "payload.n", "on": "payload.on", "gone": "payload.gone"}
    bench = NodeBench(
        "series.write",
        {"series": "room {key}", "field": "payload.t", "tags": tags},
        data=str(tmp_path),
        params={"site": "kä"},
    )
    bench.send({"t": 1, "n": 4, "on": True})
    bench.close()
    (row,) = export_series(tmp_path / "series.db", "room dev-1")
    assert row["tags"] == {"site": "kä", "n": "4", "on": "true"}


def test_r32_write_of_a_repeat_is_one_point(tmp_path: Path) -> None:
    bench = series_write(tmp_path)
    message = Message(1.5, time=5)
    bench.send_many([message, message.copy()])
    bench.send_many([message.copy()])
    bench.close()
    assert stored(tmp_path / "series.db") == [("value", 5, 1.5)]


def test_write_waits_while_the_store_cannot_be_written(tmp_path: Path) -> None:
    bench = series_write(tmp_path / "no-such-folder")
    with pytest.raises(Unavailable) as caught:
        bench.send(1)
    assert "series.db" in caught.value.what
    assert "data folder" in caught.value.mend


def test_write_removes_old_readings_as_time_goes(tmp_path: Path) -> None:
    bench = series_write(tmp_path, retention="1h")
    bench.send(1)
    bench.advance("3h")
    bench.send(2)
    bench.close()
    assert stored(tmp_path / "series.db") == [("value", TOLD_START + 3 * HOUR, 2)]


def test_write_removes_nothing_right_after_the_clock_was_set(tmp_path: Path) -> None:
    clock = ToldClock()
    bench = series_write(tmp_path, clock, retention="1h")
    bench.send(1)
    clock.set_wall(TOLD_START + 400 * DAY)
    bench.advance("2m")
    bench.send(2)
    assert len(stored(tmp_path / "series.db")) == 2
    clock.set_wall(TOLD_START + 6 * MINUTE)
    bench.advance("2m")
    bench.send(3)
    assert len(stored(tmp_path / "series.db")) == 3
    bench.advance("2m")
    bench.send(4)  # the clock goes steadily again, and nothing here is an hour old
    assert len(stored(tmp_path / "series.db")) == 4
    bench.close()


def test_write_says_that_a_damaged_store_was_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "series.db").write_bytes(b"no database at all" * 500)
    bench = series_write(tmp_path)
    bench.send(1)
    bench.close()
    assert "series.db was damaged" in caplog.text
    assert len(stored(tmp_path / "series.db")) == 1


def test_write_thins_out_as_time_goes(tmp_path: Path) -> None:
    down = {"every": "1m", "functions": ["mean"]}
    bench = series_write(tmp_path, retention="10m", downsample=down)
    for value in (1, 3):
        bench.send(value)
        bench.advance("10s")
    bench.advance("1h")
    bench.send(5)
    bench.advance("1m")
    bench.send(7)
    bench.close()
    assert ("value_mean", TOLD_START, 2.0) in stored(tmp_path / "series.db")


def test_write_whose_readings_go_before_they_are_thinned_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FindingsError) as caught:
        series_write(tmp_path, retention="1h", downsample={"every": "1h"})
    assert caught.value.findings[0].slug == "limits-crossed"


@pytest.mark.parametrize("field", [{}, [], {"": "payload"}, 4, "temperature", {"a": "b"}])
def test_write_with_a_field_that_is_no_path_is_refused(tmp_path: Path, field: Any) -> None:
    with pytest.raises(FindingsError):
        series_write(tmp_path, field=field)


def test_write_leaves_the_event_loop_free(tmp_path: Path) -> None:
    bench = series_write(tmp_path)
    seen: list[int] = []
    write = SeriesStore.write

    def spy(store: SeriesStore, points: Any) -> None:
        seen.append(threading.get_ident())
        write(store, points)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeriesStore, "write", spy)
        bench.send(1)
    bench.close()
    bench.close()
    assert seen
    assert threading.get_ident() not in seen


def test_r32_export_rows_are_json(tmp_path: Path) -> None:
    bench = series_write(tmp_path)
    asyncio.run(bench.node.close())
    bench.send({"a": 1, "b": "x"})
    bench.close()
    text = [json.dumps(row) for row in export_series(tmp_path / "series.db", "room")]
    assert len(text) == 2

"""Charts read the box's own series in bounded pieces: few points, few lines, few seconds."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.commands.boxseries import series_reader
from flowengine.nodes.series.lines import TooSlow, bucket, read_lines
from flowengine.nodes.series.store import Point, SeriesStore, tags_text
from tests.web.box import API, Box

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def stored(folder: Path, points: list[Point]) -> Path:
    """A store with these points, as `series.write` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    store = SeriesStore(folder / "series.db", keep=3_650 * DAY)
    store.write(points)
    store.close()
    return folder / "series.db"


def points_of(
    values: list[Any], *, every: int = SECOND, field: str = "value", end: int = 0, **tags: str
) -> list[Point]:
    """Values of `t`, the newest last and a second ago."""
    last = (end or time.time_ns()) - SECOND
    text = tags_text(tags)
    count = len(values)
    return [
        Point("t", text, field, last - (count - 1 - at) * every, value)
        for at, value in enumerate(values)
    ]


def charted_box(folder: Path) -> Box:
    """A box that reads the store of its data folder."""
    return Box(folder, series=series_reader(folder / "data"))


@pytest.fixture
def charted(tmp_path: Path) -> Any:
    """A box whose store holds two devices' readings, a text and a switch."""
    stored(
        tmp_path / "data",
        [
            *points_of([20.0, 21.0, 22.5], device="a"),
            *points_of([5.0], device="b"),
            *points_of(["fine"], field="state", device="a"),
            *points_of([True, False], field="on", device="a"),
        ],
    )
    with (
        charted_box(tmp_path) as box,
        box.client("vera") as client,
    ):
        yield client


def test_series_are_found_by_words_of_name_field_and_tags(charted: Any) -> None:
    def found(words: str) -> list[tuple[str, str]]:
        answer = charted.get(f"{API}/charts/series", params={"find": words}).json()
        assert not answer["more"]
        return [(each["field"], each["tags"]["device"]) for each in answer["series"]]

    assert found("t") == [("on", "a"), ("state", "a"), ("value", "a"), ("value", "b")]
    assert found("value b") == [("value", "b")]
    assert found("VALUE") == [("value", "a"), ("value", "b")]
    assert found("%") == []
    cut = charted.get(f"{API}/charts/series?most=1").json()
    assert (len(cut["series"]), cut["more"]) == (1, True)
    assert cut["series"][0]["value"] is False
    assert cut["series"][0]["last"].endswith("Z")


def test_a_chart_has_a_line_for_each_set_of_tags(charted: Any) -> None:
    told = charted.get(f"{API}/charts/lines?series=t&span=15m").json()
    assert told["to"] - told["from"] == 900_000
    assert [(line["tags"], line["value"]) for line in told["lines"]] == [
        ({"device": "a"}, 22.5),
        ({"device": "b"}, 5.0),
    ]
    assert [point[1] for point in told["lines"][0]["points"]] == [20.0, 21.0, 22.5]
    assert told["lines"][0]["every"] is None
    one = charted.get(
        f"{API}/charts/lines", params={"series": "t", "tags": '{"device":"b"}'}
    ).json()
    assert [line["tags"] for line in one["lines"]] == [{"device": "b"}]
    assert charted.get(f"{API}/charts/lines?series=none").json()["lines"] == []


@pytest.mark.parametrize(
    ("field", "points", "last"), [("on", [1, 0], False), ("state", [], "fine")]
)
def test_a_switch_is_drawn_and_a_text_is_told(
    charted: Any, field: str, points: list[int], last: Any
) -> None:
    (line,) = charted.get(f"{API}/charts/lines?series=t&field={field}").json()["lines"]
    assert ([point[1] for point in line["points"]], line["value"]) == (points, last)


NONSENSE = {
    "no series": {},
    "another span": {"series": "t", "span": "10y"},
    "too many points": {"series": "t", "points": "1001"},
    "tags that are none": {"series": "t", "tags": "{"},
    "tags that are no texts": {"series": "t", "tags": '{"a": 1}'},
    "a list of tags": {"series": "t", "tags": "[]"},
    "nested tags": {"series": "t", "tags": "[" * 1_900},
    "an unknown name": {"series": "t", "sql": "1"},
    "a long name": {"series": "t" * 1_001},
}


@pytest.mark.parametrize("params", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_with_a_reason(charted: Any, params: dict[str, str]) -> None:
    answer = charted.get(f"{API}/charts/lines", params=params)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_a_day_of_seconds_becomes_a_few_buckets_that_hide_no_peak(tmp_path: Path) -> None:
    end = time.time_ns()
    values = [20.0] * 40_000
    values[12_345] = 99.0
    path = stored(tmp_path, points_of(values, end=end))
    (line,), more = read_lines(
        path, "t", "value", {}, since=end - DAY, until=end, points=300, most=12, within=20
    )
    assert not more
    assert line["every"] == 300 * SECOND
    assert len(line["points"]) <= 301
    assert max(point[3] for point in line["points"]) == 99.0
    assert min(point[2] for point in line["points"]) == 20.0
    assert [point[0] for point in line["points"]] == sorted(point[0] for point in line["points"])


def test_a_chart_of_too_many_points_gives_up_in_time(tmp_path: Path) -> None:
    end = time.time_ns()
    path = stored(tmp_path, points_of([1.0] * 40_000, end=end))
    with pytest.raises(TooSlow):
        read_lines(path, "t", "value", {}, since=0, until=end, points=100, most=12, within=0.0)


def test_no_chart_has_more_than_twelve_lines(tmp_path: Path) -> None:
    many = [point for n in range(20) for point in points_of([1.0], device=f"d{n:02}")]
    stored(tmp_path / "data", many)
    with (
        charted_box(tmp_path) as box,
        box.client("vera") as client,
    ):
        told = client.get(f"{API}/charts/lines?series=t").json()
    assert (len(told["lines"]), told["more"]) == (12, True)


@given(st.integers(1, 3_650 * 86_400), st.integers(10, 1_000))
def test_buckets_are_whole_seconds_and_few(seconds: int, points: int) -> None:
    size = bucket(seconds * SECOND, points)
    assert size % SECOND == 0
    assert seconds * SECOND <= size * points


def test_a_secret_in_a_series_is_not_shown(tmp_path: Path) -> None:
    stored(tmp_path / "data", points_of(["hunter2hunter2"], field="state"))
    with (
        charted_box(tmp_path) as box,
        box.client("vera") as client,
    ):
        box.services.redactor.learn("hunter2hunter2")
        for path in ("lines?series=t&field=state", "series"):
            answer = client.get(f"{API}/charts/{path}")
            assert answer.status_code == 200
            assert "hunter2" not in answer.text


def test_the_page_is_for_who_may_view_and_needs_no_store(empty: Box) -> None:
    with empty.client("vera") as client:
        page = client.get("/charts", params={"s": "t/value/device=a", "span": "7d", "every": "60"})
        assert page.status_code == 200
        data = json.loads(page.text.partition('id="page">')[2].partition("</script>")[0])
        assert (data["kind"], data["has_store"]) == ("charts", False)
        assert client.get(f"{API}/charts/series").json() == {"series": [], "more": False}
    with empty.client(None) as client:
        assert client.get("/charts").headers["location"].startswith("/login?next=%2Fcharts")


def test_a_damaged_store_is_told_and_is_no_fault_of_ours(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "series.db").write_bytes(b"no database at all" * 100)
    with (
        charted_box(tmp_path) as box,
        box.client("vera") as client,
    ):
        answer = client.get(f"{API}/charts/series")
    assert answer.status_code == 503
    assert answer.json()["slug"] == "unavailable"

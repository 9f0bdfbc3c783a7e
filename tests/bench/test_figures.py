"""The benches' figures are put together rightly: pairs, bars, and what is sent and heard."""

import json

import pytest

from tests.bench import load
from tests.bench.table import NO_BAR, Bar, Results


def one(bar: Bar, *pairs: tuple[float, float]) -> Results:
    results = Results()
    for ours, peer in pairs:
        results.note("hop", "us", bar, ours, peer)
    return results


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    # medians of the sides would give 20 / 2 = 10
    assert one(NO_BAR, (1, 30), (2, 10), (4, 20)).measures["hop"].ratio == 5


def test_without_the_peer_there_is_no_ratio_and_only_the_bar_counts() -> None:
    results = Results()
    results.note("hop", "us", Bar(1, 30), 0.5)
    assert results.measures["hop"].ratio is None
    assert results.measures["hop"].missed == []
    assert "holds" in results.table()


@pytest.mark.parametrize(
    ("ours", "peer", "missed"),
    [(1, 30, []), (1.1, 40, ["most"]), (0.5, 10, ["times"]), (2, 2, ["most", "times"])],
    ids=["kept", "too much", "too near", "both"],
)
def test_a_bar_is_missed_by_amount_or_by_ratio(ours: float, peer: float, missed: list[str]) -> None:
    assert one(Bar(1, 30), (ours, peer)).measures["hop"].missed == missed


def test_what_could_not_be_measured_stands_under_the_table() -> None:
    results = one(NO_BAR, (1, 2))
    results.troubles.append("w2: no broker")
    assert results.table().splitlines()[-1] == "! w2: no broker"


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("cut", [1, 7, 130, 10_000])
def test_packets_are_heard_as_sent_however_they_are_cut(qos: int, cut: int) -> None:
    heard: list[int] = []
    answers, waiting = 0, b""
    stream = b"".join(load.packets(0, 50, qos))
    for at in range(0, len(stream), cut):
        waiting, acks = load._take(
            waiting + stream[at : at + cut],
            lambda _topic, body: heard.append(json.loads(body)["timestamp"] - load.FIRST_MS),
        )
        answers += len(acks) // 4
    assert heard == list(range(50))
    assert answers == (50 if qos else 0)
    assert waiting == b""


def test_one_in_twenty_is_out_of_range_and_two_are_alarms() -> None:
    assert load.expected(0, 2000) == (1900, 200)
    readings = [load.temperature(n) for n in range(20)]
    assert sum(1 for celsius in readings if celsius > 100) == 1
    assert sum(1 for celsius in readings if 80 < celsius * 1.8 + 32 <= 212) == 2

"""Topic filters match as MQTT 5.0 §4.7 says, shared and `$` topics too; bad ones are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.nodes.mqtt_topics import (
    filter_fault,
    filter_number,
    filters_meet,
    split_share,
    topic_fault,
    topic_key,
    topic_matches,
)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/tennis/player1/#", "sport/tennis/player2", False),
        ("sport/tennis/player1/#", "sport/tennis/player11", False),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "a/b", True),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/+", "$SYS/broker", True),
        ("a/#", "a/$b", True),
        ("a/+", "a/$b", True),
        ("$share/g/device/+/telemetry", "device/1/telemetry", True),
        ("$share/g/device/+/telemetry", "$share/g/device/1/telemetry", False),
        ("$share/g/#", "$SYS/x", False),
        ("a.c", "abc", False),
        ("a/#", "a/b\nc", True),
        ("+", "b\nc", True),
    ],
)
def test_r58_matches(topic_filter: str, topic: str, expected: bool) -> None:
    assert topic_matches(topic_filter, topic) is expected


LEVELS = st.lists(st.text(st.sampled_from("ab$. "), max_size=2), min_size=1, max_size=4)


def by_levels(wanted: list[str], found: list[str]) -> bool:
    """The law of §4.7, level by level."""
    if wanted == ["#"]:
        return True
    if not wanted or not found:
        return not wanted and not found
    return wanted[0] in ("+", found[0]) and by_levels(wanted[1:], found[1:])


@given(LEVELS, st.lists(st.sampled_from(["keep", "+", "#"]), min_size=1, max_size=4))
def test_matches_level_by_level(levels: list[str], marks: list[str]) -> None:
    wanted = []
    for level, mark in zip(levels, marks, strict=False):
        wanted.append(level if mark == "keep" else mark)
        if mark == "#":
            break
    topic, topic_filter = "/".join(levels), "/".join(wanted)
    if not topic or not topic_filter:
        return
    expected = by_levels(wanted, levels)
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        expected = False
    assert topic_matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "+/b", True),
        ("a/#", "a", True),
        ("#", "a/b/c", True),
        ("$share/g/a", "a", True),
        ("a/+/c", "a/b/#", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("+/a", "+/b", False),
    ],
)
def test_filters_meet_where_a_topic_is_for_both(one: str, other: str, expected: bool) -> None:
    assert filters_meet(one, other) is filters_meet(other, one) is expected


@given(LEVELS, st.lists(st.sampled_from(["keep", "+", "#"]), min_size=8, max_size=8))
def test_what_matches_one_topic_meets(levels: list[str], marks: list[str]) -> None:
    filters = []
    for own in (marks[:4], marks[4:]):
        wanted = [
            level if mark == "keep" else mark for level, mark in zip(levels, own, strict=False)
        ]
        filters.append("/".join(wanted[: wanted.index("#") + 1] if "#" in wanted else wanted))
    if all(name and topic_matches(name, "/".join(levels)) for name in filters):
        assert filters_meet(*filters)


def test_a_filter_has_one_number_that_stays() -> None:
    assert filter_number("device/+/telemetry") == filter_number("device/+/telemetry")
    assert len({filter_number(f"t/{n}") for n in range(1000)}) == 1000
    assert all(0 < filter_number(f"t/{n}") <= 268_435_455 for n in range(1000))


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("device/+/telemetry", "device/d-7/telemetry", "d-7"),
        ("+/+/telemetry", "device/d-7/telemetry", "device"),
        ("$share/group/device/+/telemetry", "device/d-7/telemetry", "d-7"),
        ("device/#", "device/d-7/telemetry", "device/d-7/telemetry"),
        ("a/b", "a/b", "a/b"),
        ("device/+", "elsewhere", "elsewhere"),
    ],
)
def test_r10_r58_keys_by_the_first_plus(topic_filter: str, topic: str, expected: str) -> None:
    assert topic_key(topic_filter, topic) == expected


@pytest.mark.parametrize(
    ("topic_filter", "words"),
    [
        ("", "1 to 65,535 bytes"),
        ("a" * 65536, "1 to 65,535 bytes"),
        ("a\0b", "NUL"),
        ("a+/b", "stand alone"),
        ("a/#b", "stand alone"),
        ("a/#/b", "only at the end"),
        ("$share/g", "1 to 65,535 bytes"),
        ("$share//a", "$share/group/filter"),
        ("$share/g+/a", "$share/group/filter"),
    ],
)
def test_refuses_a_filter_with_a_reason(topic_filter: str, words: str) -> None:
    assert words in filter_fault(topic_filter)


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "a/+/b/#", "/", "$SYS/#", "$share/g/a/#", "a b"]
)
def test_takes_a_good_filter(topic_filter: str) -> None:
    assert not filter_fault(topic_filter)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0"])
def test_refuses_to_publish_to(topic: str) -> None:
    assert topic_fault(topic)


def test_r58_parts_a_shared_filter() -> None:
    assert split_share("$share/group/a/#") == ("group", "a/#")
    assert split_share("a/#") == (None, "a/#")

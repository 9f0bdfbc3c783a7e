"""A wall clock is believed when it may be, and what it stamped before is mended by its error."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.clock import SECOND, RealClock, ToldClock
from flowengine.moments import parse_time
from flowengine.trust import (
    DAY,
    FARTHEST,
    KEPT_BOOTS,
    PATIENCE,
    RELEASED,
    Trust,
    boot_clock,
    boot_id,
    kernel_is_synced,
)

NOW = parse_time("2026-11-25T04:00:00Z")
HOUR = 3600 * SECOND


class Box:
    """A box: its wall clock, the time since its boot, and what its kernel says."""

    def __init__(self, wall: int = NOW, kernel: bool | None = True, up: int = 60 * SECOND) -> None:
        self.wall, self.up, self.kernel = wall, up, kernel
        self.trust = self.boots("aaaaaaaa")

    def boots(self, boot: str) -> Trust:
        """What an engine knows that starts in a boot."""
        return Trust(lambda: self.wall, lambda: self.up, kernel=lambda: self.kernel, boot=boot)

    def later(self, duration: int) -> None:
        """Time passes."""
        self.wall += duration
        self.up += duration

    def stamped(self, **meta: Any) -> Message:
        """A message that comes now."""
        message = Message(1, time=self.wall, meta=meta)
        if not self.trust.is_synced:
            self.trust.mark([message])
        return message


@pytest.mark.parametrize(
    ("wall", "kernel", "up", "last_seen", "is_synced"),
    [
        (NOW, True, 0, 0, True),
        (0, True, 0, 0, False),
        (RELEASED - 1, True, 10 * HOUR, 0, False),
        (RELEASED, True, 0, 0, True),
        (FARTHEST, True, 0, 0, False),
        (NOW, False, 0, 0, False),
        (NOW, False, PATIENCE - 1, 0, False),
        (NOW, False, PATIENCE, 0, True),
        (NOW, None, 0, 0, True),
        (NOW, None, 0, NOW + DAY, True),
        (NOW, None, 0, NOW + DAY + 1, False),
        (NOW, False, PATIENCE, NOW + 2 * DAY, False),
        (NOW, True, 0, NOW + 2 * DAY, True),
    ],
)
def test_f61_a_clock_is_believed_by_its_time_its_kernel_and_what_was_seen_before(
    wall: int, kernel: bool | None, up: int, last_seen: int, is_synced: bool
) -> None:
    box = Box(wall, kernel, up)
    box.trust.last_seen = last_seen
    box.trust.begin()
    assert box.trust.is_synced is is_synced
    assert box.trust.quality == ("synced" if is_synced else "unsynced")
    assert box.trust.is_marked is not is_synced


def test_f61_a_clock_that_is_set_by_hand_is_believed_though_no_kernel_says_so() -> None:
    box = Box(kernel=False)
    box.trust.begin()
    assert not box.trust.is_synced
    box.later(HOUR // 2)
    box.wall += 40 * SECOND
    assert box.trust.look() == 40 * SECOND
    assert (box.trust.is_synced, box.trust.quality) == (True, "jumped")


@given(
    st.integers(-(10**18), 10**18),
    st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 3)), min_size=1, max_size=6),
)
def test_f61_every_stamp_of_a_boot_is_mended_by_the_same_error(
    wrong: int, reads: list[tuple[int, int]]
) -> None:
    """Reads: how long after the one before, how many ns after the read's own time."""
    box = Box(NOW + wrong, kernel=False, up=0)
    box.trust.begin()
    messages, true = [], []
    for wait, after in reads:
        box.later(wait)
        message = box.stamped(qos=1)
        message.time += after
        messages.append(message)
        true.append(box.wall - wrong + after)
    if box.trust.is_synced:  # nobody set it within the hour: it is what it is
        return
    marked = [m for m in messages if "clock" in m.meta]
    box.trust.mend(marked)
    assert all(m.meta["time_quality"] == "unsynced" for m in marked)  # not yet
    box.wall -= wrong
    box.trust.look()
    box.kernel = True
    box.trust.look()
    box.trust.mend(messages)
    for message, at in zip(messages, true, strict=True):
        if "time_quality" in message.meta:
            assert abs(message.time - at) <= SECOND
            assert message.meta == {"qos": 1, "time_quality": "mended"}


def test_f61_what_was_mended_is_not_mended_twice_and_shared_meta_is_left_alone() -> None:
    box = Box(0, up=0)
    box.trust.begin()
    meta = {"qos": 1}
    message = Message(1, time=box.wall, meta=meta)
    box.trust.mark([message])
    assert message.meta == {"qos": 1, "time_quality": "unsynced", "clock": "aaaaaaaa/0/0"}
    box.wall = NOW
    box.trust.look()
    for _ in range(2):
        box.trust.mend([message])
        assert (message.time, message.meta) == (NOW, {"qos": 1, "time_quality": "mended"})
    assert meta == {"qos": 1}


@pytest.mark.parametrize(
    ("wrong", "given", "expected", "quality"),
    [
        (-50 * 365 * DAY, lambda at: at - HOUR, lambda true: true - HOUR, "mended"),
        (-50 * 365 * DAY, lambda _at: NOW - 5, lambda _true: NOW - 5, None),
        (-40 * SECOND, lambda at: at - HOUR, None, "unsynced"),
        (-40 * SECOND, lambda _at: NOW - 5, None, "unsynced"),
    ],
    ids=["counts from the arrival", "the device's own", "could be either", "either, again"],
)
def test_f61_a_time_set_behind_the_source_is_mended_only_if_it_must_be_of_the_wrong_clock(
    wrong: int,
    given: Callable[[int], int],
    expected: Callable[[int], int] | None,
    quality: str | None,
) -> None:
    box = Box(NOW + wrong, kernel=False, up=HOUR // 2)
    box.trust.begin()
    message = box.stamped()
    message.time = before = given(message.time)
    box.wall -= wrong
    box.trust.look()
    box.trust.mend([message])
    assert message.time == (before if expected is None else expected(NOW))
    assert message.meta.get("time_quality") == quality
    assert ("clock" in message.meta) is (expected is None)


def test_f61_a_restart_of_the_engine_mends_what_was_stamped_before_it_in_the_same_boot() -> None:
    box = Box(0, up=0)
    box.trust.begin()
    message = box.stamped()
    box.later(HOUR)
    again = box.boots("aaaaaaaa")
    again.is_marked = True  # as `clock.json` says
    again.begin()
    assert not again.is_synced
    box.wall = NOW
    again.look()
    again.mend([message])
    assert message.time == NOW - HOUR


def test_f61_a_later_boot_mends_what_an_earlier_one_stamped_if_that_learned_the_time() -> None:
    box = Box(0, up=0)
    box.trust.begin()
    message = box.stamped()
    box.later(HOUR)
    box.wall = NOW
    box.trust.look()
    box.up, box.wall = 10 * SECOND, NOW + DAY
    later = box.boots("bbbbbbbb")
    later.truths, later.is_marked = dict(box.trust.truths), True
    later.begin()
    later.mend([message])
    assert message.time == NOW - HOUR


def test_f61_what_a_boot_stamped_that_never_learned_the_time_stays_marked() -> None:
    box = Box(0, up=0)
    box.trust.begin()
    message = box.stamped()
    box.up, box.wall = 0, NOW
    later = box.boots("bbbbbbbb")
    later.is_marked = True
    later.begin()
    later.mend([message])
    assert (message.time, message.meta["time_quality"]) == (0, "unsynced")


@pytest.mark.parametrize(
    "mark", ["", "a", "a/b/c", "aaaaaaaa/0", "aaaaaaaa/0/0/0", 7, None, ["aaaaaaaa/0/0"]]
)
def test_a_clock_in_meta_that_is_no_mark_is_left_alone(mark: Any) -> None:
    box = Box(0, up=0)
    box.trust.begin()
    box.wall = NOW
    box.trust.look()
    message = Message(1, time=5, meta={"clock": mark})
    box.trust.mend([message])
    assert (message.time, message.meta) == (5, {"clock": mark})


@pytest.mark.parametrize("year", ["1970-01-01T00:00:00Z", "2106-02-07T06:28:16Z"])
def test_f60_a_clock_that_jumps_out_of_all_bounds_is_known_by_what_it_was_before(year: str) -> None:
    """The boot's truth is known: what is stamped by the wrong clock leaves with the right time."""
    box = Box()
    box.trust.begin()
    box.later(HOUR)
    box.wall = parse_time(year)
    assert box.trust.look()
    assert box.trust.quality == "unsynced"
    message = box.stamped()
    box.trust.mend([message])
    assert (message.time, message.meta["time_quality"]) == (NOW + HOUR, "mended")


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 12 * 365 * DAY])
def test_f60_a_jump_that_may_be_true_is_told_once_and_believed(jump: int) -> None:
    box = Box()
    box.trust.begin()
    heard: list[int] = []
    box.trust.listeners.append(heard.append)
    box.later(HOUR)
    assert box.trust.look() == 0
    box.wall += jump
    assert box.trust.look() == jump
    assert box.trust.look() == 0
    assert (heard, box.trust.quality, box.trust.is_marked) == ([jump], "jumped", False)
    box.wall += SECOND  # what a time service does at its ease is no jump
    assert box.trust.look() == 0
    assert heard == [jump]


def test_f62_a_box_that_slept_has_not_been_set() -> None:
    clock = ToldClock()
    clock.trust.begin()
    clock.suspend(8 * HOUR)
    assert clock.trust.look() == 0
    assert clock.trust.quality == "synced"


def test_f61_only_the_last_boots_are_kept() -> None:
    box = Box()
    box.trust.truths = {f"{n:08x}": n for n in range(KEPT_BOOTS + 5)}
    box.trust.begin()
    assert len(box.trust.truths) == KEPT_BOOTS
    assert list(box.trust.truths)[-1] == "aaaaaaaa"


def test_this_machine_answers() -> None:
    assert len(boot_id()) == 8
    assert boot_clock()() > 0
    assert kernel_is_synced() in {True, False, None}
    trust = RealClock().trust
    trust.begin()
    assert trust.look() == 0
    assert abs(trust.truths.get(trust.boot, 0) + boot_clock()() - time.time_ns()) < SECOND or (
        not trust.is_synced
    )

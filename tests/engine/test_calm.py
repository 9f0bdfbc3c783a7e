"""Silence means something only while nothing waits in front of a node."""

from types import SimpleNamespace
from typing import Any

import pytest

from flowengine import Message
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.calm import AFTER_BLOCK, LATER, MS, QUIET, QUIET_ECO, SOON, STUCK, Calm
from flowengine.engine.wire import Wire

AGO = -(1 << 62)


class Scene:
    """A source, a wire behind it, and what waits there."""

    def __init__(self, *, eco: bool = False, window: int | None = 20) -> None:
        self.clock = ToldClock()
        intake = SimpleNamespace(window=window, unacknowledged=0, acknowledged=0)
        made: tuple[Any, Any] = (
            SimpleNamespace(came_at=AGO, eco=eco),
            SimpleNamespace(is_stopped=False, full_wires=set(), depth=0, intake=intake),
        )
        self.context, self.port = made
        self.wire = Wire(self.clock)
        self.calm = Calm(self.clock, [(self.context, self.port)], [self.wire])

    def comes(self) -> None:
        """A read comes now."""
        self.context.came_at = self.clock.monotonic()


def test_nothing_waits_where_nothing_ever_came() -> None:
    assert Scene().calm.behind(0) is None
    assert Calm(ToldClock(), [], []).behind(0) is None


def test_what_stands_at_the_source_or_in_a_wire_waits() -> None:
    scene = Scene()
    scene.port.depth = 1
    assert scene.calm.behind(0) == SOON
    scene.port.depth = 0
    scene.wire.put([Message(1)])
    assert scene.calm.behind(0) == SOON
    scene.wire.take(1)
    assert scene.calm.behind(0) is None


def test_a_full_wire_holds_time_up_and_a_round_trip_longer() -> None:
    scene = Scene()
    scene.port.full_wires.add(scene.wire)
    assert scene.calm.behind(0) == SOON
    scene.clock.advance(3600 * SECOND)
    assert scene.calm.behind(3600 * SECOND) == LATER
    scene.port.full_wires.clear()
    scene.clock.advance(AFTER_BLOCK - 1)
    assert scene.calm.behind(0) is not None
    scene.clock.advance(1)
    assert scene.calm.behind(0) is None


@pytest.mark.parametrize("how", ["stopped", "used up"])
def test_a_source_that_waits_for_acknowledgements_holds_time_up_while_these_come(how: str) -> None:
    """They may wait for a window to close: then time goes on after all."""
    scene = Scene()
    scene.port.is_stopped = how == "stopped"
    scene.port.intake.unacknowledged = 20 * (how == "used up")
    for second in range(60):
        scene.port.intake.acknowledged += 1
        assert scene.calm.behind(second * SECOND) is not None
        scene.clock.advance(SECOND)
    scene.clock.advance(STUCK - SECOND)
    scene.calm.behind(60 * SECOND)
    scene.clock.advance(AFTER_BLOCK)
    assert scene.calm.behind(60 * SECOND) is None


def test_a_source_without_a_window_is_never_used_up() -> None:
    scene = Scene(window=None)
    scene.port.intake.unacknowledged = 1_000_000
    assert scene.calm.behind(0) is None


@pytest.mark.parametrize(("eco", "quiet"), [(False, QUIET), (True, QUIET_ECO)])
def test_for_a_moment_after_a_read_more_may_come(eco: bool, quiet: int) -> None:
    scene = Scene(eco=eco)
    scene.comes()
    scene.clock.advance(MS)
    assert scene.calm.behind(0) == quiet - MS
    scene.clock.advance(quiet - MS)
    assert scene.calm.behind(0) is None


def test_in_a_flow_that_is_never_quiet_one_turn_without_a_read_is_enough_after_a_second() -> None:
    scene = Scene()
    scene.comes()
    assert scene.calm.behind(SECOND - 1) == QUIET
    scene.clock.advance(MS)
    scene.comes()
    assert scene.calm.behind(SECOND) == 0
    scene.clock.advance(MS)
    scene.comes()
    assert scene.calm.behind(SECOND) == 0
    assert scene.calm.behind(SECOND) is None

"""Taps: what leaves an output, looked at while someone looks, and at no cost when nobody does.

A tap is a function in the outlet's list of taps. It takes so many samples a quarter of a second as
its budget allows, counts the rest, and copies what it takes at once. A deploy makes new outlets:
`attach` puts the taps onto what runs now.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowengine.engine.outlet import Outlet
from flowengine.engine.runtime import Engine
from flowengine.message import Message, rfc3339
from flowengine.web.preview import kind_of, sample_json, short
from flowengine.web.redact import Redactor

PER_TICK = 2.5
"""Samples of one output a quarter of a second: ten a second."""
BURST = 10.0
"""So many at once after a quiet second: of a slow flow, everything is seen."""
KEPT = 20
SHORT = 80
WATCH_FOR = 60.0
"""Seconds that an output is looked at after the last question for its samples."""


class Sample(msgspec.Struct, frozen=True):
    """One message that passed: its number at this tap, when, as JSON, and itself for a replay."""

    n: int
    at: int
    json: bytes
    message: Message

    def told(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"n": self.n, "at": rfc3339(self.at), "message": msgspec.Raw(self.json)}


class Tap:
    """Looks at one output."""

    def __init__(self, redactor: Redactor) -> None:
        self.outlet: Outlet | None = None
        self.passed = 0
        self.ring: deque[Sample] = deque(maxlen=KEPT)
        self.until = 0.0
        self.watchers = 0
        self._redactor = redactor
        self._budget = BURST
        self._number = 0
        self.fresh: list[Sample] = []
        self.fresh_passed = 0

    def __call__(self, messages: list[Message]) -> None:
        """Look at what leaves."""
        self.passed += len(messages)
        self.fresh_passed += len(messages)
        room = int(self._budget)
        if room <= 0:
            return
        for message in messages[-room:]:
            self._budget -= 1
            self._number += 1
            raw = self._redactor.clean_bytes(sample_json(message))
            meta = dict(message.meta)
            kept = Message(_frozen(raw), message.topic, message.time, message.key, meta)
            sample = Sample(self._number, time.time_ns(), raw, kept)
            self.ring.append(sample)
            self.fresh.append(sample)

    def tick(self) -> tuple[list[Sample], int]:
        """A quarter of a second went by: what was sampled in it, and how many passed."""
        self._budget = min(self._budget + PER_TICK, BURST)
        fresh, self.fresh = self.fresh, []
        passed, self.fresh_passed = self.fresh_passed, 0
        return fresh, passed


def _frozen(raw: bytes) -> Any:
    """The payload of a sample for a replay; what was cut cannot be replayed."""
    return msgspec.json.decode(raw).get("payload", msgspec.UNSET)


class LastValue:
    """Remembers the last message of one output, at most one copy between two looks."""

    __slots__ = ("_armed", "_redactor", "is_new", "outlet", "told")

    def __init__(self, redactor: Redactor) -> None:
        self.outlet: Outlet | None = None
        self.told: dict[str, Any] | None = None
        self.is_new = False
        self._armed = True
        self._redactor = redactor

    def __call__(self, messages: list[Message]) -> None:
        """Keep the last one in short."""
        if not self._armed:
            return
        self._armed = False
        message = messages[-1]
        self.told = {
            "text": self._redactor.clean(short(message.payload, SHORT)),
            "kind": kind_of(message.payload),
            "at": rfc3339(message.time),
            "key": message.key[:100],
            "topic": message.topic[:200],
        }
        self.is_new = True

    def look(self) -> dict[str, Any] | None:
        """What is new since the last look; the next message is kept again."""
        self._armed = True
        if not self.is_new:
            return None
        self.is_new = False
        return self.told


Place = tuple[str, str]
"""A node and its output."""


class FlowTaps:
    """The taps of one flow."""

    def __init__(
        self,
        engine: Engine,
        flow: str,
        redactor: Redactor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.flow = flow
        self._redactor = redactor
        self._clock = clock
        self.taps: dict[Place, Tap] = {}
        self.values: dict[Place, LastValue] = {}
        self.wants_values = False

    def outlets(self) -> Mapping[Place, Outlet]:
        """Every output of what runs now."""
        running = self.engine.flows.get(self.flow)
        if running is None:
            return {}
        return {
            (name, output): outlet
            for name, node in running.nodes.items()
            if node.step is not None
            for output, outlet in node.step.outlets.items()
        }

    def tap(self, place: Place) -> Tap:
        """The tap of an output, made when it is asked for."""
        found = self.taps.get(place)
        if found is None:
            found = self.taps[place] = Tap(self._redactor)
            # Until the asker has said for how long: `attach` takes off what nobody needs.
            found.until = self._clock() + 1.0
        self.attach()
        return found

    def watch(self, place: Place) -> Tap:
        """Look at an output for a minute from now."""
        tap = self.tap(place)
        tap.until = self._clock() + WATCH_FOR
        return tap

    def attach(self) -> None:
        """Put the taps onto the outlets of what runs now, and take off those nobody needs."""
        outlets = self.outlets()
        now = self._clock()
        for place, tap in list(self.taps.items()):
            if not tap.watchers and tap.until <= now:
                _move(tap, None)
                del self.taps[place]
            else:
                _move(tap, outlets.get(place))
        if not self.wants_values:
            for value in self.values.values():
                _move(value, None)
            self.values.clear()
            return
        for place in [place for place in self.values if place not in outlets]:
            _move(self.values.pop(place), None)
        for place, outlet in outlets.items():
            kept = self.values.get(place)
            if kept is None:
                kept = self.values[place] = LastValue(self._redactor)
            _move(kept, outlet)

    @property
    def is_idle(self) -> bool:
        """Whether nobody looks."""
        return not self.taps and not self.wants_values


def _move(tap: Tap | LastValue, outlet: Outlet | None) -> None:
    """Take a tap off its outlet and put it onto another."""
    if tap.outlet is outlet:
        return
    if tap.outlet is not None and tap in tap.outlet.taps:
        tap.outlet.taps.remove(tap)
    tap.outlet = outlet
    if outlet is not None:
        outlet.taps.append(tap)

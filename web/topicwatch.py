"""MQTT topics that pass the sources of flows, noted while someone asks and a minute longer.

Where no broker is embedded, this is how topics of the brokers in use are seen: by what the flows
hear from them anyway. Nothing is subscribed for it, and nothing is noted while nobody asks.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from flowengine.engine.outlet import Outlet
from flowengine.engine.runtime import Engine
from flowengine.message import Message, rfc3339
from flowengine.web.preview import short
from flowengine.web.redact import Redactor

MOST = 500
LONGEST = 120
WATCH_FOR = 60.0
PER_SECOND = 200
"""Messages that are looked at in a second; of a stream of thousands, topics repeat soon."""
_LOOK = 5.0


class TopicWatch:
    """Looks at the outputs of MQTT sources of whatever runs."""

    def __init__(
        self, engine: Engine, redactor: Redactor, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.topics: dict[str, dict[str, Any]] = {}
        """Topic -> `{"last", "at", "flow", "node"}`."""
        self._engine = engine
        self._redactor = redactor
        self._clock = clock
        self._until = 0.0
        self._taps: list[tuple[Outlet, Callable[[list[Message]], None]]] = []
        self._budget = float(PER_SECOND)
        self._refilled = 0.0
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Someone wants to know: look for a minute from now."""
        self._until = self._clock() + WATCH_FOR
        self.attach()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._taps:
            await asyncio.sleep(_LOOK)
            self.attach()

    def attach(self) -> None:
        """Look at what runs now; at nothing once nobody has asked for a minute."""
        wanted: dict[int, tuple[Outlet, str, str]] = {}
        if self._clock() < self._until:
            for flow_id, flow in self._engine.flows.items():
                for name, node in flow.nodes.items():
                    is_mqtt = node.planned.type.name.partition(".")[0] == "mqtt"
                    if is_mqtt and node.planned.type.kind == "source" and node.step is not None:
                        wanted[id(node.step.first)] = node.step.first, flow_id, name
        for outlet, tap in [each for each in self._taps if id(each[0]) not in wanted]:
            self._taps.remove((outlet, tap))
            if tap in outlet.taps:
                outlet.taps.remove(tap)
        known = {id(outlet) for outlet, _ in self._taps}
        for number, (outlet, flow_id, name) in wanted.items():
            if number not in known:
                tap = self._tap(flow_id, name)
                outlet.taps.append(tap)
                self._taps.append((outlet, tap))

    def _tap(self, flow: str, node: str) -> Callable[[list[Message]], None]:
        def look(messages: list[Message]) -> None:
            now = self._clock()
            self._budget = min(PER_SECOND, self._budget + (now - self._refilled) * PER_SECOND)
            self._refilled = now
            room = int(self._budget)
            for message in messages[-room:] if room else ():
                self._budget -= 1
                self._note(message, flow, node)

        return look

    def _note(self, message: Message, flow: str, node: str) -> None:
        topic = self._redactor.clean(message.topic[:1_000])
        if not topic:
            return
        self.topics.pop(topic, None)  # the one seen longest ago comes first, and goes first
        if len(self.topics) >= MOST:
            del self.topics[next(iter(self.topics))]
        last = self._redactor.clean(short(message.payload, LONGEST))
        self.topics[topic] = {
            "last": last,
            "at": rfc3339(time.time_ns()),
            "flow": flow,
            "node": node,
        }

    def close(self) -> None:
        """Look no more."""
        self._until = 0.0
        self.attach()
        if self._task is not None:
            self._task.cancel()

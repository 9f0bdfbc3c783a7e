"""The live view: one socket a tab, four looks a second at what someone listens to, and no more.

What an open editor costs the engine has a ceiling: flows nobody listens to are not read, a frame is
made once a tick and at most once for each socket, and samples are taken of tapped outputs only.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from typing import Any

import psutil

from flowengine.clock import SECOND
from flowengine.engine.runtime import Engine
from flowengine.web.flowwatch import FlowWatch
from flowengine.web.keyed import Keyed
from flowengine.web.listener import Listener
from flowengine.web.logring import LogRing
from flowengine.web.pins import numbers, pin_of
from flowengine.web.problem import Problem, not_found
from flowengine.web.redact import Redactor
from flowengine.web.rooms import Room
from flowengine.web.taps import Place, Sample
from flowengine.web.workshop import Workshop

LOG = logging.getLogger("flowengine.web")
TICK = 0.25
MOST_SOCKETS = 64
MOST_TOPICS = 64
FIRST_LINES = 200
KINDS = ("status", "metrics", "values", "debug", "ops")


class Hub:
    """Everyone who listens, and what they listen to."""

    def __init__(
        self, engine: Engine, workshop: Workshop, redactor: Redactor, log: LogRing
    ) -> None:
        self.engine = engine
        self.workshop = workshop
        self.redactor = redactor
        self.log = log
        self.server = secrets.token_hex(4)
        self.listeners: dict[str, Listener] = {}
        self.watches: dict[str, FlowWatch] = {}
        self.rooms: dict[str, Room] = {}
        self._taps: dict[tuple[str, Place], set[tuple[str, str]]] = {}
        """(flow, place) -> (listener, topic) of those who tap it."""
        self._flows = Keyed()
        self._numbers: dict[str, Any] = {}
        self._line = log.number
        self._ticks = itertools.count()
        self._task: asyncio.Task[None] | None = None
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._stale = True

    # -- sockets

    def enter(self, listener: Listener) -> bool:
        """A socket opens; False when there are too many."""
        if len(self.listeners) >= MOST_SOCKETS:
            return False
        self.listeners[listener.id] = listener
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return True

    def leave(self, listener: Listener) -> None:
        """A socket has closed."""
        for topic in list(listener.topics) + [room.topic for room in self.rooms.values()]:
            self.unsubscribe(listener, topic)
        self.listeners.pop(listener.id, None)

    def end_session(self, session: str) -> None:
        """Someone logged out: their sockets close."""
        for listener in self.listeners.values():
            if listener.caller.session == session:
                listener.close(4401)

    async def close(self) -> None:
        """The server stops: everyone is sent away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for listener in self.listeners.values():
            listener.close(1001)
        for room in self.rooms.values():
            room.close()

    # -- topics

    async def subscribe(self, listener: Listener, topic: str) -> None:
        """Begin to tell a client of a topic; Problem for one that is none."""
        if len(listener.topics) >= MOST_TOPICS:
            raise Problem(429, "too-many", f"A socket may listen to {MOST_TOPICS} topics.")
        if topic == "status":
            await self._refresh_states()
            listener.listen_keyed(topic, self._status)
            return
        if topic == "log":
            self._push_log()  # to those who listen already
            listener.listen(topic)
            lines, _, _ = self.log.since(self._line - FIRST_LINES)
            listener.push(topic, {"lines": lines})
            return
        head, _, rest = topic.partition("/")
        flow, _, kind = rest.partition("/")
        if head != "flow" or not flow:
            raise not_found(f'topic "{topic}"')
        if kind == "paused":
            raise Problem(501, "not-yet", "There are no breakpoints yet.")
        await asyncio.to_thread(self.workshop.draft, flow)  # 404 for a flow that is not there
        await self._subscribe_flow(listener, topic, flow, kind)

    async def _subscribe_flow(self, listener: Listener, topic: str, flow: str, kind: str) -> None:
        watch = self._watch(flow)
        if kind == "metrics":
            watch.renew_metrics()
            listener.listen_keyed(topic, watch.metrics)
        elif kind == "status":
            await self._refresh_states()
            watch.renew_states()
            listener.listen_keyed(topic, watch.status)
        elif kind == "values":
            watch.taps.wants_values = True
            watch.taps.attach()
            listener.listen_keyed(topic, watch.last_values)
        elif kind == "debug":
            listener.listen(topic)
            shown = watch.debugged(everything=True)
            watch.debugged()
            listener.push(topic, shown or {"items": [], "lost": 0})
        elif kind == "ops":
            room = self.rooms.get(flow)
            if room is None:
                room = self.rooms[flow] = Room(self.workshop, flow)
            await room.enter(listener)
        elif kind.startswith("tap/"):
            self._tap(listener, topic, watch, kind.removeprefix("tap/"))
        elif (pin := pin_of(kind)) is not None:
            self._tap(listener, topic, watch, pin[0])
        else:
            raise not_found(f'topic "{topic}"')

    def _tap(self, listener: Listener, topic: str, watch: FlowWatch, wire: str) -> None:
        place = watch.place_of(wire)
        if place is None:
            raise not_found(f'output "{wire}" that runs')
        tap = watch.tap(place)
        tap.watchers += 1
        self._taps.setdefault((watch.flow, place), set()).add((listener.id, topic))
        listener.listen(topic)
        if tap.ring:
            listener.push(topic, _shown(topic, list(tap.ring), 0))

    def unsubscribe(self, listener: Listener, topic: str) -> None:
        """No more of a topic."""
        flow = topic.split("/")[1] if topic.startswith("flow/") else ""
        if topic.endswith("/ops") and flow in self.rooms:
            self.rooms[flow].leave(listener)
            if not self.rooms[flow].people:
                self.rooms.pop(flow).close()
        for key, takers in list(self._taps.items()):
            if (listener.id, topic) in takers:
                takers.discard((listener.id, topic))
                watch = self.watches.get(key[0])
                if watch is not None and key[1] in watch.taps.taps:
                    watch.taps.taps[key[1]].watchers -= 1
                if not takers:
                    del self._taps[key]
        listener.stop_listening(topic)

    def _watch(self, flow: str) -> FlowWatch:
        found = self.watches.get(flow)
        if found is None:
            found = self.watches[flow] = FlowWatch(self.engine, flow, self.redactor)
        return found

    def watch(self, flow: str) -> FlowWatch:
        """The looks at a flow, for a question asked outside of a socket."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return self._watch(flow)

    # -- what others did

    def changed(self, flow: str, rev: int, by: str, why: str) -> None:
        """A draft was changed as a whole."""
        self._stale = True
        room = self.rooms.get(flow)
        if room is not None:
            room.replaced(rev, by, why)

    def state_changed(self) -> None:
        """Some flow's line in the list is another."""
        self._stale = True

    # -- the tick

    async def _run(self) -> None:
        while self.listeners or any(not watch.taps.is_idle for watch in self.watches.values()):
            await asyncio.sleep(TICK)
            try:
                await self.tick()
            except Exception:  # the next look may do
                LOG.exception("the live view failed")

    async def tick(self) -> None:
        """Look at what someone listens to, and mark what is new."""
        number = next(self._ticks)
        wanted = {topic for listener in self.listeners.values() for topic in listener.topics}
        is_due = number % 4 == 0 or self._stale
        if is_due and any(topic == "status" or topic.endswith("/status") for topic in wanted):
            await self._refresh_states()
        if number % 4 == 0 and "status" in wanted:
            numbers = self._engine_now()
            if numbers != self._numbers:
                self._numbers = numbers
                self._renew("status", has_changed=True)
        for flow, watch in list(self.watches.items()):
            self._tick_flow(flow, watch, wanted, number)
        self._push_log()

    def _tick_flow(self, flow: str, watch: FlowWatch, wanted: set[str], number: int) -> None:
        head = f"flow/{flow}/"
        watch.taps.wants_values = f"{head}values" in wanted
        watch.taps.attach()
        if f"{head}metrics" in wanted:
            self._renew(f"{head}metrics", watch.renew_metrics())
        if f"{head}status" in wanted:
            self._renew(f"{head}status", watch.renew_states())
        if f"{head}values" in wanted and number % 2 == 0:
            self._renew(f"{head}values", watch.renew_values())
        if f"{head}debug" in wanted:
            shown = watch.debugged()
            if shown is not None:
                self._push(f"{head}debug", shown)
        for place, (fresh, passed) in watch.samples().items():
            takers = self._taps.get((flow, place), ())
            told = {topic: _shown(topic, fresh, passed) for topic in {each[1] for each in takers}}
            for name, topic in takers:
                if name in self.listeners:
                    self.listeners[name].push(topic, told[topic])
        if watch.taps.is_idle and not any(topic.startswith(head) for topic in wanted):
            del self.watches[flow]

    def _push_log(self) -> None:
        lines, lost, self._line = self.log.since(self._line)
        if lines:
            self._push("log", {"lines": lines, **({"lost": lost} if lost else {})})

    def _renew(self, topic: str, has_changed: bool) -> None:
        if has_changed:
            for listener in self.listeners.values():
                listener.renewed(topic)

    def _push(self, topic: str, data: Any) -> None:
        for listener in self.listeners.values():
            listener.push(topic, data)

    # -- all flows in one line each

    async def _refresh_states(self) -> None:
        self._stale = False
        states = await asyncio.to_thread(self.workshop.states)
        self._renew("status", self._flows.renew({state["id"]: state for state in states}))
        for state in states:
            watch = self.watches.get(state["id"])
            if watch is not None and watch.set_state(state):
                self._renew(f"flow/{state['id']}/status", has_changed=True)

    def _engine_now(self) -> dict[str, Any]:
        rate = 0.0
        for flow_id, flow in self.engine.flows.items():
            watch = self.watches.get(flow_id)
            if watch is not None:
                sources = {n for n, r in flow.nodes.items() if r.planned.type.kind == "source"}
                rate += watch.rates.total(sources)
        began = self.engine.started
        return {
            "rate": round(rate, 1),
            "cpu": round(self._process.cpu_percent(), 1),
            "memory": self._process.memory_info().rss,
            "uptime": round((self.engine.clock.now() - began) / SECOND),
        }

    def _status(self, seen: int) -> tuple[int, Any]:
        told = {
            "full": seen <= 0,
            "flows": list(self._flows.since(seen).values()),
            "gone": self._flows.gone_since(seen),
            "engine": self._numbers or self._engine_now(),
        }
        return self._flows.tick, told


def _shown(topic: str, samples: list[Sample], passed: int) -> dict[str, Any]:
    """What a topic shows of the samples of its output: all of them, or of a pin the numbers."""
    pin = pin_of(topic.split("/", 2)[2])
    if pin is not None:
        return numbers(samples, pin[1], passed)
    return {"samples": [sample.told() for sample in samples], "passed": passed}

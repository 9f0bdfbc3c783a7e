"""One test of a flow, run: the real engine with a told clock and everything outside replaced (R14).

Connections become stand-ins that catch what would be sent; sinks without one have their input
caught; sources that need only the clock run, the others are fed. No network, no disk, no sleep.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from flowengine.cases.match import TOP, compare_messages
from flowengine.cases.model import Case, CaseInput
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.delivery import Intake, settle_all
from flowengine.engine.fates import DELIVERED
from flowengine.engine.feeder import SourcePort
from flowengine.engine.flowrun import RunningFlow
from flowengine.engine.outlet import ERROR
from flowengine.engine.plan import Plan, make_plan
from flowengine.engine.quarantine import Quarantine, error_fact
from flowengine.engine.running import Running, Surroundings
from flowengine.engine.step import Step
from flowengine.engine.store import Store
from flowengine.engine.wire import Wire
from flowengine.errors import FindingsError, NodeError
from flowengine.flow import Flow
from flowengine.flow.references import FieldType, resolve
from flowengine.message import Message, message_to_json
from flowengine.moments import format_duration
from flowengine.registry import Registry

_SETTLE = 12
_SLOW = SECOND


class CaseResult(msgspec.Struct, kw_only=True):
    """What a test gave: `differences` is empty when it passed."""

    name: str
    index: int
    differences: list[str]
    got: dict[str, list[dict[str, Any]]]

    @property
    def passed(self) -> bool:
        """Whether everything came as expected."""
        return not self.differences


def run_case(
    flow: Flow, case: Case, registry: Registry, field_type: FieldType | None = None
) -> CaseResult:
    """Run one test of a flow that `check` has found whole."""
    resolved = resolve(
        flow,
        params=case.params,
        env=case.env,
        secrets=lambda name: case.secrets.get(name, "test"),
        field_type=field_type,
    )
    missing = [m for m in resolved.missing if m.kind != "secret"]
    if missing or resolved.findings:
        lines = [f'the {m.kind} "{m.name}" has no value; give it in the test' for m in missing]
        lines += [str(finding) for finding in resolved.findings]
        return CaseResult(name=case.name, index=case.index, differences=lines, got={})
    try:
        plan = make_plan(flow, resolved, registry)
    except FindingsError as err:
        return CaseResult(name=case.name, index=case.index, differences=[str(err)], got={})
    return asyncio.run(_Scene(plan, case).play())


class _CaughtWire(Wire):
    """The input of a sink that is not run: what comes is written down and delivered."""

    def __init__(self, clock: ToldClock, caught: Callable[[Message], None]) -> None:
        super().__init__(clock)
        self._caught = caught

    def put(self, messages: list[Message]) -> None:
        """Write down and deliver."""
        for message in messages:
            self._caught(message)
        settle_all(messages, DELIVERED)


class _CaseFlow(RunningFlow):
    """A running flow whose outside is replaced."""

    def __init__(self, plan: Plan, around: Surroundings, scene: "_Scene") -> None:
        super().__init__(plan, around)
        self.scene = scene
        self._stand_ins: dict[tuple[str, str], Any] = {}

    def connection(self, name: str, node: str) -> Any:
        """A stand-in that knows whose it is."""
        if (name, node) not in self._stand_ins:
            plan = self.scene.plan
            self._stand_ins[name, node] = plan.connections[name].type.target.stand_in(
                lambda message: self.scene.caught(node, message),
                lambda: self.scene.links.get(name, "up") != "down",
            )
        return self._stand_ins[name, node]

    def _make_connection(self, planned: Any) -> Running:
        running = super()._make_connection(planned)
        running.opened.set()
        return running

    def is_caught(self, running: Running) -> bool:
        """Whether a sink's input is caught, as it has no stand-in to write to."""
        names = running.planned.connections
        return not names or any(self.connection(n, running.planned.id) is None for n in names)

    def _inbox(self, running: Running) -> Wire:
        if running.planned.type.kind == "sink" and self.is_caught(running):
            node = running.planned.id
            return _CaughtWire(self.scene.clock, lambda message: self.scene.caught(node, message))
        return super()._inbox(running)

    async def _open(self, running: Running) -> None:
        kind = running.planned.type.kind
        is_outside = (
            kind == "connection"
            or (kind == "source" and not getattr(running.thing, "runs_in_tests", False))
            or (kind == "sink" and self.is_caught(running))
        )
        if is_outside:
            running.opened.set()
            return
        if kind == "sink":
            self._slow_down(running)
        await super()._open(running)

    def _slow_down(self, running: Running) -> None:
        thing: Any = running.thing
        write = thing.write

        async def slow(records: list[Any]) -> Any:
            if any(self.scene.links.get(name) == "slow" for name in running.planned.connections):
                await self.clock.sleep(_SLOW)
            return await write(records)

        thing.write = slow

    def fail(self, step: Step, message: Message, error: Exception) -> None:
        """Note the error, then send the message its way."""
        slug = error.slug if isinstance(error, NodeError) else "failed"
        outlet = step.outlets.get(ERROR)
        is_unwired = outlet is None or not outlet.branches
        goes_to_catch = is_unwired and "error" not in message.meta  # else to quarantine (R6)
        catches = [c.id for c in self._catches.get(step.id, ())] if goes_to_catch else []
        self.scene.failed((step.id, slug), str(error), catches)
        if is_unwired:  # a test may name an output that nothing is at
            fact = error_fact(step.id, step.type.name, error)
            self.scene.left(f"{step.id}.{ERROR}", message.with_meta(error=fact))
        super().fail(step, message, error)


class _Scene:
    """The stage of one test."""

    def __init__(self, plan: Plan, case: Case) -> None:
        self.plan = plan
        self.case = case
        self.clock = ToldClock(case.start)
        self.started = self.clock.monotonic()
        self.links: dict[str, str] = {}
        self.got: dict[str, list[dict[str, Any]]] = {name: [] for name in case.expect}
        self.places = {name.partition(".")[0] for name in case.expect}
        self.errors: Counter[tuple[str, str]] = Counter()
        self.unseen: Counter[tuple[str, str]] = Counter()
        self.said: dict[tuple[str, str], str] = {}
        self.trouble: list[str] = []
        self.intake = Intake()
        self.store = Store(None)
        around = Surroundings(
            clock=self.clock,
            store=self.store,
            quarantine=Quarantine(self.store, self.clock, self.trouble.append),
            files="files",
            data="data",
        )
        self.flow = _CaseFlow(plan, around, self)

    def caught(self, node: str, message: Message) -> None:
        """A sink was given (or would have sent) a message."""
        self.left(node, message)

    def left(self, place: str, message: Message) -> None:
        """A message came to a place that the test looks at."""
        if place in self.got:
            self.got[place].append(self._shown(message))

    def failed(self, key: tuple[str, str], said: str, catches: list[str]) -> None:
        """An error of a node and slug; seen if the test looks at a catch that it goes to."""
        self.errors[key] += 1
        self.said.setdefault(key, said)
        if self.places.isdisjoint(catches):
            self.unseen[key] += 1

    def _shown(self, message: Message) -> dict[str, Any]:
        return {"at": self.clock.monotonic() - self.started, **message_to_json(message)}

    async def play(self) -> CaseResult:
        """Everything in its time."""
        try:
            await self.flow.deploy(self.plan)
            self._listen()
            self._set_states()
            await self._settle()
            for item in self.case.inputs:
                await self._until(item.at)
                self._put_in(item)
                self.flow.region.run()
                await self._settle()
            await self._until(max(self.case.until, 0))
            differences = self._judge()
        finally:
            await self._stop()
        return CaseResult(
            name=self.case.name, index=self.case.index, differences=differences, got=self.got
        )

    async def _stop(self) -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.store.close()

    async def _settle(self) -> None:
        for _ in range(_SETTLE):
            await asyncio.sleep(0)
        self.flow.region.run()

    async def _until(self, at: int) -> None:
        until = self.started + at
        while self.clock.step(until):
            await self._settle()
        await self._settle()

    def _listen(self) -> None:
        for place in self.case.expect:
            node, dot, output = place.partition(".")
            running = self.flow.nodes.get(node)
            if running is None or running.step is None:
                continue
            if not dot:
                if running.planned.type.kind != "sink":
                    names = " or ".join(f'"{node}.{name}"' for name in running.step.outlets)
                    self.trouble.append(f'{place}: node "{node}" is no sink; name {names}')
                continue
            outlet = running.step.outlets.get(output)
            if outlet is None:
                self.trouble.append(f'{place}: node "{node}" has no output "{output}"')
                continue
            outlet.taps.append(partial(self._heard, place))

    def _heard(self, place: str, messages: list[Message]) -> None:
        self.got[place] += [self._shown(message) for message in messages]

    def _set_states(self) -> None:
        for node, states in self.case.state.items():
            running = self.flow.nodes.get(node)
            step = running.step if running is not None else None
            if step is None or step.entries is None:
                self.trouble.append(f'state: node "{node}" remembers nothing')
                continue
            for key, value in states.items():
                try:
                    state = msgspec.convert(value, step.entries.state)
                except msgspec.ValidationError as err:
                    self.trouble.append(f"state.{node}.{key}: {err}")
                    continue
                step.entries.put(key, state, self.clock.monotonic())
                step.node.resume(key, state)

    # -- what goes in

    def _put_in(self, item: CaseInput) -> None:
        if item.connection is not None:
            self.links[item.connection] = item.state or "up"
            return
        if item.node is None:
            self._publish(item)
            return
        running = self.flow.nodes.get(item.node)
        if running is None or running.step is None:
            self.trouble.append(f'input: there is no node "{item.node}"')
            return
        time = self.clock.now() if item.time is None else item.time
        payload = _unwrap(item.payload)
        message = Message(payload, item.topic or "", time, item.key or "", dict(item.meta))
        if isinstance(running.feeder, SourcePort):
            running.feeder.receive([message], None)
            return
        self.intake.let_in([message], None)
        (running.wire or running.step).put([message])

    def _publish(self, item: CaseInput) -> None:
        payload = _unwrap(item.payload)
        raw = payload if isinstance(payload, bytes) else _encode(payload)
        taken = False
        for running in self.flow.nodes.values():
            feed = getattr(running.thing, "feed", None)  # of sources, and of sinks that listen, too
            if feed is not None:
                taken = feed(item.topic or "", raw, dict(item.meta)) or taken
        if not taken:
            self.trouble.append(f'input: no node of the flow takes the topic "{item.topic}"')

    # -- what came out

    def _judge(self) -> list[str]:
        lines = list(self.trouble)
        for place, expected in self.case.expect.items():
            found = compare_messages(expected, self.got[place], self.case.tolerance)
            lines += [f"{place}{line}" for line in found]
        lines += self._judge_states()
        lines += self._judge_errors()
        return lines

    def _judge_states(self) -> list[str]:
        lines = []
        for node, states in self.case.expect_state.items():
            running = self.flow.nodes.get(node)
            step = running.step if running is not None else None
            for key, wanted in states.items():
                state = step.entries.get(key) if step and step.entries is not None else None
                got = msgspec.to_builtins(state) if state is not None else {}
                pairs = [{"payload": {**wanted, "$partial": True}}], [{"payload": got}]
                lines += [
                    f"state of {node} for {key!r}: {line.partition('payload')[2].lstrip('.')}"
                    for line in compare_messages(*pairs, self.case.tolerance)
                ]
        return lines

    def _judge_errors(self) -> list[str]:
        lines: list[str] = []
        left = Counter(self.unseen)
        for wanted in self.case.expect_findings:
            found = [k for k in self.errors if k[1] == wanted.slug and wanted.node in {None, k[0]}]
            number = sum(self.errors[key] for key in found)
            if number == 0 or (wanted.count is not None and number != wanted.count):
                times = "at least once" if wanted.count is None else f"{wanted.count} times"
                lines.append(f"error {wanted.slug}: expected {times}, came {number} times")
            for key in found:
                del left[key]
        named = {p.partition(".")[0] for p in self.case.expect if p.endswith(".error")}
        for (node, slug), number in left.items():
            if node in named:
                continue
            lines.append(f'{node}: {number} x "{slug}": {self.said[node, slug]}')
        return lines


def expectation(
    case: Case, got: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """An `expect` that this run would meet: for `--update`, with the keys that it had before."""
    made: dict[str, list[dict[str, Any]]] = {}
    for place, messages in got.items():
        before = case.expect.get(place, [])
        keys = {name for message in before for name in message} or {"at", "payload"}
        made[place] = [
            {
                name: format_duration(message["at"]) if name == "at" else message[name]
                for name in TOP
                if name in keys
            }
            for message in messages
        ]
    return made


def _unwrap(payload: Any) -> Any:
    if isinstance(payload, dict) and set(payload) == {"$bytes"}:
        return base64.b64decode(payload["$bytes"])
    return payload


def _encode(payload: Any) -> bytes:
    if isinstance(payload, str):
        return payload.encode()
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()

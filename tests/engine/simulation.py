"""A simulated world around a real engine: brokers, far sides, disks and time, all from one seed.

World ---publishes--> [ engine: a random flow, a told clock ] --commits--> far sides of the world
  ^----acknowledges----/        |  spools on simulated disks, state.db as SQLite committed it
                                '- deployed anew, stopped, killed at any turn of its loop

The world behaves like an MQTT broker: what was not acknowledged comes again to the next engine. In
the end everything is healed, time passes, and what arrived is held against the flow's model.
"""

import asyncio
import contextlib
import logging
import os
import random
import selectors
import shutil
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flowengine import Message
from flowengine.clock import SECOND, ToldClock
from flowengine.engine import delivery, feeder, runtime, wiring
from flowengine.engine.delivery import SourceReceipt
from flowengine.engine.fates import DROPPED, FATES, FILTERED, KIND, QUARANTINED, SPOOLED, fate_text
from flowengine.engine.folder import DataFolder
from flowengine.engine.plan import Plan, make_plan
from flowengine.engine.runtime import Engine
from flowengine.engine.spool import Spool
from flowengine.errors import NodeError
from flowengine.flow import parse_flow
from flowengine.flow.json_lines import to_lines
from flowengine.flow.references import resolve
from tests.engine.simulation_flows import LOSSY, OUTSIDE, FlowMaker, In, SimFlow, SimulationRegistry
from tests.engine.test_spool import FOLDER, SimDisk

ROUNDS = 3000
NEVER = 1 << 62
RECENT = 30 * SECOND
"""How long before a crash what was done may still be done again: a cut that waits, a cursor."""


class Broken(AssertionError):
    """The promise was broken; the message names the seed."""


class CheckedReceipt(SourceReceipt, gc=False):
    """A receipt that does not let itself be settled twice."""

    def settle(self, fate: int) -> None:
        """One part has met its fate; there must be one."""
        if self.parts < 1 or self.insecure < 1:
            raise Broken(f"a receipt is settled once too often: {self.parts}, {self.insecure}")
        super().settle(fate)

    def secure(self) -> Any:
        """One part is safe on disk; there must be one."""
        if self.parts < 1 or self.insecure < 1:
            raise Broken(f"a receipt is secured once too often: {self.parts}, {self.insecure}")
        return super().secure()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose own time passes only while it has nothing else to do, and then at once.

    So `wait_for` and the like end in the same turn with every run of a seed.
    """

    def __init__(self) -> None:
        self.virtual = 0.0
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self.virtual


class _VirtualSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for nothing."""
        if timeout is None:
            raise Broken("nothing goes on any more: every task waits for another")
        self._loop.virtual += max(0.0, timeout)
        return super().select(0)


class _Stopwatch:
    """What feeders measure their turns with: they run out of time by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def perf_counter_ns(self) -> int:
        """Now and then, much later."""
        return self._chance.choice([0, 0, 0, 10**9])


class LaterExecutor(Executor):
    """Runs calls in the event loop a few turns later, as a thread's answer comes later."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.is_dead = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run soon."""
        future: Future[Any] = Future()
        self._in(self.chance.randrange(8), future, partial(fn, *args, **kwargs))
        return future

    def _in(self, turns: int, future: "Future[Any]", call: Callable[[], Any]) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._in, turns - 1, future, call)
            return
        if self.is_dead or not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except Exception as err:  # noqa: BLE001  # as an executor does
            future.set_exception(err)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to end."""


class Topic:
    """What the broker holds for one source."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self.unacknowledged: deque[int] = deque()

    def again(self) -> None:
        """The client is new: what it did not acknowledge comes again, first."""
        self.waiting.extendleft(reversed(self.unacknowledged))
        self.unacknowledged.clear()


class World:
    """Everything outside of the engine, and the engine of the moment."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311  # decides what happens in a test
        self.maker = FlowMaker(self.chance)
        self.base = self.maker.make()
        self.flow = self.base
        self.flows = [self.flow]
        self.folder = folder
        self.runs = 0
        self.clock = ToldClock(seed=seed)
        self.topics: dict[str, Topic] = defaultdict(Topic)
        self.sources: dict[str, In] = {}
        self.modes: dict[str, str] = {}
        self.got: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.disks: dict[str, SimDisk] = {}
        self.let_in_at: dict[int, tuple[int, int]] = {}
        self.owner: dict[int, str] = {}
        self.acknowledged: set[int] = set()
        self.receipts: dict[int, SourceReceipt] = {}
        self.ends: list[tuple[int, set[int], int]] = []
        """Of each engine: when it ended, what was unacknowledged then, since when what was done may
        be done again."""
        self.trouble: tuple[int, int] | None = None
        """Since when a disk was in trouble, and until when."""
        self.troubled: set[int] = set()
        """What was under way when that began: that it was committed may not be noted since."""
        self.number = 0
        self.log: list[str] = []
        self.is_store_broken = False
        self.engine: Engine
        self.threads: LaterExecutor

    # -- what the nodes see

    def mode(self, sink: str) -> str:
        """How a far side is."""
        return self.modes.get(sink, "up")

    def write(self, sink: str, messages: list[Message]) -> None:
        """A far side commits."""
        now = self.clock.now()
        self.got[sink] += [(number, now) for m in messages for number in m.payload["ids"]]

    def opened(self, source: In) -> None:
        """A source takes the place of its former self."""
        self.sources[source.context.node] = source

    # -- sources

    def publish(self, name: str, number: int) -> None:
        """Devices publish."""
        for _ in range(number):
            self.number += 1
            self.owner[self.number] = name
            self.topics[name].waiting.append(self.number)

    def turn(self, name: str) -> None:
        """The broker sends what the source takes: a few messages a read."""
        source, topic = self.sources.get(name), self.topics[name]
        while source is not None and source.is_open and topic.waiting and not source.is_paused:
            room = (source.window or 10**9) - len(topic.unacknowledged)
            ids = [
                topic.waiting.popleft()
                for _ in range(min(room, len(topic.waiting), self.chance.randint(1, 5)))
            ]
            if not ids:
                return
            topic.unacknowledged.extend(ids)
            self._let_in(source, ids)

    def _let_in(self, source: In, ids: list[int]) -> None:
        messages: list[Message] = []
        failed: list[tuple[Message, Exception]] = []
        now = self.clock.now()
        for number in ids:
            self.let_in_at.setdefault(number, (now, len(self.flows) - 1))
            message = Message({"ids": [number]}, "t", now, f"k{number % 3}")
            if number % 10 == source.config.garbled:
                failed.append((message, NodeError("garbled", slug="not-json")))
            else:
                messages.append(message)
        source.emit(
            list(messages), partial(self._acknowledge, source.context.node, ids, self.runs), failed
        )
        for message in [*messages, *(m for m, _ in failed)]:
            receipt: Any = message.receipt
            self.receipts[message.payload["ids"][0]] = receipt

    def _acknowledge(self, name: str, ids: list[int], run: int) -> None:
        if run != self.runs:
            return
        topic = self.topics[name]
        for number in ids:
            if topic.unacknowledged.popleft() != number:
                raise Broken(f"{number} is acknowledged out of turn")
            self.acknowledged.add(number)

    # -- the engine

    def spool(self, folder: Path, **settings: Any) -> Spool:
        """A spool on a simulated disk."""
        disk = self.disks.setdefault(f"{folder.parent.name}/{folder.name}", SimDisk())
        return Spool(FOLDER, disk=disk, segment_bytes=700, **settings)

    @property
    def data(self) -> Path:
        """The data folder of this life of the box."""
        return self.folder / f"life-{self.runs}"

    async def start(self) -> None:
        """Start an engine over the data folder, and deploy the flow."""
        OUTSIDE[:] = [self]
        self.sources.clear()
        self.receipts.clear()
        for topic in self.topics.values():
            topic.again()
        self.threads = LaterExecutor(random.Random(self.chance.random()))  # noqa: S311
        self.engine = Engine(DataFolder(self.data), self.clock)
        self.engine.around.disk = self.threads
        store: Any = self.engine.folder.store
        store._thread = self.threads
        store._db.execute("pragma synchronous=off")
        transact = store._transact

        def maybe(call: Any) -> Any:
            if self.is_store_broken:
                raise sqlite3.OperationalError("database or disk is full")
            return transact(call)

        store._transact = maybe
        self.engine.start()
        await self.beside(self.engine.deploy(plan_of(self.flow)))

    async def beside(self, what: Any) -> None:
        """Wait for something while told time goes by slowly."""
        task = asyncio.ensure_future(what)
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            if task.done():
                break
            loop: Any = asyncio.get_running_loop()
            if not loop._ready:
                self.clock.step(self.clock.monotonic() + SECOND // 20)
                await asyncio.sleep(0.01)
        if not task.done():
            task.cancel()
            raise Broken("a deploy or stop does not end")
        await task

    async def settle(self) -> None:
        """Let every task go as far as it can without time going by."""
        loop: Any = asyncio.get_running_loop()
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            if not loop._ready:
                return
        raise Broken("the engine does not come to rest: it works without end at one moment")

    async def pass_time(self, duration: int) -> None:
        """Let told time pass, timer by timer, sources being fed."""
        until = self.clock.monotonic() + duration
        await self.settle()
        while self.clock.step(until):
            await self.settle()
            for name in self.sources:
                self.turn(name)
        await self.settle()

    async def deploy(self, flow: SimFlow) -> None:
        """Deploy a changed flow."""
        if self._is_troubled(0):
            # What a failing disk may or may not have taken is written once more.
            self.ends.append((self.clock.now(), self._under_way(), self._unsaved_since(0)))
        self.flow = flow
        self.flows.append(flow)
        for name in [name for name in self.sources if name not in flow.nodes]:
            del self.sources[name]
        await self.beside(self.engine.deploy(plan_of(flow)))

    async def stop(self) -> None:
        """Stop the engine as SIGTERM does, and start the next on the same folder."""
        is_well = not self.is_store_broken and all(
            self.mode(name) == "up" for name in self.flow.sinks()
        )
        is_well = is_well and not self._is_troubled(RECENT)
        if is_well:
            await self.pass_time(2 * SECOND)  # a sink may not have noticed yet
            is_well = not any(
                running.runner is not None and running.runner.is_away
                for running in self.engine.flows["sim"].nodes.values()
            )
        await self.beside(self.engine.stop())
        open_ones = {n for topic in self.topics.values() for n in topic.unacknowledged}
        if is_well and open_ones:
            raise Broken(f"a clean stop left {sorted(open_ones)[:9]} unacknowledged")
        self.ends.append((self.clock.now(), self._under_way(), self._unsaved_since(0)))
        self.new_life(self.data, clean=True)

    async def crash(self) -> None:
        """Kill the engine at this turn of its loop: only what is on disk is left."""
        old, disks = self.data, self.disks
        self.ends.append((self.clock.now(), self._under_way(), self._unsaved_since()))
        self.disks = {name: disk.crash(self.chance) for name, disk in disks.items()}
        for disk in disks.values():
            disk.is_dead = True
        self.threads.is_dead = True
        self.new_life(old, clean=False)
        OUTSIDE.clear()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in sorted(tasks, key=lambda task: int(task.get_name().rpartition("-")[2])):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        folder: Any = self.engine.folder
        folder.store._db.close()
        os.close(folder._lock)
        shutil.rmtree(old)

    def new_life(self, old: Path, *, clean: bool) -> None:
        """A new data folder with what is durable of the old one, and a clock that begins anew."""
        self.runs += 1
        if clean:
            os.rename(old, self.data)
        else:
            self.data.mkdir()
            for name in ("state.db", "state.db-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(old / name, self.data / name)
        for disk in self.disks.values():
            disk.fault, disk.free = _no_fault, 10**9
        self.is_store_broken = False
        self._note_trouble()
        self.clock = ToldClock(start=self.clock.now(), seed=self.seed + self.runs)

    def _under_way(self) -> set[int]:
        """Numbers that are not acknowledged, or have not come wherever they may."""
        numbers = {n for topic in self.topics.values() for n in topic.unacknowledged}
        places = {**self.got, "quarantine": self._quarantined()}
        came = {place: {n for n, _ in got} for place, got in places.items()}
        for number in self.let_in_at:
            for flow in (self.base, self.flow):
                if self.owner[number] in flow.nodes:
                    _, may = flow.owed(self.owner[number], number)
                    if any(number not in came.get(place, ()) for place in may):
                        numbers.add(number)
        return numbers | self.troubled if self._is_troubled(0) else numbers

    def _is_troubled(self, recent: int) -> bool:
        """Whether a disk is in trouble, or was so until a moment ago."""
        return self.trouble is not None and self.trouble[1] + recent >= self.clock.now()

    def _note_trouble(self) -> None:
        """A disk may be in trouble, or well again."""
        now = self.clock.now()
        is_bad = self.is_store_broken or any(
            disk.free == 0 or disk.fault("fsync", None) for disk in self.disks.values()
        )
        if is_bad and (self.trouble is None or self.trouble[1] + RECENT < now):
            self.trouble, self.troubled = (now, now), self._under_way()
        if self.trouble is not None and (is_bad or self.trouble[1] == NEVER):
            self.trouble = (self.trouble[0], NEVER if is_bad else now)

    def _unsaved_since(self, recent: int = RECENT) -> int:
        """Since when what was done may not be noted on disk."""
        since = self.clock.now() - recent if recent else NEVER
        if self.trouble is not None and self._is_troubled(recent):
            since = self.trouble[0] - RECENT
        return min(since, self._held_up_since())

    def _held_up_since(self) -> int:
        """Since when something waits on disk: records behind it are not given up before it is."""
        came = {place: {n for n, _ in got} for place, got in self.got.items()}
        for number in sorted(self.acknowledged):
            if self.owner[number] in self.flow.nodes:
                must, _ = self.flow.owed(self.owner[number], number)
                places = [place for place in must if place != "quarantine"]
                if any(number not in came.get(place, ()) for place in places):
                    return self.let_in_at[number][0]
        return NEVER

    # -- the story

    async def play(self, steps: int) -> None:
        """A random story, a good end, and the judgement."""
        await self.start()
        for _ in range(steps):
            await self._step()
        await self._heal()
        self._judge()
        await self.beside(self.engine.stop())

    async def _step(self) -> None:  # noqa: PLR0912  # a list of what may happen
        chance = self.chance
        for name in self.flow.names("sim.in"):
            if chance.random() < 0.7:
                self.publish(name, chance.choice([1, 2, 4, 12]))
                self.turn(name)
        kind = chance.choices(
            [
                "turns",
                "moment",
                "time",
                "far side",
                "deploy",
                "prune",
                "stop",
                "crash",
                "disk",
                "store",
            ],
            [6, 8, 3, 5, 1.5, 0.4, 0.6, 1.2, 0.7, 0.5],
        )[0]
        self.log.append(kind)
        if kind == "turns":
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
        elif kind == "moment":
            await self.pass_time(chance.randrange(3 * SECOND))
        elif kind == "time":
            await self.pass_time(chance.choice([8, 30]) * SECOND)
        elif kind == "far side":
            sinks = self.flow.sinks()
            if sinks:
                mode = chance.choice(["up", "up", "away", "hang"])
                self.modes[chance.choice(sinks)] = mode
        elif kind == "deploy":
            await self.deploy(self.maker.change(self.flow))
        elif kind == "prune":
            await self.deploy(self.maker.prune(self.flow) if chance.random() < 0.6 else self.base)
        elif kind == "stop":
            await self.stop()
            await self.start()
        elif kind == "crash":
            await self.crash()
            await self.start()
        else:
            self._disturb(kind)

    def _disturb(self, kind: str) -> None:
        chance = self.chance
        if kind == "store":
            self.is_store_broken = not self.is_store_broken
            self._note_trouble()
            return
        for disk in self.disks.values():
            trouble = chance.choice(["full", "fsync", "none", "none"])
            disk.free = 0 if trouble == "full" else 10**9
            disk.fault = _broken_fsync if trouble == "fsync" else _no_fault
        self._note_trouble()

    async def _heal(self) -> None:
        """Everything is well again, and much time passes."""
        self.modes.clear()
        self.is_store_broken = False
        for disk in self.disks.values():
            disk.fault, disk.free = lambda _op, _path: None, 10**9
        self._note_trouble()
        for _ in range(40):
            await self.pass_time(15 * SECOND)
            for name in self.sources:
                self.turn(name)
            if not any(t.waiting or t.unacknowledged for t in self.topics.values()):
                break
        await self.pass_time(120 * SECOND)

    # -- the judgement

    def _judge(self) -> None:
        for name in self.flow.names("sim.in"):
            topic = self.topics[name]
            if topic.waiting or topic.unacknowledged:
                raise Broken(f"{name} stands still: {list(topic.unacknowledged)[:9]} are open")
        self._judge_ledger()
        came: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, got in {**self.got, "quarantine": self._quarantined()}.items():
            for number, at in got:
                came[number][place].append(at)
        for number, (_, version) in self.let_in_at.items():
            if number in self.acknowledged:
                self._judge_number(number, version, came[number])
        self._judge_order()

    def _judge_number(self, number: int, version: int, came: dict[str, list[int]]) -> None:
        must, may = self._expected(number, version)
        for place, needed in must.items():
            times = len(came.get(place, ()))
            if times < needed:
                raise Broken(f"{number} is lost: it came {times} of {needed} times to {place}")
        for place, when in came.items():
            if place not in may:
                raise Broken(f"{number} came to {place}, where it does not belong")
            if len(when) > may[place] and not self._is_excused(number, min(when)):
                raise Broken(f"{number} came {len(when)} times to {place}")

    def _expected(self, number: int, version: int) -> tuple[Counter[str], Counter[str]]:
        """Where a number must have come, whichever version of the flow had it, and where it may."""
        source = self.owner[number]
        must: Counter[str] | None = None
        may: Counter[str] = Counter()
        for flow in self.flows[version:]:
            if source not in flow.nodes:
                must = Counter()
                continue
            owed, possible = flow.owed(source, number)
            must = owed if must is None else must & owed
            may |= possible
            if flow.nodes.keys() != self.base.nodes.keys():
                may["quarantine"] = max(may["quarantine"], 1)  # on its way from a node that is gone
        return must or Counter(), may

    def _is_excused(self, number: int, first: int) -> bool:
        """Whether the end of an engine may have repeated a message."""
        let_in, _ = self.let_in_at[number]
        return any(
            number in open_ones or (let_in <= at and first >= since)
            for at, open_ones, since in self.ends
        )

    def _judge_ledger(self) -> None:
        flow = self.engine.flows["sim"]
        for name, intake in flow.intakes.items():
            ever = {name for flow_ in self.flows for name in flow_.nodes}
            # In the state of a node that is gone. After a crash the ledger of sources that do not
            # number their messages may be off by those that two states or spools had.
            stays = self.flow.nodes.keys() < ever or bool(self.ends)
            if (intake.in_flight and not stays) or intake.unacknowledged:
                raise Broken(
                    f"{name}: {intake.in_flight} in flight, {intake.unacknowledged} unacknowledged"
                )
            left = {fate_text(f): n for b in intake.ledger.buckets() for f, n in b.fates.items()}
            wrong = {text: n for text, n in left.items() if n < 0 or text == "missing"}
            waits = left.get("spooled") and self.flow.nodes.keys() >= self._all_sinks()
            if (any(wrong.values()) or waits) and not self.ends:
                raise Broken(f"{name}: the ledger says {left}")
        held = {n: r.step.held for n, r in flow.nodes.items() if r.step and r.step.held}
        if held:
            raise Broken(f"receipts are held for ever: {held}")
        for number, receipt in self.receipts.items():
            if receipt.parts and self.flow.nodes.keys() < self.base.nodes.keys():
                continue
            if receipt.parts or receipt.insecure:
                raise Broken(f"{number} is open: {receipt.parts} parts, {receipt.insecure}")
            self._judge_fate(number, receipt.fate)

    def _all_sinks(self) -> set[str]:
        """All sinks there ever were: what waits for one that is gone waits on."""
        return {name for flow in self.flows for name in flow.sinks()}

    def _judge_fate(self, number: int, fate: int) -> None:
        """Where nothing ended and nothing was changed, the fate says what became of a message."""
        if self.ends or len(self.flows) > 1:
            return
        came = any(n == number for got in self.got.values() for n, _ in got)
        is_aside = any(n == number for n, _ in self._quarantined())
        kind = fate & KIND
        if is_aside and kind not in {QUARANTINED, SPOOLED}:
            raise Broken(f"{number} is in quarantine and counts as {FATES[kind]}")
        if not came and not is_aside and kind not in {FILTERED, DROPPED, SPOOLED}:
            raise Broken(f"{number} came nowhere and counts as {FATES[kind]}")

    def _quarantined(self) -> list[tuple[int, int]]:
        """(number, when) of every message that was set aside."""
        with contextlib.closing(sqlite3.connect(self.data / "state.db")) as db:
            rows = db.execute(
                "select time, json_extract(message, '$.payload.ids') from quarantine order by id"
            ).fetchall()
        return [(number, time) for time, ids in rows for number in map(int, ids[1:-1].split(","))]

    def _judge_order(self) -> None:
        in_order = set.intersection(*(flow.ordered() for flow in self.flows))
        # What was under way when an engine ended comes again, maybe behind what was on disk.
        again = set[int]().union(*(open_ones for _, open_ones, _ in self.ends))
        for place in in_order & set(self.got):
            newest: dict[tuple[str, int], int] = {}
            seen: set[int] = set()
            for number, _ in self.got[place]:
                if number in again:
                    continue
                line = (self.owner[number], number % 3)
                before = newest.get(line, 0)
                if number < before and number not in seen and not self._fell_back(number, before):
                    raise Broken(f"{number} came to {place} behind {before}")
                seen.add(number)
                newest[line] = max(before, number)

    def _fell_back(self, number: int, before: int) -> bool:
        """Whether a state that had dropped a number may have fallen back to when it held it."""
        (first, _), (second, _) = self.let_in_at[number], self.let_in_at[before]
        return any(flow.names(*LOSSY) for flow in self.flows) and any(
            first <= end and since <= second <= end for end, _, since in self.ends
        )


def plan_of(flow: SimFlow) -> Plan:
    """A plan of a simulated flow."""
    text = to_lines({"format": 1, "nodes": flow.nodes, "wires": flow.file_wires()})
    read, findings = parse_flow(text, flow_id="sim")
    if read is None or findings:
        raise AssertionError(findings)
    return make_plan(
        read, resolve(read, params={}, env={}, secrets=lambda _name: None), SimulationRegistry()
    )


@contextlib.contextmanager
def _in_place_of_the_real(world: World) -> Iterator[None]:
    """Simulated disks, checked receipts, no thread and no real time."""
    with (
        patch.object(wiring, "Spool", world.spool),
        patch.object(delivery, "SourceReceipt", CheckedReceipt),
        patch.object(runtime, "LoopWatch"),  # it looks at real time, from a thread
        patch.object(feeder, "time", _Stopwatch(random.Random(world.seed))),  # noqa: S311
    ):
        yield


def run(seed: int, folder: Path, steps: int = 40) -> World:
    """Play one seed; raises Broken with what went wrong."""
    world = World(seed, folder)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with _in_place_of_the_real(world), asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(world.play(steps))
    except Exception as err:
        raise Broken(f"seed {seed}: {type(err).__name__}: {err}") from err
    finally:
        logging.disable(level)
        shutil.rmtree(folder, ignore_errors=True)
    return world


def _no_fault(_op: str, _path: object) -> OSError | None:
    """A disk that does as it should."""
    return None


def _broken_fsync(op: str, _path: object) -> OSError | None:
    """A disk whose fsync fails."""
    return OSError(5, "Input/output error") if op == "fsync" else None

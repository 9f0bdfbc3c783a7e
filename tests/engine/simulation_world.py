"""The simulated world around a real engine: brokers, far sides, disks, and what they have seen.

World ---publishes--> [ engine: a random flow, a told clock ] --commits--> far sides of the world
  ^----acknowledges----/        |  spools and journal on simulated disks, state.db as SQLite has it
                                '- deployed anew, stopped, killed at any turn of its loop
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flowengine import Message
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.accounts import read_sources
from flowengine.engine.cut import Cut
from flowengine.engine.delivery import SourceReceipt
from flowengine.engine.folder import DataFolder
from flowengine.engine.journal import Journal
from flowengine.engine.plan import Plan, make_plan
from flowengine.engine.runtime import Engine
from flowengine.engine.spool import Spool
from flowengine.errors import NodeError
from flowengine.flow import parse_flow
from flowengine.flow.json_lines import to_lines
from flowengine.flow.references import resolve
from flowengine.node import Read
from tests.engine.simulation_broker import Session, SimLink, Topic, payload_of
from tests.engine.simulation_disk import FileDisk
from tests.engine.simulation_flows import (
    NOWHERE,
    OUTSIDE,
    FlowMaker,
    In,
    SimFlow,
    SimulationRegistry,
    ids_of,
)
from tests.engine.simulation_loop import Broken, LaterExecutor
from tests.engine.test_spool import FOLDER

JOURNALS = Path("/journal")
ROUNDS = 3000
NEVER = 1 << 62
RECENT = 4 * SECOND
"""How long before a crash what was done may still be done again, apart from a cut: a cursor."""


class World:
    """Everything outside of the engine, and the engine of the moment."""

    def __init__(self, seed: int, folder: Path) -> None:  # noqa: PLR0915  # a world has parts
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311  # decides what happens in a test
        self.acknowledged: set[int] = set()
        self.maker = FlowMaker(self.chance)
        self.base = self.maker.make()
        self.flow = self.base
        self.flows = [self.flow]
        self.folder = folder
        self.runs = 0
        self.clock = ToldClock(seed=seed)
        self.topics: dict[str, Topic] = defaultdict(Topic)
        self.sessions = {name: self._session() for name in self.base.connections}
        self.sources: dict[str, In] = {}
        self.modes: dict[str, str] = {}
        self.got: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.stamps: dict[tuple[str, int], set[int]] = defaultdict(set)
        """By far side and number: the event times with which it came, as it was."""
        self.disks: dict[str, FileDisk] = {}
        self.journal_disk = FileDisk()
        self.journal_disk.is_tight = True
        self.is_journal_hurt = False
        """Whether something may not be in the journal of this life."""
        self.let_in_at: dict[int, tuple[int, int]] = {}
        """By number: when it was let in first, and to which version of the flow."""
        self.counted: dict[str, set[int]] = defaultdict(set)
        """By source: what was let in, and what happened since cannot have forgotten."""
        self.times_in = 0
        """How often anything was let in."""
        self.numbers: dict[tuple[str, int], int] = {}
        """By source and the number that this engine gave a message: the world's."""
        self.forgotten: set[int] = set()
        """What the engine may take for new, as a power cut took what it knew of it."""
        self.has_lost: set[str] = set()
        """What else has happened: `power`, `session`, `line`."""
        self.owner: dict[int, str] = {}
        self.handed_over: dict[int, int] = {}
        """By number: the version of the flow to which a broker with sessions sent it first."""
        self.receipts: dict[int, SourceReceipt] = {}
        self.ends: list[tuple[int, set[int], int]] = []
        """Of each engine: when it ended, what was unacknowledged then, since when what was done may
        be done again."""
        self.cut_at = 0
        """When the last cut was taken that is on disk."""
        self.trouble: tuple[int, int] | None = None
        """Since when a disk was in trouble, and until when."""
        self.troubled: set[int] = set()
        """What was under way when that began: that it was committed may not be noted since."""
        self.number = 0
        self.log: list[str] = []
        self._cuts: dict[int, int] = {}
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
        for message in messages:
            ids = ids_of(message.payload)
            self.got[sink] += [(number, now) for number in ids]
            if isinstance(message.payload, dict) and "made" not in message.payload:
                self.stamps[sink, ids[0]].add(message.time)

    def opened(self, source: In) -> None:
        """A source takes the place of its former self."""
        self.sources[source.context.node] = source

    # -- sources

    def _session(self) -> Session:
        return Session(
            random.Random(self.chance.random()),  # noqa: S311
            self._packet_of,
            self._handed,
            self.acknowledged.add,
        )

    def _packet_of(self, number: int) -> tuple[str, bytes]:
        name = self.owner[number]
        return f"{name}/k{number % 3}", payload_of(number, is_garbled=self._is_garbled(number))

    def _is_garbled(self, number: int) -> bool:
        return number % 10 == self.base.garbled.get(self.owner[number], NOWHERE)

    def _handed(self, numbers: list[int]) -> None:
        """The broker hands these over now."""
        for number in numbers:
            self.handed_over.setdefault(number, len(self.flows) - 1)

    def publish(self, name: str, number: int) -> None:
        """Devices publish."""
        settings = self.base.nodes[name]
        for _ in range(number):
            self.number += 1
            self.owner[self.number] = name
            if settings["type"] == "mqtt.in":
                self.sessions[settings["config"]["broker"]].waiting.append(self.number)
            else:
                self.topics[name].waiting.append(self.number)

    def feed(self) -> None:
        """Brokers do what they do by themselves."""
        for name in self.sources:
            self.turn(name)
        for session in self.sessions.values():
            session.tend()

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
            message = Message({"ids": [number]}, "t", now, f"k{number % 3}")
            if self._is_garbled(number):
                failed.append((message, NodeError("garbled", slug="not-json")))
            else:
                messages.append(message)
        name = source.context.node
        source.emit(list(messages), partial(self._acknowledge, name, ids, self.runs), failed)

    def _acknowledge(self, name: str, ids: list[int], run: int) -> None:
        if run != self.runs:
            return
        topic = self.topics[name]
        for number in ids:
            if topic.unacknowledged.popleft() != number:
                raise Broken(f"{number} is acknowledged out of turn")
            self.acknowledged.add(number)

    def entering(self, name: str, messages: Sequence[Message], read: Read | None) -> None:
        """A source lets these in: what was done must not be among them, what was open is known."""
        again = read.again if read is not None else {}
        for place, message in enumerate(messages):
            [number] = ids_of(message.payload)
            if read is not None and number not in self.forgotten:
                if number in self.acknowledged:
                    raise Broken(f"{number} was acknowledged, and is let in again")
                if number in self.counted[name] and place not in again:
                    raise Broken(f"{number} is let in as if it had not come before")
            self.let_in_at.setdefault(number, (self.clock.now(), len(self.flows) - 1))
            self.counted[name].add(number)
            self.times_in += 1

    def entered(self, name: str, messages: Sequence[Message]) -> None:
        """They have their receipts."""
        for message in messages:
            receipt: Any = message.receipt
            [number] = ids_of(message.payload)
            self.receipts[number] = receipt
            self.numbers[name, receipt.seq] = number

    @property
    def unacknowledged(self) -> set[int]:
        """What brokers would send again."""
        holders: list[Topic | Session] = [*self.topics.values(), *self.sessions.values()]
        return {number for holder in holders for number in holder.unacknowledged}

    def _in_hand(self) -> set[int]:
        """What this engine was given and did not acknowledge."""
        by_topic = {n for topic in self.topics.values() for n in topic.unacknowledged}
        return by_topic | {n for session in self.sessions.values() for n in session.owes}

    # -- the engine

    def spool(self, folder: Path, **settings: Any) -> Spool:
        """A spool on a simulated disk."""
        disk = self.disks.setdefault(f"{folder.parent.name}/{folder.name}", FileDisk())
        return Spool(FOLDER, disk=disk, segment_bytes=700, **settings)

    def journal(self, path: Path) -> Journal:
        """The journal on a simulated disk."""
        return Journal(path, self.journal_disk)

    @property
    def data(self) -> Path:
        """The data folder of this life of the box."""
        return self.folder / f"life-{self.runs}"

    async def start(self) -> None:
        """Start an engine over the data folder, and deploy the flow."""
        OUTSIDE[:] = [self]
        SimLink.sessions = self.sessions
        self.sources.clear()
        self.receipts.clear()
        self.numbers.clear()
        for topic in self.topics.values():
            topic.again()
        self.threads = LaterExecutor(random.Random(self.chance.random()))  # noqa: S311
        self.engine = Engine(DataFolder(self.data), self.clock)
        self.engine.around.disk = self.engine._disk = self.threads  # type: ignore[assignment]
        self.engine.around.journals = JOURNALS
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
            self.feed()
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
        is_well = is_well and not any(session.is_down for session in self.sessions.values())
        had = self._in_hand()
        await self.beside(self.engine.stop())
        if is_well and (open_ones := had - self.acknowledged):
            raise Broken(f"a clean stop left {sorted(open_ones)[:9]} unacknowledged")
        # A far side that hangs may have held up the last cut.
        since = self._unsaved_since(0 if is_well else RECENT)
        self.ends.append((self.clock.now(), self._under_way(), since))
        if self.is_journal_hurt:
            self._forget(is_power_cut=True)
        self.new_life(self.data, clean=True)

    async def crash(self, *, is_power_cut: bool) -> None:
        """End the engine at this turn of its loop: what was written is left, or what was synced."""
        old, disks = self.data, {**self.disks, "": self.journal_disk}
        self.ends.append((self.clock.now(), self._under_way(), self._unsaved_since()))
        left = {
            name: disk.crash(self.chance) if is_power_cut else disk.killed()
            for name, disk in disks.items()
        }
        for disk in disks.values():
            disk.is_dead = True
        self.threads.is_dead = True
        for session in self.sessions.values():
            session.lose_line()
            session.link = None
        self.journal_disk = left.pop("")
        self.disks = left
        self._forget(is_power_cut=is_power_cut or self.is_journal_hurt)
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

    def _forget(self, *, is_power_cut: bool) -> None:
        """What the engine has not on disk did not come, as far as it can know."""
        if is_power_cut:  # or a disk in trouble did not take the journal
            self.has_lost.add("power")
            self.forgotten |= self.unacknowledged
        newest = self._newest_on_disk()
        unnoted = {n for (name, at), n in self.numbers.items() if at > newest[name]}
        for counted in self.counted.values():
            counted.difference_update(unnoted - self.acknowledged)

    def _newest_on_disk(self) -> Counter[str]:
        """By source: the number up to which the ledger on disk has counted."""
        newest: Counter[str] = Counter()
        for frame in self.journal(JOURNALS / "sim.log").read():
            newest[frame.source] = max(newest[frame.source], frame.standing.newest)
        with contextlib.closing(sqlite3.connect(self.data / "state.db")) as db:
            for name, found in read_sources(db, "sim").items():
                newest[name] = max(newest[name], found.standing.newest)
        return newest

    def new_life(self, old: Path, *, clean: bool) -> None:
        """A new data folder with what is durable of the old one, and a clock that begins anew."""
        self.runs += 1
        self.is_journal_hurt = False
        if clean:
            os.rename(old, self.data)
        else:
            self.data.mkdir()
            for name in ("state.db", "state.db-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(old / name, self.data / name)
        for disk in self.all_disks():
            disk.fault, disk.free = no_fault, 10**9
        self.is_store_broken = False
        self.note_trouble()
        self.clock = ToldClock(start=self.clock.now(), seed=self.seed + self.runs)

    def _under_way(self) -> set[int]:
        """Numbers that are not acknowledged, or have not come wherever they may."""
        numbers = self.unacknowledged
        places = {**self.got, "quarantine": self.quarantined()}
        came = {place: Counter(n for n, _ in got) for place, got in places.items()}
        tallies = set(self.base.names("sim.tally"))

        def lacks(number: int, place: str, times: int) -> bool:
            return place not in tallies and came.get(place, Counter())[number] < times

        for number in self.let_in_at:
            for flow in (self.base, self.flow):
                if self.owner[number] in flow.nodes:
                    must, may = flow.owed(self.owner[number], number)
                    owed = may.keys() | must
                    if any(lacks(number, place, max(1, must[place])) for place in owed):
                        numbers.add(number)
        return numbers | self.troubled if self._is_troubled(0) else numbers

    def _is_troubled(self, recent: int) -> bool:
        """Whether a disk is in trouble, or was so until a moment ago."""
        return self.trouble is not None and self.trouble[1] + recent >= self.clock.now()

    def all_disks(self) -> list[FileDisk]:
        """Those of the spools, and the journal's."""
        return [*self.disks.values(), self.journal_disk]

    def note_trouble(self) -> None:
        """A disk may be in trouble, or well again."""
        now = self.clock.now()
        is_bad = self.is_store_broken or any(
            disk.free == 0 or disk.fault("fsync", None) for disk in self.all_disks()
        )
        if is_bad and (self.trouble is None or self.trouble[1] + RECENT < now):
            self.trouble, self.troubled = (now, now), self._under_way()
        if self.trouble is not None and (is_bad or self.trouble[1] == NEVER):
            self.trouble = (self.trouble[0], NEVER if is_bad else now)

    def _unsaved_since(self, recent: int = RECENT) -> int:
        """Since when what was done may not be noted on disk."""
        since = min(self.clock.now() - recent, self.cut_at - SECOND) if recent else NEVER
        if self.trouble is not None and self._is_troubled(recent):
            since = min(since, self.trouble[0] - RECENT)
        return min(since, self._held_up_since())

    def _held_up_since(self) -> int:
        """Since when something waits on disk: records behind it are not given up before it is."""
        came = {place: {n for n, _ in got} for place, got in self.got.items()}
        for number in sorted(self.acknowledged & self.let_in_at.keys()):
            if self.owner[number] in self.flow.nodes:
                must, _ = self.flow.owed(self.owner[number], number)
                places = must.keys() & set(self.flow.sinks())
                if any(number not in came.get(place, ()) for place in places):
                    return self.let_in_at[number][0]
        return NEVER

    def quarantined(self) -> list[tuple[int, int]]:
        """(number, when) of every message that was set aside."""
        with contextlib.closing(sqlite3.connect(self.data / "state.db")) as db:
            rows = db.execute(
                "select time, json_extract(message, '$.payload') from quarantine order by id"
            ).fetchall()
        return [(number, time) for time, text in rows for number in ids_of(json.loads(text))]

    def cut_taken(self, cut: Cut) -> None:
        """The engine takes a cut."""
        self._cuts[id(cut)] = self.clock.now()

    def cut_written(self, cut: Cut) -> None:
        """It is on disk."""
        self.cut_at = self._cuts.pop(id(cut))


def plan_of(flow: SimFlow) -> Plan:
    """A plan of a simulated flow."""
    nodes, wires = flow.nodes, flow.file_wires()
    text = to_lines({"format": 1, "connections": flow.connections, "nodes": nodes, "wires": wires})
    read, findings = parse_flow(text, flow_id="sim")
    if read is None or findings:
        raise AssertionError(findings)
    return make_plan(
        read, resolve(read, params={}, env={}, secrets=lambda _name: None), SimulationRegistry()
    )


def no_fault(_op: str, _path: object) -> OSError | None:
    """A disk that does as it should."""
    return None


def broken_fsync(op: str, _path: object) -> OSError | None:
    """A disk whose fsync fails."""
    return OSError(5, "Input/output error") if op == "fsync" else None

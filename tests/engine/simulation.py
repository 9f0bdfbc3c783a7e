"""A simulated story around a real engine, all from one seed: what happens, and in what order.

Half of the flows have real `mqtt.in` nodes at a simulated broker: packet ids that are used again,
lines that break with acknowledgements on their way, sessions that are lost. A kill leaves what was
written, a power cut what was synced. In the end everything is healed, time passes, and what arrived
is held against the flow's model (`simulation_judge`).

    simulation_world   brokers, far sides, disks, and the engine of the moment
    simulation_flows   random flows, and what each owes for each message
    simulation_judge   what a story is held against
"""

import asyncio
import contextlib
import logging
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flowengine import Message
from flowengine.clock import SECOND
from flowengine.engine import delivery, feeder, flowaccounts, runtime, wiring
from flowengine.engine.cut import Cut
from flowengine.engine.delivery import SourceReceipt
from flowengine.engine.feeder import SourcePort
from flowengine.node import Read
from flowengine.nodes import mqtt
from tests.engine.simulation_broker import Session, SimLink
from tests.engine.simulation_judge import judge, judge_books
from tests.engine.simulation_loop import Broken, Stopwatch, VirtualLoop
from tests.engine.simulation_world import World, broken_fsync, no_fault


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


class Story(World):
    """What happens to the world and the engine."""

    async def play(self, steps: int) -> None:
        """A random story, a good end, and the judgement."""
        await self.start()
        for _ in range(steps):
            await self._step()
        await self._heal()
        judge(self)
        await self.beside(self.engine.stop())
        judge_books(self)

    async def _step(self) -> None:  # noqa: PLR0912  # a list of what may happen
        chance = self.chance
        for name in self.flow.sources():
            if chance.random() < 0.7:
                self.publish(name, chance.choice([1, 2, 4, 12]))
                self.turn(name)
        for session in self.sessions.values():
            session.tend()
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
                "line",
            ],
            [6, 8, 3, 5, 1.5, 0.4, 0.6, 1.2, 0.7, 0.5, 1.5 if self.sessions else 0],
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
            is_power_cut = chance.random() < 0.3
            self.log[-1] = "power cut" if is_power_cut else "kill"
            await self.crash(is_power_cut=is_power_cut)
            if chance.random() < 0.1:
                self._lose_session(chance.choice(list(self.sessions.values()) or [None]))
            await self.start()
        elif kind == "line":
            self._break_line(chance.choice(list(self.sessions.values())))
        else:
            self._disturb(kind)

    def _break_line(self, session: Session) -> None:
        """The line between a broker and the engine breaks, or is mended."""
        self.has_lost.add("line")
        session.lose_line()
        session.is_down = not session.is_down and self.chance.random() < 0.4
        if self.chance.random() < 0.2:
            self._lose_session(session)

    def _lose_session(self, session: Session | None) -> None:
        """The broker was restarted and has kept nothing."""
        if session is not None:
            self.log.append("session")
            self.has_lost.add("session")
            session.forget()

    def _disturb(self, kind: str) -> None:
        chance = self.chance
        if kind == "store":
            self.is_store_broken = not self.is_store_broken
            self.note_trouble()
            return
        for disk in self.all_disks():
            trouble = chance.choice(["full", "fsync", "none", "none"])
            disk.free = 0 if trouble == "full" else 10**9
            disk.fault = broken_fsync if trouble == "fsync" else no_fault
            self.is_journal_hurt |= disk is self.journal_disk and trouble != "none"
        self.note_trouble()

    async def _heal(self) -> None:
        """Everything is well again, and much time passes."""
        self.modes.clear()
        self.is_store_broken = False
        for disk in self.all_disks():
            disk.fault, disk.free = no_fault, 10**9
        self.note_trouble()
        for session in self.sessions.values():
            session.is_down = False
        for _ in range(40):
            await self.pass_time(15 * SECOND)
            self.feed()
            sessions = self.sessions.values()
            waits = any(t.waiting or t.unacknowledged for t in self.topics.values())
            if not waits and all(session.is_idle for session in sessions):
                break
        await self.pass_time(120 * SECOND)


@contextlib.contextmanager
def _in_place_of_the_real(world: World) -> Iterator[None]:
    """Simulated disks, checked receipts, no thread and no real time."""
    with (
        patch.object(wiring, "Spool", world.spool),
        patch.object(flowaccounts, "Journal", world.journal),
        patch.object(mqtt, "MqttLink", SimLink),
        patch.object(Cut, "__init__", _told(Cut.__init__, world.cut_taken)),
        patch.object(Cut, "took_effect", _told(Cut.took_effect, world.cut_written)),
        patch.object(SourcePort, "receive", _watched(world, SourcePort.receive)),
        patch.object(delivery, "SourceReceipt", CheckedReceipt),
        patch.object(runtime, "LoopWatch"),  # it looks at real time, from a thread
        patch.object(feeder, "time", Stopwatch(random.Random(world.seed))),  # noqa: S311
    ):
        yield


def _told(call: Callable[..., None], tell: Callable[[Cut], None]) -> Callable[..., None]:
    """A method of `Cut` that tells the world when it is done."""

    def told(cut: Cut, *args: Any) -> None:
        call(cut, *args)
        tell(cut)

    return told


def _watched(world: World, receive: Callable[..., None]) -> Callable[..., None]:
    """`SourcePort.receive`, with the world looking on."""

    def watched(
        port: SourcePort,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]] = (),
        read: Read | None = None,
    ) -> None:
        all_of_them = [*messages, *(message for message, _ in failed)]
        name = port.step.id
        world.entering(name, all_of_them, read)
        receive(port, messages, settled, failed, read)
        world.entered(name, all_of_them)

    return watched


def run(seed: int, folder: Path, steps: int = 40) -> Story:
    """Play one seed; raises Broken with what went wrong."""
    world = Story(seed, folder)
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

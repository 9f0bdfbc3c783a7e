"""What starts a region's work: a source's port, or a wire that waits in front of a step.

A feeder hands at most 256 messages, or 2 ms of work, to the region and then lets the event loop
breathe. It stands still while a wire behind it is full.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from flowengine.engine.delivery import Intake
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.outlet import Target
from flowengine.engine.region import Region
from flowengine.engine.step import Step
from flowengine.engine.wire import Wire
from flowengine.message import Message
from flowengine.node import Read, Source

LOG = logging.getLogger("flowengine.engine")
CHUNK = 256
BUDGET_NS = 2_000_000
MOST = 50_000
"""Unacknowledged messages at which a source is stopped, whatever its far side goes on to send."""


class Feeder:
    """Hands waiting messages on, chunk by chunk."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.full_wires: set[Wire] = set()
        self._scheduled = False

    @property
    def has_work(self) -> bool:
        """Whether something waits here and has a free way."""
        raise NotImplementedError

    def take(self) -> list[Message]:
        """The next chunk, empty if nothing waits."""
        raise NotImplementedError

    def hand(self, messages: list[Message]) -> None:
        """Hand a chunk to the flow."""
        raise NotImplementedError

    def kick(self) -> None:
        """Go on, unless that is already arranged."""
        if not self._scheduled and not self.full_wires:
            self._drain()

    def go_on(self) -> None:
        """Go on if nothing behind is full."""
        if not self.full_wires:
            self.start_intake()
            self._schedule()

    def level(self, wire: Wire) -> None:
        """A wire behind has filled up, or has room again."""
        if wire.blocked:
            self.full_wires.add(wire)
            self.stop_intake()
        else:
            self.full_wires.discard(wire)
            self.go_on()

    def stop_intake(self) -> None:
        """The way is blocked."""

    def start_intake(self) -> None:
        """The way is free again."""

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        started = time.perf_counter_ns()
        while not self.full_wires:
            messages = self.take()
            if not messages:
                break
            self.region.clock.trust.mend(messages)
            self.hand(messages)
            self.region.run()
            if time.perf_counter_ns() - started > BUDGET_NS:
                self._schedule()
                break
        self.rest()

    def rest(self) -> None:
        """Nothing waits any more, or the event loop is to breathe."""


class SourcePort(Feeder):
    """Where a source's messages enter the flow, with their receipts."""

    def __init__(
        self,
        region: Region,
        step: Step,
        intake: Intake,
        id_prefix: str,
        accounts: FlowAccounts,
    ) -> None:
        super().__init__(region)
        self.step = step
        self.intake = intake
        self._prefix = id_prefix
        self._accounts = accounts
        self._waiting: deque[list[Message]] = deque()
        self.depth = 0
        self.is_stopped = False
        self.is_ahead = False
        self.is_held = False

    def receive(
        self,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]] = (),
        read: Read | None = None,
    ) -> None:
        """Take in what one read gave; what could not be understood takes the error route.

        `read` is what came of which the source can tell one message from another.
        """
        all_of_them = messages if not failed else [*messages, *(m for m, _ in failed)]
        intake, now = self.intake, self._accounts.clock.now()
        again = read.again if read is not None else None
        if read is not None:
            self._note(read, now)
        intake.let_in(all_of_them, settled, now, again)
        prefix = self._prefix
        for message in all_of_them:
            if not message.id:
                receipt: Any = message.receipt
                message.id = f"{prefix}{receipt.seq}"
        if failed:
            for message, error in failed:
                self.step.fail(message, error)
            self.region.run()
        if not messages:
            return
        self._waiting.append(messages)
        self.depth += len(messages)
        self.kick()
        # Asked anew: a broker's window is known only once it has answered.
        self.intake.window = self.step.node.window
        self.intake.press()
        self._keep_bounds()

    def _note(self, read: Read, now: int) -> None:
        """Keep by what new messages are recognised, should they come again."""
        account = self.intake.ledger
        if read.redelivered:
            account.count_redelivered(read.redelivered, now)
        if read.again:
            self._accounts.arrivals_of(account.name).came_back(read.again.values())
        if read.arrivals:
            self._accounts.note(account.name, read.arrivals, account.newest + 1)

    def rest(self) -> None:
        """What was handed on may have to hurry, so that the source can go on."""
        self.intake.press()

    def _keep_bounds(self) -> None:
        """Stop a source whose far side does not keep to its window (mosquitto 2.0.11 does not)."""
        intake = self.intake
        if intake.window is not None and intake.unacknowledged >= max(MOST, 2 * intake.window):
            self.is_ahead = True
            intake.tell_at(MOST // 2, self._caught_up)
            self.stop_intake()

    def _caught_up(self) -> None:
        self.is_ahead = False
        self.go_on()

    @property
    def has_work(self) -> bool:
        """Whether something waits here and has a free way."""
        return bool(self.depth) and not self.full_wires

    def take(self) -> list[Message]:
        """The next chunk of what the source gave."""
        if not self._waiting:
            return []
        messages = self._waiting.popleft()
        if len(messages) > CHUNK:
            self._waiting.appendleft(messages[CHUNK:])
            messages = messages[:CHUNK]
        self.depth -= len(messages)
        return messages

    def hand(self, messages: list[Message]) -> None:
        """Let a chunk out by the source's output."""
        self.step.received += len(messages)
        self.step.first.put(messages)

    def take_all(self) -> list[Message]:
        """Remove and return everything that waits: the source is gone."""
        messages = [message for chunk in self._waiting for message in chunk]
        self._waiting.clear()
        self.depth = 0
        return messages

    def move_to(self, step: Step) -> None:
        """The source was made anew: what waits goes out by its new step."""
        self.step = step
        if self.is_stopped and isinstance(step.node, Source):
            self._tell(step.node.pause)

    def stop_intake(self) -> None:
        """Ask the source to stop reading."""
        if not self.is_stopped and isinstance(self.step.node, Source):
            self.is_stopped = True
            self._tell(self.step.node.pause)

    def start_intake(self) -> None:
        """Let the source read again."""
        is_barred = self.is_ahead or self.is_held
        if self.is_stopped and not is_barred and isinstance(self.step.node, Source):
            self.is_stopped = False
            self._tell(self.step.node.resume_reading)

    def hold(self, is_held: bool) -> None:
        """Stop the source, or let it go, for want of memory; what it gave goes on meanwhile."""
        was_held, self.is_held = self.is_held, is_held
        if is_held:
            self.stop_intake()
        elif was_held:
            self.go_on()

    def _tell(self, call: Callable[[], None]) -> None:
        """Call the source; its bug must not end what filled the wire, or emptied it."""
        try:
            call()
        except Exception:
            LOG.exception("the source %s failed to %s", self.step.id, call.__name__)


class WireFeeder(Feeder):
    """Hands on what waits in a wire: to a step behind it (a `queue`), or to another wire."""

    def __init__(self, region: Region, target: Target, wire: Wire) -> None:
        super().__init__(region)
        self.target = target
        self.wire = wire
        wire.on_data = self._schedule_soon

    def _schedule_soon(self) -> None:
        # Never from within the step that fills the wire: the wire is a boundary.
        self._schedule()

    @property
    def has_work(self) -> bool:
        """Whether something waits in memory and has a free way."""
        return bool(self.wire.depth) and not self.full_wires

    def take(self) -> list[Message]:
        """The next chunk of the wire."""
        return self.wire.take(CHUNK)

    def hand(self, messages: list[Message]) -> None:
        """Put a chunk where the wire leads."""
        self.target.put(messages)

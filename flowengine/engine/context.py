"""What the engine lends a node: its names, the clock, its connections and its way out."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from flowengine.clock import SECOND, Clock, Timer
from flowengine.engine.step import Step
from flowengine.message import NO_RECEIPT, Message
from flowengine.node import Read, Recogniser

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Host(Protocol):
    """What a context needs of the flow that runs it."""

    id: str
    clock: Clock
    params: Mapping[str, Any]
    folder: str
    files: str
    data: str
    install_id: str
    eco: bool
    insecure_bind: bool

    def connection(self, name: str, node: str) -> Any:
        """The connection `name`, as `node` may use it."""

    def take_in(
        self,
        step: Step,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]],
        read: Read | None,
    ) -> None:
        """Messages of a source."""

    def arrivals(self, node: str) -> Recogniser:
        """What of a source's messages may come again."""

    def run_region(self) -> None:
        """Run what waits in the steps' inboxes."""

    def set_status(self, node: str, state: str, what: str) -> None:
        """A node's state has changed."""

    def behind(self, node: str, asked_for: int) -> int | None:
        """None if nothing waits in front of a node; else after how many ns to ask again."""


class NodeContext:
    """The context of one node (or connection, without a step)."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self.flow = host.id
        self.node = node
        self.clock = host.clock
        self.params = host.params
        self.folder = host.folder
        self.files = host.files
        self.data = host.data
        self.install_id = host.install_id
        self.eco = host.eco
        self.insecure_bind = host.insecure_bind
        self.step: Step | None = None
        self.came_at = -(1 << 62)
        """Monotonic time of a source's last read."""
        self._timers: dict[str, Timer] = {}
        self._is_closed = False

    def now(self) -> float:
        """Wall time in seconds, as expressions see it."""
        return self.clock.now() / SECOND

    def connection(self, name: str) -> Any:
        """The open connection with this id."""
        return self._host.connection(name, self.node)

    def _own_step(self) -> Step:
        if self.step is None:
            raise RuntimeError(f"{self.node} has no step yet: emit only after open")
        return self.step

    def emit(self, output: str, messages: list[Message]) -> None:
        """Let messages out by `output`."""
        self._own_step().let_out(messages, output)
        self._host.run_region()

    def receive(
        self,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]] = (),
        read: Read | None = None,
    ) -> None:
        """Take in messages of a source."""
        self.came_at = self.clock.monotonic()
        self._host.take_in(self._own_step(), messages, settled, failed, read)

    def arrivals(self) -> Recogniser:
        """What of this source's messages may come again."""
        return self._host.arrivals(self.node)

    def fail(self, message: Message, error: Exception) -> None:
        """Send a message by the error route."""
        self._own_step().fail(message, error)
        self._host.run_region()  # outside of a batch, nobody else would run the handler

    def keep(self, message: Message, key: str) -> None:
        """Hold a message's receipt under `key`."""
        self._own_step().keep(message, key)

    def give(self, message: Message, key: str) -> Message:
        """Attach what is kept under `key`."""
        return self._own_step().give(message, key)

    def drop_kept(self, key: str, messages: int = 1, *, oldest: bool = False) -> None:
        """Settle kept receipts as filtered."""
        self._own_step().drop_kept(key, messages, oldest=oldest)

    def state(self, key: str) -> Any:
        """A sink's own state for a key."""
        entries = self._own_step().entries
        if entries is None:
            raise RuntimeError(f"{self.node} declares no State")
        return entries.touch(key, self.clock.monotonic())

    def keys(self) -> list[str]:
        """The keys for which there is a state."""
        entries = self._own_step().entries
        return entries.keys() if entries is not None else []

    def again(self, message: Message) -> None:
        """Put a kept message into the sink's own wire."""
        self._own_step().once_more(message)

    def wake_at(self, key: str, when: int) -> None:
        """Call the node's `wake` for `key` at monotonic `when`."""
        earlier = self._timers.pop(key, None)
        if earlier is not None:
            earlier.cancel()
        if self._is_closed:
            return  # the node that takes its place sets timers of its own

        def wake() -> None:
            self._timers.pop(key, None)
            self._woken(key)

        self._timers[key] = self.clock.call_at(when, wake)

    def behind(self, asked_for: int) -> int | None:
        """None if nothing waits in front of this node; else after how many ns to ask again."""
        return self._host.behind(self.node, asked_for)

    def _woken(self, key: str) -> None:
        step = self._own_step()
        state = None
        if step.entries is not None:
            if step.entries.get(key) is None:
                return
            state = step.entries.touch(key, self.clock.monotonic())
        outs: dict[str, list[Message]] = {}
        try:
            step.sort(None, step.node.wake(key, state), outs)
        except Exception as err:  # noqa: BLE001  # a node's bug: said, and the flow goes on
            self.log("error", f"the timer failed: {type(err).__name__}: {err}")
            step.failed += 1
            step.has_kept = False
            step.rescue(err)
            self._host.run_region()
            return
        for name, messages in outs.items():
            for message in messages:
                if message.receipt is NO_RECEIPT:  # it left the state all the same
                    step.track(message, name)
            step.outlets[name].put(messages)
        self._host.run_region()

    def cancel_timers(self) -> None:
        """The node is closing: no more calls, and no new timers."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def timed(self) -> Collection[str]:
        """The keys for which a timer is set."""
        return self._timers.keys()

    def status(self, state: str, what: str = "") -> None:
        """Say how the node is."""
        self._host.set_status(self.node, state, what)

    def count(self, reason: str, number: int = 1) -> None:
        """Count something under a reason."""
        if self.step is not None:
            self.step.counts[reason] += number

    def log(self, level: str, what: str, **facts: Any) -> None:
        """Log a sentence with its facts."""
        # found when there is something to say: thousands of loggers would lie there for nothing
        logging.getLogger(f"flowengine.flow.{self.flow}.{self.node}").log(
            LEVELS[level],
            "%s",
            what,
            extra={"facts": {"flow": self.flow, "node": self.node, **facts}},
        )

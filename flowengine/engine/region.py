"""A region: the synchronous stretches of a flow, run node by node over a batch.

    feed(step, batch) --> [ step -> step -> step ] --> wires

A step is one node at work. It takes its inbox, runs the node over it in one loop, and hands each
output's messages to the steps and wires behind. Steps run in the order of the graph, so that a node
where branches meet runs once. Counters are taken once a batch. One failing message leaves by the
error route (R6); the others go on.
"""

import heapq
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flowengine.clock import Clock
from flowengine.engine.delivery import FILTERED, JoinedReceipt
from flowengine.engine.state import Entries
from flowengine.errors import NodeError
from flowengine.message import NO_RECEIPT, Message, Receipt, copy_tree
from flowengine.node import NodeType, Result, Writes

ERROR = "error"
HELD_BACK = ""
MAX_KEY_BYTES = 256


class Target(Protocol):
    """Where an output leads: a step's inbox or a wire."""

    def put(self, messages: list[Message]) -> None:
        """Take over the messages."""


class Outlet:
    """One output of a node, and the branches behind it."""

    __slots__ = ("branches", "count", "name", "taps", "unwired")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.unwired = 0
        self.branches: list[tuple[Target, Writes]] = []
        self.taps: list[Callable[[list[Message]], None]] = []

    def connect(self, target: Target, writes: Writes) -> None:
        """Add a branch that changes `writes` of a payload somewhere behind."""
        self.branches.append((target, writes))

    def put(self, messages: list[Message]) -> None:
        """Hand messages to every branch; branches that write get copies of their own."""
        if not messages:
            return
        self.count += len(messages)
        for tap in self.taps:
            tap(messages)
        branches = self.branches
        if len(branches) == 1:
            branches[0][0].put(messages)
        elif branches:
            self._fan_out(messages)
        else:
            self.unwired += len(messages)
            for message in messages:
                message.receipt.settle(FILTERED)

    def _fan_out(self, messages: list[Message]) -> None:
        extra = len(self.branches) - 1
        for message in messages:
            message.receipt.take(extra)
        readers = [target for target, writes in self.branches if writes == "nothing"]
        writers = [(target, writes) for target, writes in self.branches if writes != "nothing"]
        original = None if readers or not writers else writers.pop()
        # Copies are made before anything runs: what runs may change the original in place.
        copied = [(target, [_copy(m, writes) for m in messages]) for target, writes in writers]
        for target in readers:
            target.put(list(messages))
        for target, copies in copied:
            target.put(copies)
        if original is not None:
            original[0].put(messages)


def _copy(message: Message, writes: Writes) -> Message:
    copied = message.copy()
    payload = copied.payload
    if writes == "top":
        if type(payload) is dict:
            copied.payload = dict(payload)
        elif type(payload) is list:
            copied.payload = list(payload)
    else:
        copied.payload = copy_tree(payload)
    return copied


class Step:
    """One node at work in a region."""

    def __init__(self, node_id: str, kind: NodeType, node: Any, config: Any) -> None:
        self.id = node_id
        self.type = kind
        self.node = node
        self.config = config
        self.rank = 0
        self.inbox: list[Message] = []
        self.region: Region | None = None
        self.outlets: dict[str, Outlet] = {}
        self.first: Outlet = Outlet(HELD_BACK)
        self.entries: Entries[Any] | None = None
        self.received = 0
        self.filtered = 0
        self.failed = 0
        self.counts: Counter[str] = Counter()
        self.has_kept = False
        self.held: dict[str, list[Receipt]] = {}
        self.work: Callable[[list[Message]], None] = _worker(self)

    def put(self, messages: list[Message]) -> None:
        """Take messages into the inbox; the region runs the step in its turn."""
        inbox = self.inbox
        if inbox:
            inbox += messages
            return
        self.inbox = messages
        region = self.region
        if region is not None:
            heapq.heappush(region.ready, self.rank)

    # -- what the node's results become

    def answer(self, message: Message, result: Result) -> None:
        """Send on what the node made of `message`, whatever its shape (R63)."""
        outs: dict[str, list[Message]] = {}
        try:
            self.sort(message, result, outs)
        except NodeError as err:
            self.fail(message, err)
            return
        for name, messages in outs.items():
            self.outlets[name].put(messages)

    def sort(self, message: Message | None, result: Result, outs: dict[str, list[Message]]) -> None:
        """Sort a result into `outs` by output name, and settle what `message` owes."""
        if result is None:
            if message is not None:
                self.drop(message)
            return
        made: list[Message] = []
        if isinstance(result, Message):
            outs.setdefault(self.first.name, []).append(result)
            made.append(result)
        elif isinstance(result, list):
            outs.setdefault(self.first.name, []).extend(result)
            made = result
        elif isinstance(result, Mapping):
            for name, part in result.items():
                if name not in self.outlets or name == ERROR:
                    raise NodeError(
                        f'the node answered by "{name}", an output that it does not declare',
                        slug="unknown-output",
                    )
                parts = part if isinstance(part, list) else [part]
                outs.setdefault(name, []).extend(parts)
                made += parts
        else:
            raise NodeError(f"the node answered with a {type(result).__name__}", slug="bad-result")
        if message is not None:
            self._owe(message, made)

    def _owe(self, message: Message, made: list[Message]) -> None:
        receipt = message.receipt
        carried = 0
        for out in made:
            if out.receipt is NO_RECEIPT or out.receipt is receipt:
                out.receipt = receipt
                carried += 1
        if carried > 1:
            receipt.take(carried - 1)
        elif carried == 0:
            if not made and not self.has_kept:
                self.filtered += 1
            receipt.settle(FILTERED)
        self.has_kept = False

    def drop(self, message: Message) -> None:
        """The node answered nothing: held back here, unless it keeps the message for later."""
        if self.has_kept:
            self.has_kept = False
        else:
            self.filtered += 1
        message.receipt.settle(FILTERED)

    def fail(self, message: Message, error: Exception) -> None:
        """Send a message by the error route (R6)."""
        self.failed += 1
        region = self.region
        if region is None:
            raise error
        region.fail(self, message, error)

    # -- receipts held for later (windows, debounce)

    def keep(self, message: Message, key: str) -> None:
        """Hold the message's receipt under `key`."""
        self.has_kept = True
        message.receipt.take()
        self.held.setdefault(key, []).append(message.receipt)

    def give(self, message: Message, key: str) -> Message:
        """Let `message` answer for everything held under `key`."""
        held = self.held.pop(key, None)
        if held:
            message.receipt = JoinedReceipt(held)
        return message

    def drop_kept(self, key: str, messages: int = 1, *, oldest: bool = False) -> None:
        """Settle held receipts of `key` as filtered."""
        self.filtered += messages
        held = self.held.get(key)
        if not held:
            return
        gone = held[:messages] if oldest else held[-messages:]
        held[:] = held[messages:] if oldest else held[:-messages]
        if not held:
            del self.held[key]
        for receipt in gone:
            receipt.settle(FILTERED)


class Region:
    """The steps of one flow, and the order in which they run."""

    def __init__(self, clock: Clock, on_error: Callable[[Step, Message, Exception], None]) -> None:
        self.clock = clock
        self.steps: list[Step] = []
        self.ready: list[int] = []
        self.fail = on_error
        self._running = False
        self.working: Step | None = None

    def set_steps(self, steps: list[Step]) -> None:
        """Take steps in the order of the graph."""
        for old in self.steps:
            old.region = None
        self.steps = steps
        self.ready.clear()
        for rank, step in enumerate(steps):
            step.rank = rank
            step.region = self
            if step.inbox:
                heapq.heappush(self.ready, rank)

    def run(self) -> None:
        """Run steps until every inbox is empty."""
        if self._running:
            return
        self._running = True
        ready, pop = self.ready, heapq.heappop
        try:
            while ready:
                step = self.steps[pop(ready)]
                batch, step.inbox = step.inbox, []
                step.received += len(batch)
                self.working = step
                step.work(batch)
        finally:
            self.working = None
            self._running = False


# -- the loops: one a kind of node, chosen once when the step is made


def _worker(step: Step) -> Callable[[list[Message]], None]:  # noqa: PLR0911  # a table
    kind = step.type
    if kind.kind != "transform":
        return step.first.put
    if kind.is_function:
        function, config = step.node, step.config
        if len(inspect.signature(function).parameters) == 1:
            return _each(step, function)
        return _each(step, lambda message: function(message, config))
    if kind.scope == "keyed":
        return _keyed(step)
    if kind.scope == "singleton":
        return _singleton(step)
    if getattr(step.node, "receive_batch", None) is not None:
        return _whole(step)
    return _each(step, step.node.receive)


def _each(step: Step, call: Callable[[Message], Result]) -> Callable[[list[Message]], None]:
    """A stateless node, message by message."""

    def work(batch: list[Message]) -> None:
        first: list[Message] = []
        outs: dict[str, list[Message]] = {step.first.name: first}
        for message in batch:
            try:
                result = call(message)
                if type(result) is Message:
                    if result.receipt is not message.receipt:
                        step.sort(message, result, outs)
                    else:
                        first.append(result)
                elif result is None:
                    step.drop(message)
                else:
                    step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                step.fail(message, err)
        for name, messages in outs.items():
            if messages:
                step.outlets[name].put(messages)

    return work


def _whole(step: Step) -> Callable[[list[Message]], None]:
    """A stateless node that answers whole batches."""
    call = step.node.receive_batch

    def work(batch: list[Message]) -> None:
        for name, messages in call(batch).items():
            if not messages:
                continue
            if name == HELD_BACK:
                if step.has_kept:  # the node keeps them: what answers for them leaves elsewhere
                    step.has_kept = False
                else:
                    step.filtered += len(messages)
                for message in messages:
                    message.receipt.settle(FILTERED)
            else:
                step.outlets[name].put(messages)

    return work


def _keyed(step: Step) -> Callable[[list[Message]], None]:
    """A node with one state per key (R10)."""
    receive = step.node.receive
    expression = getattr(step.config, "key", None)
    context = step.node.context
    key_of = expression.bind(context.params, context.now) if expression is not None else None
    one_for_all = expression is not None and expression.text.strip() in {"''", '""'}

    def work(batch: list[Message]) -> None:
        entries = step.entries
        assert entries is not None  # noqa: S101  # set with the step, before it runs
        first: list[Message] = []
        outs: dict[str, list[Message]] = {step.first.name: first}
        now = step.node.clock.monotonic()
        for message in batch:
            try:
                if key_of is None:
                    key = message.key
                else:
                    key = key_of(message)
                    if type(key) is not str:
                        key = key_text(key)
                if not key and not one_for_all:
                    raise NodeError(  # noqa: TRY301  # takes the same route as the node's own
                        "the key is empty",
                        slug="no-key",
                        path="key",
                        mend="Set the source's key, or this node's key to '' for one state.",
                    )
                if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
                    raise NodeError(  # noqa: TRY301
                        f"the key has more than {MAX_KEY_BYTES} bytes", slug="long-key", path="key"
                    )
                result = receive(message, entries.touch(key, now))
                if result is None:
                    step.drop(message)
                elif type(result) is Message and result.receipt is message.receipt:
                    first.append(result)
                else:
                    step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                step.has_kept = False
                step.fail(message, err)
        for name, messages in outs.items():
            if messages:
                step.outlets[name].put(messages)

    return work


def _singleton(step: Step) -> Callable[[list[Message]], None]:
    """A node with one state for all."""
    receive = step.node.receive

    def call(message: Message) -> Result:
        assert step.entries is not None  # noqa: S101  # set with the step, before it runs
        return receive(message, step.entries.touch("", 0))  # type: ignore[no-any-return]

    return _each(step, call)


def key_text(key: Any) -> str:
    """A key as text: a number in its shortest form; anything else is no key."""
    if isinstance(key, bool) or not isinstance(key, int | float):
        raise NodeError("the key is neither text nor a number", slug="no-key", path="key")
    if isinstance(key, float) and key.is_integer() and abs(key) < 1e15:
        return str(int(key))
    return repr(key)

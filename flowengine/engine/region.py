"""A region: the synchronous stretches of a flow, run node by node over a batch.

    feed(step, batch) --> [ step -> step -> step ] --> wires

A step is one node at work. It takes its inbox, runs the node over it in one loop, and hands each
output's messages to the steps and wires behind. Steps run in the order of the graph, so that a node
where branches meet runs once. Counters are taken once a batch. One failing message leaves by the
error route (R6); the others go on.

Where two outputs of a step meet again behind it (`alarm.raised -> fan`, `alarm.cleared -> fan`),
what left by one of them is brought to its end before what leaves next by the other: messages stay
in their order (P3).
"""

import heapq
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flowengine.clock import Clock
from flowengine.engine.delivery import DROPPED, FILTERED, JoinedReceipt
from flowengine.engine.leaving import Leaving
from flowengine.engine.state import Entries, NoState
from flowengine.errors import NodeError
from flowengine.message import NO_RECEIPT, Message, Receipt, copy_tree
from flowengine.node import NodeState, NodeType, Result, Writes

LOG = logging.getLogger("flowengine.engine")

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
        if self.taps:
            self._tap(messages)
        branches = self.branches
        if len(branches) == 1:
            branches[0][0].put(messages)
        elif branches:
            self._fan_out(messages)
        else:
            self.unwired += len(messages)
            for message in messages:
                message.receipt.settle(FILTERED)

    def _tap(self, messages: list[Message]) -> None:
        for tap in self.taps:
            try:
                tap(messages)
            except Exception:  # who looks on must not hold up what travels
                LOG.exception("a tap of %s failed", self.name)

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
        self.leaving: Leaving | None = None
        self._given: list[Message] = []  # by the call that is under way
        self._failing: list[Message] | None = None  # of the batch that is under way
        self.again: Callable[[list[Message]], None] = self.put
        """Where a boundary node's own messages go that it kept for later: its wire."""
        self.in_order = False
        self.work: Callable[[list[Message]], None] = _worker(self)

    def keep_order(self, needed: bool) -> None:
        """Whether outputs of this step meet again behind it, so that their order shows."""
        if needed is not self.in_order:
            self.in_order = needed
            self.work = _worker(self)

    def take_over(self, old: "Step", *, same: bool) -> None:
        """Take the place of a former self: what waits there and, if it is the same type, its state.

        What the former node still lets out, until it is closed, leaves by this one's outputs.
        """
        self.inbox, old.inbox = old.inbox, []
        if same and self.entries is not None and old.entries is not None:
            self.entries, self.held = old.entries, old.held
            self.entries.on_forget = self.forget
        else:
            old.let_go(DROPPED)
        for outlet in old.outlets.values():
            outlet.branches.clear()
        old.outlets = {**old.outlets, **self.outlets}
        old.first = self.first

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
        parts = self._parts(result)
        made: list[Message] = []
        for name, messages in parts:
            outs.setdefault(name, []).extend(messages)
            made += messages
            for out in messages:
                receipt = out.receipt
                if isinstance(receipt, JoinedReceipt) and (
                    message is None or receipt is not message.receipt
                ):
                    receipt.left(out, name)
        self._given.clear()
        if message is not None:
            self._owe(message, made)

    def _parts(self, result: Result) -> list[tuple[str, list[Message]]]:
        """A result as lists by output; NodeError for one that is none, before any of it leaves."""
        parts: list[tuple[str, list[Message]]]
        if isinstance(result, Message):
            parts = [(self.first.name, [result])]
        elif isinstance(result, list):
            parts = [(self.first.name, result)]
        elif isinstance(result, Mapping):
            parts = [(n, part if isinstance(part, list) else [part]) for n, part in result.items()]
        else:
            raise NodeError(f"the node answered with a {type(result).__name__}", slug="bad-result")
        for name, messages in parts:
            if name not in self.outlets or name == ERROR:
                raise NodeError(
                    f'the node answered by "{name}", an output that it does not declare',
                    slug="unknown-output",
                )
            for out in messages:
                if not isinstance(out, Message):
                    kind = type(out).__name__
                    raise NodeError(f"the node answered with a {kind}", slug="bad-result")
        return parts

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
        if self._failing is not None:
            self._failing.append(message)
        self.left([message], ERROR)
        region = self.region
        if region is None:
            raise error
        region.fail(self, message, error)

    def broke(self, message: Message, error: Exception) -> None:
        """The node raised over a message: it fails, and what had left the state for it too."""
        self.has_kept = False
        self.rescue(error)
        self.fail(message, error)

    def rescue(self, error: Exception) -> None:
        """The node raised: what it had taken out of its state, and let out nowhere, fails."""
        given, self._given = self._given, []
        for message in given:
            if isinstance(message.receipt, JoinedReceipt) and message.receipt.output is None:
                self.fail(message, error)

    def answer_all(
        self, call: Callable[[list[Message]], Mapping[str, list[Message]]], batch: list[Message]
    ) -> Mapping[str, list[Message]]:
        """What a node answers to a whole batch; if it raises, all that did not fail yet fails."""
        self._failing = failing = []
        try:
            outs = call(batch)
            for name in outs:
                if name != HELD_BACK and (name not in self.outlets or name == ERROR):
                    raise NodeError(  # noqa: TRY301  # the same end as for the node's own
                        f'the node answered by "{name}", an output that it does not declare',
                        slug="unknown-output",
                    )
        except Exception as err:  # noqa: BLE001  # a bug in a node costs no message (R6)
            self._failing = None
            self.has_kept = False
            self.rescue(err)
            gone = {id(message) for message in failing}
            for message in batch:
                if id(message) not in gone:
                    self.fail(message, err)
            return {}
        self._failing = None
        self._given.clear()
        return outs

    # -- receipts held for later (windows, debounce)

    def keep(self, message: Message, key: str) -> None:
        """Hold the message's receipt under `key`."""
        self.has_kept = True
        message.receipt.take()
        self.held.setdefault(key, []).append(message.receipt)

    def give(self, message: Message, key: str) -> Message:
        """Let `message` answer for everything held under `key`."""
        held = self.held.pop(key, None)
        if self.leaving is not None and self.entries is not None:
            message.receipt = self.leaving.give(self.id, held or ())
            self._given.append(message)
        elif held:
            message.receipt = JoinedReceipt(held)
            self._given.append(message)
        return message

    def let_out(self, messages: list[Message], output: str) -> None:
        """The node lets messages out by itself, outside of `receive` and `wake`."""
        self.left(messages, output)
        self._given.clear()
        self.outlets[output].put(messages)

    def once_more(self, message: Message) -> None:
        """A message that was kept goes back to where this node's messages wait."""
        self._given.clear()
        self.again([message])

    def left(self, messages: list[Message], output: str) -> None:
        """Messages leave by an output: note it of those that this node gave."""
        for message in messages:
            receipt = message.receipt
            if isinstance(receipt, JoinedReceipt) and receipt.output is None:
                receipt.left(message, output)

    def forget(self, keys: list[str]) -> None:
        """The states of keys are forgotten: what they held is dropped, and counted."""
        gone = set(keys)
        names = [n for n in self.held if n in gone or n.rpartition("\0")[0] in gone]
        for name in names:
            self._settle_held(name, DROPPED)

    def let_go(self, fate: int) -> int:
        """Settle all held receipts, as the node is gone; returns how many there were."""
        return sum(self._settle_held(name, fate) for name in list(self.held))

    def _settle_held(self, name: str, fate: int) -> int:
        receipts = self.held.pop(name)
        if fate == DROPPED:
            self.counts["forgotten"] += len(receipts)
        for receipt in receipts:
            receipt.settle(fate)
        return len(receipts)

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
        try:
            self._run_ready()
        finally:
            self.working = None
            self._running = False

    def run_behind(self) -> None:
        """Within a step's work: run what waits behind it, before the step goes on."""
        working = self.working
        self._run_ready()
        self.working = working

    def _run_ready(self) -> None:
        ready, pop = self.ready, heapq.heappop
        while ready:
            step = self.steps[pop(ready)]
            batch, step.inbox = step.inbox, []
            step.received += len(batch)
            self.working = step
            try:
                step.work(batch)
            except Exception:  # not one message's failure: those are met where they are made
                LOG.exception("%s failed on a batch", step.id)


# -- the loops: one a kind of node, chosen once when the step is made


def entries_for(kind: NodeType, node: Any) -> Entries[Any] | None:
    """The states of a node: of every keyed one, and of a sink that declares a `State`."""
    state: type[NodeState] | None = getattr(node, "State", None)
    is_within = kind.kind == "transform" and kind.scope in {"keyed", "singleton"}
    if is_within or (kind.kind == "sink" and state is not None):
        return Entries(state or NoState)
    return None


def _worker(step: Step) -> Callable[[list[Message]], None]:
    kind = step.type
    if kind.kind != "transform":
        return step.first.put
    if step.in_order:
        return _ordered(step, _answerer(step))
    if kind.scope == "keyed" and not kind.is_function:
        return _keyed(step)
    if getattr(step.node, "receive_batch", None) is not None:
        return _whole(step)
    return _each(step, _answerer(step))


def _answerer(step: Step) -> Callable[[Message], Result]:
    """What answers one message."""
    kind = step.type
    if kind.is_function:
        function, config = step.node, step.config
        if len(inspect.signature(function).parameters) == 1:
            return function  # type: ignore[no-any-return]  # any node may be
        return lambda message: function(message, config)
    receive: Callable[..., Result] = step.node.receive
    if kind.scope == "keyed":
        key_of, one_for_all = _key_of(step)
        clock = step.node.clock

        def keyed(message: Message) -> Result:
            assert step.entries is not None  # noqa: S101  # set with the step, before it runs
            key = _good_key(message.key if key_of is None else key_of(message), one_for_all)
            return receive(message, step.entries.touch(key, clock.monotonic()))

        return keyed
    if kind.scope == "singleton":

        def single(message: Message) -> Result:
            assert step.entries is not None  # noqa: S101  # set with the step, before it runs
            return receive(message, step.entries.touch("", 0))

        return single
    return receive


def _ordered(step: Step, answer: Callable[[Message], Result]) -> Callable[[list[Message]], None]:
    """A node of which outputs meet again: what leaves by one is done with before the other's."""

    def work(batch: list[Message]) -> None:
        leaving: list[Message] = []
        last = step.first.name
        for message in batch:
            outs: dict[str, list[Message]] = {}
            try:
                result = answer(message)
                if result is None:
                    step.drop(message)
                    continue
                step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                leaving = let_out(last, leaving)
                step.broke(message, err)
                run_behind()
                continue
            for name, messages in outs.items():
                if name != last:
                    leaving = let_out(last, leaving)
                last = name
                leaving += messages
        step.outlets[last].put(leaving)

    def let_out(name: str, messages: list[Message]) -> list[Message]:
        if messages:
            step.outlets[name].put(messages)
            run_behind()
        return []

    def run_behind() -> None:
        if step.region is not None:
            step.region.run_behind()

    return work


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
                step.broke(message, err)
        for name, messages in outs.items():
            if messages:
                step.outlets[name].put(messages)

    return work


def _whole(step: Step) -> Callable[[list[Message]], None]:
    """A stateless node that answers whole batches."""
    call = step.node.receive_batch

    def work(batch: list[Message]) -> None:
        for name, messages in step.answer_all(call, batch).items():
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
    key_of, one_for_all = _key_of(step)

    def work(batch: list[Message]) -> None:
        entries = step.entries
        assert entries is not None  # noqa: S101  # set with the step, before it runs
        first: list[Message] = []
        outs: dict[str, list[Message]] = {step.first.name: first}
        now = step.node.clock.monotonic()
        for message in batch:
            try:
                key = message.key if key_of is None else key_of(message)
                if type(key) is not str or not key or len(key) > MAX_KEY_BYTES // 4:
                    key = _good_key(key, one_for_all)
                result = receive(message, entries.touch(key, now))
                if result is None:
                    step.drop(message)
                elif type(result) is Message and result.receipt is message.receipt:
                    first.append(result)
                else:
                    step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                step.broke(message, err)
        for name, messages in outs.items():
            if messages:
                step.outlets[name].put(messages)

    return work


def _key_of(step: Step) -> tuple[Callable[[Message], Any] | None, bool]:
    """What gives a keyed node's key, None for the message's own; whether one key serves all."""
    expression = getattr(step.config, "key", None)
    if expression is None:
        return None, False
    context = step.node.context
    one_for_all = expression.text.strip() in {"''", '""'}
    return expression.bind(context.params, context.now), one_for_all


def _good_key(key: Any, one_for_all: bool) -> str:
    """A key as text; NodeError for one that is none, empty or too long."""
    if type(key) is not str:
        key = key_text(key)
    if not key and not one_for_all:
        raise NodeError(
            "the key is empty",
            slug="no-key",
            path="key",
            mend="Set the source's key, or this node's key to '' for one state.",
        )
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        raise NodeError(f"the key has more than {MAX_KEY_BYTES} bytes", slug="long-key", path="key")
    return str(key)


def key_text(key: Any) -> str:
    """A key as text: a number in its shortest form; anything else is no key."""
    if isinstance(key, bool) or not isinstance(key, int | float):
        raise NodeError("the key is neither text nor a number", slug="no-key", path="key")
    if isinstance(key, float) and key.is_integer() and abs(key) < 1e15:
        return str(int(key))
    return repr(key)

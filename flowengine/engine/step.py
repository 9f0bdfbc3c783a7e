"""A step: one node at work, what its answers become, and the receipts that it holds.

It takes its inbox, runs the node over it in one loop, and hands each output's messages on. What the
node answers is settled here: sent on, held back, held for later, or on the error route (R6, R63).
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flowengine.engine.delivery import JoinedReceipt, Origins, SourceReceipt
from flowengine.engine.fates import DELIVERED, DROPPED, FILTERED, KIND, fate_at
from flowengine.engine.leaving import Leaving
from flowengine.engine.outlet import ERROR, HELD_BACK, Outlet
from flowengine.engine.state import Entries, NoState
from flowengine.errors import NodeError
from flowengine.message import NO_RECEIPT, Message, Receipt
from flowengine.node import NodeState, NodeType, Result


class Held:
    """How much of the receipts under one name the last cut has: how many, in how many parts."""

    __slots__ = ("count", "parts", "receipts")

    def __init__(self, receipts: list[Receipt]) -> None:
        self.receipts = receipts
        self.count = 0
        self.parts = 0


class Order(Protocol):
    """What a step needs of the region that runs it."""

    ready: list[int]
    fail: Callable[["Step", Message, Exception], None]

    def run_behind(self) -> None:
        """Run what waits behind the step that works."""


class Step:
    """One node at work in a region."""

    def __init__(self, node_id: str, kind: NodeType, node: Any, config: Any) -> None:
        self.id = node_id
        self.type = kind
        self.node = node
        self.config = config
        self.rank = 0
        self.inbox: list[Message] = []
        self.region: Order | None = None
        self.filtered_here = fate_at(FILTERED, node_id)
        self.outlets: dict[str, Outlet] = {}
        self.first: Outlet = Outlet(HELD_BACK)
        self.entries: Entries[Any] | None = None
        self.received = 0
        self.filtered = 0
        self.failed = 0
        self.slow = 0
        self.counts: Counter[str] = Counter()
        self.has_kept = False
        self.held: dict[str, list[Receipt]] = {}
        self.leaving: Leaving | None = None
        self.saved: dict[str, Held] = {}
        self.touched: set[str] = set()
        """Names under which what is held has changed since the last cut."""
        self.rewritten: set[str] = set()
        """Names under which receipts are held that were not only added to since the last cut."""
        self.applied: dict[str, Counter[int]] = {}
        """What a former run had let change these states, and will come again: by where from, how
        often, as a message that came here by two ways changed them twice."""
        self.passed: list[list[Receipt]] = []
        """What changed these states since the last cut, where it may come again after a crash."""
        self._given: list[Message] = []  # by the call that is under way
        self._failing: list[Message] | None = None  # of the batch that is under way
        self.again: Callable[[list[Message]], None] = self.put
        """Where a boundary node's own messages go that it kept for later: its wire."""
        self.in_order = False
        self.work: Callable[[list[Message]], None] = self.first.put
        """The loop that runs the node over a batch; `loops.worker` chooses it."""

    def take_over(self, old: "Step", *, same: bool) -> None:
        """Take the place of a former self: what waits there and, if it is the same type, its state.

        What the former node still lets out, until it is closed, leaves by this one's outputs.
        """
        self.inbox, old.inbox = old.inbox, []
        if same and self.entries is not None and old.entries is not None:
            self.entries, self.held = old.entries, old.held
            self.saved, self.touched, self.rewritten = old.saved, old.touched, old.rewritten
            self.applied, self.passed = old.applied, old.passed
            self.entries.on_forget = self.forget
        else:
            old.let_go(fate_at(DROPPED, "node-changed"))
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

    # -- what changes its states

    def meet(self, batch: list[Message]) -> list[Message]:
        """A batch is about to change states: note it, without what did so before a crash."""
        # All of it: what did so before a crash is not done either, and may come once more.
        self.passed.append([message.receipt for message in batch])
        if self.applied:
            batch = [message for message in batch if not self._was_here(message)]
        return batch

    def _was_here(self, message: Message) -> bool:
        """Whether a message changed these states in a former run; then it is done with here."""
        applied = self.applied
        identity = message.receipt.identity()
        if not identity or not all(
            origin in applied and Counter(numbers) <= applied[origin]
            for origin, numbers in identity.items()
        ):
            return False
        for origin, numbers in identity.items():
            applied[origin] -= Counter(numbers)
            if not applied[origin]:
                del applied[origin]
        message.receipt.settle(DELIVERED)
        return True

    @property
    def has_news(self) -> bool:
        """Whether its states, or what they hold, changed since the last cut."""
        entries = self.entries
        return entries is not None and bool(entries.dirty or entries.gone or self.touched)

    def on_the_way(self, is_done: Callable[[str, int], bool]) -> tuple[list[Receipt], Origins]:
        """What changed these states: receipts not safe yet, and what a crash would bring again."""
        again: Origins = {}
        open_ones: list[Receipt] = []
        kept: list[Receipt] = []
        for receipt in (r for some in self.passed for r in some):
            if receipt.insecure:
                open_ones.append(receipt)
            if type(receipt) is SourceReceipt:
                origin, numbers = receipt.group.intake.ledger.name, [receipt.seq]
                rest = [] if is_done(origin, receipt.seq) else numbers
                if rest:
                    again.setdefault(origin, []).append(receipt.seq)
            else:
                rest = []
                for origin, numbers in receipt.identity().items():
                    left = [number for number in numbers if not is_done(origin, number)]
                    rest += left
                    if left:
                        again.setdefault(origin, []).extend(left)
            if rest or receipt.insecure:
                kept.append(receipt)
        for origin, numbers_left in self.applied.items():
            rest = [number for number in numbers_left.elements() if not is_done(origin, number)]
            if rest:
                again.setdefault(origin, []).extend(rest)
        self.passed[:] = [kept] if kept else []
        return open_ones, again

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
            receipt.settle(self.filtered_here)
        self.has_kept = False

    def drop(self, message: Message) -> None:
        """The node answered nothing: held back here, unless it keeps the message for later."""
        if self.has_kept:
            self.has_kept = False
        else:
            self.filtered += 1
        message.receipt.settle(self.filtered_here)

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
        failing: list[Message] = []
        self._failing = failing
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
        receipt = message.receipt
        receipt.take()
        if receipt.barrier is not None:  # a cut waits for it, which does not have it here
            receipt = receipt.barrier.enters(self.id, message)
        self.held.setdefault(key, []).append(receipt)
        if self.entries is not None:
            self.touched.add(key)

    def give(self, message: Message, key: str) -> Message:
        """Let `message` answer for everything held under `key`."""
        held = self.held.pop(key, None)
        if self.leaving is not None and self.entries is not None:
            self.touched.add(key)
            message.receipt = self.leaving.give(held or ())
            self._given.append(message)
        elif held:
            message.receipt = JoinedReceipt(held)
            self._given.append(message)
        return message

    def track(self, message: Message, output: str) -> None:
        """A message left a state that nothing was kept for: a cut waits for it all the same."""
        if self.leaving is not None and self.entries is not None:
            receipt = message.receipt = self.leaving.give(())
            receipt.left(message, output)

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
            self._settle_held(name, fate_at(DROPPED, "forgotten"))

    def let_go(self, fate: int) -> int:
        """Settle all held receipts, as the node is gone; returns how many there were."""
        return sum(self._settle_held(name, fate) for name in list(self.held))

    def _settle_held(self, name: str, fate: int) -> int:
        receipts = self.held.pop(name)
        self.touched.add(name)
        if fate & KIND == DROPPED:
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
        self.rewritten.add(key)
        self.touched.add(key)
        if not held:
            del self.held[key]
        for receipt in gone:
            receipt.settle(self.filtered_here)


def entries_for(kind: NodeType, node: Any) -> Entries[Any] | None:
    """The states of a node: of every keyed one, and of a sink that declares a `State`."""
    state: type[NodeState] | None = getattr(node, "State", None)
    is_within = kind.kind == "transform" and kind.scope in {"keyed", "singleton"}
    if is_within or (kind.kind == "sink" and state is not None):
        return Entries(state or NoState)
    return None

"""An output of a node: where its messages go, how many, and who looks on."""

import logging
from collections.abc import Callable
from typing import Protocol

from flowengine.engine.fates import FILTERED, fate_at
from flowengine.message import Message, copy_tree
from flowengine.node import Writes

LOG = logging.getLogger("flowengine.engine")

ERROR = "error"
"""The output that every node with an input has (R6)."""
HELD_BACK = ""
"""What a node answers by that holds messages back."""


class Target(Protocol):
    """Where an output leads: a step's inbox or a wire."""

    def put(self, messages: list[Message]) -> None:
        """Take over the messages."""


class Outlet:
    """One output of a node, and the branches behind it."""

    __slots__ = ("branches", "count", "ended", "name", "taps", "unwired")

    def __init__(self, name: str, node: str = "") -> None:
        self.name = name
        self.ended = fate_at(FILTERED, node)
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
                message.receipt.settle(self.ended)

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

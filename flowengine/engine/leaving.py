"""Messages that left a node's state and are not committed yet: what a checkpoint must not forget.

A window's members are acknowledged once the window is in a checkpoint. When it closes, its result
is on its way to a sink and no longer in the state; the next checkpoint writes the state without it.
So that checkpoint writes the result too, and a later one removes it when it was committed. After a
crash it is let out again, by the output that it left by.

    state --give--> leaving --committed--> forgotten
                       '--checkpoint--> row on disk --crash--> let out again
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from flowengine.engine.delivery import JoinedReceipt
from flowengine.message import Message, Receipt, packer, unpacker

_encoder = packer()
_decoder = unpacker(Message)


class LeavingRow(NamedTuple):
    """One message as the store keeps it."""

    number: int
    node: str
    output: str
    data: bytes


class LeavingReceipt(JoinedReceipt):
    """The receipt of a message that left a state; it answers for what was kept for it."""

    __slots__ = ("data", "inside", "leaving", "node", "number")

    def __init__(self, members: list[Receipt], leaving: "Leaving", node: str, number: int) -> None:
        super().__init__(members)
        self.leaving = leaving
        self.node = node
        self.number = number
        self.data: bytes | None = None
        self.inside = 0  # parts that another message which left a state answers for

    def left(self, message: Message, output: str) -> None:
        """The message leaves by an output: what must come again if it is lost on its way."""
        if self.output is None:
            try:
                self.data = _encoder.encode(message)
            except (TypeError, ValueError, OverflowError):
                self.data = None  # no state with it could be saved, so nothing relies on it
        super().left(message, output)

    def settle(self, fate: int) -> None:
        """One part has met its fate; at the last one it is forgotten."""
        super().settle(fate)
        if not self.parts:
            self.leaving.open.pop(self.number, None)

    def secure_members(self) -> None:
        """The whole message is safe on disk, wherever its parts are."""
        self.members = [member.secure() for member in self.members]


class _Inside(Receipt):
    """A part of a message that was kept again: another message answers for it now."""

    __slots__ = ("receipt",)

    def __init__(self, receipt: LeavingReceipt) -> None:
        self.receipt = receipt
        receipt.inside += 1

    def settle(self, fate: int) -> None:
        """The message that answers for it has met its fate."""
        self.receipt.inside -= 1
        self.receipt.settle(fate)

    def secure(self) -> "_Inside":
        """The message that answers for it is safe on disk."""
        self.receipt.secure()
        return self


class Leaving:
    """What left the states of one flow's nodes and is not committed yet."""

    def __init__(self) -> None:
        self.open: dict[int, LeavingReceipt] = {}
        self._on_disk: set[int] = set()
        self._next = 1

    def give(self, node: str, kept: Sequence[Receipt]) -> LeavingReceipt:
        """A receipt for a message of `node` that answers for all that was kept for it."""
        members = [_Inside(r) if isinstance(r, LeavingReceipt) else r for r in kept]
        return self._note(LeavingReceipt(members, self, node, self._next))

    def _note(self, receipt: LeavingReceipt) -> LeavingReceipt:
        self.open[receipt.number] = receipt
        self._next = max(self._next, receipt.number) + 1
        return receipt

    def restore(self, rows: Iterable[LeavingRow]) -> list[tuple[LeavingRow, Message | None]]:
        """The messages of a former run, with their receipts, to be let out again.

        None stands for one that cannot be read; its row stays on disk.
        """
        found: list[tuple[LeavingRow, Message | None]] = []
        for row in rows:
            receipt = LeavingReceipt([], self, row.node, row.number)
            receipt.data, receipt.output = row.data, row.output
            self._on_disk.add(row.number)
            self._note(receipt)
            try:
                message = _decoder.decode(row.data)
            except ValueError:
                found.append((row, None))
                continue
            message.receipt = receipt
            found.append((row, message))
        return found

    def collect(
        self, held: Iterable[Receipt]
    ) -> tuple[list[LeavingRow], list[int], Callable[[], None]]:
        """What a checkpoint has to write and to remove, and what to call once it is on disk.

        `held` are all receipts that the states of this same checkpoint hold: a message which is in
        one of them wholly needs no row of its own.
        """
        in_states = Counter(id(r) for r in held if isinstance(r, LeavingReceipt))
        needed = {
            number
            for number, receipt in self.open.items()
            if receipt.parts > receipt.inside + in_states[id(receipt)]
        }
        written = [
            receipt
            for number in sorted(needed - self._on_disk)
            if (receipt := self.open[number]).data is not None
        ]
        gone = sorted(self._on_disk - needed)
        rows = [_row_of(receipt) for receipt in written]

        def done() -> None:
            self._on_disk.difference_update(gone)
            self._on_disk.update(receipt.number for receipt in written)
            for receipt in written:
                if receipt.parts:
                    receipt.secure_members()

        return rows, gone, done


def _row_of(receipt: LeavingReceipt) -> LeavingRow:
    data: Any = receipt.data
    return LeavingRow(receipt.number, receipt.node, receipt.output or "", data)

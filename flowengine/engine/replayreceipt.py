"""The receipt of a message that is replayed: its row stays in quarantine until this is settled."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from flowengine.engine.fates import DELIVERED
from flowengine.message import NO_RECEIPT, Receipt


class Replayed(NamedTuple):
    """A row of the quarantine whose message was let in: its number, and when that was asked for."""

    id: int
    asked: int


class ReplayReceipt(Receipt):
    """Calls `done` with the row once every part is settled, or safe elsewhere on disk."""

    __slots__ = ("done", "parts", "row")

    def __init__(self, row: Replayed, done: Callable[[Replayed], None], parts: int = 1) -> None:
        self.row = row
        self.done = done
        self.parts = parts

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts

    def settle(self, _fate: int) -> None:
        """One part has met its fate; its source heard long ago that it was set aside."""
        self.parts -= 1
        if not self.parts:
            self.done(self.row)

    def secure(self) -> Receipt:
        """One part is safe elsewhere on disk."""
        self.settle(DELIVERED)
        return NO_RECEIPT


def rows_replaced(receipts: Iterable[Receipt]) -> list[Replayed]:
    """The rows of which nothing is left but what is set aside with these receipts.

    They go in the transaction that writes the new rows, so that no crash leaves both.
    """
    parts = Counter(receipt for receipt in receipts if isinstance(receipt, ReplayReceipt))
    return [receipt.row for receipt, number in parts.items() if number == receipt.parts]

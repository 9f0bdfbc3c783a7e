"""Messages that left a node's state and are still on their way: what a cut has to wait for.

A window's members are acknowledged once the window is in a written cut. When it closes, its result
is on its way to a sink, and the next cut knows neither the window nor the result. So that cut is
written only once the result is settled or safe on disk; after a crash before that, the cut before
it stands, in which the window is still open.
"""

from collections.abc import Iterable, Sequence

from flowengine.engine.delivery import JoinedPart, JoinedReceipt
from flowengine.engine.fates import FILTERED, KIND
from flowengine.engine.gate import EnteredPart
from flowengine.engine.ledger import SourceLedger
from flowengine.message import Receipt


class Late:
    """What met its fate after a cut was taken, and must be in it: it had left every state."""

    def __init__(self, accounts: Iterable[SourceLedger]) -> None:
        self.counts: dict[str, dict[tuple[int, int], int]] = {}
        """By source: (minute, fate) -> how many."""
        self._accounts = list(accounts)
        self._is_over = False

    def __enter__(self) -> None:
        """From now on, fates are noted for the cut too."""
        if not self._is_over:
            for account in self._accounts:
                account.late = self.counts.setdefault(account.name, {})

    def __exit__(self, *_: object) -> None:
        """No longer."""
        for account in self._accounts:
            account.late = None

    @property
    def is_over(self) -> bool:
        """Whether the cut is written, so that nothing more comes into it."""
        return self._is_over

    def take(self) -> dict[str, dict[tuple[int, int], int]]:
        """All of it, as the cut is written now."""
        self._is_over = True
        return self.counts


class LeavingReceipt(JoinedReceipt):
    """The receipt of a message that left a state; it answers for what was kept for it."""

    __slots__ = ("late", "leaving")

    def __init__(self, members: list[Receipt], leaving: "Leaving") -> None:
        super().__init__(members)
        self.leaving = leaving
        self.late: Late | None = None
        """Of the cut that waits for this, and does not have its members in a state."""

    def all_settled(self) -> None:
        """Every part has met its fate: the cut that waited has it in its ledger."""
        if self.late is None:
            super().all_settled()
            return
        with self.late:
            super().all_settled()

    def all_secured(self) -> None:
        """Nothing of it can be lost any more."""
        self.leaving.open.discard(self)


class EnteringReceipt(LeavingReceipt):
    """The receipt of what a former run had on its way into a state: it comes again otherwise."""

    __slots__ = ()

    def identity(self) -> dict[str, list[int]]:
        """Nothing: it is known where it went, so that what comes again does not go there."""
        return {}


def _is_out(entered: EnteredPart) -> bool:
    """Whether the cut that waited for what entered a state does so no more."""
    return entered.parts == 1 and entered.receipt.barrier is not entered.waiting


def _is_all_of(receipt: LeavingReceipt, part: Receipt) -> bool:
    """Whether a part is all that is left of a receipt, for which no cut waits."""
    is_safe = receipt.insecure == 0 and type(part) is not LeavingReceipt
    is_known = receipt.late is None or receipt.late.is_over
    is_last = receipt.parts == 1 and (is_safe or receipt.insecure == 1)
    return is_last and is_known and receipt.barrier is None


_TAKEN_APART = frozenset({LeavingReceipt, JoinedPart, EnteredPart})


class Leaving:
    """What left the states of one flow's nodes and is neither settled nor secured yet."""

    def __init__(self) -> None:
        self.open: set[LeavingReceipt] = set()

    def give(self, kept: Sequence[Receipt]) -> LeavingReceipt:
        """A receipt for a message that answers for all that was kept for it."""
        members, fate = self._flat(kept)
        receipt = LeavingReceipt(members, self)
        receipt.fate = fate
        self.open.add(receipt)
        return receipt

    def _flat(self, kept: Sequence[Receipt]) -> tuple[list[Receipt], int]:
        """What the receipts that were kept answer for, and the worst fate that parts of them met.

        In place of a receipt of which no other part is left stand its own members: else a message
        that goes round in a loop would answer for itself of the round before, and so on, each level
        weighing 200 bytes and three calls deep.
        """
        members, fate, todo = [], FILTERED, list(kept)
        if not any(type(receipt) in _TAKEN_APART for receipt in todo):
            return todo, fate
        todo.reverse()
        while todo:
            receipt = todo.pop()
            inner = receipt
            met = []
            if isinstance(inner, EnteredPart) and _is_out(inner):
                met, inner = [inner.fate], inner.receipt
            if type(inner) is JoinedPart and inner.parts == 1 and not inner.receipt.insecure:
                inner = inner.receipt
            if type(inner) is not LeavingReceipt or not _is_all_of(inner, receipt):
                members.append(receipt)
                continue
            inner.insecure = 0  # nobody waits for it any more, but for what takes its place
            self.open.discard(inner)
            todo += reversed(inner.members)
            for other in (*met, inner.fate):
                if other & KIND >= fate & KIND:
                    fate = other
        return members, fate

    def enter(self, kept: Sequence[Receipt]) -> EnteringReceipt:
        """A receipt for what enters a state that a former run had it on its way to."""
        receipt = EnteringReceipt(list(kept), self)
        self.open.add(receipt)
        return receipt

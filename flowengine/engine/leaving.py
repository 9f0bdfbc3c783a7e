"""Messages that left a node's state and are still on their way: what a cut has to wait for.

A window's members are acknowledged once the window is in a written cut. When it closes, its result
is on its way to a sink, and the next cut knows neither the window nor the result. So that cut is
written only once the result is settled or safe on disk; after a crash before that, the cut before
it stands, in which the window is still open.
"""

from collections.abc import Sequence

from flowengine.engine.delivery import JoinedReceipt
from flowengine.message import Receipt


class LeavingReceipt(JoinedReceipt):
    """The receipt of a message that left a state; it answers for what was kept for it."""

    __slots__ = ("leaving",)

    def __init__(self, members: list[Receipt], leaving: "Leaving") -> None:
        super().__init__(members)
        self.leaving = leaving

    def all_secured(self) -> None:
        """Nothing of it can be lost any more."""
        self.leaving.open.discard(self)


class Leaving:
    """What left the states of one flow's nodes and is neither settled nor secured yet."""

    def __init__(self) -> None:
        self.open: set[LeavingReceipt] = set()

    def give(self, kept: Sequence[Receipt]) -> LeavingReceipt:
        """A receipt for a message that answers for all that was kept for it."""
        receipt = LeavingReceipt(list(kept), self)
        self.open.add(receipt)
        return receipt

"""The receipts that node states hold, kept beside them: for which messages a state answers.

A window that is restored after a crash still answers for its members: when its result is written,
the ledger counts them. Only what came since the last cut is written; the numbers of a hundred
members are a hundred bytes or two.
"""

from flowengine.engine.accounts import HeldPart
from flowengine.engine.delivery import Origins, origins_of
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.ledger import SourceLedger
from flowengine.engine.parts import Parts
from flowengine.engine.step import Held, Step
from flowengine.message import Receipt

_SPOOLED = "\0"
"""Behind the name of a source whose messages count as spooled."""


def held_parts(
    step: Step, name: str, held: list[HeldPart], let_go: list[tuple[str, str]], ledger: FlowLedger
) -> None:
    """Add what is to be written of the receipts under `name`, or that they are gone."""
    receipts, saved = step.held.get(name), step.saved.get(name)
    is_anew = name in step.rewritten
    step.rewritten.discard(name)
    if receipts is None:
        if saved is not None or is_anew:
            let_go.append((step.id, name))
            step.saved.pop(name, None)
        return
    if saved is None or is_anew or saved.receipts is not receipts:
        if saved is not None or is_anew:
            let_go.append((step.id, name))
        saved = step.saved[name] = Held(receipts)
    new = receipts[saved.count :]
    if new:
        held.append(HeldPart(step.id, name, saved.parts, [_told(r, ledger) for r in new]))
        saved.count, saved.parts = len(receipts), saved.parts + 1


def _told(receipt: Receipt, ledger: FlowLedger) -> Origins:
    """What a receipt answers for; what counts as spooled (it came by a spool) stands apart."""
    origins = receipt.origins()
    told: Origins = {}
    for source, numbers in origins.items():
        waiting = ledger.source(source).waiting
        for number in numbers:
            told.setdefault(source + _SPOOLED if number in waiting else source, []).append(number)
    return told


class FormerReceipt(Parts):
    """A message of a former run that a state holds, or several do: it met no fate yet.

    Where the source will send it again it counts then, and not here.
    """

    __slots__ = ("account", "counts", "is_spooled", "number")

    def __init__(self, account: SourceLedger, number: int) -> None:
        super().__init__(parts=0)
        self.account = account
        self.number = number
        self.counts = account.is_done(number)
        self.is_spooled = False
        """Whether it counts as spooled already."""

    def all_settled(self) -> None:
        """Every state that held it has done with it."""
        if self.counts:
            self.account.settle_former(self.number, self.fate)

    def origins(self) -> Origins:
        """The source's message."""
        return {self.account.name: [self.number]}


class FormerReceipts:
    """The receipts of a former run, one a message however many states hold it."""

    def __init__(self, ledger: FlowLedger) -> None:
        self._ledger = ledger
        self._made: dict[tuple[str, int], FormerReceipt] = {}

    def restore(self, step: Step, parts: list[HeldPart]) -> None:
        """Let a step hold again what it held."""
        for part in parts:
            receipts = step.held.setdefault(part.name, [])
            saved = step.saved.setdefault(part.name, Held(receipts))
            for origins in part.origins:
                made = [
                    self._receipt(source, number)
                    for source, numbers in origins.items()
                    for number in numbers
                ]
                receipts.append(made[0] if len(made) == 1 else _Several(made))
            saved.count, saved.parts = len(receipts), max(saved.parts, part.part + 1)

    def _receipt(self, told: str, number: int) -> FormerReceipt:
        source = told.removesuffix(_SPOOLED)
        made = self._made.get((source, number))
        if made is None:
            account = self._ledger.source(source)
            made = self._made[source, number] = FormerReceipt(account, number)
        if told != source and made.counts:
            made.is_spooled = True
            made.account.waiting.add(number)
        made.take()
        return made

    def receipts(self, origins: Origins) -> list[Receipt]:
        """The receipts of what was on its way into a state."""
        return [self._receipt(source, n) for source, numbers in origins.items() for n in numbers]

    def open(self, source: str) -> list[int]:
        """The messages of a source that count by being held here."""
        return [
            number
            for (name, number), made in self._made.items()
            if name == source and made.counts and not made.is_spooled
        ]


class _Several(Parts):
    """What a state holds as one answers for several messages: the result of another state."""

    __slots__ = ("made",)

    def __init__(self, made: list[FormerReceipt]) -> None:
        super().__init__()
        self.made = made

    def all_settled(self) -> None:
        """What became of the one became of all."""
        for receipt in self.made:
            receipt.settle(self.fate)

    def origins(self) -> Origins:
        """All that it answers for."""
        return origins_of(self.made)

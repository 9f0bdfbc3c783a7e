"""When what is settled may be acknowledged: not before the states that it changed are on disk.

    messages change states -----> cut: every state of the flow at one moment, in memory
    their branches settle  -----> written, once nothing that the cut has seen is still on its way
                                  '-> what was secured before the cut is acknowledged

So a state on disk never knows of a message that may be lost, and never forgets one that was
acknowledged. A flow without states has nothing to wait for: its gate is open.
"""

import asyncio
import contextlib
from collections.abc import Callable

from flowengine.engine.origins import encode_entering
from flowengine.engine.parts import Parts
from flowengine.message import Message, Receipt


class Gate:
    """The gate of one flow; cuts are numbered from 1."""

    def __init__(self) -> None:
        self.is_open = True
        self.taken = 0
        """Number of the newest cut."""
        self.covering = 0
        """Number of the newest cut that is written, or about to be."""
        self.want: Callable[[], None] = lambda: None
        """Asks for a cut: a source is about to stall for want of one."""

    def covers(self, secured_at: int) -> bool:
        """Whether what was secured when this cut was the newest may be acknowledged."""
        return self.is_open or secured_at < self.covering


class Barrier:
    """Waits until what had changed or left a state at a cut, and was on its way, is safe.

    What enters another state meanwhile will stay there: it is not waited for. The cut writes the
    message itself, to enter that state again, which at the cut did not have it.
    """

    def __init__(self) -> None:
        self.entering: list[tuple[str, bytes]] = []
        """(node, record) of what entered a state since."""
        self._entered: dict[int, int] = {}
        """By the id of a receipt: how many of its parts entered a state since."""
        self._missing = 0
        self._clear = asyncio.Event()
        self._clear.set()

    def wait_for(self, receipt: Receipt) -> None:
        """This is on its way: wait until it passes."""
        if receipt.barrier is not self:
            receipt.barrier = self
            self._missing += 1
            self._clear.clear()

    def enters(self, node: str, message: Message) -> "EnteredPart":
        """What is waited for enters the state of a node, and will stay there, held by this part.

        The other branches of the message go on, and are waited for.
        """
        receipt = message.receipt
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # no state can be saved
            self.entering.append((node, encode_entering(message)))
        self._entered[id(receipt)] = self._entered.get(id(receipt), 0) + 1
        return EnteredPart(receipt, self)

    def left(self, receipt: Receipt) -> None:
        """A part that had entered a state is about to be settled or secured."""
        if receipt.barrier is self:
            self._entered[id(receipt)] -= 1

    def look(self, receipt: Receipt) -> None:
        """A part was settled or secured: whether those that are not are all in states."""
        if receipt.insecure <= self._entered.get(id(receipt), 0):
            self.release(receipt)

    def release(self, receipt: Receipt) -> None:
        """This one is waited for no more."""
        receipt.barrier = None
        self._entered.pop(id(receipt), None)
        self._missing -= 1
        if not self._missing:
            self._clear.set()

    async def wait(self) -> None:
        """Wait for all of them."""
        await self._clear.wait()


class EnteredPart(Parts):
    """A part of a message that entered a state while a cut waited for the message."""

    __slots__ = ("receipt", "waiting")

    def __init__(self, receipt: Receipt, waiting: Barrier) -> None:
        super().__init__()
        self.receipt = receipt
        self.waiting = waiting

    def all_settled(self) -> None:
        """What the state made of it has met its fate."""
        self.waiting.left(self.receipt)
        self.receipt.settle(self.fate)

    def secure(self) -> Receipt:
        """The state that has it is on disk."""
        self.waiting.left(self.receipt)
        return self.receipt.secure()

    def origins(self) -> dict[str, list[int]]:
        """The source messages that it answers for."""
        return self.receipt.origins()

    def identity(self) -> dict[str, list[int]]:
        """What would come again for it."""
        return self.receipt.identity()

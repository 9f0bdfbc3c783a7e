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

from flowengine.engine.origins import encode_record
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
        self._missing = 0
        self._clear = asyncio.Event()
        self._clear.set()

    def wait_for(self, receipt: Receipt) -> None:
        """This is on its way: wait until it passes."""
        if receipt.barrier is not self:
            receipt.barrier = self
            self._missing += 1
            self._clear.clear()

    def enters(self, node: str, message: Message) -> None:
        """What is waited for enters the state of a node, and will stay there."""
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # no state can be saved
            self.entering.append((node, encode_record(message)))
        message.receipt.barrier = None
        self.done()

    def done(self) -> None:
        """One of them is settled or secured."""
        self._missing -= 1
        if not self._missing:
            self._clear.set()

    async def wait(self) -> None:
        """Wait for all of them."""
        await self._clear.wait()

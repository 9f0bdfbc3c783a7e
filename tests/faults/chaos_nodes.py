"""Nodes with faults, as a plug-in would bring them: `installed` makes them the family `chaos`.

chaos.burst    a source: `number` messages as fast as the flow takes them
chaos.raises   raises for every message
chaos.leaks    leaves an error in a task that nobody awaits, for every message
chaos.spins    never returns from a message that says so
chaos.doubles  makes two of each message
"""

import asyncio
from functools import partial
from pathlib import Path

from pydantic import Field

from flowengine import Message, Node, NodeConfig, Source, node
from tests.flow_process import ROOT

PACKAGE = "flowengine_chaos"
BATCH = 500


def installed(site: Path, *, name: str = PACKAGE, family: str = "chaos", module: str = "") -> str:
    """Lay a distribution with this family into a folder; the PYTHONPATH that finds it.

    `module` is its text; without it the family is this module.
    """
    value = __name__
    site.mkdir(parents=True, exist_ok=True)
    if module:
        (site / f"{name}.py").write_text(module)
        value = name
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[flowengine.nodes]\n{family} = {value}\n")
    return f"{site}:{ROOT}"


class BurstConfig(NodeConfig):
    """How many."""

    number: int = Field(default=1000, ge=1, description="Messages in all.")


@node("chaos.burst")
class Burst(Source[BurstConfig]):
    """Emit numbers as fast as the flow takes them."""

    def setup(self) -> None:
        """Nothing runs yet."""
        self._may_go = asyncio.Event()
        self._may_go.set()
        self._task: asyncio.Task[None] | None = None
        self._open = 0

    async def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """The flow is full."""
        self._may_go.clear()

    def resume_reading(self) -> None:
        """The flow has room."""
        self._may_go.set()

    async def _run(self) -> None:
        for first in range(0, self.config.number, BATCH):
            await self._may_go.wait()
            while self._open > 20 * BATCH:  # noqa: ASYNC110  # as a broker's window would
                await asyncio.sleep(0.001)
            numbers = range(first, min(first + BATCH, self.config.number))
            now = self.clock.now()
            self._open += len(numbers)
            self.emit(
                [Message({"number": n}, time=now + n, key=f"dev-{n % 10}") for n in numbers],
                partial(self._done, len(numbers)),
            )
            await asyncio.sleep(0)

    def _done(self, number: int) -> None:
        self._open -= number


@node("chaos.raises")
class Raises(Node[NodeConfig]):
    """Raise for every message."""

    def receive(self, message: Message, *_: object) -> None:
        """Raise."""
        raise RuntimeError(f"no luck with {message.payload['number']}")


@node("chaos.leaks")
class Leaks(Node[NodeConfig]):
    """Leave an error in a task for every message, and pass the message on."""

    def receive(self, message: Message, *_: object) -> Message:
        """Start a task that nobody awaits."""
        asyncio.get_running_loop().create_task(self._fail(message.payload["number"]))
        return message

    async def _fail(self, number: int) -> None:
        raise RuntimeError(f"nobody awaits {number}")


@node("chaos.spins")
class Spins(Node[NodeConfig]):
    """Never return from a message that says `spin`."""

    def receive(self, message: Message, *_: object) -> Message:
        """Spin, or pass on."""
        while message.payload.get("spin"):
            pass
        return message


@node("chaos.doubles")
class Doubles(Node[NodeConfig]):
    """Make two of each message."""

    def receive(self, message: Message, *_: object) -> list[Message]:
        """Two."""
        return [message, message.copy()]

"""Node types of the benches: a sink that counts, a source that drives a chain, the chain's end.

They run inside the engine under test, which finds them as it finds anybody's: by an entry point of
the group `flowengine.nodes` (`engine_under_test` writes one into its scratch folder). What they
find is written to the file named by FLOWENGINE_BENCH_STATS, every 50 ms if it changed, just as the
peer's harness does it.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from flowengine import Message, Node, NodeConfig, Sink, SinkConfig, Source, node

_EVERY = 0.05


class _Stats:
    """What was counted in this process, and its file."""

    def __init__(self) -> None:
        self.count = 0
        self.results: list[float] = []
        self._written = ""

    def write(self) -> None:
        """Replace the file if there is news."""
        text = json.dumps({"n": self.count, "results": self.results})
        if text != self._written:
            self._written = text
            path = Path(os.environ["FLOWENGINE_BENCH_STATS"])
            part = path.with_suffix(".part")
            part.write_text(text)
            part.replace(path)

    async def keep_writing(self) -> None:
        """Write until cancelled."""
        while True:
            self.write()
            await asyncio.sleep(_EVERY)


_stats = _Stats()


class CountConfig(SinkConfig):
    """Nothing to set."""


@node("bench.count")
class Count(Sink[CountConfig]):
    """Count the messages that come, in batches as every sink that declares nothing else."""

    async def open(self) -> None:
        """Begin to tell."""
        self._teller = asyncio.create_task(_stats.keep_writing())

    async def close(self) -> None:
        """Tell no more."""
        self._teller.cancel()

    async def write(self, records: list[Any]) -> None:
        """Count them."""
        _stats.count += len(records)


class DriveConfig(NodeConfig):
    """How much, and how often."""

    messages: int = Field(description="Messages in one run.")
    batch: int = Field(description="Messages in one turn of the event loop.")
    runs: int = Field(description="Runs that are measured, after one of a third to warm up.")
    arrivals: int = Field(default=1, description="How often each message reaches the end.")


@node("bench.drive")
class Drive(Source[DriveConfig]):
    """Let messages in as fast as they are handled; the CPU time of each run is a result."""

    async def open(self) -> None:
        """Begin, once the flow stands."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(0.2)
        config = self.config
        await self._drive(max(1000, config.messages // 3))
        for _ in range(config.runs):
            spent = await self._drive(config.messages)
            _stats.results.append(spent / config.messages)
        _stats.write()

    async def _drive(self, messages: int) -> int:
        _stats.count = 0
        began = time.process_time_ns()
        for first in range(0, messages, self.config.batch):
            last = min(messages, first + self.config.batch)
            self.emit([_reading(number) for number in range(first, last)])
            await asyncio.sleep(0)
        while _stats.count < messages * self.config.arrivals:  # noqa: ASYNC110  # no wake-up to pay
            await asyncio.sleep(0)
        return time.process_time_ns() - began


def _reading(number: int) -> Message:
    payload = {
        "sensor_id": "dev-0001",
        "temperature": 20 + (number % 50) / 10,
        "humidity": 45.5,
        "timestamp": number,
    }
    return Message(payload, "t", 1, "dev-0001")


class EndConfig(NodeConfig):
    """Nothing to set."""


@node("bench.end", outputs=())
class End(Node[EndConfig]):
    """Count what arrives at the end of a chain."""

    def receive(self, message: Message) -> None:
        """Count one."""
        _stats.count += 1

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Count a batch."""
        _stats.count += len(messages)
        return {"": messages}

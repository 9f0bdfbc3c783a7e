"""One node or connection at work: what it is made of, opened, and closed again."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from flowengine.clock import Clock
from flowengine.engine.context import NodeContext
from flowengine.engine.feeder import Feeder
from flowengine.engine.plan import PlannedNode
from flowengine.engine.quarantine import Quarantine, error_text
from flowengine.engine.sink import SinkRunner
from flowengine.engine.step import Step
from flowengine.engine.store import Store
from flowengine.engine.wire import Wire
from flowengine.node import Connection, Node, NodeType

WRITE_OUT = 1.2
CLOSE_WITHIN = 1.6
"""Seconds at a stop for what is on its way, again for what sinks have left, and to close."""

NOTHING_TO_OPEN = asyncio.Event()  # one for all: an event of its own weighs 0.8 kB a node
NOTHING_TO_OPEN.set()


class Surroundings(msgspec.Struct, kw_only=True):
    """What the engine gives every flow: clock, disk, quarantine."""

    clock: Clock
    store: Store
    quarantine: Quarantine
    data: str = ""
    files: str = ""
    install_id: str = "00000000"
    eco: bool = False
    insecure_bind: bool = False
    spool_folder: Callable[[str, str], Path] | None = None
    journals: Path | None = None
    disk: Executor | None = None
    hurry: Callable[[], None] = lambda: None


def opens(kind: NodeType, thing: Any) -> bool:
    """Whether a node has something of its own to open; most have not, and need no task."""
    own = not kind.is_function and type(thing).open is not Node.open
    return own or kind.kind == "sink"


class Running:
    """One node or connection at work."""

    def __init__(self, planned: PlannedNode, context: NodeContext, thing: Any) -> None:
        self.planned = planned
        self.context = context
        self.thing: Node[Any] | Connection[Any] = thing
        self.state = "starting"
        self.what = ""
        self.since = context.clock.now()
        self.step: Step | None = None
        self.wire: Wire | None = None
        self.feeder: Feeder | None = None
        self.runner: SinkRunner | None = None
        self.opened = asyncio.Event() if opens(planned.type, thing) else NOTHING_TO_OPEN
        self.task: asyncio.Task[None] | None = None


async def stop_sinks(sinks: list[Running]) -> None:
    """Let sinks write or store what waits, all at once, for a while."""
    tasks = set()
    for running in sinks:
        if running.runner is not None and running.task is not None:
            running.runner.stop()
            tasks.add(running.task)
    if tasks:
        await asyncio.wait(tasks, timeout=WRITE_OUT)


def links_of(connections: Iterable[Running]) -> list[Connection[Any]]:
    """The connections themselves; in flow tests others stand in for them."""
    return [r.thing for r in connections if isinstance(r.thing, Connection)]


async def close_all(all_of_them: Iterable[Running]) -> None:
    """Close nodes or connections together: one that hangs does not hold up the others."""
    await asyncio.gather(*(close(running) for running in all_of_them))


async def close(running: Running) -> None:
    """Close one node or connection within 1.6 s, whatever it does."""
    running.context.cancel_timers()
    if running.task is not None:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
    if running.planned.type.is_function or type(running.thing).close is Node.close:
        running.state = "stopped"
        return
    try:
        await asyncio.wait_for(running.thing.close(), CLOSE_WITHIN)
    except TimeoutError:
        running.context.log("warning", f"did not close within {CLOSE_WITHIN:g} s")
    except Exception as err:  # noqa: BLE001  # closing goes on with the next
        running.context.log("error", f"closing failed: {error_text(err)}")
    running.state = "stopped"

"""`flowengine demo`: shipped flows with a broker and made-up devices, and what they do, live.

    simulated-devices --MQTT--> embedded broker --MQTT--> cold-room, edge-pipeline

Everything that a site has is real: the broker's socket, the flows as they stand in their files, the
data folder. Only the devices are made up, and anyone may add one by publishing.
"""

import argparse
import asyncio
import contextlib
import importlib.resources
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from flowengine.commands.run import RunOptions, run
from flowengine.engine.runtime import Engine
from flowengine.errors import UsageError
from flowengine.message import Message
from flowengine.table import Board, Screen

Tap = Callable[[list[Message]], None]
FLOWS = ("cold-room", "edge-pipeline", "simulated-devices")
REPORT = "20s"
SETTINGS = ["cold-room.hold=5s", f"edge-pipeline.report={REPORT}"]
"""So that a newcomer sees an alarm and a saving within the first minute."""


READY_WITHIN = 5.0
WAITING = "cloud: what is saved is told within a minute"


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """Which nodes of a flow the table looks at."""

    flow: str
    source: str
    alarm: str
    words: str
    actuator: str
    name: str


WATCHED = (
    Watched(
        flow="cold-room",
        source="readings",
        alarm="alarm",
        words="too warm",
        actuator="siren",
        name="siren",
    ),
    Watched(
        flow="edge-pipeline",
        source="readings",
        alarm="hot",
        words="too hot",
        actuator="fan",
        name="fan",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine demo`."""
    parser.add_argument("--data", type=Path, help="data folder to keep (default: one for this run)")
    parser.add_argument(
        "--port", type=int, default=1883, help="the broker's port (%(default)s; else a free one)"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="end by itself after so long (default: Ctrl+C)"
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine demo`."""
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port} is no port.", "Ports go from 1 to 65535.")
    if args.seconds is not None and args.seconds <= 0:
        raise UsageError(f"--seconds {args.seconds:g} is no time.", "Give more than 0.")
    with contextlib.ExitStack() as stack:
        if args.data is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowengine-demo-"))
            data = Path(made)
        else:
            data = args.data
        return asyncio.run(_demo(data, args.port, args.seconds))


async def _demo(data: Path, port: int, seconds: float | None) -> int:
    from flowengine.broker import EmbeddedBroker  # noqa: PLC0415  # amqtt: only where it serves

    board = Board()
    screen = Screen(board, sys.stdout)
    with importlib.resources.as_file(importlib.resources.files("flowengine.flows")) as folder:
        async with EmbeddedBroker(port=port, or_free=True) as broker:
            print(greeting(broker.port, port, data), flush=True)
            place = {"HOST": broker.host, "PORT": str(broker.port)}
            names = {f"{which}MQTT_{k}": v for which in ("", "CLOUD_") for k, v in place.items()}
            options = RunOptions(
                paths=[folder / f"{name}.json" for name in FLOWS], data=data, sets=SETTINGS
            )
            with _environment(names), _troubles(screen) as troubles:

                async def watch(engine: Engine) -> None:
                    await _watch(engine, board, screen, seconds, troubles)

                code = await run(options, watch)
    if code == 0:
        print(farewell(board), flush=True)
    return code


def greeting(port: int, wanted: int, data: Path) -> str:
    """What is there, how to take part, and how to stop."""
    taken = f" (port {wanted} is taken)" if wanted not in {0, port} else ""
    return "\n".join(
        [
            "Two cold rooms and three machines, all made up, and what flowengine does for them.",
            "",
            f"  broker   127.0.0.1:{port}, MQTT 3.1.1{taken}",
            f"  flows    {', '.join(FLOWS)}   (flowengine flows cold-room prints one)",
            f"  data     {data}",
            "  send     mosquitto_pub -p "
            f"{port} -t device/attic/telemetry -m '{{\"temperature\": 12.5}}'",
            f"  listen   mosquitto_sub -p {port} -v -t 'site/#' -t 'machine/+/fan/set' -t 'edge/#'",
            "  stop     Ctrl+C",
            "",
        ]
    )


def farewell(board: Board) -> str:
    """What it came to."""
    took = board.clock() - board.started
    line = f"stopped after {took:.0f} s: {board.messages} readings of {len(board.rows)} devices"
    if board.first is not None:
        line += f", the first after {board.first:.1f} s"
    saved = board.notes.get("cloud", WAITING)
    return line if saved == WAITING else f"{line}; {saved}"


async def _watch(
    engine: Engine, board: Board, screen: Screen, seconds: float | None, troubles: "_Troubles"
) -> None:
    """Look at the flows and draw, until cancelled or for so many seconds."""
    attach(engine, board)
    ends = None if seconds is None else asyncio.get_running_loop().time() + seconds
    await engine.ready(READY_WITHIN)
    await asyncio.sleep(0)  # the line that says so comes first
    board.note("cloud", WAITING)
    troubles.is_muted = False
    drawing = asyncio.create_task(screen.show())
    try:
        if ends is None:
            await drawing
        else:
            await asyncio.wait({drawing}, timeout=max(0, ends - asyncio.get_running_loop().time()))
            signal.raise_signal(signal.SIGTERM)  # the way by which `run` ends
            await drawing
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)


def attach(engine: Engine, board: Board) -> None:
    """Tap the outlets that the table shows; a flow that does not run is left out."""
    for watched in WATCHED:
        _tap(engine, watched.flow, watched.source, "out", board.values("temperature", "°C"))
        for output in ("raised", "cleared"):
            tap = board.alarms(watched.words, raised=output == "raised")
            _tap(engine, watched.flow, watched.alarm, output, tap)
        _tap(engine, watched.flow, watched.actuator, "confirmed", board.switches(watched.name))

    def saved(messages: list[Message]) -> None:
        told = messages[-1].payload
        board.note(
            "cloud",
            f"cloud: {told['saved_percent']:.0f} % saved in {REPORT[:-1]} s: "
            f"{told['out_sum']} bytes sent in place of {told['in_sum']}",
        )

    _tap(engine, "edge-pipeline", "share", "out", saved)


def _tap(engine: Engine, flow: str, node: str, output: str, tap: Tap) -> None:
    running = engine.flows.get(flow)
    found = running.nodes.get(node) if running is not None else None
    if found is not None and found.step is not None:
        found.step.outlets[output].taps.append(tap)


@contextlib.contextmanager
def _environment(names: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Troubles(logging.Handler):
    """Shows warnings above the table, each once in ten seconds; what only begins is no trouble."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen
        self._said: dict[str, float] = {}
        self.is_muted = True

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        text = self.format(record)
        now = time.monotonic()
        if not self.is_muted and now - self._said.get(text, -10.0) >= 10:
            self._said[text] = now
            self._screen.say(text)


@contextlib.contextmanager
def _troubles(screen: Screen) -> Iterator[_Troubles]:
    """Send flowengine's warnings to the screen."""
    from flowengine.logs import TextLines  # noqa: PLC0415

    handler = _Troubles(screen)
    handler.setFormatter(TextLines())
    logger = logging.getLogger("flowengine")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)

"""`flowengine run`: the flows of files or folders, headless, until stopped.

    load --> check --> resolve --> plan --> Engine --> ready --> ... --> SIGTERM --> stop

A flow with an error is refused with its findings and the others run (R13). SIGHUP and, with
`--watch`, a changed file reload: only what changed restarts.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowengine.clock import SECOND
from flowengine.engine.folder import DataFolder
from flowengine.engine.loading import Loaded, SecretOf, load_plans
from flowengine.engine.memory import group_limit
from flowengine.engine.notify import notify, watchdog_period
from flowengine.engine.runtime import Engine
from flowengine.engine.stray import StrayErrors
from flowengine.errors import StartError, UsageError
from flowengine.flow import find_flows
from flowengine.secrets import SecretStore

LOG = logging.getLogger("flowengine.run")
STOP_WITHIN = 5.0
LEAVE_WITHIN = 0.3
WATCH_EVERY = 0.5
LEAST_FILES = 32


class RunOptions(msgspec.Struct, kw_only=True):
    """What `run`, `demo` and `serve` share."""

    paths: list[Path]
    data: Path
    params_file: Path | None = None
    sets: list[str] = []
    watch: bool = False
    metrics: str | None = None
    ready_after: float = 5.0
    strict: bool = False
    eco: bool = False
    insecure_bind: bool = False
    memory: int | None = None
    may_be_empty: bool = False
    """Whether a folder without a flow will do: the editor makes the first one."""
    reloaded: Callable[[], None] = lambda: None
    """Called after SIGHUP or a change of files: certificates are read anew."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine run`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="flow files or folders")
    parser.add_argument("--data", type=Path, help="data folder (default: .flowengine beside them)")
    parser.add_argument("--params", type=Path, metavar="FILE", help="values of params, as JSON")
    parser.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="one param's value"
    )
    parser.add_argument("--watch", action="store_true", help="reload when a file changes")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve Prometheus metrics there")
    parser.add_argument("--log", choices=("text", "json"), default="text", help="style of the log")
    parser.add_argument(
        "--ready-after", default="5s", metavar="TIME", help="say ready by then, whatever is missing"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if any flow is refused")
    parser.add_argument(
        "--eco", action="store_true", help="gather messages for 5 ms before work: less CPU"
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="pause sources near this much memory (default: the control group's limit, if any)",
    )
    parser.add_argument(
        "--insecure-bind",
        action="store_true",
        help="let servers of flows listen beyond this box without TLS or DTLS",
    )


def data_folder(given: Path | None, paths: Sequence[Path]) -> Path:
    """`--data`, else FLOWENGINE_DATA, else `.flowengine` beside the first flow (R49)."""
    if given is not None:
        return given
    if os.environ.get("FLOWENGINE_DATA"):
        return Path(os.environ["FLOWENGINE_DATA"])
    first = paths[0]
    return (first if first.is_dir() else first.parent) / ".flowengine"


def load(options: RunOptions, secrets: SecretOf) -> Loaded:
    """Load, check and plan the flows that the options name."""
    return load_plans(
        _files(options),
        data=options.data,
        secrets=secrets,
        params_file=options.params_file,
        sets=options.sets,
        one_by_one=options.may_be_empty,
    )


def _files(options: RunOptions) -> list[Path]:
    try:
        return find_flows(options.paths)
    except UsageError:
        if options.may_be_empty and all(path.is_dir() for path in options.paths):
            return []
        raise


def command(args: argparse.Namespace) -> int:
    """Run `flowengine run`."""
    from flowengine.moments import parse_duration  # noqa: PLC0415

    try:
        ready_after = parse_duration(args.ready_after) / SECOND
    except ValueError as err:
        raise UsageError(f"--ready-after: {err}", 'Write it as "5s".') from err
    options = RunOptions(
        paths=args.paths,
        data=data_folder(args.data, args.paths),
        params_file=args.params,
        sets=args.set,
        watch=args.watch,
        metrics=args.metrics,
        ready_after=ready_after,
        strict=args.strict,
        eco=args.eco,
        insecure_bind=args.insecure_bind,
        memory=size_of(args.memory),
    )
    find_flows(options.paths)
    _need_files()
    without_plugins()
    gc.disable()  # until the flows stand (`_rest`): a third of a large start would be its searches
    return asyncio.run(run_and_leave(options))


def size_of(text: str | None) -> int | None:
    """`--memory` in bytes; None if it was left out."""
    from flowengine.moments import parse_size  # noqa: PLC0415

    try:
        return None if text is None else parse_size(text)
    except ValueError as err:
        raise UsageError(f"--memory: {err}", 'Write it as "512MB".') from err


def _need_files() -> None:
    """Raise StartError where so few files may be open that the engine cannot even start."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows has no such limit
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= most < LEAST_FILES:
        raise StartError(
            f"this process may have {most} files open; the engine needs {LEAST_FILES} at least.",
            "Raise the limit: ulimit -n 1024, or LimitNOFILE= in its systemd unit.",
        )


async def run_and_leave(options: RunOptions, beside: Callable[[Engine], Any] | None = None) -> int:
    """Run, and then leave, though a thread should still wait for a far side that never answers."""
    code = await run(options, beside)

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(LEAVE_WITHIN, leave)
    timer.daemon = True
    timer.start()
    return code


async def run(options: RunOptions, beside: Callable[[Engine], Any] | None = None) -> int:
    """Run flows until a signal; `beside` is awaited beside them (the demo's table)."""
    started = time.monotonic()
    folder = DataFolder(options.data)
    asyncio.get_running_loop().set_exception_handler(StrayErrors())
    engine = Engine(folder)
    engine.around.eco = options.eco
    engine.around.insecure_bind = options.insecure_bind
    secrets = SecretStore(options.data)
    try:
        loaded = load(options, secrets.get)
        for finding in loaded.findings:
            if finding.severity == "error":
                print(finding, file=sys.stderr)
        is_empty = not loaded.plans and not options.may_be_empty
        if is_empty or (options.strict and loaded.refused):
            return 1
        server = _serve_metrics(engine, options.metrics)
        engine.start()
        if cap := options.memory or group_limit():
            engine.keep_below(cap)
        for plan in loaded.plans:
            await engine.deploy(plan)
        _rest()
        runner = _Runner(engine, options, secrets)
        return await runner.until_stopped(loaded, started, beside, server)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(engine.stop(), STOP_WITHIN)


def without_plugins() -> None:
    """Spare pydantic's look for plugins among all that is installed: 30 ms, and 1 MB for good."""
    loader: Any = types.ModuleType("pydantic.plugin._loader")
    loader.get_plugins = tuple
    sys.modules.setdefault(loader.__name__, loader)


def _rest() -> None:
    """What stands now, stays: leave it out of every later search for cycles.

    A search through a flow of thousands of nodes would hold the messages for 50 ms each time.
    """
    gc.unfreeze()
    if gc.isenabled():
        gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


def _serve_metrics(engine: Engine, address: str | None) -> Any:
    if address is None:
        return None
    from flowengine.engine.metrics import serve_metrics  # noqa: PLC0415

    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f'--metrics "{address}" has no port.', "Write HOST:PORT.")
    try:
        return serve_metrics(engine, host or "127.0.0.1", int(port))
    except OSError as err:
        raise StartError(
            f"metrics cannot be served at {address}: {err.strerror}.", "Give another port."
        ) from err


class _Runner:
    """The engine between ready and stopped: signals, reloads, the watchdog."""

    def __init__(self, engine: Engine, options: RunOptions, secrets: SecretStore) -> None:
        self.engine = engine
        self.options = options
        self.secrets = secrets
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self.interrupts = 0

    async def until_stopped(
        self, loaded: Loaded, started: float, beside: Callable[[Engine], Any] | None, server: Any
    ) -> int:
        """Say ready, keep running, stop within 5 s."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)
        tasks = [asyncio.create_task(self._reloads()), asyncio.create_task(self._beat())]
        if self.options.watch:
            tasks.append(asyncio.create_task(self._watch()))
        ready = asyncio.create_task(self._say_ready(loaded, started))
        if beside is not None:
            tasks.append(asyncio.create_task(beside(self.engine)))
        await self.stop.wait()
        notify("STOPPING=1")
        for task in [ready, *tasks]:
            task.cancel()
        await asyncio.gather(ready, *tasks, return_exceptions=True)
        if server is not None:
            server.shutdown()
            server.server_close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.engine.stop(), STOP_WITHIN)
        return 0

    def _interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts > 1:
            os._exit(130)
        self.stop.set()

    async def _say_ready(self, loaded: Loaded, started: float) -> None:
        left = max(0.0, self.options.ready_after - (time.monotonic() - started))
        missing = await self.engine.ready(left)
        print(
            ready_line(self.engine, loaded.refused, missing, time.monotonic() - started), flush=True
        )
        notify("READY=1")

    async def _beat(self) -> None:
        """Tell systemd's watchdog that the event loop turns."""
        period = watchdog_period()
        while period is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(period / SECOND)

    async def _watch(self) -> None:
        """Ask for a reload when a flow file, a table or a connection file has changed."""
        seen = self._stamps()
        while True:
            await asyncio.sleep(WATCH_EVERY)
            now = self._stamps()
            if now != seen:
                seen = now
                self.reload.set()

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        stamps: dict[Path, tuple[int, int]] = {}
        for path in self.options.paths:
            files = (
                path.glob("*.json") if path.is_dir() else (path, path.parent / "connections.json")
            )
            for file in files:
                with contextlib.suppress(OSError):
                    found = file.stat()
                    stamps[file] = (found.st_mtime_ns, found.st_size)
        return stamps

    async def _reloads(self) -> None:
        while True:
            await self.reload.wait()
            self.reload.clear()
            try:
                await self._reload()
            except (StartError, UsageError) as err:
                LOG.error("not reloaded: %s", err)  # noqa: TRY400  # no traceback for people
            self.options.reloaded()

    async def _reload(self) -> None:
        """Deploy what changed; a flow with findings leaves its old version running."""
        loaded = load(self.options, self.secrets.get)
        for finding in loaded.findings:
            if finding.severity == "error":
                LOG.error("not reloaded: %s", finding)
        wanted = {plan.flow for plan in loaded.plans} | set(loaded.refused)
        for flow_id in [name for name in self.engine.flows if name not in wanted]:
            await self.engine.remove(flow_id)
            LOG.info("stopped: its file is gone", extra={"facts": {"flow": flow_id}})
        for plan in loaded.plans:
            change = await self.engine.deploy(plan)
            restarts = [*change.started, *change.restarted]
            if restarts or change.stopped:
                LOG.info(
                    "deployed",
                    extra={
                        "facts": {
                            "flow": plan.flow,
                            "restarted": restarts,
                            "stopped": change.stopped,
                            "kept": len(change.kept),
                        }
                    },
                )
        _rest()


def ready_line(engine: Engine, refused: Sequence[str], missing: Sequence[str], took: float) -> str:
    """`ready: 1 flow, 12 nodes, 3 connections in 0.21 s` (R12)."""
    flows = len(engine.flows)
    nodes = sum(len(flow.nodes) for flow in engine.flows.values())
    links = sum(len(flow.connections) for flow in engine.flows.values())
    line = (
        f"ready: {count(flows, 'flow')}, {count(nodes, 'node')}, {count(links, 'connection')}"
        f" in {took:.2f} s"
    )
    if missing:
        line += f"; connecting: {', '.join(missing)}"
    if refused:
        line += f"; refused: {', '.join(sorted(set(refused)))}"
    return line


def count(number: int, noun: str) -> str:
    """`1 flow`, `2 flows`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")

"""Node-RED as the benches run it, by the harness that the project keeps beside the checkout.

`SHARED/bench/nodered` holds the peer's flows and settings; they are loaded by path and are not part
of this project. Node-RED itself is installed by npm into `build/nodered`, once. Without either, the
benches run flowengine alone, and the table says why.
"""

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.bench.machine import ROOT, BenchError, Subject

NAME = "Node-RED"
INSTALLED = ROOT / "build" / "nodered"
PACKAGES = ("node@22", "node-red@5.0.7", "node-red-contrib-influxdb@0.7.0")


class Peer:
    """Node-RED with the harness's flows, working in one scratch folder."""

    def __init__(self, shared: Path, work: Path) -> None:
        harness = shared / "bench" / "nodered"
        if not (harness / "common.py").is_file():
            raise BenchError(f"there is no harness in {harness} (--shared names another folder)")
        _install()
        os.environ["NR_HOME"] = str(INSTALLED)
        os.environ["NR_NODE"] = str(INSTALLED / "node_modules" / ".bin" / "node")
        os.environ["NR_WORK"] = str(work / "nodered")
        self._common = _load(harness / "common.py")
        self._flows = _load(harness / "flows.py")

    def chain(self, kind: str, hops: int, messages: int) -> list[float]:
        """CPU ns a message through a chain of `hops` nodes, 100 a turn, of two runs."""
        kind = "switch" if kind == "rule" else kind
        settings = {"N": messages, "B": 100, "reps": 2, "warm": max(1000, messages // 3)}
        results = self._measured(self._flows.chain(kind, hops), settings)
        return [cpu_ms * 1e6 / messages for _, cpu_ms in results]

    def fan(self, width: int, messages: int, batch: int) -> list[float]:
        """CPU ns a message and branch, fanned out to `width` nodes that change it."""
        settings = {"N": messages, "B": batch, "reps": 3, "warm": messages // 2, "mult": width}
        results = self._measured(self._flows.fan(width), settings)
        return [cpu_ms * 1e6 / messages / width for _, cpu_ms in results]

    def pipeline(
        self, sink: str, qos: int, broker: int, stub: int | None, *, keeps_session: bool = False
    ) -> "Running":
        """Range check, °C to °F, alarms to the actuator, everything to the sink.

        With `keeps_session` the broker keeps what comes while it is away.
        """
        flow = self._flows.pipeline(broker, qos, sink, stub, not keeps_session)
        return Running(
            self._common.NodeRed(
                flow,
                creds={"idb": {"token": "t"}},
                influx=stub is not None,
                tag=f"pipeline-{broker}",
            )
        )

    def start(self, nodes: int) -> tuple["Running", float]:
        """Start a flow of `nodes` nodes; returns it and the CPU seconds up to its first message."""
        running = Running(self._common.NodeRed(self._flows.startup(nodes), tag="start"))
        try:
            running.wait_for(lambda: "first" in running.stats()["marks"], 60, f"{nodes} nodes")
            return running, running.cpu()
        except BaseException:
            running.stop()
            raise

    def _measured(self, flow: Any, settings: Mapping[str, int]) -> list[tuple[float, float]]:
        running = Running(self._common.NodeRed(flow, cfg=settings, tag="drive"))
        try:
            running.wait_for(lambda: bool(running.stats().get("done")), 300, "the driven flow")
            return [(wall, cpu) for wall, cpu in running.stats()["results"]]
        finally:
            running.stop()


class Running(Subject):
    """A Node-RED at work: the harness's process with the questions that the benches ask."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid = process.pid
        self.started = process.t0

    def stats(self) -> Mapping[str, Any]:
        """What the harness's nodes have told so far."""
        told: Mapping[str, Any] = self._process.stats()
        return told

    def count(self) -> int:
        """Messages that reached the counting node."""
        return int(self.stats()["n"])

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.p.poll() is None

    def last_words(self) -> str:
        """The end of its log."""
        log = Path(self._process.log.name)
        return log.read_text(errors="replace")[-1500:]

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.p.kill()
        self._process.p.wait()

    def stop(self) -> None:
        """End it."""
        self._process.stop()


def _load(path: Path) -> ModuleType:
    """A module of the harness, under a name that collides with none of ours."""
    spec = importlib.util.spec_from_file_location(f"nodered_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _install() -> None:
    """Install Node-RED, if it is not there, by npm."""
    if (INSTALLED / "node_modules" / "node-red" / "red.js").is_file():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise BenchError("npm is not installed")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    (INSTALLED / "package.json").write_text('{"private": true}\n')
    print(f"installing {', '.join(PACKAGES)} into {INSTALLED} (once)", flush=True)
    began = time.monotonic()
    command = [npm, "install", "--no-audit", "--no-fund", *PACKAGES]
    try:
        done = subprocess.run(
            command, cwd=INSTALLED, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise BenchError("npm did not finish within 10 minutes") from err
    if done.returncode:
        raise BenchError(f"npm cannot install Node-RED: {done.stderr.strip()[-300:]}")
    print(f"installed in {time.monotonic() - began:.0f} s", flush=True)

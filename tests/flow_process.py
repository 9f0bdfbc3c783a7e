"""`flowengine run` as a process of its own, and the flows it runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.system.real import NotReady, until

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(
    r"ready: \d+ flows?, \d+ nodes?, \d+ connections? in \d+\.\d\d s"
    r"(; connecting: [a-z0-9-]+(, [a-z0-9-]+)*)?(; refused: [a-z0-9-]+(, [a-z0-9-]+)*)?\n"
)

Specs = Mapping[str, Any]


def write_flow(
    folder: Path,
    name: str,
    nodes: Specs,
    wires: Sequence[Any] = (),
    connections: Specs | None = None,
    **more: Any,
) -> Path:
    """Write a flow file and return its path; a node is `{"type": ..., setting: value...}`."""
    folder.mkdir(parents=True, exist_ok=True)

    def spec(given: Mapping[str, Any]) -> dict[str, Any]:
        config = {key: value for key, value in given.items() if key != "type"}
        return {"type": given["type"], "config": config}

    flow = {
        "format": 1,
        **more,
        "connections": {key: spec(value) for key, value in (connections or {}).items()},
        "nodes": {key: spec(value) for key, value in nodes.items()},
        "wires": list(wires),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(flow))
    return path


def environment(**more: str) -> dict[str, str]:
    """The environment of a command that is run from another folder than the checkout's."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


def flowengine(
    *args: object,
    cwd: Path | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its output as text."""
    ran = subprocess.run(
        [sys.executable, "-m", "flowengine", *map(str, args)],
        input=stdin,
        capture_output=True,
        cwd=cwd or ROOT,
        env=environment(**(env or {})),
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode()
    )


class FlowProcess:
    """One `flowengine run`: as a context manager it ends with the block, without a traceback.

    It may be stopped or killed and started again: what it prints is collected over all its runs.
    """

    def __init__(
        self,
        folder: Path,
        *args: object,
        data: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run the flows in `folder`; the data folder is `folder/.flowengine` if not given."""
        self.data = data or folder / ".flowengine"
        self.argv = [sys.executable, "-m", "flowengine", "run", str(folder)]
        self.argv += ["--data", str(self.data), *map(str, args)]
        self._env = environment(**(env or {}))
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout.log", folder / "stderr.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._before = 0

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, and look at what it said."""
        self.kill()
        if error is None:
            assert "Traceback" not in self.said, self.said
        else:
            error.add_note(f"stdout:\n{self.printed}\nstderr:\n{self.said[-8000:]}")

    def start(self) -> None:
        """Start it, once more if it ran before; it is not ready yet."""
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._before = len(self.printed.splitlines())
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._out.parent,
                env=self._env,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs, or ran last."""
        assert self._process is not None
        return self._process

    @property
    def said(self) -> str:
        """All of stderr."""
        return self._err.read_text(errors="replace")

    @property
    def printed(self) -> str:
        """All of stdout."""
        return self._out.read_text(errors="replace")

    def until_ready(self, timeout: float = 30.0) -> str:
        """Wait for the line of this run that says ready, and return it."""

        def line() -> str:
            lines = self.printed.splitlines(keepends=True)
            if len(lines) > self._before and lines[-1].endswith("\n"):
                return lines[-1]
            self._alive()
            return ""

        found = until(line, timeout, "ready")
        assert READY.fullmatch(found), found
        return found

    def until_said(self, *words: str, times: int = 1, timeout: float = 30.0) -> str:
        """Wait for so many lines of stderr that hold all words, and return the last of them."""

        def line() -> str:
            found = [x for x in self.said.splitlines() if all(word in x for word in words)]
            if len(found) < times:
                self._alive()
            return found[times - 1] if len(found) >= times else ""

        return until(line, timeout, f"{words} on stderr")

    def _alive(self) -> None:
        if self.process.poll() is not None:
            raise NotReady(f"it ended with {self.process.returncode}\n{self.said}")

    def stop(self, timeout: float = 15.0) -> float:
        """Send SIGTERM; the seconds until it was gone, with exit code 0."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout) == 0, self.said
        return time.monotonic() - started

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def memory(self) -> dict[str, int]:
        """Its memory in bytes: `VmRSS` now, `VmHWM` at most (proc(5))."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, re.MULTILINE)
        return {name: int(kilobytes) * 1024 for name, kilobytes in found}

"""Processes under test and what they cost: CPU seconds and memory, read from /proc.

Wall time says little on a shared machine; the CPU time of the process under test holds. Everything
started here is ended by its own pid, listens on a free port of the loopback, and works in a scratch
folder that is removed at the end.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
_TICK = os.sysconf("SC_CLK_TCK")


MEMORY = next((p for p in (Path("/dev/shm"),) if p.is_dir()), None)  # noqa: S108  # a home, no file
"""Where engines tell what they counted, 20 times a second: on disk a file takes up to 2 ms."""


class BenchError(Exception):
    """A measurement that could not be made; the others go on."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all threads, user and system; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (VmRSS, as the peer's harness reads it)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"process {pid} is gone")


class Subject(ABC):
    """A running program that is measured; `started` is wall time."""

    pid: int
    started: float

    @abstractmethod
    def is_running(self) -> bool:
        """Whether it has not ended."""

    @abstractmethod
    def last_words(self) -> str:
        """The end of its log."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    def cpu(self) -> float:
        """CPU seconds so far."""
        return cpu_seconds(self.pid)

    def memory(self) -> float:
        """Resident memory in MB."""
        return resident_mb(self.pid)

    def wait_for(self, answer: Callable[[], bool], within: float, what: str) -> None:
        """Look every 5 ms until `answer` holds; BenchError at the end of the time or process."""
        until = time.monotonic() + within
        while not answer():
            if not self.is_running():
                raise BenchError(f"{what}: the process ended\n{self.last_words()}")
            if time.monotonic() > until:
                raise BenchError(f"{what}: not within {within:g} s\n{self.last_words()}")
            time.sleep(0.005)


class Process(Subject):
    """A program that was started here."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> None:
        self.log = log
        self.started = time.time()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=None if env is None else {**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE if piped else out,
            )
        self.pid = self._process.pid

    @property
    def errors(self) -> IO[bytes]:
        """What it writes to stderr, for a process started `piped`."""
        assert self._process.stderr is not None
        return self._process.stderr

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it: asked first, then killed."""
        if self.is_running():
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


class Mosquitto(Process):
    """A broker of its own: no limits on what it queues, as in the peer's harness."""

    def __init__(self, work: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise BenchError("mosquitto is not installed: make real-parts (as root)")
        self.port = free_port()
        config = work / f"mosquitto-{self.port}.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 20\n"
            "set_tcp_nodelay true\nlog_type error\nlog_type warning\n"
        )
        super().__init__([program, "-c", config], log=work / "mosquitto.log")
        self.wait_for(lambda: listens(self.port), 5, "mosquitto")


class WriteStub(Process):
    """An InfluxDB that only counts (`write_stub.py`)."""

    def __init__(self, work: Path) -> None:
        self.port = free_port()
        program = HERE / "write_stub.py"
        super().__init__([sys.executable, program, str(self.port)], log=work / "write-stub.log")
        self.wait_for(lambda: listens(self.port), 5, "the write stub")


def listens(port: int) -> bool:
    """Whether something answers on a port of the loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def scratch(home: Path | None = None) -> Iterator[Path]:
    """A folder for logs, flows and data, removed afterwards; a broker without root may read it."""
    folder = Path(tempfile.mkdtemp(prefix="flowengine-bench-", dir=home))
    folder.chmod(0o755)  # mosquitto drops root and reads its config here
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

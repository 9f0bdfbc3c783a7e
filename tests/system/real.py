"""Starting and stopping real programs: on free loopback ports, with a data folder each, by pid.

`Program` is one process; the modules beside this one (`brokers`, `stores`, `coap_peers`) say how
each real part is started and when it is ready. Nothing here sleeps for a fixed time: `until` polls.
"""

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

LOOPBACK = "127.0.0.1"
# Below the range from which the system gives ports to outgoing connections (32768 and up on
# Linux), so that no client takes a port between our look at it and the server's bind.
PORTS = range(20_000, 32_000)


def _share() -> range:
    """The ports of this process: of those of `pytest -n`, each has its own."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % count
    size = len(PORTS) // count
    return PORTS[number * size :][:size]


MINE = _share()
# From a place by chance: another run may be under way on this machine.
_places = itertools.count(secrets.randbelow(len(MINE)))
# A person's PATH often lacks the folders where Debian puts daemons.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])

T = TypeVar("T")


class NotReady(AssertionError):
    """What a test waited for did not come in time."""


def until(condition: Callable[[], T], timeout: float = 15.0, what: str = "") -> T:
    """Return the first true answer of `condition`, asked about 50 times a second.

    A connection that is refused or reset meanwhile counts as "not yet".

    Raises:
        NotReady: after `timeout` seconds, with `what` was awaited and the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            answer = condition()
        except OSError as err:
            last = err
        else:
            if answer:
                return answer
            last = answer
        if time.monotonic() > deadline:
            wanted = what or getattr(condition, "__name__", repr(condition))
            raise NotReady(f"{wanted}: not within {timeout:g} s; the last answer was {last!r}")
        time.sleep(0.02)


def free_port(beside: int = 0) -> int:
    """Return a port that is free for TCP and UDP on loopback, and so are the `beside` after it.

    None comes again before all the others: where a test wants nobody to listen, nobody will.
    """
    for _ in range(200):
        places = [next(_places) % len(MINE) for _ in range(beside + 1)]
        ports = [MINE[place] for place in places]
        if places[-1] == places[0] + beside and all(map(_is_free, ports)):
            return ports[0]
    raise NotReady(f"no free port in {MINE} after 200 tries")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True


def is_listening(port: int) -> bool:
    """Say whether something accepts TCP connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def find(*commands: str) -> str | None:
    """Return the path of the first of these programs that is installed; a name may be a pattern."""
    for command in commands:
        if "*" in command:
            found = sorted(Path("/").glob(command.lstrip("/")))
            if found:
                return str(found[-1])
        elif path := shutil.which(command, path=SEARCH):
            return path
    return None


def need(name: str, *commands: str) -> str:
    """Return the program's path; without it, skip the test, or fail it where CI is set."""
    path = find(*(commands or (name,)))
    if path is None:
        reason = f"{name} is not installed; make real-parts"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (a failure, since CI is set)", pytrace=False)
        pytest.skip(reason)
    return path


class Program:
    """One process of a real program: started, stopped, killed and started again on the same data.

    Attributes:
        argv: the command.
        log: the file that takes what it prints, over all its runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        ready: Callable[[], object],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Take the command and `ready`, which answers true once the program serves."""
        self.argv = list(argv)
        self.log = log
        self._ready = ready
        self._stop_signal = stop_signal
        self._cwd = cwd or log.parent
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """True from start until it was stopped, killed, or ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        if self._process is None or not self.is_running:
            raise NotReady(f"{self.argv[0]} is not running\n{self.log_text()}")
        return self._process.pid

    def start(self, timeout: float = 30.0) -> None:
        """Start it and return once it is ready; a running one is left alone."""
        if self.is_running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                env=self._env,
            )
        try:
            until(lambda: not self.is_running or self._ready(), timeout, f"{self.argv[0]} ready")
        except NotReady as err:
            self.kill()
            raise NotReady(f"{err}\n{self.log_text()}") from err
        if not self.is_running:
            raise NotReady(f"{self.argv[0]} ended at once\n{self.log_text()}")

    def stop(self, timeout: float = 10.0) -> None:
        """Ask it to stop and wait; kill it after `timeout` seconds. A stopped one is left alone."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a power cut would: no flush, no goodbye."""
        if self._process is not None and self.is_running:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop and start, on the same port and data."""
        self.stop()
        self.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal: SIGHUP to reload, SIGSTOP and SIGCONT for a peer that hangs."""
        os.kill(self.pid, number)

    def log_text(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

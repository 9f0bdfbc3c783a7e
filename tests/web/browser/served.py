"""`flowengine serve` as a process that can be killed and started again at the same address."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx

from tests.faults.chaos_nodes import installed
from tests.flow_process import environment
from tests.system.real import until

WEATHER = '''"""Weather, as a plug-in brings it: Python alone."""

from typing import Literal

from pydantic import Field

from flowengine import Message, Node, NodeConfig, node


class FeelConfig(NodeConfig):
    """How it feels."""

    wind: float = Field(default=3, ge=0, description="Wind. <img src=x onerror=hacked=1>")
    scale: Literal["warm", "cold"] = Field(default="warm", description="Which way.")


@node("weather.feel")
class Feel(Node[FeelConfig]):
    """Say how warm it feels <script>hacked=1</script>.

    In: a temperature. Out: how it feels.
    """

    def receive(self, message: Message, *_: object) -> Message:
        """One message on."""
        message.payload -= self.config.wind
        return message
'''


class Served:
    """An editor over a folder, with a plug-in's node type; ended with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flows = folder / "flows"
        self.flows.mkdir(parents=True)
        self.path = installed(
            folder / "site", name="weather_nodes", family="weather", module=WEATHER
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.said = ""

    def start(self) -> str:
        """Start it, and wait until it answers; what it said."""
        out, err = self.folder / "out.log", self.folder / "err.log"
        argv = [sys.executable, "-m", "flowengine", "serve", str(self.flows)]
        with out.open("wb") as told, err.open("wb") as wrong:
            self.process = subprocess.Popen(
                [*argv, "--port", str(self.port)],
                stdout=told,
                stderr=wrong,
                cwd=self.folder,
                env=environment(PYTHONPATH=self.path),
            )

        def ready() -> str:
            assert self.process is not None
            assert self.process.poll() is None, err.read_text()
            text = out.read_text()
            return text if "editor: " in text and "ready: " in text else ""

        self.said = until(ready, 60, "the editor's address")
        httpx.get(f"{self.url}/health", trust_env=False).raise_for_status()
        return self.said

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(15)

    @property
    def link(self) -> str:
        """The one-time link it printed."""
        found = re.search(r"http\S+/login#first=\S+", self.said)
        assert found is not None, self.said
        return found[0]

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)

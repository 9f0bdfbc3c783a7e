"""A box for tests: a real engine and the real web server over a folder, in a thread."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
from argon2 import PasswordHasher
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from flowengine.commands.listening import Place, bound, server_context
from flowengine.commands.serve import editor
from flowengine.engine.folder import DataFolder
from flowengine.engine.loading import load_plans
from flowengine.engine.runtime import Engine
from flowengine.flow import find_flows
from flowengine.secrets import SecretStore
from flowengine.web.door import COOKIE
from flowengine.web.people import csrf_of
from flowengine.web.services import Services
from flowengine.web.settings import Settings

T = TypeVar("T")
PASSWORD = "correct horse battery"  # noqa: S105  # of people who live for one test
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PEOPLE = {"vera": "viewer", "ed": "editor", "dora": "deployer", "ada": "admin"}
API = "/api/v1"

TICKS: dict[str, Any] = {
    "format": 1,
    "title": "Ticks",
    "nodes": {
        "tick": {"type": "timer.tick", "config": {"every": "20ms", "payload": {"t": 21.5}}},
        "hot": {"type": "threshold", "config": {"field": "payload.t", "above": 8}},
        "show": {"type": "debug", "config": {"to": ["panel"]}},
    },
    "wires": ["tick -> hot", "tick -> show"],
}


class Box:
    """An engine and an editor; as a context manager they run as long as the block."""

    def __init__(self, folder: Path, *, cert: tuple[Path, Path] | None = None, **settings: Any):
        self.folder = folder / "flows"
        self.data = folder / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert = cert
        self.options = settings
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="box")
        self.started = threading.Event()
        self.failed: BaseException | None = None
        self._stop = asyncio.Event()
        self.services: Services
        self.engine: Engine
        self.url = ""

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            try:
                runner.run(self._serve())
            except BaseException as err:
                self.failed = err
                raise
            finally:
                self.started.set()

    async def _serve(self) -> None:
        self.engine = Engine(DataFolder(self.data))
        self.engine.start()
        try:
            files = find_flows([self.folder]) if any(self.folder.glob("*.json")) else []
            secrets = SecretStore(self.data)
            loaded = load_plans(files, data=self.data, secrets=secrets.get)
            for plan in loaded.plans:
                await self.engine.deploy(plan)
            place = Place(host="127.0.0.1", port=0, listening=bound("127.0.0.1", 0))
            place.port = place.listening.getsockname()[1]
            if self.cert is not None:
                place.tls = server_context(*self.cert)
            settings = Settings(
                folder=self.folder,
                data=self.data,
                is_secure=place.tls is not None,
                **self.options,
            )
            parts = Services(self.engine, settings, hasher=CHEAP)
            for name, role in PEOPLE.items():
                parts.people.add(name, role, PASSWORD)
            async with editor(self.engine, settings, place, parts) as self.services:
                self.url = place.url
                self.started.set()
                await self._stop.wait()
        finally:
            await self.engine.stop()

    def __enter__(self) -> Self:
        """Start."""
        self.thread.start()
        assert self.started.wait(20)
        if self.failed is not None:
            raise self.failed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(20)
        assert not self.thread.is_alive()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something in the box's own loop."""

        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def session(self, name: str) -> str:
        """A new session of someone."""
        return self.services.people.open_session(name)

    def client(self, name: str | None = "ada", **more: Any) -> httpx.Client:
        """A browser of someone who has logged in, its script sending the header; None: nobody."""
        headers: dict[str, str] = more.pop("headers", {})
        cookies: dict[str, str] = {}
        if name is not None:
            session = self.session(name)
            cookies[COOKIE] = session
            headers["X-CSRF-Token"] = csrf_of(session)
        return httpx.Client(
            base_url=self.url, headers=headers, cookies=cookies, timeout=20, trust_env=False, **more
        )

    def put_flow(self, name: str, document: Mapping[str, Any]) -> Path:
        """Write a flow file."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    @contextlib.contextmanager
    def live(self, name: str = "ada") -> Iterator["Live"]:
        """A socket of someone's tab."""
        headers = {"Cookie": f"{COOKIE}={self.session(name)}"}
        with connect(
            self.url.replace("http", "ws", 1) + f"{API}/live",
            additional_headers=headers,
            proxy=None,
        ) as socket:
            yield Live(socket)


class Live:
    """A tab's socket, read frame by frame."""

    def __init__(self, socket: Connection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    def send(self, **frame: Any) -> None:
        """Send one frame."""
        self.socket.send(msgspec.json.encode(frame).decode())

    def sub(self, topic: str) -> None:
        """Listen to a topic."""
        self.send(op="sub", topic=topic)

    def any(self, timeout: float = 10) -> dict[str, Any]:
        """The next frame, whatever it is."""
        frame: dict[str, Any] = msgspec.json.decode(self.socket.recv(timeout))
        self.seen.append(frame)
        return frame

    def next(self, topic: str, timeout: float = 10, **wanted: Any) -> dict[str, Any]:
        """The next frame of a topic whose data has these values; others are kept in `seen`."""
        ends = time.monotonic() + timeout
        while True:
            frame = self.any(max(0.0, ends - time.monotonic()))
            data = frame.get("d") or {}
            fits = all(data.get(key) == value for key, value in wanted.items())
            if frame["t"] == topic and fits:
                return frame

    def until(self, topic: str, holds: Callable[[Any], bool], timeout: float = 10) -> Any:
        """The data of the next frame of a topic for which this holds."""
        ends = time.monotonic() + timeout
        while True:
            data = self.next(topic, ends - time.monotonic())["d"]
            if holds(data):
                return data

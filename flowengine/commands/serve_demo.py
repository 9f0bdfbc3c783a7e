"""`flowengine serve --demo`: the editor over shipped flows, with a broker and made-up devices.

    simulated-devices --MQTT--> embedded broker --MQTT--> cold-room, edge-pipeline, and the editor

What `make run` starts: it says where to look, in one link, and opens the browser of a desktop. The
flows are copies below the data folder; they and the data are kept where `--data` names a folder.
"""

import argparse
import asyncio
import contextlib
import html
import importlib.resources
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from flowengine import __version__
from flowengine.commands.demo import FLOWS, READY_WITHIN, SETTINGS
from flowengine.commands.listening import Place, listen
from flowengine.commands.run import RunOptions, without_plugins
from flowengine.engine.runtime import Engine

FIRST = "cold-room"
"""The flow that a newcomer sees first: small enough to be read at once, and it raises alarms."""
OPENED_BY = {"linux": "xdg-open", "darwin": "open"}


def serve_demo(
    args: argparse.Namespace,
    options_of: Callable[[argparse.Namespace, Path, Path], RunOptions],
    serve: Callable[..., Awaitable[int]],
) -> int:
    """Serve copies of the shipped demo flows until stopped, by the means of `flowengine serve`."""
    with contextlib.ExitStack() as stack:
        if args.data is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowengine-demo-"))
            data = Path(made)
        else:
            data = args.data
        folder = demo_folder(data)
        place = listen(args, data, or_free=True)
        without_plugins()
        stack.enter_context(_calm())
        return asyncio.run(_serve(args, options_of(args, folder, data), place, serve))


def demo_folder(data: Path) -> Path:
    """The demo's flows, copied below the data folder where they may be changed."""
    folder = data / "flows"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    shipped = importlib.resources.files("flowengine.flows")
    for name in FLOWS:
        for kind in (".json", ".layout.json", ".test.json"):
            source, target = shipped / f"{name}{kind}", folder / f"{name}{kind}"
            if source.is_file() and not target.exists():
                target.write_bytes(source.read_bytes())
    return folder


async def _serve(
    args: argparse.Namespace,
    options: RunOptions,
    place: Place,
    serve: Callable[..., Awaitable[int]],
) -> int:
    from flowengine.broker import DEFAULT_PORT, EmbeddedBroker  # noqa: PLC0415  # only here

    options.sets = [*SETTINGS, *options.sets]
    async with EmbeddedBroker(port=DEFAULT_PORT, or_free=True) as broker:
        for which in ("", "CLOUD_"):
            os.environ[f"{which}MQTT_HOST"] = broker.host
            os.environ[f"{which}MQTT_PORT"] = str(broker.port)

        async def greet(engine: Engine, token: str | None) -> None:
            await engine.ready(READY_WITHIN)
            await asyncio.sleep(0)  # the line that says so comes first
            print(greeting(place, args.port, broker.port, token, options.paths[0]), flush=True)
            for handler in logging.getLogger().handlers:
                handler.setLevel(logging.WARNING)
            open_browser(link(place, token), options.data)

        return await serve(args, options, place, topics=broker.seen, greet=greet)


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Only errors are told while it starts, and warnings from then on; the editor shows all."""
    handlers = [(each, each.level) for each in logging.getLogger().handlers]
    for handler, _ in handlers:
        handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)


def link(place: Place, token: str | None) -> str:
    """Where the browser is to go: to the first flow, by the one-time link if there is one."""
    if token is None:
        return f"{place.url}/flows/{FIRST}"
    return f"{place.url}/login?next=/flows/{FIRST}#first={token}"


def greeting(place: Place, wanted: int, broker: int, token: str | None, folder: Path) -> str:
    """One link, what is there, how to take part and how to stop."""
    moved = f"   (port {wanted} is taken)" if wanted not in {0, place.port} else ""
    if token is None:
        note = "asks for your password (forgotten? flowengine users add admin --role admin"
        note += f" --data {folder.parent})"
    else:
        note = "lets you in once, within an hour; a new start prints a new one"
    sent = "'{\"temperature\": 12.5}'"
    return "\n".join(
        [
            "",
            f"flowengine {__version__}: two cold rooms and three machines, all made up, and flows",
            "over them that are yours to change. Open this link in a browser on this machine:",
            "",
            f"  {link(place, token)}",
            "",
            f"  the link   {note}",
            f"  editor     {place.url}/{moved}",
            f"  broker     127.0.0.1:{broker}, MQTT 3.1.1",
            f"  join in    mosquitto_pub -p {broker} -t device/attic/telemetry -m {sent}",
            f"  flows      {folder}",
            "  stop       Ctrl+C",
        ]
    )


# -- the browser of a desktop


def desktop_opener() -> str | None:
    """The program that opens a page for whoever sits at this machine; None where nobody does."""
    names = os.environ
    if not sys.stdout.isatty() or names.get("CI") or names.get("SSH_CONNECTION"):
        return None
    if sys.platform == "linux" and not (names.get("DISPLAY") or names.get("WAYLAND_DISPLAY")):
        return None
    return shutil.which(OPENED_BY.get(sys.platform, ""))


def open_browser(url: str, data: Path) -> None:
    """Open the link on a desktop; what goes wrong there is no matter, as the link is printed.

    The browser is given a file that only this person may read and that leads on: the arguments of
    a program are seen by everyone on the machine, and the link lets one person in.
    """
    program = desktop_opener()
    if program is None:
        return
    with contextlib.suppress(OSError):
        page = (data / "open.html").resolve()
        page.unlink(missing_ok=True)
        with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            shown = html.escape(url)
            file.write(
                '<!doctype html><meta charset="utf-8">'
                f'<meta http-equiv="refresh" content="0; url={shown}">'
                f'<title>flowengine</title><a href="{shown}">Open flowengine</a>\n'
            )
        opening = subprocess.Popen(  # noqa: S603  # found by its name, with a file of ours
            [program, str(page)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=opening.wait, name="browser", daemon=True).start()

"""`flowengine serve`: the engine and the editor over a folder of flows.

    run (load, check, deploy, reload, stop) + a web server beside it, in one process and one loop

It listens on this machine alone. Any other address needs TLS, or the word that it shall do without,
and always a user (S-01). Where nobody can log in yet, it prints a link that lets one person in.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from flowengine.clock import SECOND
from flowengine.commands.boxseries import series_reader
from flowengine.commands.listening import Place, listen
from flowengine.commands.run import RunOptions, data_folder, run_and_leave, size_of, without_plugins
from flowengine.engine.runtime import Engine
from flowengine.errors import UsageError
from flowengine.moments import parse_duration

LOG = logging.getLogger("flowengine.serve")
PORT = 8850
STOP_WITHIN = 1.0
_Services = Any
_Settings = Any
"""The editor's own: it is imported late, by whom serves it, and by nobody else."""
POWERS = ("exec", "code")
"""What `--allow` may switch on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine serve`."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("flows"),
        metavar="FOLDER",
        help="the folder of flows (default: flows)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="port (%(default)s)")
    parser.add_argument("--data", type=Path, help="data folder (default: .flowengine in FOLDER)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key, PEM")
    parser.add_argument(
        "--insecure-bind",
        action="store_true",
        help="listen beyond this machine without TLS; servers of flows, too",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a name by which browsers call this box, besides those of the certificate",
    )
    parser.add_argument(
        "--behind-tls",
        action="store_true",
        help="a proxy in front holds the certificate: browsers come by https, under --name",
    )
    parser.add_argument(
        "--allow",
        default="",
        metavar="POWERS",
        help="let flows run code of their own: exec, code (by a comma)",
    )
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
    parser.add_argument("--memory", metavar="SIZE", help="pause sources near this much memory")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="with the shipped demo flows, a broker and made-up devices",
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine serve` until stopped."""
    if args.demo:
        from flowengine.commands.serve_demo import serve_demo  # noqa: PLC0415  # only for it

        return serve_demo(args, options_of, serve)
    if not args.folder.is_dir():
        raise UsageError(
            f"there is no folder {args.folder}.", f"Make it: mkdir {args.folder}; or try --demo."
        )
    options = options_of(args, args.folder, data_folder(args.data, [args.folder]))
    place = listen(args, options.data)
    without_plugins()
    gc.disable()  # until the flows stand, as in `run`
    return asyncio.run(serve(args, options, place))


def options_of(args: argparse.Namespace, folder: Path, data: Path) -> RunOptions:
    """What the command line says of the flows and the engine."""
    try:
        ready_after = parse_duration(args.ready_after) / SECOND
    except ValueError as err:
        raise UsageError(f"--ready-after: {err}", 'Write it as "5s".') from err
    return RunOptions(
        paths=[folder],
        data=data,
        params_file=args.params,
        sets=args.set,
        watch=args.watch,
        metrics=args.metrics,
        ready_after=ready_after,
        insecure_bind=args.insecure_bind,
        memory=size_of(args.memory),
        may_be_empty=True,
    )


# -- serving


async def serve(
    args: argparse.Namespace,
    options: RunOptions,
    place: Place,
    topics: Callable[[], dict[str, tuple[bytes, float]]] | None = None,
    greet: Callable[[Engine, str | None], Awaitable[None]] | None = None,
) -> int:
    """Run the flows, and the editor beside them; `greet` tells the one-time link, if any."""
    from flowengine.web.settings import Settings  # noqa: PLC0415  # the editor: only here

    allowed = {word for word in args.allow.split(",") if word}
    if strange := allowed - set(POWERS):
        raise UsageError(f"--allow {strange.pop()}", f"There are: {', '.join(POWERS)}.")
    settings = Settings(
        folder=options.paths[0],
        data=options.data,
        hosts=place.names,
        is_secure=place.tls is not None or args.behind_tls,
        powers=frozenset(allowed),
        params_file=options.params_file,
        sets=list(options.sets),
        series=series_reader(options.data),
        topics=topics,
    )
    options.reloaded = lambda: _renew(place)

    async def beside(engine: Engine) -> None:
        async with editor(engine, settings, place) as services:
            token = services.first_link()
            if greet is None:
                behind = f"https://{args.name[0]}" if args.behind_tls and args.name else place.url
                _greet(behind, token)
            else:
                await greet(engine, token)
            await asyncio.Event().wait()

    code: int = await run_and_leave(options, beside)
    return code


def _renew(place: Place) -> None:
    """Read the certificate anew: new connections get the new one."""
    if place.tls is None or place.cert is None or place.key is None:
        return
    try:
        place.tls.load_cert_chain(place.cert, place.key)
    except (OSError, ssl.SSLError) as err:
        LOG.error("the old certificate stays: %s", err)  # noqa: TRY400  # no traceback for people


@contextlib.asynccontextmanager
async def editor(
    engine: Engine, settings: _Settings, place: Place, parts: _Services | None = None
) -> AsyncIterator[_Services]:
    """The web server over an engine, from listening to closed."""
    import uvicorn  # noqa: PLC0415  # only here

    from flowengine.web.app import create_app  # noqa: PLC0415

    class Server(uvicorn.Server):
        """A server that leaves signals to whom they belong, and says when it is up."""

        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            self.is_up = asyncio.Event()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.is_up.set()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    app = create_app(engine, settings, parts)
    services: _Services = app.state.services
    await asyncio.to_thread(services.learn_secrets)
    tls = place.tls
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http="h11",
        ws="websockets-sansio",
        ws_max_size=1_000_000,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        lifespan="on",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        limit_concurrency=256,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[place.listening]))
    serving.add_done_callback(_ended)
    try:
        await server.is_up.wait()
        yield services
    finally:
        server.should_exit = True
        await services.hub.close()
        await asyncio.wait({serving}, timeout=STOP_WITHIN)


def _ended(serving: "asyncio.Task[None]") -> None:
    """The server stopped by itself: that is a fault, and the box is not to go on without it."""
    if not serving.cancelled() and serving.exception() is not None:
        LOG.error("the editor's server failed", exc_info=serving.exception())
        signal.raise_signal(signal.SIGTERM)


def _greet(url: str, token: str | None) -> None:
    told = f"editor: {url}/"
    if token is not None:
        told += (
            f"\nfirst login, once and within an hour: {url}/login#first={token}\n"
            f"  then choose a password: {url}/people"
        )
    print(told, flush=True)  # in one piece, for who reads it from a pipe

"""`flowengine broker`: the embedded MQTT broker alone, to try devices and flows with."""

import argparse
import asyncio
import ipaddress
import signal

from flowengine.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine broker`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=1883, help="port, 0 for a free one (%(default)s)"
    )
    parser.add_argument(
        "--insecure-bind", action="store_true", help="listen beyond this machine, unprotected"
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine broker` until stopped; exit code 3 where the port is taken."""
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port} is no port.", "Ports go from 1 to 65535.")
    if not is_loopback(args.host) and not args.insecure_bind:
        raise UsageError(
            f"--host {args.host} lets anyone on the network publish and listen: this broker knows "
            "no passwords and no encryption.",
            "Add --insecure-bind if that network is yours alone, or use a broker with TLS.",
        )
    asyncio.run(_serve(args.host, args.port))
    return 0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _serve(host: str, port: int) -> None:
    from flowengine.broker import EmbeddedBroker  # noqa: PLC0415  # amqtt: only where it serves

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with EmbeddedBroker(host, port) as broker:
        print(
            f"ready: an MQTT 3.1.1 broker on {broker.host}:{broker.port}. Stop it with Ctrl+C.",
            flush=True,
        )
        await stop.wait()

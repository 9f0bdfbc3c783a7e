"""A listener's insides: socket, site and keys, made together and closed together.

aiocoap is imported when the first door is made, and not before.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from flowengine.errors import StartError
from flowengine.nodes.coap.config import ListenConfig
from flowengine.nodes.coap.extras import need_extras
from flowengine.nodes.coap.gate import Gate
from flowengine.nodes.coap.quiet import quiet_logger

PEER = ":peer"
"""What aiocoap calls whoever knows the key; there is one key a listener."""


class Door:
    """What is open at a port.

    Attributes:
        network: the socket and what is around it.
        site: what answers.
    """

    def __init__(self, network: Any, site: Any, keys: Any) -> None:
        self.network = network
        self.site = site
        self._keys = keys

    async def listen(self, config: ListenConfig, gate: Gate) -> None:
        """Begin to take requests; StartError if the port cannot be had."""
        is_dtls, port = config.dtls is not None, port_of(config)
        at = f"UDP port {port} on {config.bind}"
        try:
            await self.network.listen(config.bind, port, gate, is_dtls=is_dtls)
        except (
            ValueError
        ) as err:  # aiocoap's DTLS: replies must leave by the address that was asked
            raise StartError(f"{at}: {err}", "With dtls, bind one address of this box.") from err
        except OSError as err:
            raise StartError(f"{at} cannot be used: {err}", "Is another program using it?") from err

    async def close(self) -> None:
        """Tell those who wait to come again, and close the port."""
        await self.site.close()
        await self.network.close()
        if self._keys is not None:
            self._keys.close()


def port_of(config: ListenConfig) -> int:
    """The UDP port of a listener (RFC 7252 §12.6, §12.7)."""
    return config.port or (5684 if config.dtls is not None else 5683)


async def make_door(
    config: ListenConfig, clock: Any, name: str, data: str, say: Callable[[str], None]
) -> Door:
    """A door that is still shut; StartError if an extra or a key is missing."""
    need_extras(dtls=config.dtls is not None, oscore=config.oscore is not None)
    from flowengine.nodes.coap.site import Site  # noqa: PLC0415  # aiocoap: only in such flows
    from flowengine.nodes.coap.wiring import Network  # noqa: PLC0415

    logger = f"flowengine.coap.{name}"
    log = quiet_logger(logger, say)
    network = Network(None, logger, clock.monotonic)
    site = Site(
        clock,
        config.max_size,
        needs_claim=config.oscore is not None,
        is_busy=network.messages.is_busy,
    )
    credentials = network.context.server_credentials
    network.context.serversite = site
    keys = None
    if config.dtls is not None:
        psk, identity = config.dtls.psk.reveal().encode(), config.dtls.identity.encode()
        credentials.load_from_dict({PEER: {"dtls": {"psk": psk, "client-identity": identity}}})
    if config.oscore is not None:
        from flowengine.nodes.coap.oscore import (  # noqa: PLC0415  # needs the extra
            open_context,
            protected_site,
        )

        keys = credentials[PEER] = await asyncio.to_thread(open_context, config.oscore, data)
        network.context.serversite = protected_site(site, credentials, log)
    return Door(network, site, keys)

"""OSCORE (RFC 8613): the keys of a connection, and what must be remembered of their use.

A sequence number must never be used twice with one key, so the next one is kept on disk ahead of
its use, in a folder whose name follows from the keys: new keys start anew, old ones go on. The
keys themselves are not written. A data folder put back from a copy needs new keys.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from aiocoap.oscore import (
    DEFAULT_ALGORITHM,
    DEFAULT_HASHFUNCTION,
    DEFAULT_WINDOWSIZE,
    FilesystemSecurityContext,
    ReplayWindow,
    algorithms,
    hashfunctions,
)
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from aiocoap.transports.oscore import TransportOSCORE
from filelock import Timeout

from flowengine.errors import StartError
from flowengine.nodes.coap.config import OscoreConfig

CLAIM = ":peer"


class KeptContext(FilesystemSecurityContext):  # type: ignore[misc]  # aiocoap ships no types
    """A security context whose keys come from the flow, and whose numbers are kept in a folder."""

    def __init__(self, folder: Path, ids: tuple[bytes, bytes], master: bytes, salt: bytes) -> None:
        self._given = ids, master, salt
        self.authenticated_claims = [CLAIM]
        super().__init__(str(folder))

    def _load(self) -> None:
        """Derive the keys (RFC 8613 §3.2) and go on where the last run ended."""
        (self.sender_id, self.recipient_id), master, salt = self._given
        self._given = ((b"", b""), b"", b"")
        self.alg_aead = algorithms[DEFAULT_ALGORITHM]
        self.hashfun = hashfunctions[DEFAULT_HASHFUNCTION]
        self.id_context = None
        self.derive_keys(salt, master)
        window = ReplayWindow(DEFAULT_WINDOWSIZE, self._replay_window_changed)
        self.recipient_replay_window = window
        self.replay_window_persisted = True
        try:
            kept = json.loads(Path(self.basedir, "sequence.json").read_bytes())
        except FileNotFoundError:
            self.sender_sequence_number = 0
            window.initialize_empty()
            return
        self.sender_sequence_number = int(kept["next-to-send"])
        if kept["received"] == "unknown":
            # After a power cut: the first request is answered by a question (appendix B.1.2).
            self.replay_window_persisted = False
        else:
            window.initialize_from_persisted(kept["received"])

    def close(self) -> None:
        """Keep what was used, and forget the keys; harmless when called twice."""
        if self.lockfile is not None:
            self._destroy()


def open_context(config: OscoreConfig, data: str) -> KeptContext:
    """The security context of a connection; StartError if it cannot be used."""
    try:
        master = bytes.fromhex(config.master.reveal())
    except ValueError:
        master = b""
    if len(master) < 16:
        raise StartError(
            f'the secret "{config.master.name}" is no master secret of 16 bytes or more.',
            "Write it as 32 hexadecimal digits or more.",
        )
    ids = bytes.fromhex(config.sender), bytes.fromhex(config.recipient)
    salt = bytes.fromhex(config.salt)
    mark = hashlib.sha256(b"\0".join(part.hex().encode() for part in (*ids, salt, master)))
    folder = Path(data, "coap", mark.hexdigest()[:32])
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return KeptContext(folder, ids, master, salt)
    except Timeout as err:
        raise StartError(
            f"the OSCORE keys of sender {config.sender} are in use by another connection.",
            "Give every connection a sender id of its own.",
        ) from err
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise StartError(
            f"what {folder} holds of the OSCORE keys cannot be used: {err}",
            "If it is damaged, choose new ids and a new master secret on both sides.",
        ) from err


def protected_site(site: Any, credentials: Any, log: Any) -> Any:
    """A site whose requests arrive decrypted, with their claim."""
    made = OscoreSiteWrapper(site, credentials)
    made.log = log
    return made


class ProtectedRequests(TransportOSCORE):  # type: ignore[misc]  # aiocoap ships no types
    """Sends requests protected; one whose answers nobody wants any more is ended."""

    def request(self, pipe: Any) -> None:
        """Send a request, and its answers into the pipe."""

        async def ask() -> None:
            try:
                await self._request(pipe)
            except Exception as err:  # noqa: BLE001  # whatever it is, the asker is told
                pipe.add_exception(err)

        task = asyncio.get_running_loop().create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        pipe.on_interest_end(task.cancel)

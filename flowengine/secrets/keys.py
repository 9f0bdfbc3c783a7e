"""Keys of the store of secrets, values sealed under them, and files written for the owner alone."""

import base64
import binascii
import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowengine.errors import StartError

KEY_SIZE = 32  # bytes: AES-256
NONCE_SIZE = 12  # bytes: NIST SP 800-38D §8.2
ENTRY = frozenset({"key", "nonce", "value"})
"""What an entry of the store holds: the id of its key, nonce and sealed value in base64."""


class SecretsError(StartError):
    """The store of secrets cannot be used: damaged, another key, rights too wide."""


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_SIZE)


def read_keys(place: str, text: str) -> tuple[bytes, ...]:
    """Keys in a text, in base64 or hexadecimal, with white space between."""
    keys: list[bytes] = []
    for word in text.split():
        try:
            key = (
                bytes.fromhex(word)
                if len(word) == 2 * KEY_SIZE
                else base64.b64decode(word, validate=True)
            )
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != KEY_SIZE:
            keys = []
            break
        keys.append(key)
    if not keys:
        raise SecretsError(
            f"{place} holds no key of {KEY_SIZE} bytes.",
            'Make one with "openssl rand -base64 32", or bring the old one back from a backup.',
        )
    return tuple(keys)


def key_text(keys: Sequence[bytes]) -> str:
    """Keys as `read_keys` reads them."""
    return "".join(f"{_base64(key)}\n" for key in keys)


def key_id(key: bytes) -> str:
    """Eight digits that tell keys apart and say nothing of them."""
    return hashlib.sha256(b"flowengine-key-id:" + key).hexdigest()[:8]


def seal(name: str, value: str, key: bytes) -> dict[str, str]:
    """An entry that holds `value` under `key`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # 30 ms

    nonce = os.urandom(NONCE_SIZE)
    sealed = AESGCM(key).encrypt(nonce, value.encode("utf-8"), _bound_to(name))
    return {"key": key_id(key), "nonce": _base64(nonce), "value": _base64(sealed)}


def unseal(name: str, entry: Mapping[str, str], keys: Sequence[bytes]) -> str:
    """The value in an entry; raises KeyError without its key, ValueError if it was changed."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # 30 ms, only when needed
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    key = {key_id(key): key for key in keys}[entry["key"]]
    nonce = base64.b64decode(entry["nonce"], validate=True)
    sealed = base64.b64decode(entry["value"], validate=True)
    try:
        return AESGCM(key).decrypt(nonce, sealed, _bound_to(name)).decode("utf-8")
    except InvalidTag as err:
        raise ValueError("it is not what was stored") from err


def _bound_to(name: str) -> bytes:
    """Associated data: a value cannot be moved under another name."""
    return f"flowengine-secret:1:{name}".encode()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, for its owner alone, and see it onto the disk."""
    fresh = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()  # left by a crash; whoever holds the lock is the only writer
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

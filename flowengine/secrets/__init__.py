"""Secrets of a box: looked up by name, kept encrypted in the data folder, shown to no one again.

A value is looked for in systemd's credentials, then in the environment, then in `secrets.json`
(R19). That file holds each value under AES-256-GCM with its own nonce, bound to its name, and with
the id of the key, so that values of a lost key lie beside new ones and come back with it.

The key is the systemd credential `flowengine-key`, else the variable FLOWENGINE_SECRETS_KEY, else
the file `secrets.key` of the data folder, made at random when a first value is stored.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from flowengine.errors import UsageError
from flowengine.flow.json_lines import to_lines
from flowengine.flow.model import SLUG, slug_of
from flowengine.flow.strict_json import read_json
from flowengine.secrets.keys import (
    ENTRY,
    SecretsError,
    key_id,
    key_text,
    new_key,
    read_keys,
    seal,
    unseal,
    write_whole,
)

__all__ = ["SecretStore", "SecretsError"]

CREDENTIALS = "CREDENTIALS_DIRECTORY"
KEY_CREDENTIAL = "flowengine-key"
KEY_VARIABLE = "FLOWENGINE_SECRETS_KEY"
PREFIX = "FLOWENGINE_SECRET_"
FORMAT = 1
MAX_VALUE = 1_000_000  # bytes; a certificate chain fits

Home = Literal["credential", "variable", "store"]


class _Damaged(SecretsError):
    """What the file holds is not what was written."""


class SecretStore:
    """The secrets of one data folder.

    Reads its files anew at each call, so that a value changed by a command is seen at once. Raises
    SecretsError where the store cannot be used, UsageError for what was asked wrongly.
    """

    def __init__(self, data_folder: Path | str, env: Mapping[str, str] | None = None) -> None:
        self.folder = Path(data_folder)
        self.file = self.folder / "secrets.json"
        self.key_file = self.folder / "secrets.key"
        self._env = os.environ if env is None else env

    def get(self, name: str) -> str | None:
        """The value of a secret, None if there is none on this box."""
        found = self._outside(name)
        if found is not None:
            return found[1]
        entry = self._entries().get(name)
        return None if entry is None else self._open(name, entry, self._keys())

    def home(self, name: str) -> Home | None:
        """Where the value of a secret comes from; it is not decrypted."""
        found = self._outside(name)
        if found is not None:
            return found[0]
        return "store" if name in self._entries() else None

    def list(self) -> list[str]:
        """The names in the store, sorted."""
        return sorted(self._entries())

    def set(self, name: str, value: str) -> None:
        """Store a value; the old one is gone. A damaged store is set aside and begun anew."""
        if not SLUG.fullmatch(name):
            what = f'"{name}" is no name of a secret.'
            raise UsageError(what, f'Use small letters, digits and hyphens: "{slug_of(name)}".')
        if not value:
            raise UsageError("an empty secret is not stored.", "Give the value on stdin.")
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError as err:
            raise UsageError("the secret is no text in UTF-8.", "Store it in base64.") from err
        if size > MAX_VALUE:
            mend = "Store a file and name it in the flow."
            raise UsageError(f"the secret is longer than {MAX_VALUE:,} bytes.", mend)
        with self._locked():
            try:
                entries = self._entries()
            except _Damaged:
                self._set_aside()
                entries = {}
            key = self._keys(make=True)[0]
            entries[name] = seal(name, value, key)
            self._write(entries)

    def remove(self, name: str) -> bool:
        """Remove a value from the store; whether it was there."""
        with self._locked():
            entries = self._entries()
            if name not in entries:
                return False
            del entries[name]
            self._write(entries)
            return True

    def rotate(self) -> int:
        """Encrypt every value anew under a new key; how many there are.

        The box's own key file is replaced by a random one. A key from outside is given as two,
        the new one first and the old one behind a space.
        """
        with self._locked():
            entries = self._entries()
            if not entries:
                return 0
            keys = self._keys()
            outside = self._outside_key()
            if outside is not None and len(keys) == 1:
                raise UsageError(
                    f"the key comes from {outside[0]}, which holds one key.",
                    "Put a new key before it, with a space between, and rotate again.",
                )
            values = {name: self._open(name, entry, keys) for name, entry in entries.items()}
            if outside is None:
                # A crash between these steps leaves a key for whatever stands in the store.
                keys = (new_key(), *keys)
                write_whole(self.key_file, key_text(keys))
            self._write({name: seal(name, value, keys[0]) for name, value in values.items()})
            if outside is None:
                write_whole(self.key_file, key_text(keys[:1]))
            return len(values)

    # -- places ----------------------------------------------------------------------------------

    def _outside(self, name: str) -> tuple[Home, str] | None:
        """A value that the box's surroundings give; an empty variable counts as not set."""
        if not SLUG.fullmatch(name):  # nothing that could lead out of a folder
            return None
        credential = self._credential(name)
        if credential is not None:
            return "credential", credential
        variable = self._env.get(PREFIX + name.upper().replace("-", "_"))
        return ("variable", variable) if variable else None

    def _credential(self, name: str) -> str | None:
        """A systemd credential, without the line end that an editor puts behind it."""
        folder = self._env.get(CREDENTIALS)
        if not folder:
            return None
        path = Path(folder) / name
        try:
            text = path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as err:
            reason = err.strerror if isinstance(err, OSError) else "it is no UTF-8 text"
            raise SecretsError(
                f"the credential {path} cannot be read: {reason}.",
                "Look at LoadCredential= of the unit.",
            ) from err
        return text.removesuffix("\n").removesuffix("\r")

    def _outside_key(self) -> tuple[str, str] | None:
        """Where a key from outside comes from, and its text."""
        credential = self._credential(KEY_CREDENTIAL)
        if credential is not None:
            return f'the credential "{KEY_CREDENTIAL}"', credential
        variable = self._env.get(KEY_VARIABLE)
        return (f"the variable {KEY_VARIABLE}", variable) if variable else None

    def _keys(self, *, make: bool = False) -> tuple[bytes, ...]:
        """The keys, the one to write with first."""
        outside = self._outside_key()
        if outside is not None:
            return read_keys(*outside)
        try:
            mode = self.key_file.stat().st_mode
            text = self.key_file.read_text("utf-8", "replace")
        except FileNotFoundError:
            if not make:
                raise SecretsError(
                    f"the key {self.key_file} is not there.",
                    f"Bring it back from a backup, or give it as {KEY_VARIABLE}; or store the "
                    'values again: "flowengine secrets set NAME".',
                ) from None
            key = new_key()
            write_whole(self.key_file, key_text([key]))
            return (key,)
        except OSError as err:
            what = f"the key {self.key_file} cannot be read: {err.strerror}."
            raise SecretsError(what, "Run as the owner of the data folder.") from err
        if stat.S_IMODE(mode) & 0o077:
            raise SecretsError(
                f"others may read the key {self.key_file} (mode {stat.S_IMODE(mode):04o}).",
                f'Run "chmod 600 {self.key_file}", then "flowengine secrets rotate".',
            )
        try:
            return read_keys(str(self.key_file), text)
        except SecretsError:
            if not make:
                raise
            write_whole(self.key_file.with_suffix(".key.damaged"), text)
            key = new_key()
            write_whole(self.key_file, key_text([key]))
            return (key,)

    def _entries(self) -> dict[str, dict[str, str]]:
        """What the file holds: name -> key id, nonce and sealed value."""
        try:
            raw = self.file.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as err:
            what = f"{self.file} cannot be read: {err.strerror}."
            raise SecretsError(what, "Run as the owner of the data folder.") from err
        document = read_json(raw)
        if document.faults:
            line, column = document.place(document.faults[0].offset)
            raise self._damaged(f"line {line}, column {column}: {document.faults[0].what}")
        top = document.value
        if not isinstance(top, dict) or not isinstance(top.get("secrets"), dict):
            raise self._damaged('there is no "secrets" in it.')
        if top.get("format") != FORMAT:
            raise SecretsError(
                f"{self.file} has format {top.get('format')!r}, this version reads {FORMAT}.",
                "Update flowengine.",
            )
        entries: dict[str, dict[str, str]] = top["secrets"]
        for name, entry in entries.items():
            parts = entry.values() if isinstance(entry, dict) else ()
            fits = isinstance(entry, dict) and entry.keys() == ENTRY
            if not fits or not all(isinstance(part, str) for part in parts):
                raise self._damaged(f'the entry "{name}" is not whole.')
        return entries

    def _damaged(self, why: str) -> _Damaged:
        return _Damaged(
            f"{self.file} is damaged: {why}",
            'Bring it back from a backup, or store the values again: "flowengine secrets set '
            'NAME" sets the damaged file aside.',
        )

    def _open(self, name: str, entry: Mapping[str, str], keys: Sequence[bytes]) -> str:
        """The value in an entry."""
        try:
            return unseal(name, entry, keys)
        except KeyError as err:
            had = ", ".join(key_id(key) for key in keys)
            raise SecretsError(
                f'the secret "{name}" in {self.file} was stored under another key '
                f"({entry['key'][:16]}; this box has {had}).",
                f'Bring the key back, or store the value again: "flowengine secrets set {name}".',
            ) from err
        except ValueError as err:
            raise self._damaged(f'the secret "{name}" is not what was stored.') from err

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One command at a time changes the store."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as err:
            what = f"the data folder {self.folder} cannot be used: {err.strerror}."
            raise SecretsError(what, "Give a folder that you own with --data.") from err
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        except OSError as err:
            what = f"the secrets in {self.folder} cannot be written: {err.strerror}."
            raise SecretsError(what, "No value is lost. Free space, or mend the rights.") from err
        finally:
            os.close(handle)

    def _write(self, entries: Mapping[str, Mapping[str, str]]) -> None:
        secrets = {name: dict(entries[name]) for name in sorted(entries)}
        write_whole(self.file, to_lines({"format": FORMAT, "secrets": secrets}))

    def _set_aside(self) -> None:
        """Keep a damaged file under another name, over none that is there."""
        number = 1
        while (aside := self.file.with_suffix(f".json.damaged-{number}")).exists():
            number += 1
        self.file.rename(aside)

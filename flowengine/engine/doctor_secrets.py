"""The store of secrets: whether every value can be read back, and by whom else. Shows no value."""

import contextlib
import stat
from pathlib import Path

from flowengine.engine.doctor_look import Look, count, size_of
from flowengine.secrets import SecretsError, SecretStore

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_COST = "flows that name a secret of it do not start"


def examine(look: Look) -> None:
    """`secrets.json`, and `secrets.key` beside it."""
    store = SecretStore(look.folder)
    for path in (store.file, store.key_file):
        if path.exists():
            _rights(look, path)
    if store.key_file.exists():
        size = size_of(store.key_file)
        look.have(store.key_file, size, "the key to the secrets", "every value in secrets.json")
    if not store.file.exists():
        return
    try:
        names = store.list()
    except SecretsError as err:
        look.add(store.file, err.what, cost=_COST, mend=err.mend or "")
        names = []
    for name in names:
        try:
            store.get(name)
        except SecretsError as err:
            look.add(store.file, err.what, cost=_COST, mend=err.mend or "")
            break
    what = count(len(names), "secret")
    deleting = 'those values: "flowengine secrets set NAME" stores each again'
    look.have(store.file, size_of(store.file), what, deleting, names=names)


def _rights(look: Look, path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _OTHERS:
        return
    mended = False
    if look.mend:
        with contextlib.suppress(OSError):
            path.chmod(0o600)
            mended = True
    look.add(
        path,
        f"other users may read it (mode {mode:04o})",
        cost="flows that name a secret do not start" if path.suffix == ".key" else "",
        mend="chmod 600"
        + ("; then run flowengine secrets rotate" if path.suffix == ".key" else ""),
        mended=mended,
    )

"""`flowengine secrets`: the values that flows name and do not hold.

A value is typed without an echo, or read from stdin; it is never an argument, which the shell's
history and the list of processes show. No command shows a value again.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from flowengine.check.types import field_type_of
from flowengine.cli_text import count
from flowengine.commands.folder import add_data_argument, known_data_folder
from flowengine.commands.run import data_folder
from flowengine.commands.typed import read_value
from flowengine.errors import FindingsError, UsageError
from flowengine.flow import find_flows, load_flow
from flowengine.flow.references import Missing, resolve
from flowengine.registry import REGISTRY
from flowengine.secrets import PREFIX, SecretStore

HOMES = {"credential": "a systemd credential", "variable": "the environment", "store": "the store"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine secrets`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    store = actions.add_parser(
        "set",
        help="store a value, typed or from stdin",
        epilog="example: flowengine secrets set site-mqtt < password.txt",
    )
    store.add_argument("name", metavar="NAME")
    # Taken only to be refused: the parser's own error would repeat the value.
    store.add_argument("value", nargs="*", help=argparse.SUPPRESS)
    listing = actions.add_parser("list", help="names, and where each value comes from")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    lacking = actions.add_parser(
        "missing",
        help="what flows name and this box does not have",
        epilog="example: flowengine secrets missing flows/",
    )
    lacking.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="flows or folders")
    lacking.add_argument("--json", action="store_true", help="one JSON object a line")
    rotate = actions.add_parser("rotate", help="encrypt every value anew, under a new key")
    remove = actions.add_parser("remove", help="remove a value")
    remove.add_argument("name", metavar="NAME")
    for action in (store, listing, lacking, rotate, remove):
        add_data_argument(action)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine secrets`: 0, for `missing` 1 if something is missing."""
    if args.action == "missing":
        return _missing(args)
    store = SecretStore(known_data_folder(args.data))
    if args.action == "set":
        return _set(store, args.name, args.value)
    if args.action == "list":
        return _list(store, as_json=args.json)
    if args.action == "remove":
        if not store.remove(args.name):
            raise UsageError(f'there is no secret "{args.name}" in {store.file}.')
        print(f"removed {args.name}")
    else:
        print(f"{count(store.rotate(), 'secret')} encrypted under a new key")
    return 0


def _set(store: SecretStore, name: str, values: list[str]) -> int:
    if values:
        raise UsageError(
            "a value is never an argument: history and the list of processes show it.",
            f"Type it when asked, or give it on stdin: flowengine secrets set {name} < FILE. "
            "If it was the real one, change it.",
        )
    store.set(name, read_value(name))
    print(f"stored {name} in {store.file}")
    home = store.home(name)
    if home != "store":
        variable = PREFIX + name.upper().replace("-", "_")
        found = f"the variable {variable}" if home == "variable" else f"the credential {name}"
        print(f"  {found} is set, too, and comes first.", file=sys.stderr)
    return 0


def _list(store: SecretStore, *, as_json: bool) -> int:
    for name in store.list():
        home = store.home(name) or "store"
        if as_json:
            print(json.dumps({"name": name, "home": home}))
        else:
            print(name if home == "store" else f"{name}  (taken from {HOMES[home]})")
    return 0


def _missing(args: argparse.Namespace) -> int:
    store = SecretStore(data_folder(args.data, args.paths))
    found = missing_secrets(args.paths, store)
    for name, lacks in found.items():
        if args.json:
            print(json.dumps({"name": name, "where": [str(lack.where) for lack in lacks]}))
            continue
        print(f"{name}\n  " + "\n  ".join(str(lack.where) for lack in lacks))
    if found and not args.json:
        names = " ".join(found)
        print(
            f"{count(len(found), 'secret')} missing. "
            f"Store each: flowengine secrets set {'NAME' if len(found) > 1 else names} "
            f"--data {store.folder}",
            file=sys.stderr,
        )
    return 1 if found else 0


def missing_secrets(paths: list[Path], store: SecretStore) -> dict[str, list[Missing]]:
    """Name -> the places that name it, of every secret that has no value on this box.

    Raises FindingsError if a flow cannot be read: it might need more.
    """
    found: dict[str, list[Missing]] = {}
    faults = []
    for file in find_flows(paths):
        flow, findings = load_flow(file)
        faults += [finding for finding in findings if finding.severity == "error"]
        if flow is None:
            continue
        resolved = resolve(
            flow,
            params={},
            env=os.environ,
            # whether there is one; it is not decrypted
            secrets=lambda name: None if store.home(name) is None else "there",
            field_type=field_type_of(REGISTRY),
        )
        for lack in resolved.missing:
            if lack.kind == "secret":
                found.setdefault(lack.name, []).append(lack)
    if faults:
        raise FindingsError(faults)
    return dict(sorted(found.items()))

"""`flowengine quarantine`: the messages that no node and no handler could take.

Reads and changes `state.db` beside a running engine, which writes it in short transactions.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowengine.cli_text import count
from flowengine.commands.folder import add_data_argument, known_data_folder, printable
from flowengine.errors import StartError, UsageError
from flowengine.moments import format_time

FILE = "state.db"
WAIT = 10.0  # seconds for the engine to end its own transaction
COLUMNS = "id, flow, node, time, slug, what, message"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine quarantine`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what was set aside, oldest first, and why")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    show = actions.add_parser("show", help="messages in full, as JSON")
    show.add_argument("ids", nargs="+", type=int, metavar="ID")
    drop = actions.add_parser(
        "drop",
        help="throw messages away",
        epilog="example: flowengine quarantine drop --all --flow cold-room",
    )
    drop.add_argument("ids", nargs="*", type=int, metavar="ID")
    drop.add_argument("--all", action="store_true", help="all of them, or of --flow")
    for action in (listing, drop):
        action.add_argument("--flow", metavar="FLOW", help="only of this flow")
    for action in (listing, show, drop):
        add_data_argument(action)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine quarantine`: 0; 2 for an id that is not there."""
    path = known_data_folder(args.data) / FILE
    if not path.exists():
        raise UsageError(
            f"there is no {path}: no flow has run with this data folder.", "Give --data DIR."
        )
    try:
        with _opened(path, writes=args.action == "drop") as db:
            if args.action == "list":
                return _list(db, args.flow, as_json=args.json)
            if args.action == "show":
                return _show(db, args.ids)
            return _drop(db, args)
    except sqlite3.Error as err:
        raise StartError(f"{path} cannot be used: {err}.", "Look at its rights.") from err


@contextlib.contextmanager
def _opened(path: Path, *, writes: bool) -> Iterator[sqlite3.Connection]:
    mode = "rw" if writes else "ro"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=WAIT)
    try:
        with db:
            yield db
    finally:
        db.close()


def _entry(row: tuple[Any, ...]) -> dict[str, Any]:
    number, flow, node, time, slug, what, message = row
    return {
        "id": number,
        "flow": flow,
        "node": node,
        "time": format_time(time),
        "slug": slug,
        "what": what,
        "message": json.loads(message),
    }


def _list(db: sqlite3.Connection, flow: str | None, *, as_json: bool) -> int:
    rows = db.execute(
        f"select {COLUMNS} from quarantine where flow = coalesce(?, flow) order by id",  # noqa: S608
        (flow,),
    )
    for row in rows:
        entry = _entry(row)
        if as_json:
            print(json.dumps(entry, ensure_ascii=False))
            continue
        place = f"{entry['flow']}/{entry['node']}"
        print(
            f"{entry['id']}  {entry['time']}  {place}  {entry['slug']}  {printable(entry['what'])}"
        )
    return 0


def _show(db: sqlite3.Connection, ids: list[int]) -> int:
    for number in ids:
        row = db.execute(
            f"select {COLUMNS} from quarantine where id = ?",  # noqa: S608  # our own names
            (number,),
        ).fetchone()
        if row is None:
            raise _unknown(number)
        # ASCII: what a device sent must not reach the terminal as a command to it.
        print(json.dumps(_entry(row), indent=2))
    return 0


def _drop(db: sqlite3.Connection, args: argparse.Namespace) -> int:
    if bool(args.ids) == bool(args.all) or (args.ids and args.flow):
        raise UsageError("say what to drop.", "Give ids, or --all, or --all --flow FLOW.")
    if args.all:
        gone = db.execute(
            "delete from quarantine where flow = coalesce(?, flow)", (args.flow,)
        ).rowcount
    else:
        gone = 0
        for number in args.ids:
            found = db.execute("delete from quarantine where id = ?", (number,)).rowcount
            if not found:
                raise _unknown(number)
            gone += found
    print(f"dropped {count(gone, 'message')}", file=sys.stderr)
    return 0


def _unknown(number: int) -> UsageError:
    return UsageError(f"there is no message {number} in quarantine.", "See quarantine list.")

"""`flowengine quarantine`: the messages that no node and no handler could take.

Reads and changes `state.db` beside a running engine, which writes it in short transactions. What is
to be replayed is marked; the engine lets it in, at once if it runs, else when it starts.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flowengine.cli_text import count
from flowengine.clock import RealClock
from flowengine.commands.folder import add_data_argument, known_data_folder, printable
from flowengine.engine import quarantine_rows
from flowengine.engine.folderlock import holder
from flowengine.errors import StartError, UsageError
from flowengine.moments import format_time

FILE = "state.db"
WAIT = 10.0  # seconds for the engine to end its own transaction
COLUMNS = "id, flow, node, time, slug, what, message"
SEEN_WITHIN = 10.0
"""Seconds for which `replay` waits for a running engine to let messages in, and for their end."""
_LOOK_EVERY = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine quarantine`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what was set aside, oldest first, and why")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    show = actions.add_parser("show", help="messages in full, as JSON, and how to replay them")
    show.add_argument("ids", nargs="+", type=int, metavar="ID")
    replay = actions.add_parser(
        "replay",
        help="let messages in again, at the node that refused them",
        description="Let messages in again, at the node that refused them, once what was wrong is "
        "mended. A running engine takes them within seconds, a stopped one when it starts. A "
        "message leaves the quarantine when it is delivered, or safe elsewhere; one that is "
        "refused again comes back under a new number. It carries meta.replayed. Exit code 1: some "
        "came back, or cannot be replayed.",
        epilog="example: flowengine quarantine replay --flow cold-room --node parse",
    )
    replay.add_argument("--no-wait", action="store_true", help="do not wait to see how it ends")
    drop = actions.add_parser(
        "drop",
        help="throw messages away",
        epilog="example: flowengine quarantine drop --all --flow cold-room",
    )
    for action in (replay, drop):
        action.add_argument("ids", nargs="*", type=int, metavar="ID")
    replay.add_argument("--all", action="store_true", help="all of them")
    drop.add_argument("--all", action="store_true", help="all of them, or of --flow and --node")
    for action in (listing, replay, drop):
        action.add_argument("--flow", metavar="FLOW", help="only of this flow")
        action.add_argument("--node", metavar="NODE", help="only what this node refused")
    for action in (listing, show, replay, drop):
        add_data_argument(action)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine quarantine`: 0; 1 if a replay failed; 2 for an id that is not there."""
    folder = known_data_folder(args.data)
    path = folder / FILE
    if not path.exists():
        raise UsageError(
            f"there is no {path}: no flow has run with this data folder.", "Give --data DIR."
        )
    try:
        if args.action == "replay":
            return _replay(folder, args)
        with _opened(path, writes=args.action == "drop") as db:
            if args.action == "list":
                return _list(db, args)
            if args.action == "show":
                return _show(db, args.ids)
            return _drop(db, args)
    except sqlite3.Error as err:
        raise StartError(
            f"{path} cannot be used: {err}.", "Look at its rights, or run flowengine doctor."
        ) from err


@contextlib.contextmanager
def _opened(path: Path, *, writes: bool) -> Iterator[sqlite3.Connection]:
    mode = "rw" if writes else "ro"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=WAIT)
    try:
        with db:
            yield db
    finally:
        db.close()


# -- what is there


def _columns(db: sqlite3.Connection) -> str:
    """The columns of an entry; a file of an earlier version has no marks and no notes."""
    there = {row[1] for row in db.execute("pragma table_info(quarantine)")}
    return f"{COLUMNS}, replay, note" if "note" in there else f"{COLUMNS}, null, ''"


def _entry(row: tuple[Any, ...]) -> dict[str, Any]:
    number, flow, node, when, slug, what, message, asked, note = row
    entry = {
        "id": number,
        "flow": flow,
        "node": node,
        "time": format_time(when),
        "slug": slug,
        "what": what,
    }
    if asked is not None:
        entry["replay"] = format_time(asked)
    if note:
        entry["note"] = note
    try:
        entry["message"] = json.loads(message)
    except ValueError:  # a damaged file, of which this could be saved
        entry["message"] = {"$text": str(message)}
    return entry


def _chosen(args: argparse.Namespace) -> tuple[str, tuple[str | None, str | None]]:
    """The condition for `--flow` and `--node`, and its values."""
    return "flow = coalesce(?, flow) and node = coalesce(?, node)", (args.flow, args.node)


def _list(db: sqlite3.Connection, args: argparse.Namespace) -> int:
    condition, values = _chosen(args)
    rows = db.execute(
        f"select {_columns(db)} from quarantine where {condition} order by id",  # noqa: S608
        values,
    )
    kinds: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        entry = _entry(row)
        if args.json:
            print(json.dumps(entry, ensure_ascii=False))
            continue
        kinds[entry["flow"], entry["node"], entry["slug"]] += 1
        place = f"{entry['flow']}/{entry['node']}"
        line = f"{entry['id']}  {entry['time']}  {place}  {entry['slug']}"
        print(f"{line}  {printable(entry['what'])}{_state(entry)}")
    if kinds:
        _sum_up(kinds)
    return 0


def _state(entry: dict[str, Any]) -> str:
    if "replay" in entry:
        return f"  (to be replayed, asked for at {entry['replay']})"
    return f"  (not replayed: {printable(entry['note'])})" if "note" in entry else ""


def _sum_up(kinds: Counter[tuple[str, str, str]]) -> None:
    """Say to stderr what there is most of, and what can be done with it."""
    (flow, node, slug), number = kinds.most_common(1)[0]
    total = kinds.total()
    print(
        f"{count(total, 'message')}; {number} of {flow}/{node} ({slug})\n"
        "  In full:          flowengine quarantine show ID\n"
        f"  When it is mended: flowengine quarantine replay --flow {flow} --node {node}",
        file=sys.stderr,
    )


def _show(db: sqlite3.Connection, ids: list[int]) -> int:
    columns = _columns(db)
    for number in ids:
        row = db.execute(
            f"select {columns} from quarantine where id = ?",  # noqa: S608  # our own names
            (number,),
        ).fetchone()
        if row is None:
            raise _unknown(number)
        # ASCII: what a device sent must not reach the terminal as a command to it.
        print(json.dumps(_entry(row), indent=2))
    shown = " ".join(map(str, ids))
    print(
        f"  Let in again, once what is wrong is mended: flowengine quarantine replay {shown}\n"
        f"  Throw away:                                 flowengine quarantine drop {shown}",
        file=sys.stderr,
    )
    return 0


# -- what is done with it


def _drop(db: sqlite3.Connection, args: argparse.Namespace) -> int:
    if bool(args.ids) == bool(args.all) or (args.ids and (args.flow or args.node)):
        raise UsageError("say what to drop.", "Give ids, or --all, or --all --flow FLOW.")
    if args.all:
        condition, values = _chosen(args)
        gone = db.execute(
            f"delete from quarantine where {condition}",  # noqa: S608  # our own names
            values,
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


def _replay(folder: Path, args: argparse.Namespace) -> int:
    ways = (bool(args.ids), bool(args.all), bool(args.flow or args.node))
    if sum(ways) != 1:
        mend = "Give ids, or --flow FLOW (and --node NODE), or --all."
        raise UsageError("say what to replay.", mend)
    with _opened(folder / FILE, writes=True) as db:
        quarantine_rows.set_up(db)
        newest = db.execute("select max(id) from quarantine").fetchone()[0] or 0
        ids = _ids(db, args)
        quarantine_rows.mark(db, ids, RealClock().now())
    if not ids:
        print("there is nothing to replay", file=sys.stderr)
        return 0
    marked = f"marked {count(len(ids), 'message')} for replay"
    pid = holder(folder)
    if pid is None:
        print(f"{marked}: they are let in when the engine starts", file=sys.stderr)
        return 0
    who = f"the engine (pid {pid})" if pid else "the engine that runs"
    print(f"{marked}: {who} lets them in within seconds", file=sys.stderr)
    return 0 if args.no_wait else _watch(folder / FILE, ids, newest)


def _ids(db: sqlite3.Connection, args: argparse.Namespace) -> list[int]:
    """The numbers of the messages that are meant; UsageError for one that is not there."""
    condition, values = _chosen(args)
    rows = db.execute(
        f"select id from quarantine where {condition} order by id",  # noqa: S608  # our own names
        values,
    )
    there = [int(row[0]) for row in rows]
    if not args.ids:
        return there
    known = set(there)
    for number in args.ids:
        if number not in known:
            raise _unknown(number)
    return sorted(set(args.ids))


def _watch(path: Path, ids: Sequence[int], newest: int) -> int:
    """Wait a while for what becomes of replayed messages, and say it."""
    until = time.monotonic() + SEEN_WITHIN
    wanted = set(ids)
    while True:
        with _opened(path, writes=False) as db:
            # what is left of those that were marked has its mark, or a note why not
            rows = db.execute(
                f"select {_columns(db)} from quarantine"  # noqa: S608  # our own names
                " where id > ? or replay is not null or note <> '' order by id",
                (newest,),
            )
            entries = [_entry(row) for row in rows]
        left = [e for e in entries if e["id"] in wanted]
        waiting = [e for e in left if "replay" in e]
        if not waiting or time.monotonic() > until:
            break
        time.sleep(_LOOK_EVERY)
    back = [e for e in entries if e["id"] > newest and _replayed(e) in wanted]
    refused = [e for e in left if "note" in e]
    gone = len(wanted) - len(left) - len({_replayed(e) for e in back})
    print(f"{count(max(0, gone), 'message')} replayed", file=sys.stderr)
    for entry in back:
        what = printable(entry["what"])
        print(f"refused again, now {entry['id']}: {entry['slug']}: {what}", file=sys.stderr)
    for entry in refused:
        print(f"{entry['id']} cannot be replayed: {printable(entry['note'])}", file=sys.stderr)
    if waiting:
        text = "on the way still, or their flow does not run: see quarantine list"
        print(f"{count(len(waiting), 'message')} {text}", file=sys.stderr)
    return 1 if back or refused else 0


def _replayed(entry: dict[str, Any]) -> Any:
    """The number under which a message was in quarantine before, if it was."""
    facts = entry["message"].get("meta", {}).get("replayed")
    return facts.get("id") if isinstance(facts, dict) else None


def _unknown(number: int) -> UsageError:
    return UsageError(f"there is no message {number} in quarantine.", "See quarantine list.")

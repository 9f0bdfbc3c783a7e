"""`flowengine ledger`: what became of every message, also beside a running engine (R16)."""

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowengine.cli_text import count
from flowengine.clock import RealClock
from flowengine.commands.folder import add_data_argument, known_data_folder, moment, printable
from flowengine.engine.ledger import MINUTE
from flowengine.engine.ledgerview import FlowView, SinkView, read_ledger
from flowengine.errors import StartError, UsageError
from flowengine.message import rfc3339

FILE = "state.db"
_WORDS = {
    "delivered": "written by every sink that it went to",
    "filtered": "held back by",
    "quarantined": "set aside by",
    "spooled": "waiting on disk",
    "dropped": "dropped:",
    "missing": "nobody knows; look with: flowengine doctor",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine ledger`."""
    for option, help_ in (("--since", "from this time on"), ("--until", "before this time")):
        parser.add_argument(
            option,
            metavar="TIME",
            help=f"{help_}: RFC 3339, or 1h for an hour ago; whole minutes are counted, whole hours"
            " of what is older than two days",
        )
    parser.add_argument("--flow", metavar="ID", help="only this flow")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_data_argument(parser)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine ledger`: 0 if every message is accounted for, else 1; 2 and 3 as always."""
    folder = known_data_folder(args.data)
    path = folder / FILE
    if not path.exists():
        raise UsageError(
            f"there is no {path}: no flow has run with this data folder.", "Give --data DIR."
        )
    since, until = moment(args.since, "--since"), moment(args.until, "--until")
    try:
        flows = _read(path, folder, since, until, args.flow)
    except sqlite3.Error as err:
        raise StartError(
            f"{path} cannot be read: {err}.", "Look at its rights, or run flowengine doctor."
        ) from err
    if args.flow is not None and args.flow not in flows:
        raise UsageError(
            f'nothing is known of a flow "{args.flow}".',
            f"Known are: {', '.join(sorted(flows)) or 'none yet'}.",
        )
    is_balanced = all(view.is_balanced for view in flows.values())
    until = RealClock().now() if until is None else until
    if args.json:
        shown = {
            "from": None if since is None else rfc3339(since // MINUTE * MINUTE),
            "to": rfc3339(until),
            "balanced": is_balanced,
            "flows": {name: _as_json(view) for name, view in sorted(flows.items())},
        }
        print(json.dumps(shown, ensure_ascii=False, indent=1))
    else:
        print("\n".join(_as_text(flows)) or "no message has come yet")
    return 0 if is_balanced else 1


def _read(
    path: Path, folder: Path, since: int | None, until: int | None, flow: str | None
) -> dict[str, FlowView]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        db.execute("begin")  # one moment, however long it takes to read
        return read_ledger(db, folder, since, until, flow)
    finally:
        db.close()


def _as_json(view: FlowView) -> dict[str, Any]:
    """A flow as R16 shows it."""
    fates = view.fates
    return {
        "sources": view.sources,
        "received": view.received,
        "delivered": fates["delivered"],
        "filtered": fates["filtered"],
        "quarantined": fates["quarantined"],
        "spooled": fates["spooled"],
        "in_flight": view.in_flight,
        "dropped": fates["dropped"],
        "missing": fates["missing"],
        "filtered_by": view.by["filtered"],
        "dropped_by": view.by["dropped"],
        "quarantined_by": view.by["quarantined"],
        "sinks": {name: _sink_as_json(sink) for name, sink in sorted(view.sinks.items())},
    }


def _sink_as_json(sink: SinkView) -> dict[str, Any]:
    return {
        "records": sink.records,
        "written": sink.written,
        "retries": sink.retries,
        "possible_repeats": sink.possible_repeats,
        "spooled": sink.spooled,
        "oldest": None if sink.oldest is None else rfc3339(sink.oldest),
    }


def _as_text(flows: dict[str, FlowView]) -> Iterator[str]:
    for name, view in sorted(flows.items()):
        verdict = "balanced" if view.is_balanced else "NOT BALANCED"
        yield f"{printable(name)}: {verdict}"
        yield _line("received", view.received, view.received, _sources(view))
        for fate in ("delivered", "filtered", "spooled", "quarantined", "dropped", "missing"):
            number = view.fates[fate]
            if number or fate == "delivered":
                yield _line(fate, number, view.received, _where(view, fate))
        if view.in_flight:
            what = "on the way, in a node's state, or to come again"
            yield _line("in flight", view.in_flight, view.received, what)
        for node, sink in sorted(view.sinks.items()):
            yield f"  sink {printable(node)}: {_sink(sink)}"
    if any(not view.is_balanced for view in flows.values()):
        print("Some messages are not accounted for: flowengine doctor looks why.", file=sys.stderr)


def _line(what: str, number: int, received: int, more: str) -> str:
    share = f"{100 * number / received:5.1f} %" if received else "       "
    return f"  {what:<11} {number:>12,}  {share}  {more}".rstrip()


def _sources(view: FlowView) -> str:
    parts = []
    for name, items in sorted(view.sources.items()):
        again = f", {items['redelivered']:,} more came again" if items["redelivered"] else ""
        parts.append(f"{printable(name)} {items['received']:,}{again}")
    return "from " + "; ".join(parts) if parts else ""


def _where(view: FlowView, fate: str) -> str:
    words, by = _WORDS[fate], view.by.get(fate)
    if by is None:
        return words
    listed = ", ".join(
        f"{printable(place) or 'nobody'} {n:,}"
        for place, n in sorted(by.items(), key=lambda entry: -entry[1])
    )
    return f"{words} {listed}"


def _sink(sink: SinkView) -> str:
    parts = [f"{sink.written:,} of {count(sink.records, 'record')} written"]
    if sink.retries:
        parts.append(count(sink.retries, "write") + " tried again")
    if sink.possible_repeats:
        parts.append(f"{sink.possible_repeats:,} maybe twice")
    if sink.spooled:
        oldest = "" if sink.oldest is None else f", the oldest of {rfc3339(sink.oldest)}"
        parts.append(f"{sink.spooled:,} on disk{oldest}")
    return ", ".join(parts)

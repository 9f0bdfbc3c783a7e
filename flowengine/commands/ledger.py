"""`flowengine ledger`: what became of every message, also beside a running engine (R16)."""

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

from flowengine.cli_text import count
from flowengine.clock import RealClock
from flowengine.commands.folder import add_data_argument, known_data_folder, moment, printable
from flowengine.engine.ledger import MINUTE
from flowengine.engine.ledgerview import FlowView, SinkView, began, read_ledger, whole_minutes
from flowengine.errors import StartError, UsageError
from flowengine.message import rfc3339

FILE = "state.db"
_WORDS = {
    "delivered": "written by every sink that it went to",
    "filtered": "held back by",
    "quarantined": "set aside by",
    "spooled": "waiting on disk",
    "dropped": "dropped:",
    "missing": "nobody knows what became of them",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine ledger`."""
    parser.description = (
        "What became of every message that a source let in, each counted once, at the worst that "
        "happened to any of its branches; and what each sink wrote, in records (those of the "
        "last second before a kill are not counted there). It changes nothing, and may run beside "
        "an engine, after a kill, or with no engine. Without --since: all that is known. Numbers "
        "are kept by the minute, and by the hour once they are two days old, for 400 days: "
        "--since counts from the beginning of its minute (or hour), --until to the end of its own. "
        "A message counts when it came, whenever it met its fate. Exit code 0: every "
        "message is accounted for; 1: not; 2: wrong usage; 3: no data folder there, or no right to "
        "read it."
    )
    for option, help_ in (("--since", "from this time on"), ("--until", "before this time")):
        parser.add_argument(
            option,
            metavar="TIME",
            help=f"{help_}: RFC 3339, or 1h for an hour ago; whole minutes, and whole hours where"
            " it is older than two days",
        )
    parser.add_argument("--flow", metavar="ID", help="only this flow")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_data_argument(parser)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine ledger`: 0 if every message is accounted for, else 1; 2 and 3 as always."""
    folder = known_data_folder(args.data)
    path = folder / FILE
    since, until = moment(args.since, "--since"), moment(args.until, "--until")
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until.", "Swap them.")
    now = RealClock().now()
    minutes = whole_minutes(since, until, now)
    try:
        path.stat()
        flows = read_ledger(path, minutes, args.flow)
        first = began(path) if since is None else minutes[0] * MINUTE
    except FileNotFoundError as err:
        raise StartError(
            f"there is no {path}: no flow has run with this data folder.", "Give --data DIR."
        ) from err
    except (sqlite3.Error, OSError) as err:
        raise StartError(
            f"{path} cannot be read: {err}.",
            "Run as the folder's owner, or as root; flowengine doctor says what is wrong with it.",
        ) from err
    if args.flow is not None and args.flow not in flows:
        raise UsageError(
            f'nothing is known of a flow "{args.flow}".',
            f"Known are: {', '.join(sorted(flows)) or 'none yet'}.",
        )
    is_balanced = all(view.is_balanced for view in flows.values())
    last = now if until is None else minutes[1] * MINUTE
    if args.json:
        shown = {
            "from": None if first is None else rfc3339(first),
            "to": rfc3339(last),
            "balanced": is_balanced,
            "flows": {name: _as_json(view) for name, view in sorted(flows.items())},
        }
        print(json.dumps(shown, ensure_ascii=False, indent=1))
    else:
        if first is not None:
            print(f"from {rfc3339(first)} to {rfc3339(last)}{_rounded(since, until)}")
        print("\n".join(_as_text(flows)) or "no flow has run yet")
    return 0 if is_balanced else 1


def _rounded(since: int | None, until: int | None) -> str:
    """How the bounds were rounded, said where some were given."""
    if since is None and until is None:
        return ""
    return " (whole minutes; hours where it is older than two days)"


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
        if view.in_flight > 0:
            what = "on the way, in a node's state, or to come again"
            yield _line("in flight", view.in_flight, view.received, what)
        elif view.in_flight < 0:
            what = "more fates than messages"
            yield _line("too many", -view.in_flight, view.received, what)
        for node, sink in sorted(view.sinks.items()):
            yield f"  sink {printable(node)}: {_sink(sink)}"
    if any(view.fates["quarantined"] for view in flows.values()):
        yield "what was set aside: flowengine quarantine list"
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
    noun = "record" if sink.records == 1 else "records"
    parts = [f"{sink.written:,} of {sink.records:,} {noun} written"]
    if sink.retries:
        parts.append(count(sink.retries, "write") + " tried again")
    if sink.possible_repeats:
        parts.append(f"{sink.possible_repeats:,} maybe twice")
    if sink.spooled:
        oldest = "" if sink.oldest is None else f", the oldest of {rfc3339(sink.oldest)}"
        parts.append(f"{sink.spooled:,} on disk{oldest}")
    return ", ".join(parts)

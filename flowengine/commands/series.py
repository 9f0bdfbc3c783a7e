"""`flowengine series`: what `series.write` has stored on this box, also while the engine runs."""

import argparse
import difflib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from flowengine.cli_text import count
from flowengine.commands.folder import add_data_argument, known_data_folder, moment, printable
from flowengine.errors import StartError, UsageError
from flowengine.moments import format_time

FILE = "series.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine series`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every series, with its first and last time")
    export = actions.add_parser(
        "export",
        help="the points of a series, oldest first",
        epilog="example: flowengine series export temperature --since 1h --json",
    )
    export.add_argument("name", metavar="NAME", help="name of the series")
    for option, help_ in (("--since", "from this time on"), ("--until", "before this time")):
        export.add_argument(
            option, metavar="TIME", help=f"{help_}: RFC 3339, or 1h for an hour ago"
        )
    for action in (listing, export):
        action.add_argument("--json", action="store_true", help="one JSON object a line")
        add_data_argument(action)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine series`: 0; 2 if there is no store or no such series."""
    path = known_data_folder(args.data) / FILE
    if not path.exists():
        raise UsageError(
            f"there is no {path}: no flow has stored a series there.",
            "A node series.write makes it; give the data folder of the flows with --data DIR.",
        )
    try:
        if args.action == "list":
            return _list(path, as_json=args.json)
        since, until = moment(args.since, "--since"), moment(args.until, "--until")
        return _export(path, args.name, since, until, as_json=args.json)
    except sqlite3.Error as err:
        raise StartError(
            f"{path} cannot be read: {err}.", "Look at its rights; a damaged one is mended by run."
        ) from err


def _list(path: Path, *, as_json: bool) -> int:
    from flowengine.nodes.series.read import list_series  # noqa: PLC0415  # only here

    for row in list_series(path):
        row["first"], row["last"] = format_time(row["first"]), format_time(row["last"])
        if as_json:
            print(_json(row))
            continue
        name = printable(f"{row['series']}.{row['field']}{_tags(row['tags'])}")
        print(f"{name}  {count(row['points'], 'point')}  {row['first']} to {row['last']}")
    return 0


def _export(path: Path, name: str, since: int | None, until: int | None, *, as_json: bool) -> int:
    from flowengine.nodes.series.read import export_series, list_series  # noqa: PLC0415

    points = 0
    for row in export_series(path, name, since, until):
        points += 1
        row["time"] = format_time(row["time"])
        if as_json:
            print(_json(row))
            continue
        value = row["value"] if isinstance(row["value"], str) else json.dumps(row["value"])
        what = printable(f"{row['field']}{_tags(row['tags'])}  {value}")
        print(f"{row['time']}  {what}")
    if not points:
        names = sorted({row["series"] for row in list_series(path)})
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            guess = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(names)}."
            raise UsageError(f'there is no series "{name}" in {path}.', guess)
        print(f"no points of {name} in that time", file=sys.stderr)
    return 0


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _tags(tags: dict[str, str]) -> str:
    return "".join(f"  {name}={value}" for name, value in tags.items())

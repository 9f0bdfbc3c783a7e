"""`flowengine doctor`: what is in the data folder, what is wrong with it, and the repair."""

import argparse
import json
import sys
from pathlib import Path

from flowengine.cli_text import count, paint
from flowengine.commands.folder import add_data_argument, known_data_folder, printable
from flowengine.engine.doctor import Report, as_json, examine
from flowengine.engine.doctor_look import Found, shown_size
from flowengine.engine.folderlock import FolderInUse
from flowengine.errors import StartError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine doctor`."""
    parser.description = (
        "Look at everything in the data folder: the databases to their last page, every record of "
        "every spool, secrets, rights, free space. Say what is wrong, what it costs, and for each "
        "file what it would cost to delete it. It changes nothing, and may run beside an engine. "
        "With --mend, and no engine running, repair what can be: what is whole is kept, what "
        "cannot be understood is set aside. An engine does the same when it starts; nothing must "
        "be deleted by hand. Exit code 0: whole, or all of it mended; 1: something is wrong still, "
        "records that are lost among it; 3: an engine runs (--mend), or no right to look."
    )
    parser.add_argument("--mend", action="store_true", help="repair; no engine may be running")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_data_argument(parser)


def command(args: argparse.Namespace) -> int:
    """Run `flowengine doctor`: 0 whole or mended, 1 something is wrong still."""
    folder = known_data_folder(args.data)
    if not folder.is_dir():
        raise UsageError(f"there is no data folder {folder}.", "Give it with --data DIR.")
    try:
        report = examine(folder, mend=args.mend)
    except FolderInUse as err:
        raise StartError(
            f"the data folder {folder} is in use by pid {err.pid or 'unknown'}.",
            "Stop that engine to mend; without --mend, doctor looks beside it.",
        ) from err
    except OSError as err:
        raise StartError(
            f"the data folder {folder} cannot be used: {err.strerror or err}.",
            "Run as its owner, or as root.",
        ) from err
    if args.json:
        print(json.dumps(as_json(report), ensure_ascii=False))
    else:
        _say(folder, report)
    return 0 if report.whole else 1


def _say(folder: Path, report: Report) -> None:
    if report.pid is None:
        print(f"{folder}: no engine runs in it")
    else:
        print(f"{folder}: an engine runs in it (pid {report.pid or 'unknown'})")
    for item in report.items:
        print(f"  {printable(item.place)}  {shown_size(item.bytes)}  {printable(item.what)}")
        print(paint(f"      deleting it costs: {item.deleting}", "dim", sys.stdout))
    if not report.found:
        print(paint("all is whole", "green", sys.stdout))
        return
    print()
    for number, found in enumerate(report.found, 1):
        _say_found(number, found)
    left = sum(not found.mended for found in report.found)
    if not left:
        print(paint(f"{count(len(report.found), 'thing')} mended", "green", sys.stdout))
        return
    mended = len(report.found) - left
    text = f"{count(left, 'thing')} found" + (f", {mended} more mended" if mended else "")
    print(paint(text, "yellow", sys.stdout))


def _say_found(number: int, found: Found) -> None:
    what = f"{printable(found.place)}: {printable(found.what)}"
    print(f"{number}. {what.removesuffix('.')}.")
    if found.cost:
        print(f"   It costs: {printable(found.cost).removesuffix('.')}.")
    if found.mend:
        print(
            f"   {'Mended' if found.mended else 'Mend'}: {printable(found.mend).removesuffix('.')}."
        )

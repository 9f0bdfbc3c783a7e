"""The command line: which commands there are, and what becomes of an error.

A command's module is imported when it is called, so `flowengine --help` is quick on a small box.
Exit codes: 0 done; 1 findings; 2 wrong usage; 3 could not start; 4 stopped by a fault that needs a
person; 130 interrupted; 141 the reader of the output went away.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from flowengine import __version__
from flowengine.errors import FindingsError, FlowengineError, StartError, UsageError

FINDINGS, USAGE, NO_START, FAULT, INTERRUPTED, PIPE = 1, 2, 3, 4, 130, 141


class Command(NamedTuple):
    """One command: its module in `flowengine.commands`, what it does, and how it is called.

    `prefix` tells the functions of a module with several commands apart: `docs_command`.
    """

    module: str
    summary: str
    example: str
    prefix: str = ""


COMMANDS = {
    "demo": Command(
        "demo",
        "try it: a broker, made-up devices and flows, live",
        "flowengine demo --seconds 60",
    ),
    "run": Command(
        "run",
        "run flows headless until stopped",
        "flowengine run flows/ --data /var/lib/flowengine --set limit=7",
    ),
    "serve": Command(
        "serve",
        "the engine and the editor over a folder of flows",
        "flowengine serve flows/ --port 8850",
    ),
    "check": Command(
        "check",
        "every fault of flows at once",
        "flowengine check flows/ --strict --params site-a.json",
    ),
    "fmt": Command("fmt", "canonical form, in place", "flowengine fmt --check flows/"),
    "diff": Command(
        "diff",
        "compare two versions of a flow by meaning",
        "flowengine diff HEAD~1:flows/cold-room.json flows/cold-room.json",
    ),
    "test": Command(
        "test", "the flows' own tests, with a told clock", "flowengine test flows/ --junit out.xml"
    ),
    "schema": Command("schema", "JSON Schema of flows, for IDEs", "flowengine schema flows/"),
    "docs": Command("schema", "reference pages of node types", "flowengine docs pages/", "docs_"),
    "nodes": Command(
        "schema", "node types, or one in full", "flowengine nodes threshold", "nodes_"
    ),
    "flows": Command(
        "schema",
        "shipped examples, or one of them",
        "flowengine flows cold-room > flows/cold-room.json",
        "flows_",
    ),
    "changes": Command("schema", "the changelog", "flowengine changes", "changes_"),
    "export": Command(
        "bundle",
        "a flow with its layout and tests as one file",
        "flowengine export flows/cold-room.json --bundle -o cold-room.bundle.json",
        "export_",
    ),
    "import": Command(
        "bundle",
        "take a flow out of a bundle",
        "flowengine import cold-room.bundle.json --to flows/",
        "import_",
    ),
    "secrets": Command(
        "secrets",
        "values that flows name: set, list, missing, rotate, remove",
        "flowengine secrets set site-mqtt < password.txt",
    ),
    "users": Command(
        "users",
        "people and API tokens of the editor: add, list, remove, token",
        "flowengine users add anna --role deployer",
    ),
    "quarantine": Command(
        "quarantine",
        "messages set aside: list, show, replay, drop",
        "flowengine quarantine list --data /var/lib/flowengine",
    ),
    "ledger": Command(
        "ledger",
        "what became of every message",
        "flowengine ledger --since 1h --data /var/lib/flowengine",
    ),
    "doctor": Command(
        "doctor",
        "look at the data folder, and mend it",
        "flowengine doctor --data /var/lib/flowengine --mend",
    ),
    "series": Command(
        "series",
        "the box's own time series: list, export",
        "flowengine series export temperature --since 1h --json",
    ),
    "systemd": Command(
        "systemd",
        "print a hardened unit for flows",
        "flowengine systemd /etc/flowengine/flows > flowengine.service",
    ),
    "git-setup": Command(
        "git_setup", "git compares and merges flows by meaning", "flowengine git-setup flows/"
    ),
    "broker": Command("broker", "the embedded MQTT broker alone", "flowengine broker --port 1883"),
}


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Help as wide as the terminal; argparse would import bz2 and lzma to find that out."""
    try:
        width = os.get_terminal_size().columns - 2
    except OSError:
        width = 98
    return argparse.HelpFormatter(prog, width=width)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others: what, and how to mend."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _formatter, **options})

    def error(self, message: str) -> NoReturn:
        """Exit 2 with the fault and where the help is."""
        print(f"{self.prog}: {message}.\n  See {self.prog} --help.", file=sys.stderr)
        raise SystemExit(USAGE)


def make_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser; only the `chosen` command's own options are filled in."""
    parser = _Parser(
        prog="flowengine",
        description="A dataflow engine for connected devices: flows as files, checked and run.",
        epilog="example: flowengine check flows/    (each command has --help with its own)",
    )
    parser.add_argument("--version", action="version", version=f"flowengine {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show tracebacks and debug logs (anywhere in the line)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, entry in COMMANDS.items():
        if chosen is not None and name != chosen:
            continue
        sub = commands.add_parser(
            name,
            help=entry.summary,
            description=f"{entry.summary[0].upper()}{entry.summary[1:]}.",
            epilog=f"example: {entry.example}",
        )
        if name == chosen:
            function(entry, "add_arguments")(sub)
    return parser


def function(entry: Command, which: str) -> Callable[..., int]:
    """`add_arguments` or `command` of an entry, its module imported."""
    module = importlib.import_module(f"flowengine.commands.{entry.module}")
    name = f"add_{entry.prefix}arguments" if which == "add_arguments" else f"{entry.prefix}command"
    found: Callable[..., int] = getattr(module, name)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in given if not word.startswith("-")), None)
    debug = "--debug" in given
    try:
        return _run([word for word in given if word != "--debug"], chosen, debug=debug)
    except BrokenPipeError:
        # the reader went away, as in `flowengine nodes | head`: nothing more is to be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as err:
        if debug:
            raise
        return _say(err, chosen)


def _run(given: list[str], chosen: str | None, *, debug: bool) -> int:
    parser = make_parser(chosen if chosen in COMMANDS else None)
    args = parser.parse_args(given)
    if args.command is None:
        parser.print_help()
        return USAGE
    if hasattr(args, "log"):
        from flowengine.logs import set_up  # noqa: PLC0415  # only for what runs

        set_up(args.log, debug=debug)
    code = function(COMMANDS[args.command], "command")(args)
    sys.stdout.flush()
    return code


def _say(err: Exception, chosen: str | None) -> int:
    """Tell an error to stderr as what, and how to mend; the exit code that it means."""
    if isinstance(err, FindingsError):
        for finding in err.findings:
            print(finding, file=sys.stderr)
        return FINDINGS
    if not isinstance(err, FlowengineError):
        print(
            f"flowengine {chosen}: this is a fault of flowengine itself: "
            f"{type(err).__name__}: {err}\n  Run it again with --debug and report what it shows.",
            file=sys.stderr,
        )
        return FAULT
    what = f"flowengine {chosen}: {err.what}"
    print(what + (f"\n  {err.mend}" if err.mend else ""), file=sys.stderr)
    codes = ((UsageError, USAGE), (StartError, NO_START))
    return next((code for kind, code in codes if isinstance(err, kind)), FAULT)

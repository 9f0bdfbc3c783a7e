"""What commands on a data folder share: which one is meant, and how times are given and shown."""

import argparse
import os
from pathlib import Path

from flowengine.clock import RealClock
from flowengine.errors import UsageError
from flowengine.moments import parse_duration, parse_time

DATA = ".flowengine"
HERE = Path()
FLOWS = Path("flows")


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """The option `--data`."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data folder (default: FLOWENGINE_DATA, else .flowengine here or in flows/)",
    )


def known_data_folder(given: Path | None) -> Path:
    """`--data`, else FLOWENGINE_DATA, else the one that `run` would use from here.

    That is `.flowengine` here or in `flows/`, wherever it is; where none is yet, beside the flows.
    Raises UsageError where there is no telling.
    """
    if given is not None:
        return given
    if os.environ.get("FLOWENGINE_DATA"):
        return Path(os.environ["FLOWENGINE_DATA"])
    places = (HERE, FLOWS)
    there = [place / DATA for place in places if (place / DATA).is_dir()]
    if not there:
        there = [place / DATA for place in places if any(place.glob("*.json"))]
    if len(there) == 1:
        return there[0]
    found = " and ".join(map(str, there)) or f"neither {DATA} nor flows here"
    raise UsageError(
        f"there is no telling which data folder is meant: {found}.", "Give --data DIR."
    )


def moment(text: str | None, option: str) -> int | None:
    """A time for `--since` or `--until` in ns: RFC 3339, or how long ago as `1h`; None for None."""
    if text is None:
        return None
    try:
        return RealClock().now() - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_time(text, "rfc3339")
    except ValueError as err:
        mend = 'Write it as "2026-01-01T00:00:00Z", or as "1h" for an hour ago.'
        raise UsageError(f"{option}: {err}", mend) from err


def printable(text: str) -> str:
    """Text of a device as a terminal may show it: control characters escaped, all on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

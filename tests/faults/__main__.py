"""`python -m tests.faults`: meet the faults of the catalogue, print the table, make the page.

    python -m tests.faults                        all of it, about 40 minutes; writes the page
    python -m tests.faults --rows F-20,F-21       two rows; prints the table alone
    python -m tests.faults --rows F-01 --kills 20
    python -m tests.faults --soak 60m             all of it, with an hour of F-99
    python -m tests.faults --from FILE            the table and the page of an earlier run

The page is `web/help/faults.md`. Of a part of the rows none is made, unless `--page FILE` says
where. The report, one JSON line a test, stays in `build/faults.jsonl`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from flowengine.clock import SECOND
from flowengine.moments import parse_duration
from tests.faults.catalogue import BY_ID, ROWS
from tests.faults.page import page, read_report, table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "web" / "help" / "faults.md"
REPORT = ROOT / "build" / "faults.jsonl"


def main() -> int:
    """Run what is asked for; 0 if every test passed."""
    options = _options()
    report: Path = options.earlier or options.report
    code = 0
    if options.earlier is None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        code = _run(options, report)
    if not report.exists():
        print("no report was written: see above", file=sys.stderr)
        return code or 1
    outcomes = read_report(report)
    print(f"\n{table(outcomes, [BY_ID[name] for name in options.rows])}")
    where = options.page or (PAGE if len(options.rows) == len(ROWS) else None)
    if where is not None:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(page(outcomes))
        print(f"the page: {where}")
    return code


def _run(options: argparse.Namespace, report: Path) -> int:
    """Run the tests of the rows in one pytest; its exit code."""
    names = " or ".join(f"_f{name[2:]}_" for name in options.rows)
    command = [sys.executable, "-m", "pytest", "tests", "-q", "-k", names, "--no-header"]
    command += ["--faults-report", str(report)]
    command += [] if options.short else ["--long-faults"]
    settings = {"FAULTS_KILLS": str(options.kills), "FAULTS_SOAK_MINUTES": str(options.soak)}
    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=False)
    return ran.returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=_rows, default=list(BY_ID), help="F-20,F-21 (default: all)")
    parser.add_argument("--kills", type=int, default=200, help="of F-01 (default: 200)")
    parser.add_argument("--soak", type=_minutes, default=5.0, help="time of F-99 (default: 5m)")
    parser.add_argument("--short", action="store_true", help="without what needs minutes")
    parser.add_argument("--from", dest="earlier", type=Path, metavar="FILE", help="run nothing")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page there")
    return parser.parse_args()


def _rows(text: str) -> list[str]:
    names = [name.strip().upper() for name in text.split(",")]
    for name in names:
        if name not in BY_ID:
            raise argparse.ArgumentTypeError(f"there is no row {name}: write F-20,F-21")
    return [row.id for row in ROWS if row.id in names]


def _minutes(text: str) -> float:
    try:
        return parse_duration(text) / SECOND / 60
    except ValueError as err:
        raise argparse.ArgumentTypeError(f'{err}: write it as "60m"') from err


if __name__ == "__main__":
    sys.exit(main())

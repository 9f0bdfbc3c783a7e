"""`python -m tests.bench`: every workload, round by round, and the table at the end.

Figures of one round are a pair: ours and the peer's, one right after the other. The table shows
medians, and as ratio the median of the pairs' ratios.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import (
    editor_cost,
    editor_side_by_side,
    parts,
    w1_hop,
    w2_pipeline,
    w3_startup,
    w4_fanout,
    w5_overload,
)
from tests.bench.machine import MEMORY, ROOT, BenchError, scratch
from tests.bench.peer import Peer
from tests.bench.table import Results

Measure = Callable[..., None]
WORKLOADS: dict[str, Measure] = {
    "w1": w1_hop.measure,
    "w2": w2_pipeline.measure,
    "w3": w3_startup.measure,
    "w4": w4_fanout.measure,
    "w5": w5_overload.measure,
    "parts": parts.measure,
}
WITH_A_BROWSER: dict[str, Measure] = {
    "editor": editor_side_by_side.measure,
    "editor-cost": editor_cost.measure,
}
"""Only when asked for by name: the first needs a Chromium."""


def main() -> int:
    """Measure, print the table, write the JSON; 1 if something could not be measured."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    results = Results()
    began = time.monotonic()
    with scratch() as work, scratch(MEMORY) as memory:
        peer = _peer(options, memory, results)
        for number in range(options.rounds):
            for name in options.only:
                print(f"round {number + 1} of {options.rounds}: {name}", flush=True)
                try:
                    (WORKLOADS | WITH_A_BROWSER)[name](results, work, peer, quick=options.quick)
                except BenchError as err:
                    results.troubles.append(f"{name}: {err}")
                    print(f"! {name}: {err}", file=sys.stderr, flush=True)
    print(f"\n{results.table()}\n\n{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    settings = {"rounds": options.rounds, "quick": options.quick, "peer": peer is not None}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results.write(options.json, settings)
    print(f"every figure: {options.json}")
    return 1 if results.troubles else 0


_HELP = (
    f"of {', '.join(WORKLOADS)} (all, if none is named), {', '.join(WITH_A_BROWSER)}; "
    "editor needs playwright, a Chromium, and axe-core in node_modules or where AXE_CORE says; "
    "Node-RED is installed into build/nodered by npm"
)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="WORKLOAD", help=_HELP)
    parser.add_argument("--quick", action="store_true", help="one short round, three minutes")
    parser.add_argument("--rounds", type=int, help="how often (default 3, quick 1)")
    parser.add_argument("--alone", action="store_true", help="flowengine alone, without Node-RED")
    parser.add_argument(
        "--shared",
        type=Path,
        default=ROOT.parent / "shared",
        help="the folder with bench/nodered (default: ../shared)",
    )
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go"
    )
    options = parser.parse_args()
    known = [*WORKLOADS, *WITH_A_BROWSER]
    unknown = set(options.only) - set(known)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    options.only = options.only or list(WORKLOADS)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _peer(options: argparse.Namespace, work: Path, results: Results) -> Peer | None:
    """Node-RED, or None with the reason as a line under the table."""
    if options.alone:
        return None
    try:
        return Peer(options.shared, work)
    except BenchError as err:
        print(f"without Node-RED: {err}", flush=True)
        results.remarks.append(f"without Node-RED: {err}")
        return None


if __name__ == "__main__":
    raise SystemExit(main())

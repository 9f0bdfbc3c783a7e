"""`flowengine` that ends itself, as kill -9 would, at one step of its work on the disk.

    python -m tests.faults.killed_at roll 3 run FOLDER ...     the 3rd step of a segment roll
    python -m tests.faults.killed_at replace 0 fmt FILE        before a file gets its name; 1: after

The steps of a roll are the calls that change the disk from the moment the spool begins its third
segment: the new file, its header (half of it is written first), fsyncs, the cursor's file and name.
Segments are small here, so that a roll comes soon.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from flowengine.cli import main
from flowengine.engine import spool

SEGMENT = 65_536
ROLL = 3
CHANGES = ("open", "write", "truncate", "fsync", "close", "fsync_dir", "rename", "unlink")


def end() -> None:
    """No flush, no goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)


def end_in_roll(step: int) -> None:
    """Patch the spool so that it ends the process at this step of its third roll."""
    disk: Any = spool.OsDisk
    store: Any = spool.Spool
    store.__init__.__kwdefaults__["segment_bytes"] = SEGMENT
    begin, write = store._begin, disk.write
    rolls, steps, lock = 0, 0, threading.Lock()

    def counted_begin(self: Any, *args: Any) -> Any:
        nonlocal rolls
        rolls += 1
        return begin(self, *args)

    def is_due() -> bool:
        nonlocal steps
        with lock:
            if rolls < ROLL:
                return False
            steps += 1
            return steps > step

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def watch(self: Any, *args: Any, **kwargs: Any) -> Any:
            if is_due():
                if call is write:
                    write(self, args[0], args[1][: len(args[1]) // 2])
                end()
            return call(self, *args, **kwargs)

        return watch

    store._begin = counted_begin
    for name in CHANGES:
        setattr(disk, name, watched(getattr(disk, name)))


def end_at_replace(step: int) -> None:
    """Patch the way a file gets its name: it ends the process before (0) or after (1) that."""
    replace = os.replace

    def replaced(*args: Any, **kwargs: Any) -> None:
        if step:
            replace(*args, **kwargs)
        end()

    os.replace = replaced


if __name__ == "__main__":
    _, what, number, *rest = sys.argv
    {"roll": end_in_roll, "replace": end_at_replace}[what](int(number))
    raise SystemExit(main(rest))

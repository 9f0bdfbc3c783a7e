"""Pins: one number out of what passes an output, for a small chart that someone keeps in sight.

A pin is a tap of which only the numbers go to the browser: `flow/<id>/pin/<node.output>/<path>`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

from flowengine.errors import FlowengineError
from flowengine.path import Path, compile_path
from flowengine.web.taps import Sample

LONGEST_UNIT = 12
_UNITS = ("unit", "units", "u")
_MS = 1_000_000


@functools.lru_cache(maxsize=1_024)
def pin_of(kind: str) -> tuple[str, Path] | None:
    """The output and the path that `pin/<output>/<path>` names; None for what is no pin."""
    head, _, rest = kind.partition("/")
    output, _, text = rest.partition("/")
    if head != "pin" or not output:
        return None
    try:
        path = compile_path(text)
    except FlowengineError:
        return None
    return (output, path) if path.root in {"payload", "meta"} else None


def numbers(samples: Sequence[Sample], path: Path, passed: int) -> dict[str, Any]:
    """`{"points": [[ms since 1970, number], ...], "unit", "passed"}` of what was sampled."""
    points, unit = [], ""
    for sample in samples:
        value = path.get_or(sample.message, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            points.append([sample.at // _MS, value])
            unit = unit_of(sample, path)
    return {"points": points, "unit": unit, "passed": passed}


def unit_of(sample: Sample, path: Path) -> str:
    """What the message itself calls the unit: beside the number, or in its meta."""
    payload, meta = sample.message.payload, sample.message.meta
    beside = Path(path.root, path.parts[:-1]).get_or(sample.message, None) if path.parts else None
    for home in (beside, payload, meta):
        for name in _UNITS:
            unit = home.get(name) if isinstance(home, dict) else None
            if isinstance(unit, str) and 0 < len(unit) <= LONGEST_UNIT:
                return unit
    return ""

"""What came out of a flow test compared with what it expects (R14).

Numbers are equal within the tolerance, `{"$any": true}` is equal to anything, `{"$approx": n}`
has a tolerance of its own, a map with `"$partial": true` needs only the keys it names. Lists are
exact in count and order; order counts per key only.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowengine.cases.model import Tolerance
from flowengine.moments import format_duration, parse_duration, parse_time

TOP = ("at", "topic", "key", "time", "payload", "meta")


def compare_messages(
    expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]], tolerance: Tolerance
) -> list[str]:
    """Lines that say what differs, empty if nothing does."""
    queues: dict[str, list[int]] = {}
    for index, message in enumerate(got):
        queues.setdefault(str(message.get("key", "")), []).append(index)
    lines: list[str] = []
    for place, wanted in enumerate(expected):
        heads = sorted(queue[0] for queue in queues.values() if queue)
        match = next((at for at in heads if not any(differences(wanted, got[at], tolerance))), None)
        if match is None:
            lines += _closest(place, wanted, [got[at] for at in heads], tolerance)
            match = heads[0] if heads else None
        if match is not None:
            queue = queues[str(got[match].get("key", ""))]
            queue.remove(match)
    left = sorted(at for queue in queues.values() for at in queue)
    lines += [f"[{at}] came and was not expected: {show(got[at])}" for at in left]
    return lines


def _closest(
    place: int, wanted: Mapping[str, Any], heads: list[Mapping[str, Any]], tolerance: Tolerance
) -> list[str]:
    if not heads:
        return [f"[{place}] did not come: {show(wanted)}"]
    differing = [list(differences(wanted, message, tolerance)) for message in heads]
    return [f"[{place}] {line}" for line in min(differing, key=len)]


def differences(
    wanted: Mapping[str, Any], got: Mapping[str, Any], tolerance: Tolerance
) -> Iterator[str]:
    """What of one message differs; only the keys that are written are compared."""
    for name in TOP:
        if name not in wanted:
            continue
        if name == "at":
            if abs(_ns(wanted["at"]) - got["at"]) > tolerance.time:
                yield f"at: expected {wanted['at']}, got {format_duration(got['at'])}"
        elif name == "time":
            if abs(parse_time(wanted["time"]) - parse_time(got["time"])) > tolerance.time:
                yield f"time: expected {wanted['time']}, got {got['time']}"
        elif name == "meta":
            yield from _differ(name, {**wanted["meta"], "$partial": True}, got["meta"], tolerance)
        else:
            yield from _differ(name, wanted[name], got.get(name), tolerance)


def _ns(text: Any) -> int:
    return parse_duration(text) if isinstance(text, str) else int(text)


def _differ(path: str, wanted: Any, got: Any, tolerance: Tolerance) -> Iterator[str]:
    if isinstance(wanted, dict):
        if wanted.get("$any") is True:
            return
        if "$approx" in wanted:
            own = Tolerance(
                abs=wanted.get("abs", tolerance.abs), rel=wanted.get("rel", tolerance.rel)
            )
            yield from _differ(path, wanted["$approx"], got, own)
            return
        if not isinstance(got, dict):
            yield f"{path}: expected {show(wanted)}, got {show(got)}"
            return
        names = {name for name in wanted if name != "$partial"}
        for name in sorted(names - got.keys()):
            yield f"{path}.{name}: expected {show(wanted[name])}, got nothing"
        if wanted.get("$partial") is not True:
            for name in sorted(got.keys() - names):
                yield f"{path}.{name}: expected nothing, got {show(got[name])}"
        for name in sorted(names & got.keys()):
            yield from _differ(f"{path}.{name}", wanted[name], got[name], tolerance)
    elif isinstance(wanted, list):
        if not isinstance(got, list) or len(wanted) != len(got):
            yield f"{path}: expected {show(wanted)}, got {show(got)}"
            return
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _differ(f"{path}[{index}]", one, other, tolerance)
    elif not _same(wanted, got, tolerance):
        yield f"{path}: expected {show(wanted)}, got {show(got)}"


def _same(wanted: Any, got: Any, tolerance: Tolerance) -> bool:
    numbers = (int, float)
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    if isinstance(wanted, numbers) and isinstance(got, numbers):
        return math.isclose(wanted, got, abs_tol=tolerance.abs, rel_tol=tolerance.rel)
    return type(wanted) is type(got) and bool(wanted == got)


def show(value: Any, limit: int = 200) -> str:
    """A value as a difference line shows it."""
    import json  # noqa: PLC0415  # the standard library's, for people to read

    if isinstance(value, Mapping) and isinstance(value.get("at"), int):
        value = {**value, "at": format_duration(value["at"])}
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"

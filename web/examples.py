"""The flows that ship, as examples to start from; and the blank flow, which runs at once."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from flowengine.flow import Flow, parse_flow
from flowengine.flow.references import references
from flowengine.web.problem import not_found

_FIRST = ("simulated-devices", "cold-room", "edge-pipeline", "pump-vibration", "sensor", "timer")
"""In this order at the top of the list; the others behind them by name."""
_OUTSIDE = ("mqtt", "coap", "http", "influxdb", "modbus")
"""Families that need a far side, and so do not run on their own."""

Places = dict[str, list[int]]


def blank() -> tuple[dict[str, Any], Places]:
    """A tick wired to a debug: something moves as soon as it is deployed."""
    document = {
        "format": 1,
        "title": "New flow",
        "nodes": {
            "tick": {"type": "timer.tick", "config": {"every": "1s", "payload": "tick"}},
            "show": {"type": "debug"},
        },
        "wires": ["tick -> show"],
    }
    return document, {"tick": [40, 40], "show": [280, 40]}


@cache
def _shipped() -> dict[str, tuple[str, Flow]]:
    found = {}
    for item in files("flowengine.flows").iterdir():
        if not item.name.endswith(".json") or item.name.count(".") != 1:
            continue
        name = item.name.removesuffix(".json")
        text = item.read_text(encoding="utf-8")
        flow, _ = parse_flow(text, flow_id=name)
        if flow is not None and flow.nodes:
            found[name] = (text, flow)
    return found


def examples() -> list[dict[str, Any]]:
    """What ships, the telling ones first."""
    known = _shipped()
    first = [name for name in _FIRST if name in known]
    rest = sorted(set(known) - set(first))
    return [_told(name, known[name][1]) for name in [*first, *rest]]


def _told(name: str, flow: Flow) -> dict[str, Any]:
    types = sorted({spec.type for spec in flow.nodes.values()})
    links = sorted({spec.type for spec in flow.connections.values()})
    needs = {
        kind: sorted({own for found, own, _ in references(flow) if found == kind})
        for kind in ("secret", "env")
    }
    families = {kind.partition(".")[0] for kind in [*types, *links]}
    return {
        "name": name,
        "title": flow.title or name,
        "doc": flow.doc or "",
        "nodes": len(flow.nodes),
        "types": types,
        "needs": {
            "broker": "mqtt.broker" in links,
            "secrets": needs["secret"],
            "env": needs["env"],
        },
        "offline": not families & set(_OUTSIDE) and not needs["secret"],
    }


def example(name: str) -> dict[str, Any]:
    """One of them with its layout; 404 for none."""
    found = _shipped().get(name)
    if found is None:
        raise not_found(f'example "{name}"')
    beside = files("flowengine.flows") / f"{name}.layout.json"
    places = json.loads(beside.read_text(encoding="utf-8"))["nodes"] if beside.is_file() else {}
    return {"name": name, "document": json.loads(found[0]), "layout": places}

"""How node types are called and sorted for people: title, category, and the setting on the card."""

from collections.abc import Mapping
from typing import Any

from flowengine.docs import palette
from flowengine.registry import Registry
from flowengine.web.rights import powers_of

_WORDS = {
    "mqtt": "MQTT",
    "coap": "CoAP",
    "http": "HTTP",
    "csv": "CSV",
    "json": "JSON",
    "cbor": "CBOR",
    "senml": "SenML",
    "influxdb": "InfluxDB",
    "modbus": "Modbus",
    "gpio": "GPIO",
    "i2c": "I²C",
    "lorawan": "LoRaWAN",
    "opcua": "OPC UA",
    "sql": "SQL",
    "js": "JavaScript",
    "python": "Python",
}
_CATEGORIES = {
    "actuator": "output",
    "coap": "network",
    "debug": "debug",
    "comment": "debug",
    "catch": "flow",
    "status": "flow",
    "queue": "flow",
    "delay": "flow",
    "throttle": "flow",
    "debounce": "flow",
    "file": "storage",
    "filter": "logic",
    "http": "network",
    "influxdb": "storage",
    "mqtt": "network",
    "route": "logic",
    "sensor": "source",
    "series": "storage",
    "threshold": "logic",
    "timer": "source",
}
_SHOWN = (
    "topic",
    "path",
    "uri",
    "every",
    "expression",
    "series",
    "measurement",
    "query",
    "when",
    "above",
    "below",
    "min",
    "max",
    "field",
    "for",
    "count",
    "host",
    "url",
    "text",
    "keep",
    "from",
    "factor",
    "profile",
    "key",
)
ALONE = frozenset({"source"})


def types_told(registry: Registry) -> dict[str, Any]:
    """Every type as the palette shows it, and the families that cannot be used."""
    _, broken = registry.everything()
    return {"types": [told(entry) for entry in palette(registry)], "broken": broken}


def told(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the palette with what people need besides."""
    name = str(entry["name"])
    return {
        **entry,
        "title": title(name),
        "category": category(name, str(entry["kind"])),
        "shows": shown_key(entry),
        "powers": list(powers_of(name)),
        "runs_alone": entry["kind"] in ALONE,
    }


def shortly(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry as the editor begins with it: without `doc`, of the schema the required fields."""
    schema = entry.get("config") or {}
    required = schema.get("required", [])
    fields = schema.get("properties", {})
    kept = ("default", "examples", "format")
    needed = {
        name: {key: fields[name][key] for key in kept if key in fields[name]}
        for name in required
        if name in fields
    }
    config = {"required": required, "properties": needed} if required else None
    return {**{k: v for k, v in entry.items() if k != "doc"}, "config": config}


def title(name: str) -> str:
    """`mqtt.in` as "MQTT in"."""
    words = [_WORDS.get(word, word) for word in name.replace("_", ".").split(".")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def category(name: str, kind: str) -> str:
    """Where a type stands in the palette."""
    if kind == "connection":
        return "connection"
    known = _CATEGORIES.get(name.partition(".")[0])
    if known is not None:
        return known
    return {"source": "source", "sink": "output", "note": "debug"}.get(kind, "function")


def shown_key(entry: Mapping[str, Any]) -> str | None:
    """The one setting that matters most: a required one that is telling, else the first telling."""
    schema = entry.get("config") or {}
    keys = list(schema.get("properties", {}))
    required = [key for key in schema.get("required", []) if key not in entry["connections"]]
    for names in (required, keys):
        for key in _SHOWN:
            if key in names:
                return key
    return required[0] if required else None

"""MQTT topics that were seen here: by an embedded broker, and on the outputs people look at."""

from collections.abc import Callable, Mapping
from typing import Any

from flowengine.content import decode
from flowengine.message import rfc3339
from flowengine.web.flowwatch import FlowWatch
from flowengine.web.preview import short
from flowengine.web.redact import Redactor

MOST = 500
LONGEST = 120

Broker = Callable[[], dict[str, tuple[bytes, float]]]


def seen(
    wanted: str, broker: Broker | None, watches: Mapping[str, FlowWatch], redactor: Redactor
) -> dict[str, Any]:
    """The topics that match a filter, by name; at most 500."""
    found: dict[str, dict[str, Any]] = {}
    for watch in watches.values():
        for told in watch.values.entries.values():
            if told["topic"]:
                found[told["topic"]] = {"last": told["text"], "at": told["at"]}
    for topic, (payload, at) in (broker() if broker is not None else {}).items():
        text = redactor.clean(short(decode(payload[:4_000], "auto", None), LONGEST))
        found[topic] = {"last": text, "at": rfc3339(int(at * 1e3) * 1_000_000)}
    named = [{"topic": name, **found[name]} for name in sorted(found) if matches(wanted, name)]
    return {"topics": named[:MOST], "watching": broker is not None}


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic fits a filter (MQTT 5.0 §4.7)."""
    levels, given = wanted.split("/"), topic.split("/")
    if topic.startswith("$") and levels[0] in {"+", "#"}:
        return False
    for number, level in enumerate(levels):
        if level == "#":
            return True
        if number >= len(given) or level not in {"+", given[number]}:
            return False
    return len(levels) == len(given)

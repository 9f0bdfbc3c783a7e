"""MQTT topics seen here: by an embedded broker, by sources of flows, on outputs people look at."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowengine.content import decode
from flowengine.message import rfc3339
from flowengine.web.preview import short

if TYPE_CHECKING:
    from flowengine.web.services import Services

MOST = 500
LONGEST = 120

Broker = Callable[[], dict[str, tuple[bytes, float]]]


def seen(wanted: str, services: "Services") -> dict[str, Any]:
    """The topics that match a filter, by name; at most 500.

    Each has `flow` and `node` of the source that hears it, if one does. `watching`: whether all
    that is published can be seen, because the broker is ours.
    """
    broker, redactor = services.settings.topics, services.redactor
    found: dict[str, dict[str, Any]] = {}
    for watch in services.hub.watches.values():
        for told in watch.values.entries.values():
            if told["topic"]:
                found[told["topic"]] = {"last": told["text"], "at": told["at"]}
    found |= services.topics.topics
    for topic, (payload, at) in (broker() if broker is not None else {}).items():
        text = redactor.clean(short(decode(payload[:4_000], "auto", None), LONGEST))
        heard = services.topics.topics.get(topic, {})
        found[topic] = {**heard, "last": text, "at": rfc3339(int(at * 1e3) * 1_000_000)}
    blank = {"flow": None, "node": None}
    named = [
        {"topic": name, **blank, **found[name]} for name in sorted(found) if matches(wanted, name)
    ]
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

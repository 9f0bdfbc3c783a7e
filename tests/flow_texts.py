"""Flows by chance, for the laws of loading and formatting."""

import json
from typing import Any

from hypothesis import strategies as st

SLUGS = st.from_regex(r"[a-z][a-z0-9-]{0,6}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = TEXTS.filter(lambda text: not text.startswith("$"))  # "$EN" is a slip of "$env"
NOTES = st.dictionaries(st.from_regex(r"x-[a-z]{0,3}", fullmatch=True), TEXTS, max_size=2)
DOCS = TEXTS | st.lists(TEXTS, max_size=3)
NUMBERS = (
    st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 1e22, 1e16, 5e-324, 1.7976931348623157e308, 2**53 + 1, 8.0])
)
REFERENCES = st.sampled_from(
    [
        {"$param": "limit"},
        {"$secret": "site-mqtt"},
        {"default": "a", "$env": "HOST"},
        {"$env": "PORT", "default": [1, {"a": 2}]},
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | REFERENCES | st.lists(NUMBERS, max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["threshold", "mqtt.in", "compute", "no.such.type"])
CONFIGS = st.dictionaries(
    st.sampled_from(["above", "below", "set", "topic", "x-why", "z", "a"]), VALUES, max_size=5
)


def _with(required: dict[str, Any], **optional: Any) -> Any:
    notes = {"x-z": VALUES, "x-a": VALUES}
    return st.fixed_dictionaries(required, optional={**optional, **notes})


NODES = _with({"type": KINDS}, title=TEXTS, doc=DOCS, disabled=st.booleans(), config=CONFIGS)
CONNECTIONS = _with({"type": KINDS}, title=TEXTS, doc=DOCS, config=CONFIGS)
PARAMS = _with({"type": st.just("number")}, default=NUMBERS, unit=TEXTS, doc=DOCS)
ENDS = st.tuples(SLUGS, st.sampled_from(["", ".out", ".raised", ".error"]), SLUGS)
WIRES = ENDS.map(lambda ends: f"{ends[0]}{ends[1]} -> {ends[2]}") | ENDS.flatmap(
    lambda ends: _with(
        {"from": st.just(ends[0] + ends[1]), "to": st.just(ends[2]), "capacity": st.just(10)},
        when_full=st.sampled_from(["block", "drop-oldest"]),
        bytes=st.just("64KB"),
        doc=TEXTS,
    )
)
PLACES = st.tuples(st.integers(-99, 9999), st.integers(-99, 9999)).map(list)


def _shuffled(top: dict[str, Any]) -> Any:
    return st.permutations(list(top)).map(lambda keys: {key: top[key] for key in keys})


FLOWS = (
    st.tuples(
        _with(
            {"format": st.just(1), "nodes": st.dictionaries(SLUGS, NODES, max_size=4)},
            title=TEXTS,
            doc=DOCS,
            params=st.dictionaries(SLUGS, PARAMS, max_size=2),
            connections=st.dictionaries(SLUGS, CONNECTIONS, max_size=2),
            wires=st.lists(WIRES, max_size=5),
            layout=st.dictionaries(SLUGS, PLACES, max_size=3),
            **{"$schema": st.just("./flow.schema.json")},
        ),
        NOTES,
    )
    .map(lambda parts: parts[0] | parts[1])
    .flatmap(_shuffled)
)
"""Flow documents without a structural fault, keys in any order."""

FLOW_TEXTS = st.tuples(FLOWS, st.booleans(), st.sampled_from([None, 1, 4])).map(
    lambda given: json.dumps(given[0], ensure_ascii=given[1], indent=given[2])
)

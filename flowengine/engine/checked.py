"""Flows that were found whole, remembered, so that a restart need not look again.

Checking a flow costs more than running it does at the start: networkx alone is 70 ms and 10 MB, and
a flow does not change between two starts of a box. The record (`checked.json` in the data folder)
says: this text with these params was found whole by this very code, with these warnings. Anything
that could make the answer another one is part of the key; when it differs, the flow is checked.
Configs are validated at every start all the same, for the plan is made of them.
"""

import contextlib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowengine.errors import Finding
from flowengine.flow import Flow
from flowengine.registry import PACKAGE, Registry

FORMAT = 1


class _Record(msgspec.Struct):
    """The file: what it rests on, families with one owner, and each flow's key and warnings."""

    ground: str
    families: list[str]
    flows: dict[str, tuple[str, list[Finding]]]


class CheckedFlows:
    """The record of one data folder; a file that cannot be read or written is done without."""

    def __init__(self, data: Path, registry: Registry) -> None:
        self._path = data / "checked.json"
        self._registry = registry
        self._ground = _ground()
        self._flows: dict[str, tuple[str, list[Finding]]] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):
            record = msgspec.json.decode(self._path.read_bytes(), type=_Record)
            if record.ground == self._ground:
                self._flows = record.flows
                registry.trust(record.families)

    def check(
        self, flows: Sequence[Flow], values: Mapping[str, Mapping[str, Any]]
    ) -> list[Finding]:
        """What `check_flows` finds, from the record if every flow is as it was."""
        keys = {flow.id: _key(flow, values.get(flow.id, {})) for flow in flows}
        if len(keys) == len(flows) and all(self._key_of(name) == keys[name] for name in keys):
            return [finding for name in keys for finding in self._flows[name][1]]
        from flowengine.check import check_flows  # noqa: PLC0415  # networkx: only to check

        found = check_flows(flows, self._registry, values)
        self._note(keys, found)
        return found

    def _key_of(self, flow_id: str) -> str | None:
        known = self._flows.get(flow_id)
        return known[0] if known else None

    def _note(self, keys: Mapping[str, str], found: Iterable[Finding]) -> None:
        """Write down the flows without a fault."""
        by_flow: dict[str, list[Finding]] = {name: [] for name in keys}
        for finding in found:
            by_flow.setdefault(finding.where.flow or "", []).append(finding)
        self._flows = {
            name: (key, by_flow[name])
            for name, key in keys.items()
            if all(finding.severity != "error" for finding in by_flow[name])
        }
        record = _Record(self._ground, self._registry.ours(), self._flows)
        part = self._path.with_suffix(".part")
        with contextlib.suppress(OSError):
            part.write_bytes(msgspec.json.encode(record))
            part.replace(self._path)


def _key(flow: Flow, values: Mapping[str, Any]) -> str:
    """What the answer for one flow depends on: its texts, its place, the params given to it."""
    shared = flow.shared_from
    texts = [
        flow.id,
        flow.file or "",
        flow.document.text if flow.document else "",
        shared.document.text if shared is not None and shared.document else "",
        msgspec.json.encode(values, order="sorted").decode(),
    ]
    return _digest(texts)


def _ground() -> str:
    """What all answers depend on: this code, this Python, and every package that is installed."""
    texts = [f"{FORMAT} {sys.version}"]
    nodes = importlib.util.find_spec(PACKAGE)
    inside = nodes.submodule_search_locations if nodes is not None else None
    for top in (str(Path(__file__).parent.parent), *(inside or ())):
        for folder, _, _ in os.walk(top):
            texts += _files(folder, ".py")
    for folder in sys.path:
        texts += _files(folder or ".", ".dist-info", ".egg-info")
    return _digest(texts)


def _files(folder: str, *endings: str) -> list[str]:
    """Names and times of change of the files in a folder that end so."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(
            f"{entry.path} {entry.stat().st_mtime_ns}"
            for entry in entries
            if entry.name.endswith(endings)
        )
    return []


def _digest(texts: Iterable[str]) -> str:
    made = hashlib.blake2b(digest_size=16)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        made.update(len(raw).to_bytes(8, "big") + raw)
    return made.hexdigest()

"""From what a browser sends to a flow: read, put into canonical form, checked.

With this site's values of params. Answers are kept: the same draft is asked about again and again.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flowengine.check import check_flow, in_file_order
from flowengine.diff import FlowDiff, compare_flows
from flowengine.errors import Finding, FindingsError, UsageError
from flowengine.flow import Flow, parse_flow
from flowengine.flow.json_lines import to_lines
from flowengine.flow.params import load_params, read_params
from flowengine.registry import REGISTRY
from flowengine.web.drafts import short_digest
from flowengine.web.settings import Settings
from flowengine.web.shelf import Shelf, text_of

MUST_NOT_STAND = frozenset({"literal-secret"})
"""Findings with which a draft is not kept, however unfinished it may otherwise be (S-50)."""
_KEPT = 400

T = TypeVar("T")


class Reading:
    """Reads and checks the flows of one folder."""

    def __init__(self, shelf: Shelf, settings: Settings) -> None:
        self.shelf = shelf
        self.settings = settings
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def canonical(self, flow_id: str, document: Mapping[str, Any]) -> tuple[str, Flow]:
        """The canonical text of a document, and the flow; FindingsError for what has no text."""
        flow, findings = self._parse(flow_id, to_lines(dict(document)))
        # What the canonical form would drop, or make up, is not let pass as if it had been said.
        is_strange = any(
            f.slug == "unknown-key"
            or (f.slug == "missing-field" and f.where.node is None and f.where.connection is None)
            for f in findings
        )
        if flow is None or not flow.whole or is_strange:
            raise FindingsError([f for f in findings if f.severity == "error"] or findings)
        text = text_of(flow)
        secret = [f for f in self.check(flow_id, text) if f.slug in MUST_NOT_STAND]
        if secret:
            raise FindingsError(secret)
        return text, flow

    def flow(self, flow_id: str, text: str) -> Flow | None:
        """The flow in a text; None if there is no telling what it means."""
        return self._once("flow", flow_id, text, lambda: self._parse(flow_id, text)[0])

    def check(self, flow_id: str, text: str) -> list[Finding]:
        """Everything that `flowengine check` would find in a text."""

        def look() -> list[Finding]:
            flow, found = self._parse(flow_id, text)
            if flow is None:
                return found
            return in_file_order([*found, *check_flow(flow, REGISTRY, self.values(flow))])

        return self._once("check", flow_id, text, look)

    def diff(self, flow_id: str, old: str, new: str) -> FlowDiff:
        """What changed in meaning between two texts; `""` is a version without the flow."""

        def look() -> FlowDiff:
            sides = [self.flow(flow_id, text) if text else None for text in (old, new)]
            return compare_flows(sides[0], sides[1], REGISTRY)

        return self._once("diff", flow_id, short_digest(old) + new, look)

    def values(self, flow: Flow) -> dict[str, Any]:
        """This site's values of the flow's params: those that the flow has, and that fit."""
        file = self.settings.params_file
        found: dict[str, Any] = {}
        for name, value in (load_params(file) if file is not None else {}).items():
            found |= self._value({name: value}, [], flow)
        for option in self.settings.sets:
            found |= self._value({}, [option], flow)
        return found

    @staticmethod
    def _value(given: Mapping[str, Any], sets: list[str], flow: Flow) -> dict[str, Any]:
        try:
            return read_params(given, sets, [flow]).get(flow.id, {})
        except UsageError:
            return {}  # another flow's, or no longer fitting: check says what is wrong

    def _parse(self, flow_id: str, text: str) -> tuple[Flow | None, list[Finding]]:
        shared, more = self.shelf.shared()
        file = str(self.shelf.path(flow_id))
        flow, findings = parse_flow(text, flow_id=flow_id, file=file, shared=shared)
        return flow, [*more, *findings]

    def _once(self, what: str, flow_id: str, text: str, look: Callable[[], T]) -> T:
        key = (what, flow_id, text, self.shelf.shared_stamp)
        kept = self._kept
        if key in kept:
            found: T = kept[key]
            return found
        found = kept[key] = look()
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        return found


def document_of(text: str) -> dict[str, Any] | None:
    """The JSON object in a text, None if there is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

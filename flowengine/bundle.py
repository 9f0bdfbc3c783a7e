"""Bundles: a flow with its layout, its tests and the connections it uses as one file, and back."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowengine.cases import load_cases
from flowengine.check.types import book_of
from flowengine.errors import Finding, FindingsError
from flowengine.flow import Flow, cases_path, layout_path, load_flow, load_layout
from flowengine.flow.canonical import canonical, canonical_cases, canonical_layout
from flowengine.registry import REGISTRY


def bundle(file: Path) -> str:
    """The text of a flow with all that stands beside it; raises FindingsError for one with faults.

    Connections that it takes from the folder's `connections.json` become its own. Secrets stay
    names: a flow file cannot hold their values.
    """
    flow, findings = load_flow(file)
    places, more = load_layout(layout_path(file))
    findings += more
    tests = None if flow is None else flow.tests
    if cases_path(file).exists():
        cases, more = load_cases(cases_path(file))
        findings += more
        tests = None if cases is None else cases.raw.get("tests")
    if flow is None or not flow.whole or errors_of(findings):
        raise FindingsError(errors_of(findings))
    return bundled(flow, places, tests)


def bundled(flow: Flow, places: Mapping[str, tuple[int, int]], tests: Sequence[Any] | None) -> str:
    """The text of a whole flow with its layout and tests."""
    used = _connections_used(flow)
    whole = msgspec.structs.replace(
        flow,
        connections={n: spec for n, spec in flow.connections.items() if n in used},
        shared=set(),
        layout={n: place for n, place in {**flow.layout, **places}.items() if n in flow.nodes},
        tests=list(tests) if tests else None,
    )
    return _text(whole)


def _connections_used(flow: Flow) -> set[str]:
    """The flow's own connections, and the shared ones whose id stands in a node's config."""
    named = set(_texts([spec.config for spec in flow.nodes.values()]))
    return {name for name in flow.connections if name not in flow.shared or name in named}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _text(flow: Flow) -> str:
    book = book_of(REGISTRY)
    return canonical(flow, model_order=book.schema, first_output=book.first_output)


def unbundled(flow: Flow, path: Path) -> dict[Path, str]:
    """The files of a bundle by their places: the flow, and its layout and tests if it has any."""
    bare = msgspec.structs.replace(flow, layout={}, tests=None)
    found = {path: _text(bare)}
    if flow.layout:
        found[layout_path(path)] = canonical_layout(flow.layout, set(flow.nodes))
    if flow.tests:
        found[cases_path(path)] = canonical_cases({"format": 1, "tests": flow.tests})
    return found


def errors_of(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are errors."""
    return [finding for finding in findings if finding.severity == "error"]

"""Every finding of a flow, all at once: the one validator behind the command line and the editor.

    parse_flow --> check_flow --> run
    structure      types, configs, references, wires, cycles, advice

Nothing is opened and nothing is run. What a box lacks (a secret, an environment variable, a value
for a required param) is no finding: another box has it. What such a value leads to is not judged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flowengine.check.advice import advise
from flowengine.check.nodes import Findings, check_nodes
from flowengine.check.types import book_of, field_type_of
from flowengine.check.wires import check_wires
from flowengine.errors import Finding
from flowengine.flow import find_same_ids
from flowengine.flow.model import Flow
from flowengine.flow.references import resolve
from flowengine.registry import Registry

__all__ = ["check_flow", "check_flows", "field_type_of", "in_file_order"]


def check_flow(
    flow: Flow, registry: Registry, params: Mapping[str, Any] | None = None
) -> list[Finding]:
    """What is wrong with one flow beyond its structure, in order of the file.

    `params` are a site's values over the defaults. Structural findings come from loading.
    """
    book = book_of(registry)
    findings = Findings(flow)
    resolved = resolve(
        flow,
        params=params or {},
        env={},
        secrets=lambda _name: None,
        field_type=book.field_type,
    )
    nodes = check_nodes(flow, book, resolved, findings)
    check_wires(flow, nodes, findings)
    advise(flow, book, nodes, resolved, findings)
    return in_file_order(findings.list, [flow.file])


def check_flows(
    flows: Sequence[Flow], registry: Registry, values: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    """What is wrong with several flows that are to run together.

    `values` are the param values of each flow by its id (`references.read_params`).
    """
    found = find_same_ids(flows)
    for flow in flows:
        found += check_flow(flow, registry, values.get(flow.id))
    return in_file_order(found, [flow.file for flow in flows])


def in_file_order(findings: Sequence[Finding], files: Sequence[str | None] = ()) -> list[Finding]:
    """Findings by file, then position; `files` come in their order, others behind them."""
    rank = {name: index for index, name in reversed(list(enumerate(files)))}

    def place(finding: Finding) -> tuple[int, str, int, int]:
        where = finding.where
        place = rank.get(where.file, len(rank))
        return place, where.file or "", where.line or 0, where.column or 0

    return sorted(findings, key=place)

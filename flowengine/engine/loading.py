"""Flow files made into plans: loaded, checked, their references resolved with the box's values.

A flow with an error is left out, with its findings, and the others run (R13).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowengine.check.types import field_type_of
from flowengine.engine.checked import CheckedFlows
from flowengine.engine.plan import Plan, make_plan
from flowengine.errors import Finding, FindingsError, StartError
from flowengine.flow import Flow, load_flow
from flowengine.flow.references import Resolved, load_params, read_params, resolve
from flowengine.registry import REGISTRY

SecretOf = Callable[[str], str | None]


class Loaded(msgspec.Struct, kw_only=True):
    """Flow files as they are now: plans that can run, and findings of those that cannot."""

    plans: list[Plan]
    refused: list[str]
    findings: list[Finding]


def load_plans(
    files: Sequence[Path],
    *,
    data: Path,
    secrets: SecretOf,
    params_file: Path | None = None,
    sets: Sequence[str] = (),
) -> Loaded:
    """Load, check and plan every flow; raises StartError for a value that is not there."""
    flows: list[Flow] = []
    findings: list[Finding] = []
    refused: list[str] = []
    for file in files:
        flow, found = load_flow(file)
        findings += found
        if flow is None or any(f.severity == "error" for f in found):
            refused.append(file.stem)
        else:
            flows.append(flow)
    file_values = load_params(params_file) if params_file is not None else {}
    values = read_params(file_values, sets, flows)
    checked = CheckedFlows(data, REGISTRY).check(flows, values)
    findings += checked
    bad = {f.where.flow for f in checked if f.severity == "error"}
    plans: list[Plan] = []
    for flow in flows:
        if flow.id in bad:
            refused.append(flow.id)
            continue
        try:
            plans.append(plan_of(flow, values.get(flow.id, {}), secrets))
        except FindingsError as err:
            findings += err.findings
            refused.append(flow.id)
    return Loaded(plans=plans, refused=refused, findings=findings)


def plan_of(flow: Flow, values: Mapping[str, Any], secrets: SecretOf) -> Plan:
    """The plan of one checked flow; StartError names a secret or variable without a value (R13)."""
    resolved = resolve_flow(flow, values, secrets)
    if resolved.findings:
        raise FindingsError(resolved.findings)
    if resolved.missing:
        lines = []
        for kind, name, where in resolved.missing:
            mend = {
                "secret": f"Store it: flowengine secrets set {name}",
                "env": f"Set the environment variable {name}.",
                "param": f"Give it with --set {flow.id}.{name}=VALUE.",
            }[kind]
            lines.append(f'{where}\n  the {kind} "{name}" has no value.\n  {mend}')
        raise StartError("\n".join(lines))
    folder = str(Path(flow.file).parent) if flow.file else "."
    return make_plan(flow, resolved, REGISTRY, folder)


def resolve_flow(flow: Flow, values: Mapping[str, Any], secrets: SecretOf) -> Resolved:
    """A flow's configs with this box's values in place of its references."""
    return resolve(
        flow,
        params=values,
        env=os.environ,
        secrets=secrets,
        field_type=field_type_of(REGISTRY),
    )

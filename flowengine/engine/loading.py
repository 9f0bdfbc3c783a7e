"""Flow files made into plans: loaded, checked, their references resolved with the box's values.

A flow with an error is left out, with its findings, and the others run (R13).
"""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowengine.check.types import field_type_of
from flowengine.engine.checked import CheckedFlows
from flowengine.engine.plan import Plan, make_plan
from flowengine.errors import Finding, FindingsError, StartError, UsageError
from flowengine.flow import Flow, load_flow
from flowengine.flow.references import Missing, Resolved, load_params, read_params, resolve
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
    one_by_one: bool = False,
) -> Loaded:
    """Load, check and plan every flow; raises StartError for a value that is not there.

    `one_by_one`, as the editor's server wants it: a flow without a value is refused like one with
    an error, and a value given to a flow that cannot be read stops none of the others.
    """
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
    if one_by_one and refused:
        values = _fitting_params(file_values, sets, flows)
    else:
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
        except StartError:
            if not one_by_one:
                raise
            findings += lacking(flow, values.get(flow.id, {}), secrets)
            refused.append(flow.id)
    return Loaded(plans=plans, refused=refused, findings=findings)


def plan_of(flow: Flow, values: Mapping[str, Any], secrets: SecretOf) -> Plan:
    """The plan of one checked flow; StartError names a secret or variable without a value (R13)."""
    resolved = resolve_flow(flow, values, secrets)
    if resolved.findings:
        raise FindingsError(resolved.findings)
    if resolved.missing:
        raise StartError("\n".join(str(_no_value(flow.id, lack)) for lack in resolved.missing))
    folder = str(Path(flow.file).parent) if flow.file else "."
    return make_plan(flow, resolved, REGISTRY, folder)


def lacking(flow: Flow, values: Mapping[str, Any], secrets: SecretOf) -> list[Finding]:
    """A finding for each value that a flow needs and this box has not."""
    return [_no_value(flow.id, lack) for lack in resolve_flow(flow, values, secrets).missing]


def _no_value(flow: str, lack: Missing) -> Finding:
    mend = {
        "secret": f"Store it: flowengine secrets set {lack.name}",
        "env": f"Set the environment variable {lack.name}.",
        "param": f"Give it with --set {flow}.{lack.name}=VALUE.",
    }[lack.kind]
    what = f'the {lack.kind} "{lack.name}" has no value.'
    return Finding(slug=f"missing-{lack.kind}", what=what, mend=mend, where=lack.where)


def _fitting_params(
    file_values: Mapping[str, Any], sets: Sequence[str], flows: Sequence[Flow]
) -> dict[str, dict[str, Any]]:
    """The values that one of these flows takes; the others may be those of a flow not read."""
    found: dict[str, dict[str, Any]] = {}
    given = [({name: value}, ()) for name, value in file_values.items()]
    for values, options in [*given, *(({}, (option,)) for option in sets)]:
        with contextlib.suppress(UsageError):
            for flow_id, fit in read_params(values, options, flows).items():
                found.setdefault(flow_id, {}).update(fit)
    return found


def resolve_flow(flow: Flow, values: Mapping[str, Any], secrets: SecretOf) -> Resolved:
    """A flow's configs with this box's values in place of its references."""
    return resolve(
        flow,
        params=values,
        env=os.environ,
        secrets=secrets,
        field_type=field_type_of(REGISTRY),
    )

"""Routes of types and forms, tests, secrets, bundles, examples, topics and series."""

import asyncio
import functools
from typing import Any

from starlette.responses import Response

from flowengine import bundle as bundles
from flowengine.check.types import book_of
from flowengine.errors import FindingsError
from flowengine.flow import parse_flow
from flowengine.flow.canonical import canonical_cases
from flowengine.flow.references import references
from flowengine.registry import REGISTRY
from flowengine.schema import flow_schema
from flowengine.secrets import SecretsError
from flowengine.web import cases, forms, models, topics
from flowengine.web.api_flows import tagged, whole
from flowengine.web.api_try import params_of
from flowengine.web.api_work import running
from flowengine.web.deploys import power_is_off
from flowengine.web.door import Call, Routes, bad_request
from flowengine.web.drafts import short_digest
from flowengine.web.examples import example, examples
from flowengine.web.problem import Problem, check_json, not_found, to_json
from flowengine.web.reading import document_of
from flowengine.web.rights import powered
from flowengine.web.typenames import shortly, types_told

routes = Routes()


@functools.cache
def _types(*, is_short: bool) -> tuple[bytes, str]:
    told = types_told(REGISTRY)
    if is_short:
        told["types"] = [shortly(entry) for entry in told["types"]]
    text = to_json(told)
    return text, f'"{short_digest(text.decode())}"'


@routes.add("GET", "/api/v1/node-types", "view", query=models.TypesQuery)
async def node_types(call: Call) -> Response:
    """List every node and connection type with its config's schema; with short=1 no texts."""
    text, etag = await asyncio.to_thread(_types, is_short=bool(call.query.short))
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if call.request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(text, headers=headers, media_type="application/json")


@routes.add("GET", "/api/v1/node-types/{type}/form", "view")
async def form(call: Call) -> dict[str, Any]:
    """Give the form of a type: its fields, each with the kind of its value."""
    return await asyncio.to_thread(forms.form, call.path["type"])


@routes.add("POST", "/api/v1/node-types/{type}/form", "view", body=models.FormValues)
async def try_form(call: Call) -> dict[str, Any]:
    """Try a config: its faults by field, and the outputs it gives."""
    name, body = call.path["type"], call.body
    params: dict[str, Any] = {}
    if body.flow is not None:
        params = await params_of(call, body.flow)
    found = await asyncio.to_thread(forms.form, name)
    judged = await asyncio.to_thread(forms.judged, name, body.config, params)
    return {"form": found, **judged}


@routes.add("GET", "/api/v1/schema/flow.schema.json", "view")
async def schema(_call: Call) -> dict[str, Any]:
    """Give the JSON Schema of flow files, for IDEs."""
    return await asyncio.to_thread(flow_schema, REGISTRY)


# -- tests


@routes.add("GET", "/api/v1/flows/{id}/tests", "view")
async def tests(call: Call) -> Response:
    """Give the test file of a flow."""
    text = await _cases(call)
    return tagged({"document": None if text is None else document_of(text)}, _tag(text))


async def _cases(call: Call) -> str | None:
    workshop, flow_id = call.services.workshop, call.path["id"]
    await asyncio.to_thread(workshop.draft, flow_id)
    return await asyncio.to_thread(workshop.shelf.cases, flow_id)


def _tag(text: str | None) -> str:
    return f'"{short_digest(text or "")}"'


@routes.add("PUT", "/api/v1/flows/{id}/tests", "edit", body=models.CaseDocument)
async def put_tests(call: Call) -> Response:
    """Write the test file of a flow."""
    workshop, flow_id = call.services.workshop, call.path["id"]
    async with workshop.locks[flow_id]:
        old = await _cases(call)
        if call.etag not in {_tag(old), "*"}:
            raise Problem(
                412,
                "draft-changed",
                "Someone changed the tests.",
                "Read them again.",
                etag=_tag(old),
            )
        text = await asyncio.to_thread(cases.canonical, call.body.document)
        await asyncio.to_thread(workshop.shelf.write_cases, flow_id, text)
    await call.note("tests changed", flow_id)
    return tagged({"document": document_of(text)}, _tag(text))


@routes.add("POST", "/api/v1/flows/{id}/tests/run", "edit", body=models.RunTests)
async def run_tests(call: Call) -> dict[str, Any]:
    """Run the tests with a told clock and everything outside replaced."""
    workshop, flow_id = call.services.workshop, call.path["id"]
    text = await _cases(call)
    draft = await asyncio.to_thread(workshop.draft, flow_id)
    flow_text = draft.text
    if call.body.document is not None:
        flow_text, _ = await asyncio.to_thread(
            workshop.reading.canonical, flow_id, call.body.document
        )
    flow = await asyncio.to_thread(workshop.reading.flow, flow_id, flow_text)
    found = await asyncio.to_thread(workshop.reading.check, flow_id, flow_text)
    if flow is None or any(finding.severity == "error" for finding in found):
        raise FindingsError(found)
    off = [e for e in powered(flow, call.services.settings.powers) if not e["allowed"]]
    if off:
        raise power_is_off(off)
    async with call.services.testing:
        return await asyncio.to_thread(cases.run, flow, text, call.body.names)


@routes.add("POST", "/api/v1/flows/{id}/tests/capture", "edit", body=models.Capture)
async def capture(call: Call) -> dict[str, Any]:
    """Listen for a while, and make a test of what came in and what that gives."""
    at_work, workshop = running(call), call.services.workshop
    # What needs the clock alone runs in the test by itself: as an input it would come twice.
    sources = [
        name
        for name, node in at_work.nodes.items()
        if node.planned.type.kind == "source" and not getattr(node.thing, "runs_in_tests", False)
    ]
    sinks = [n for n, r in at_work.nodes.items() if r.planned.type.kind == "sink"]
    inputs = sources if call.body.inputs is None else call.body.inputs
    inputs = [name for name in inputs if name in sources or name not in at_work.nodes]
    if strange := [name for name in inputs if name not in at_work.nodes]:
        raise bad_request(f'no node "{strange[0]}" runs.', ("inputs",))
    recorder = cases.Recorder()
    taps = []
    for name in inputs:
        step = at_work.nodes[name].step
        if step is not None:
            tap = recorder.tap(name)
            step.first.taps.append(tap)
            taps.append((step.first.taps, tap))
    try:
        await asyncio.sleep(call.body.seconds)
    finally:
        for home, tap in taps:
            if tap in home:
                home.remove(tap)
    draft = await asyncio.to_thread(workshop.draft, at_work.id)
    flow = await asyncio.to_thread(workshop.reading.flow, at_work.id, draft.base or draft.text)
    if flow is None:
        raise Problem(409, "not-running", "What runs cannot be read.", "Deploy it again.")
    params = await asyncio.to_thread(workshop.reading.values, flow)
    async with call.services.testing:
        made = await asyncio.to_thread(
            cases.captured,
            flow,
            call.body.name,
            recorder.inputs,
            sinks if call.body.outputs is None else call.body.outputs,
            params=params,
            seconds=call.body.seconds,
        )
    return {"test": made}


# -- secrets: names come, values go; none is ever given back (S-52)


@routes.add("GET", "/api/v1/secrets", "edit")
async def secrets(call: Call) -> dict[str, Any]:
    """List the names of secrets, where each has its value, and which flows use it."""
    return {"secrets": await asyncio.to_thread(_secrets, call)}


def _secrets(call: Call) -> list[dict[str, Any]]:
    services = call.services
    used: dict[str, list[dict[str, Any]]] = {name: [] for name in services.secrets.list()}
    for flow_id in services.workshop.ids():
        draft = services.workshop.draft(flow_id)
        flow = services.workshop.reading.flow(flow_id, draft.text)
        for kind, name, path in references(flow) if flow is not None else ():
            if kind == "secret":
                home = {"nodes": "node", "connections": "connection"}[str(path[0])]
                field = ".".join(str(step) for step in path[2:])
                place = {"flow": flow_id, home: path[1], "field": field}
                used.setdefault(name, []).append(place)
    return [
        {"name": name, "home": services.secrets.home(name), "used_by": places}
        for name, places in sorted(used.items())
    ]


@routes.add("PUT", "/api/v1/secrets/{name}", "deploy", body=models.SecretValue, status=204)
async def put_secret(call: Call) -> None:
    """Store the value of a secret; it is shown to no one again."""
    services, name = call.services, call.path["name"]
    services.redactor.learn(call.body.value)
    try:
        await asyncio.to_thread(services.secrets.set, name, call.body.value)
    except SecretsError as err:
        raise Problem(503, "unavailable", err.what, err.mend) from err
    await call.note(f"secret {name} stored")


@routes.add("DELETE", "/api/v1/secrets/{name}", "deploy", status=204)
async def remove_secret(call: Call) -> None:
    """Remove the value of a secret."""
    if not await asyncio.to_thread(call.services.secrets.remove, call.path["name"]):
        raise not_found(f'secret "{call.path["name"]}" in the store')
    await call.note(f"secret {call.path['name']} removed")


# -- bundles


@routes.add("POST", "/api/v1/import", "edit", body=models.Import, query=models.DryRun, status=201)
async def import_(call: Call) -> Response:
    """Take a flow out of a bundle or a flow file; nothing of it runs before a deploy."""
    body, workshop = call.body, call.services.workshop
    wanted = body.id or "imported"
    flow, findings = await asyncio.to_thread(
        functools.partial(parse_flow, flow_id=wanted), body.text
    )
    if flow is None or not flow.whole:
        raise FindingsError(findings)
    powers = powered(flow, call.services.settings.powers)
    document = document_of(body.text) or {}
    places = {name: list(at) for name, at in flow.layout.items()}
    bare = {key: value for key, value in document.items() if key not in {"layout", "tests"}}
    if call.query.dry_run:
        text, _ = await asyncio.to_thread(workshop.reading.canonical, wanted, bare)
        found = await asyncio.to_thread(workshop.reading.check, wanted, text)
        told = _told_of_import(flow, found)
        return Response(
            to_json({**told, "document": bare, "layout": places, "powers": powers}),
            media_type="application/json",
        )
    off = [entry for entry in powers if not entry["allowed"]]
    if off:
        raise power_is_off(off)
    draft = await workshop.create(body.id, bare, places, call.caller, wanted="imported")
    if flow.tests:
        tests_text = canonical_cases({"format": 1, "tests": flow.tests})
        await asyncio.to_thread(workshop.shelf.write_cases, draft.flow, tests_text)
    await call.note("imported", draft.flow)
    call.services.hub.state_changed()
    return await whole(call, draft, 201, Location=f"/flows/{draft.flow}")


def _told_of_import(flow: Any, findings: Any) -> dict[str, Any]:
    types = sorted({s.type for s in [*flow.nodes.values(), *flow.connections.values()]})
    named = list(references(flow))
    return {
        "id": flow.id,
        "tests": len(flow.tests or []),
        "check": check_json(findings),
        "types": types,
        "missing_types": [name for name in types if book_of(REGISTRY).known(name) is None],
        "secrets": sorted({name for kind, name, _ in named if kind == "secret"}),
        "env": sorted({name for kind, name, _ in named if kind == "env"}),
    }


@routes.add("GET", "/api/v1/flows/{id}/export", "view", query=models.Export)
async def export(call: Call) -> Response:
    """Give the draft as a file; with bundle=1 with layout, tests and the connections it uses."""
    workshop, flow_id = call.services.workshop, call.path["id"]
    draft = await asyncio.to_thread(workshop.draft, flow_id)
    text, name = draft.text, f"{flow_id}.json"
    if call.query.bundle:
        flow = await asyncio.to_thread(workshop.flow_of, draft)
        _, places = await asyncio.to_thread(workshop.layout, draft)
        cases_text = await asyncio.to_thread(workshop.shelf.cases, flow_id)
        kept = (document_of(cases_text) or {}).get("tests") if cases_text else None
        text, name = bundles.bundled(flow, places, kept), f"{flow_id}.bundle.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, headers=headers, media_type="application/json")


@routes.add("GET", "/api/v1/examples", "view")
async def example_list(_call: Call) -> dict[str, Any]:
    """List the flows that ship."""
    return {"examples": await asyncio.to_thread(examples)}


@routes.add("GET", "/api/v1/examples/{name}", "view")
async def one_example(call: Call) -> dict[str, Any]:
    """Give a flow that ships."""
    return await asyncio.to_thread(example, call.path["name"])


# -- what the box has seen


@routes.add("GET", "/api/v1/topics", "view", query=models.TopicFilter)
async def topic_list(call: Call) -> dict[str, Any]:
    """List topics that were seen, for a field that wants one."""
    services = call.services
    services.topics.ask()
    return topics.seen(call.query.filter, services)


@routes.add("GET", "/api/v1/series", "view")
async def series(call: Call) -> dict[str, Any]:
    """List the box's own time series."""
    return {"series": await _series(call, "list", {})}


@routes.add("GET", "/api/v1/series/points", "view", query=models.Points)
async def points(call: Call) -> dict[str, Any]:
    """Read points of a series, oldest first."""
    asked = {"name": call.query.name, "since": call.query.since, "last": call.query.last}
    return {"points": await _series(call, "points", asked)}


async def _series(call: Call, what: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    reader = call.services.settings.series
    return [] if reader is None else await asyncio.to_thread(reader, what, asked)

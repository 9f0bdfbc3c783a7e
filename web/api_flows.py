"""Routes of flows: drafts, layout, check, diff, history, deploy."""

import asyncio
from typing import Any

from starlette.responses import Response

from flowengine.web import counters, models
from flowengine.web.audit import digest_of
from flowengine.web.door import Call, Routes
from flowengine.web.drafts import Draft, layout_etag
from flowengine.web.examples import blank, example
from flowengine.web.problem import Problem, check_json, not_found, to_json
from flowengine.web.reading import document_of

routes = Routes()


def tagged(value: Any, etag: str, status: int = 200, **headers: str) -> Response:
    """An answer with an entity tag."""
    return Response(
        to_json(value), status, {"ETag": etag, **headers}, media_type="application/json"
    )


async def whole(call: Call, draft: Draft, status: int = 200, **headers: str) -> Response:
    """A flow with all that the editor draws of it."""
    found = await asyncio.to_thread(call.services.workshop.whole, draft.flow)
    found["runs"] = runs_now(call, draft.flow)
    return tagged(found, found["state"]["draft"]["etag"], status, **headers)


def runs_now(call: Call, flow: str) -> dict[str, Any] | None:
    """How a flow's nodes are now, None while it does not run."""
    running = call.services.engine.flows.get(flow)
    if running is None:
        return None
    nodes, connections = map(counters.told_states, counters.states_now(running))
    return {"full": True, "running": True, "nodes": nodes, "connections": connections}


@routes.add("GET", "/api/v1/flows", "view")
async def flows(call: Call) -> dict[str, Any]:
    """List every flow in one line."""
    return {"flows": await asyncio.to_thread(call.services.workshop.states)}


@routes.add("POST", "/api/v1/flows", "edit", body=models.NewFlow, status=201)
async def new_flow(call: Call) -> Response:
    """Make a flow: blank, from an example, or from a document; nothing of it runs yet."""
    body, workshop = call.body, call.services.workshop
    if body.example is not None and body.document is not None:
        raise Problem(422, "bad-request", "Give an example or a document, not both.")
    places = body.layout or {}
    if body.document is not None:
        document = body.document
    elif body.example is not None:
        found = await asyncio.to_thread(example, body.example)
        document, places = found["document"], places or found["layout"]
    else:
        document, blank_places = blank()
        places = places or blank_places
    if body.title:
        document = {**document, "title": body.title}
    draft = await workshop.create(body.id, document, places, call.caller, wanted=body.example or "")
    await call.note("made", draft.flow, "", digest_of(draft.text))
    call.services.hub.state_changed()
    return await whole(call, draft, 201, Location=f"/flows/{draft.flow}")


@routes.add("GET", "/api/v1/flows/{id}", "view")
async def flow(call: Call) -> Response:
    """Give the draft of a flow with layout, findings and state."""
    return await whole(call, await _draft(call))


async def _draft(call: Call) -> Draft:
    return await asyncio.to_thread(call.services.workshop.draft, call.path["id"])


@routes.add("PUT", "/api/v1/flows/{id}", "edit", body=models.DraftChange)
async def put_flow(call: Call) -> Response:
    """Change the draft as a whole; 412 with both sides and a merge if someone was faster."""
    workshop, flow_id = call.services.workshop, call.path["id"]
    before = await _draft(call)
    draft = await workshop.put(
        flow_id, call.etag, call.body.document, call.caller, call.body.label or ""
    )
    if draft.rev != before.rev:
        call.services.hub.changed(flow_id, draft.rev, call.caller.name, "put")
    state = await asyncio.to_thread(workshop.state, flow_id)
    found = await asyncio.to_thread(workshop.reading.check, flow_id, draft.text)
    return tagged({"state": state, "check": check_json(found)}, draft.etag)


@routes.add("DELETE", "/api/v1/flows/{id}", "deploy", status=204)
async def remove_flow(call: Call) -> None:
    """Stop a flow and move its files aside; nothing is deleted."""
    services, flow_id = call.services, call.path["id"]
    async with services.workshop.locks[flow_id]:
        draft = await _draft(call)
        if flow_id in services.engine.flows:
            await services.engine.remove(flow_id)
        await asyncio.to_thread(services.workshop.shelf.remove, flow_id)
        await asyncio.to_thread(services.drafts.forget, flow_id)
    await call.note("removed", flow_id, digest_of(draft.text))
    services.hub.changed(flow_id, draft.rev, call.caller.name, "removed")


@routes.add("POST", "/api/v1/flows/{id}/discard", "edit", body=models.Nothing)
async def discard(call: Call) -> Response:
    """Make the draft what is deployed again."""
    draft = await call.services.workshop.take_back(call.path["id"], call.caller, None)
    call.services.hub.changed(draft.flow, draft.rev, call.caller.name, "discard")
    return await whole(call, draft)


@routes.add("GET", "/api/v1/flows/{id}/layout", "view")
async def layout(call: Call) -> Response:
    """Give the places of the nodes."""
    draft = await _draft(call)
    rev, places = await asyncio.to_thread(call.services.workshop.layout, draft)
    return tagged({"nodes": places}, layout_etag(rev, places))


@routes.add("PUT", "/api/v1/flows/{id}/layout", "edit", body=models.Layout)
async def put_layout(call: Call) -> Response:
    """Keep the places of the nodes; it never restarts anything."""
    rev, places = await call.services.workshop.put_layout(
        call.path["id"], call.etag, call.body.nodes
    )
    return tagged({"nodes": places}, layout_etag(rev, places))


@routes.add("POST", "/api/v1/flows/{id}/check", "view", body=models.CheckThis)
async def check(call: Call) -> dict[str, Any]:
    """Find every fault of the draft, or of a document that is not kept."""
    reading = call.services.workshop.reading
    draft = await _draft(call)
    text = draft.text
    if call.body.document is not None:
        text, _ = await asyncio.to_thread(reading.canonical, draft.flow, call.body.document)
    return check_json(await asyncio.to_thread(reading.check, draft.flow, text))


@routes.add("POST", "/api/v1/flows/{id}/deploy", "view", body=models.Deploy, query=models.DryRun)
async def deploy(call: Call) -> Any:
    """Run the draft from now on; with dry_run, say what that would restart and drop."""
    services, flow_id = call.services, call.path["id"]
    if call.query.dry_run:
        ready = await asyncio.to_thread(services.deploys.prepare, flow_id)
        return ready.told
    call.need("deploy")
    done = await services.deploys.deploy(
        flow_id, call.body.etag, call.caller, note=call.body.note or "", over=call.body.over
    )
    await call.note("deployed", flow_id, done.pop("before"), done.pop("after"))
    services.hub.state_changed()
    room = services.hub.rooms.get(flow_id)
    state = await asyncio.to_thread(services.workshop.state, flow_id)
    if room is not None:
        told = {"kind": "deployed", "by": call.caller.name, "state": state}
        room.tell(told)
    return {**done, "state": state}


@routes.add("GET", "/api/v1/flows/{id}/diff", "view", query=models.Sides)
async def diff(call: Call) -> dict[str, Any]:
    """Compare two versions by meaning: draft, deployed, file, or an entry of the history."""
    workshop = call.services.workshop
    return await asyncio.to_thread(workshop.diff, call.path["id"], call.query.from_, call.query.to)


@routes.add("GET", "/api/v1/flows/{id}/history", "view")
async def history(call: Call) -> dict[str, Any]:
    """List what was deployed, newest first."""
    return {"entries": await asyncio.to_thread(call.services.workshop.history, call.path["id"])}


async def _entry(call: Call) -> Any:
    await _draft(call)
    number = call.path["n"]
    is_number = number.isdecimal() and len(number) < 10
    found = (
        await asyncio.to_thread(call.services.drafts.entry, call.path["id"], int(number))
        if is_number
        else None
    )
    if found is None:
        raise not_found(f"entry {number} of {call.path['id']}")
    return found


@routes.add("GET", "/api/v1/flows/{id}/history/{n}", "view")
async def history_entry(call: Call) -> dict[str, Any]:
    """Give a flow as it was deployed then."""
    entry = await _entry(call)
    return {
        "entry": entry.number,
        "document": document_of(entry.text),
        "layout": entry.places,
    }


@routes.add("POST", "/api/v1/flows/{id}/history/{n}/return", "edit", body=models.Nothing)
async def return_to(call: Call) -> Response:
    """Make the draft what was deployed then; deploy it to run it."""
    entry = await _entry(call)
    draft = await call.services.workshop.take_back(call.path["id"], call.caller, entry)
    call.services.hub.changed(draft.flow, draft.rev, call.caller.name, "return")
    return await whole(call, draft)

"""Routes to what runs: messages put in, samples of what passes, counters."""

from typing import Any

from flowengine.engine.flowrun import RunningFlow
from flowengine.web import counters, injecting, models
from flowengine.web.door import Call, Routes
from flowengine.web.problem import Problem, not_found
from flowengine.web.taps import Place, Tap

routes = Routes()


def running(call: Call) -> RunningFlow:
    """The flow of the address at work; 409 while it does not run."""
    flow_id = call.path["id"]
    call.services.workshop.shelf.path(flow_id)
    found = call.services.engine.flows.get(flow_id)
    if found is None:
        call.services.workshop.draft(flow_id)
        raise Problem(409, "not-running", f'"{flow_id}" does not run.', "Deploy it first.")
    return found


@routes.add("POST", "/api/v1/flows/{id}/nodes/{n}/inject", "deploy", body=models.Inject)
async def inject(call: Call) -> dict[str, Any]:
    """Put a message into a node that runs, or out of it by an output."""
    flow = running(call)
    given = call.body.model_dump(exclude_unset=True)
    given = {"topic": "", "key": "", "time": None, "meta": {}, "output": None, **given}
    found = injecting.inject(flow, call.path["n"], given, call.services.engine.clock.now())
    await call.note(f"injected into {call.path['n']}", flow.id)
    return {"id": found}


def _tap(call: Call) -> tuple[Place, Tap]:
    flow = running(call)
    watch = call.services.hub.watch(flow.id)
    place = watch.place_of(call.path["w"])
    if place is None:
        raise not_found(f'output "{call.path["w"]}" that runs')
    return place, watch.taps.watch(place)


@routes.add("GET", "/api/v1/flows/{id}/wires/{w}/samples", "view", query=models.LastOnly)
async def samples(call: Call) -> dict[str, Any]:
    """Show the last messages of an output; the first call begins to look."""
    place, tap = _tap(call)
    kept = [sample.told() for sample in tap.ring][-call.query.last :]
    return {
        "wire": call.path["w"],
        "output": ".".join(place),
        "samples": kept,
        "watched": tap.outlet is not None,
    }


@routes.add("POST", "/api/v1/flows/{id}/wires/{w}/replay", "deploy", body=models.Replay)
async def replay(call: Call) -> dict[str, Any]:
    """Put a kept sample out of its output again."""
    flow = running(call)
    place, tap = _tap(call)
    sample = next((each for each in tap.ring if each.n == call.body.n), None)
    if sample is None:
        raise not_found(f"sample {call.body.n} that is still kept")
    message = injecting.replayable(sample.message)
    injecting.put_out(flow, *place, message)
    await call.note(f"replayed {'.'.join(place)}", flow.id)
    return {"id": message.id}


@routes.add("GET", "/api/v1/flows/{id}/metrics", "view")
async def metrics(call: Call) -> Any:
    """Give the counters of every node and of the wires with settings."""
    flow = running(call)
    watch = call.services.hub.watches.get(flow.id)
    rates = watch.rates if watch is not None else counters.Rates()
    return {
        "full": True,
        "at": counters.moment(),
        "nodes": counters.nodes_now(flow, rates),
        "wires": counters.wires_now(flow),
        "gone": [],
    }


@routes.add("POST", "/api/v1/flows/{id}/wires/{w}/breakpoint", "deploy", body=models.Nothing)
async def breakpoint_(_call: Call) -> None:
    """Stop messages at a wire: not yet."""
    raise Problem(501, "not-yet", "There are no breakpoints yet.", "Tap the wire instead.")


@routes.add("GET", "/metrics", "view", is_page=False)
async def prometheus(call: Call) -> Any:
    """Give every counter as Prometheus text."""
    import asyncio  # noqa: PLC0415  # with the two below, for this route alone

    from prometheus_client import generate_latest  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415

    from flowengine.engine.metrics import collector  # noqa: PLC0415

    text = await asyncio.to_thread(generate_latest, collector(call.services.engine))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

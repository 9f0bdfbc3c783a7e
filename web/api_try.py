"""An expression, a template or a path tried on the last message that passed, while it is typed.

It is read and evaluated by the engine's own parts, with the flow's params: what is shown is what
the node would get. The message is one of those that taps keep: small, and without secrets.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from flowengine.errors import FlowengineError
from flowengine.expression import compile_expression
from flowengine.message import Message, rfc3339
from flowengine.path import compile_path
from flowengine.template import Place, compile_template
from flowengine.web import models
from flowengine.web.door import Call, Routes
from flowengine.web.preview import kind_of, short
from flowengine.web.taps import Sample

routes = Routes()
ROOM = 300
"""Characters of a value that are shown."""
_PLACE = re.compile(r"(?:line (?P<line>\d+), )?column (?P<column>\d+)")
_WHERE: Mapping[str, Place] = {"template": "text", "topic-template": "topic"}
_TOO_LARGE = "The last message is too large to be kept for this."

Tried = Callable[[Message], Any]


@routes.add("POST", "/api/v1/flows/{id}/try", "edit", body=models.Try)
async def try_text(call: Call) -> dict[str, Any]:
    """Try a text of a form on the last message of these outputs: its value, or what is wrong."""
    workshop, body = call.services.workshop, call.body
    draft = await asyncio.to_thread(workshop.draft, call.path["id"])
    params = await params_of(call, draft.flow)
    wire, sample = _last(call, draft.flow, body.outputs)
    told = await asyncio.to_thread(tried, body.kind, body.text, params, sample)
    if told["value"] is not None:
        told["value"] = call.services.redactor.clean(told["value"])
    return {"wire": wire, "at": None if sample is None else rfc3339(sample.at), **told}


async def params_of(call: Call, flow_id: str) -> dict[str, Any]:
    """The params of a draft with the values that they have on this box."""
    workshop = call.services.workshop
    draft = await asyncio.to_thread(workshop.draft, flow_id)
    read = await asyncio.to_thread(workshop.reading.flow, flow_id, draft.text)
    if read is None:
        return {}
    params = {n: p.default for n, p in read.params.items() if p.default is not UNSET}
    return params | await asyncio.to_thread(workshop.reading.values, read)


def _last(call: Call, flow_id: str, outputs: list[str]) -> tuple[str | None, Sample | None]:
    """The newest kept message of these outputs; to ask for it keeps them watched for a minute."""
    if flow_id not in call.services.engine.flows:
        return None, None
    watch = call.services.hub.watch(flow_id)
    newest: tuple[str | None, Sample | None] = (None, None)
    for name in outputs:
        place = watch.place_of(name)
        ring = watch.taps.watch(place).ring if place is not None else ()
        if ring and (newest[1] is None or ring[-1].at > newest[1].at):
            newest = name, ring[-1]
    return newest


def tried(kind: str, text: str, params: Mapping[str, Any], sample: Sample | None) -> dict[str, Any]:
    """What comes of a text: `value` in short with its `kind`, or the `problem` with its place."""
    told: dict[str, Any] = {"value": None, "kind": None, "problem": None}
    try:
        work = _compiled(kind, text, params)
        if sample is None:
            return told
        if sample.message.payload is UNSET:
            return told | {"problem": _problem(_TOO_LARGE, "")}
        value = work(sample.message)
    except FlowengineError as err:
        return told | {"problem": _problem(err.what, err.mend)}
    return told | {"value": short(value, ROOM), "kind": kind_of(value)}


def _compiled(kind: str, text: str, params: Mapping[str, Any]) -> Tried:
    if kind == "expression":
        return compile_expression(text, names=params).bind(params, time.time)
    if kind == "path":
        return compile_path(text).get
    return compile_template(text, where=_WHERE[kind], names=params).bind(params, time.time)


def _problem(what: str, mend: str) -> dict[str, Any]:
    found = _PLACE.search(what)
    line = int(found["line"] or 1) if found else None
    column = int(found["column"]) if found else None
    return {"what": what, "mend": mend, "line": line, "column": column}

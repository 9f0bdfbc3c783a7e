"""Routes of logging in and out, and of what the box may tell about itself."""

import asyncio
import logging
import math
from typing import Any

from starlette.responses import Response

from flowengine import __version__
from flowengine.web import models
from flowengine.web.access import Access
from flowengine.web.door import ANYONE, COOKIE, OPEN, Call, Routes
from flowengine.web.live import FIRST_LINES
from flowengine.web.people import csrf_of
from flowengine.web.preview import MOST
from flowengine.web.problem import Problem, to_json
from flowengine.web.settings import SESSION_HOURS

LOG = logging.getLogger("flowengine.web")
FIRST_USER = "admin"
routes = Routes()


@routes.add("GET", "/health", OPEN, is_page=True)
async def health(_call: Call) -> dict[str, Any]:
    """Say that the server answers."""
    return {"ok": True, "version": __version__}


@routes.add("POST", "/api/v1/session", OPEN, body=models.Login)
async def log_in(call: Call) -> Response:
    """Begin a session with name and password; the same answer for whoever is not there (S-07)."""
    services, name = call.services, call.body.name
    address = call.request.client.host if call.request.client else ""
    wait = max(services.by_user.wait(name), services.by_address.wait(address))
    if wait > 0:
        seconds = math.ceil(wait)
        raise Problem(429, "too-many", "Too many tries.", f"Wait {seconds} s.", retry_after=seconds)
    services.by_user.spend(name)
    services.by_address.spend(address)
    person = await asyncio.to_thread(services.people.check_password, name, call.body.password)
    if person is None:
        await services.note("", "login refused")
        raise Problem(401, "bad-login", "", "Look at both and try again.")
    return await _begin(call, person.name)


@routes.add("POST", "/api/v1/session/first", OPEN, body=models.FirstLogin)
async def first_log_in(call: Call) -> Response:
    """Begin a session with the token of a one-time link; the very first is an admin's (S-02)."""
    services = call.services
    if services.by_address.wait("first") > 0:
        raise Problem(429, "too-many", "Too many tries.", "Wait a minute.", retry_after=60)
    services.by_address.spend("first")
    name = await asyncio.to_thread(Access(services.people).take_link, call.body.token)
    if name is not None:
        return await _begin(call, name)
    if not services.take_first(call.body.token):
        mend = "Ask an admin for a new one; if there is none, start serve again."
        raise Problem(401, "bad-login", "The link was used, or is too old.", mend)
    if services.people.find(FIRST_USER) is None:
        await asyncio.to_thread(services.people.add, FIRST_USER, "admin")
    return await _begin(call, FIRST_USER)


async def _begin(call: Call, name: str) -> Response:
    services = call.services
    session = await asyncio.to_thread(services.people.open_session, name)
    caller = services.people.by_session(session)
    await services.note(name, "login")
    told = {"user": None if caller is None else caller.told(), "csrf": csrf_of(session)}
    response = Response(to_json(told), media_type="application/json")
    response.set_cookie(
        COOKIE,
        session,
        max_age=SESSION_HOURS * 3600,
        path="/",
        secure=services.settings.is_secure,
        httponly=True,
        samesite="strict",
    )
    return response


@routes.add("GET", "/api/v1/session", ANYONE)
async def session(call: Call) -> dict[str, Any]:
    """Say who asks."""
    csrf = csrf_of(call.caller.session) if call.caller.session else None
    return {"user": call.caller.told(), "csrf": csrf}


@routes.add("DELETE", "/api/v1/session", ANYONE, status=204)
async def log_out(call: Call) -> Response:
    """End the session; its cookie is good for nothing any more (S-06)."""
    caller = call.caller
    if caller.session:
        await asyncio.to_thread(call.services.people.close_session, caller.session)
        call.services.hub.end_session(caller.session)
        await call.note("logout")
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


@routes.add("PUT", "/api/v1/session/password", ANYONE, body=models.NewPassword, status=204)
async def set_password(call: Call) -> None:
    """Change one's own password; every other session of the user ends (S-06)."""
    services, caller = call.services, call.caller
    if not caller.session:
        raise Problem(403, "not-allowed", "A token cannot change a password.", right="session")
    if services.by_user.wait(caller.name) > 0:
        raise Problem(429, "too-many", "Too many tries.", "Wait a minute.", retry_after=30)
    if caller.has_password:
        services.by_user.spend(caller.name)
        old = call.body.old or ""
        if await asyncio.to_thread(services.people.check_password, caller.name, old) is None:
            raise Problem(403, "bad-login", "The old password is another one.", "Try again.")
    await asyncio.to_thread(
        services.people.set_password, caller.name, call.body.new, caller.session
    )
    await call.note("password")


@routes.add("GET", "/api/v1/meta", "view")
async def meta(call: Call) -> dict[str, Any]:
    """Tell the version, the limits, and what this server can do."""
    return meta_of(call)


def meta_of(call: Call) -> dict[str, Any]:
    """What the page and the API say of the server."""
    settings = call.services.settings
    return {
        "version": __version__,
        "user": call.caller.told(),
        "limits": {
            "body": settings.max_body,
            "nodes": 50_000,
            "sample": MOST,
            "debug": 100,
            "log": FIRST_LINES,
            "samples_per_second": 10,
        },
        "features": {
            "broker": settings.topics is not None,
            "series": settings.series is not None,
            "tests": True,
            "pins": True,
            "breakpoints": False,
        },
    }


@routes.add("GET", "/api/v1/log", "view", query=models.LastLines)
async def log_lines(call: Call) -> dict[str, Any]:
    """Show the last lines of the log, oldest first, without secrets."""
    return {"lines": list(call.services.log.lines)[-call.query.last :]}


@routes.add("GET", "/api/v1/audit", "admin", query=models.AuditQuery)
async def audit(call: Call) -> dict[str, Any]:
    """Show who did what, newest first, and whether the log is whole (S-71)."""
    asked = call.query
    entries, broken = await asyncio.to_thread(
        call.services.people.audit, asked.last, asked.find, asked.before
    )
    return {"entries": entries, "whole": broken is None, "broken_at": broken}

"""Routes of people and access: users, sessions, API tokens, and the page where they are seen to.

One's own sessions are everyone's business; all the rest needs the right `admin`. What is secret (a
one-time link, a token) is shown in the answer that made it, and never again.
"""

import asyncio
from typing import Any

from starlette.responses import Response

from flowengine.errors import UsageError
from flowengine.message import rfc3339
from flowengine.web import models, pages
from flowengine.web.access import Access, LastAdminError
from flowengine.web.door import ANYONE, Call, Routes
from flowengine.web.people import Person
from flowengine.web.problem import Problem, not_found, to_json

routes = Routes()


def _access(call: Call) -> Access:
    return Access(call.services.people)


def _moment(seconds: float) -> str:
    return rfc3339(int(seconds * 1_000) * 1_000_000)


@routes.add("GET", "/people", "view", query=models.PageQuery, is_page=True)
async def people_page(call: Call) -> Response:
    """Show one's own access, and to admins everyone's."""
    return await pages.render(call, "people", {})


# -- one's own sessions


@routes.add("GET", "/api/v1/sessions", ANYONE)
async def own_sessions(call: Call) -> dict[str, Any]:
    """List one's own sessions, newest first; `this` is the one that asks."""
    caller = call.caller
    found = await asyncio.to_thread(_access(call).sessions, caller.name, caller.session)
    return {
        "sessions": [
            {"id": s.id, "since": _moment(s.since), "ends": _moment(s.ends), "this": s.is_this}
            for s in found
        ]
    }


@routes.add("DELETE", "/api/v1/sessions", ANYONE, status=204)
async def end_own_sessions(call: Call) -> None:
    """End every session of one's own but the one that asks."""
    caller = call.caller
    if not caller.session:
        raise Problem(403, "not-allowed", "A token cannot end sessions.", right="session")
    await asyncio.to_thread(_access(call).end_sessions, caller.name, caller.session)
    await call.note("other sessions ended")


# -- users


@routes.add("GET", "/api/v1/users", "admin")
async def users(call: Call) -> dict[str, Any]:
    """List everyone, by name."""
    return {"users": await asyncio.to_thread(_users, call)}


def _users(call: Call) -> list[dict[str, Any]]:
    access = _access(call)
    counts, tokens = access.session_counts(), access.people.tokens()
    links, now = access.links(), access.people.now()
    return [
        {
            "name": person.name,
            "role": person.role,
            "powers": person.powers,
            "has_password": bool(person.hash),
            "since": _moment(person.since),
            "sessions": counts.get(person.name, 0),
            "tokens": sum(t.user == person.name and t.ends > now for t in tokens),
            "link_until": _moment(links[person.name]) if person.name in links else None,
            "you": person.name == call.caller.name,
        }
        for person in access.people.users()
    ]


@routes.add("POST", "/api/v1/users", "admin", body=models.NewUser, status=201)
async def add_user(call: Call) -> Response:
    """Add a user: with a password, or without one and with a one-time link to choose it."""
    body, access = call.body, _access(call)
    if access.people.find(body.name) is not None:
        raise Problem(409, "exists", f'There is a user "{body.name}".', "Take another name.")
    await asyncio.to_thread(
        access.people.add, body.name, body.role, body.password, powers=body.powers
    )
    link = None if body.password is not None else await _link(call, body.name)
    await call.note(f"user {body.name} is {body.role}{' with powers' if body.powers else ''}")
    told = {"name": body.name, "role": body.role, "powers": body.powers, "link": link}
    return Response(to_json(told), 201, media_type="application/json")


async def _link(call: Call, name: str) -> dict[str, str]:
    token, ends = await asyncio.to_thread(_access(call).add_link, name)
    return {"token": token, "ends": _moment(ends)}


@routes.add("PUT", "/api/v1/users/{name}", "admin", body=models.UserRole, status=204)
async def change_user(call: Call) -> None:
    """Give a user another role, or take or give the powers; open tabs see it within 5 s."""
    person, body = _person(call), call.body
    change = _access(call).change
    try:
        await asyncio.to_thread(change, person.name, body.role, powers=body.powers)
    except LastAdminError as err:
        raise _last_admin() from err
    await call.note(f"user {person.name} is {body.role}{' with powers' if body.powers else ''}")


@routes.add("DELETE", "/api/v1/users/{name}", "admin", status=204)
async def remove_user(call: Call) -> None:
    """Remove a user with all sessions and tokens; never the last admin who can log in."""
    person = _person(call)
    try:
        await asyncio.to_thread(_access(call).remove, person.name)
    except LastAdminError as err:
        raise _last_admin() from err
    await call.note(f"removed {person.name}")


@routes.add("POST", "/api/v1/users/{name}/link", "admin", body=models.Nothing)
async def add_link(call: Call) -> dict[str, str]:
    """Make a one-time link: whoever opens it is this user, and chooses a new password."""
    person = _person(call)
    link = await _link(call, person.name)
    await call.note(f"one-time link for {person.name}")
    return link


@routes.add("DELETE", "/api/v1/users/{name}/sessions", "admin", status=204)
async def end_sessions(call: Call) -> None:
    """End every session of a user; of one's own all but the one that asks."""
    person = _person(call)
    keep = call.caller.session if person.name == call.caller.name else ""
    await asyncio.to_thread(_access(call).end_sessions, person.name, keep)
    await call.note(f"sessions of {person.name} ended")


def _person(call: Call) -> Person:
    found = call.services.people.find(call.path["name"])
    if found is None:
        raise not_found(f'user "{call.path["name"][:60]}"')
    return found


def _last_admin() -> Problem:
    return Problem(
        409,
        "last-admin",
        "Nobody else could see to people and access then.",
        "Make someone else an admin first, one with a password.",
    )


# -- tokens


@routes.add("GET", "/api/v1/tokens", "admin")
async def tokens(call: Call) -> dict[str, Any]:
    """List the API tokens, newest first: never the token itself."""
    people = call.services.people
    found, now = await asyncio.to_thread(people.tokens), people.now()
    return {
        "tokens": [
            {
                "id": t.id,
                "user": t.user,
                "role": t.role,
                "note": t.note,
                "since": _moment(t.since),
                "ends": _moment(t.ends),
                "used": _moment(t.used) if t.used else None,
                "expired": t.ends <= now,
            }
            for t in found
        ]
    }


@routes.add("POST", "/api/v1/tokens", "admin", body=models.NewToken, status=201)
async def add_token(call: Call) -> dict[str, Any]:
    """Make an API token; it is shown in this answer and never again."""
    body, people = call.body, call.services.people
    if people.find(body.user) is None:
        raise UsageError(f'there is no user "{body.user[:60]}".', "Choose one of the list.")
    made = await asyncio.to_thread(people.add_token, body.user, body.role, body.days, body.note)
    await call.note(f"token for {body.user}, {body.role}")
    return {"token": made, "id": made.removeprefix("fe_").partition("_")[0]}


@routes.add("DELETE", "/api/v1/tokens/{id}", "admin", status=204)
async def remove_token(call: Call) -> None:
    """Revoke a token: the next request with it is refused."""
    if not await asyncio.to_thread(call.services.people.remove_token, call.path["id"]):
        raise not_found(f'token "{call.path["id"][:60]}"')
    await call.note(f"token {call.path['id']} revoked")

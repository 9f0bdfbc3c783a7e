"""The door: each route says which right it needs, and nobody comes in without it (S-03, S-04).

A handler gets a `Call` with who asks, what was sent (already of the declared shape) and the
services, and returns what becomes the JSON of the answer.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from flowengine.errors import FindingsError, FlowengineError, UsageError
from flowengine.flow.strict_json import read_json
from flowengine.web.people import People, csrf_of
from flowengine.web.problem import Problem, findings_json, to_json
from flowengine.web.rights import Caller

if TYPE_CHECKING:
    from flowengine.web.services import Services

LOG = logging.getLogger("flowengine.web")
COOKIE = "flowengine_session"
CSRF_HEADER = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD"})
OPEN = "open"
"""The permission of routes that need no login; the written list of them is in the tests (S-03)."""
ANYONE = "anyone"
"""The permission of routes for whoever is logged in."""


class Body(BaseModel):
    """A request body; unknown keys are errors (S-16)."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Query(BaseModel):
    """The query of an address; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Call:
    """One request on its way through a handler."""

    def __init__(self, services: "Services", request: Request, caller: Caller | None) -> None:
        self.services = services
        self.request = request
        self._caller = caller
        self.path: Mapping[str, str] = request.path_params
        self.body: Any = None
        self.query: Any = None

    @property
    def caller(self) -> Caller:
        """Who asks; 401 if nobody has logged in."""
        if self._caller is None:
            raise not_logged_in()
        return self._caller

    @property
    def is_known(self) -> bool:
        """Whether someone has logged in."""
        return self._caller is not None

    @property
    def etag(self) -> str:
        """The If-Match header; 428 without one."""
        found = self.request.headers.get("if-match", "").removeprefix("W/")
        if not found:
            raise Problem(
                428, "need-etag", "If-Match is missing.", "Send the ETag of what you have."
            )
        return found

    def need(self, right: str) -> None:
        """403 if the caller lacks a right that depends on what was sent."""
        if right not in self.caller.rights:
            raise not_allowed(right)

    async def note(self, what: str, flow: str = "", before: str = "", after: str = "") -> None:
        """Write to the audit log who did what."""
        await self.services.note(self.caller.name, what, flow, before, after)


Handler = Callable[[Call], Awaitable[Any]]
H = TypeVar("H", bound=Handler)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One route: method and path, the right it needs, and the shapes of what is sent."""

    method: str
    path: str
    right: str
    call: Handler
    body: type[Body] | None = None
    query: type[Query] | None = None
    status: int = 200
    is_page: bool = False

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.call) or "").partition("\n")[0]


class Routes:
    """A table of routes, filled by decorators."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(
        self,
        method: str,
        path: str,
        right: str,
        *,
        body: type[Body] | None = None,
        query: type[Query] | None = None,
        status: int = 200,
        is_page: bool = False,
    ) -> Callable[[H], H]:
        """Mark a handler as the answer to `method path` for callers with `right`."""

        def mark(call: H) -> H:
            self.entries.append(
                Entry(
                    method=method,
                    path=path,
                    right=right,
                    call=call,
                    body=body,
                    query=query,
                    status=status,
                    is_page=is_page,
                )
            )
            return call

        return mark


def endpoint(entry: Entry, services: "Services") -> Callable[[Request], Awaitable[Response]]:
    """The ASGI side of a route: lets in, reads, calls, answers."""

    async def answer(request: Request) -> Response:
        try:
            return await _answer(entry, services, request)
        except Exception as err:  # noqa: BLE001  # each is told as a problem
            problem = problem_of(err, entry)
        if entry.is_page and problem.status == 401:
            return RedirectResponse(_to_login(request), 303)
        return problem.response()

    return answer


def problem_of(err: Exception, entry: Entry) -> Problem:
    """What a client is told of an error; one of our own is logged, and not shown."""
    if isinstance(err, Problem):
        return err
    if isinstance(err, FindingsError):
        found = findings_json(err.findings)
        return Problem(422, "bad-flow", "It has faults.", "Mend them first.", findings=found)
    if isinstance(err, UsageError):
        return Problem(422, "bad-request", err.what, err.mend)
    if isinstance(err, FlowengineError):
        return Problem(503, "unavailable", err.what, err.mend)
    LOG.error("%s %s failed", entry.method, entry.path, exc_info=err)
    return Problem(500, "fault", "See the log.", "Report what the log shows.")


async def _answer(entry: Entry, services: "Services", request: Request) -> Response:
    caller = caller_of(request, services.people)
    call = Call(services, request, caller)
    if entry.right != OPEN:
        admit(call.caller, entry.right)
    if request.method not in SAFE:
        _check_intent(request, caller, entry)
    if entry.query is not None:
        call.query = _read(entry.query, dict(request.query_params))
    elif request.query_params and not entry.is_page:
        name = next(iter(request.query_params))
        raise bad_request(f'there is no "{name}" in this address.', (name,))
    if entry.body is not None:
        call.body = _read(entry.body, await _json(request))
    found = await entry.call(call)
    if isinstance(found, Response):
        return found
    if found is None:
        return Response(status_code=204)
    return Response(to_json(found), entry.status, media_type="application/json")


def caller_of(connection: HTTPConnection, people: People) -> Caller | None:
    """Who a request comes from: a token in its header, else the session of its cookie."""
    given = connection.headers.get("authorization", "")
    kind, _, token = given.partition(" ")
    if given:
        return people.by_token(token.strip()) if kind.lower() == "bearer" else None
    session = connection.cookies.get(COOKIE, "")
    return people.by_session(session) if session else None


def admit(caller: Caller, right: str) -> None:
    """403 for a caller without this right."""
    if right != ANYONE and right not in caller.rights:
        raise not_allowed(right)


def _check_intent(request: Request, caller: Caller | None, entry: Entry) -> None:
    """What changes something must be sent on purpose, by our page or by a script (S-10)."""
    has_body = request.headers.get("content-length", "0") != "0" or (
        "transfer-encoding" in request.headers
    )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (entry.body is not None or has_body) and kind != "application/json":
        raise Problem(
            415, "not-json", f'The body is "{kind}".', "Send application/json; {} if it is empty."
        )
    if caller is not None and caller.session and entry.right != OPEN:
        given = request.headers.get(CSRF_HEADER, "")
        if not given or given != csrf_of(caller.session):
            raise Problem(403, "csrf", "The header X-CSRF-Token is missing or stale.", "Reload.")


async def _json(request: Request) -> Any:
    document = read_json(await request.body() or b"{}")
    if document.faults or document.value is UNSET:
        fault = document.faults[0]
        line, column = document.place(fault.offset)
        what = f"line {line}, column {column}: {fault.what}"
        raise Problem(422, "bad-request", what, fault.mend, errors=[{"path": [], "what": what}])
    return document.value


M = TypeVar("M", bound=BaseModel)


def _read(model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as err:
        errors = [
            {"path": list(fault["loc"]), "what": fault["msg"]}
            for fault in err.errors(include_url=False, include_context=False, include_input=False)
        ]
        first = ".".join(str(step) for step in errors[0]["path"])
        raise Problem(422, "bad-request", f"{first}: {errors[0]['what']}", errors=errors) from err


def bad_request(what: str, path: tuple[str | int, ...] = ()) -> Problem:
    """422 for one thing of a request."""
    return Problem(422, "bad-request", what, errors=[{"path": list(path), "what": what}])


def not_logged_in() -> Problem:
    """401."""
    return Problem(401, "not-logged-in", "", "Log in at /login, or send a token.")


def not_allowed(right: str) -> Problem:
    """403 for want of a right."""
    return Problem(
        403,
        "not-allowed",
        f'This needs the right "{right}".',
        "Ask an admin: flowengine users add NAME --role ROLE.",
        right=right,
    )


def _to_login(request: Request) -> str:
    from urllib.parse import quote  # noqa: PLC0415  # only on this way

    path = request.url.path
    return "/login" if path == "/" else f"/login?next={quote(path, safe='')}"

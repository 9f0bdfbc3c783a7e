"""The editor as an ASGI application: its routes, and what stands in front of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from flowengine.engine.runtime import Engine
from flowengine.web import (
    api_flows,
    api_more,
    api_people,
    api_session,
    api_try,
    api_work,
    charts,
    pages,
)
from flowengine.web.door import Call, Entry, Routes, endpoint
from flowengine.web.guard import Guard
from flowengine.web.openapi import describe
from flowengine.web.problem import Problem
from flowengine.web.services import Services
from flowengine.web.settings import Settings
from flowengine.web.wsroute import live

LIVE = "/api/v1/live"
SMALLEST_GZIP = 500
own = Routes()


@own.add("GET", "/api/v1/openapi.json", "view")
async def openapi(_call: Call) -> dict[str, Any]:
    """Describe this API as OpenAPI."""
    return describe(ENTRIES)


ENTRIES: list[Entry] = [
    *pages.routes.entries,
    *api_session.routes.entries,
    *api_people.routes.entries,
    *api_flows.routes.entries,
    *api_work.routes.entries,
    *api_more.routes.entries,
    *api_try.routes.entries,
    *charts.routes.entries,
    *own.entries,
]
"""Every HTTP route there is, with the right it needs."""


def create_app(engine: Engine, settings: Settings, services: Services | None = None) -> Starlette:
    """The application over a running engine; `app.state.services` are its parts."""
    parts = services or Services(engine, settings)

    async def socket(connection: WebSocket) -> None:
        await live(connection, parts)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await parts.close()

    app = Starlette(
        routes=[
            *(Route(e.path, endpoint(e, parts), methods=[e.method]) for e in ENTRIES),
            WebSocketRoute(LIVE, socket),
        ],
        middleware=[
            Middleware(GZipMiddleware, minimum_size=SMALLEST_GZIP, compresslevel=6),
            Middleware(Guard, settings=settings),
        ],
        exception_handlers={404: _none, 405: _other_method},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.services = parts
    return app


async def _none(request: Request, _err: Exception) -> Response:
    return Problem(404, "not-found", f"There is no {request.url.path[:200]}.").response()


async def _other_method(request: Request, err: Exception) -> Response:
    response = Problem(405, "wrong-method", f"{request.method} is not for this.").response()
    response.headers.update(getattr(err, "headers", None) or {})
    return response

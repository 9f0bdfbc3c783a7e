"""What every request passes before anything looks at it, and what every answer carries.

    size limit --> Host --> Origin --> the routes --> headers

A Host that is not one of ours is a browser that was led here by a foreign name (DNS rebinding,
S-11); a foreign Origin is another site's page. Both are refused before a cookie is read.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowengine.web.problem import Problem
from flowengine.web.settings import Settings

CSP = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
FOREIGN_ORIGIN = 4403


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the limits and headers in place."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        found = self.fault(Headers(scope=scope), scope)
        if scope["type"] == "websocket":
            if found is not None:
                await receive()
                await send({"type": "websocket.close", "code": FOREIGN_ORIGIN})
            else:
                await self.app(scope, receive, send)
            return
        answer = self._with_headers(send)
        if found is not None:
            await found.response()(scope, receive, answer)
            return
        limited = _Limited(receive, self.settings.max_body)
        await self.app(scope, limited, answer)

    def fault(self, headers: Headers, scope: Scope) -> Problem | None:
        """What is wrong with the names of a request, None if nothing is."""
        host = headers.get("host", "")
        if not self.is_ours(host):
            return Problem(
                421,
                "wrong-host",
                "The editor does not answer to this name.",
                "Use the address that it printed at its start, or name this one with --host.",
            )
        origin = headers.get("origin")
        if origin is not None and not self.is_own_origin(origin, host):
            method = scope.get("method", "GET")
            if scope["type"] == "websocket" or method not in {"GET", "HEAD", "OPTIONS"}:
                return Problem(403, "foreign-origin", "Another site's page sent this.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.settings.max_body:
            return _too_large(self.settings.max_body)
        return None

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this server; its port is not looked at (a forwarded one)."""
        name = host_name(host)
        return name is not None and name in self.settings.hosts

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether an Origin is that of the page this server gave out under this Host."""
        scheme = "https" if self.settings.is_secure else "http"
        return origin.lower() == f"{scheme}://{host.lower()}"

    def _with_headers(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self.settings.is_secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return answer


class _TooLarge(Exception):  # it never leaves this file
    """More came than was announced, or than is allowed."""


class _Limited:
    """A body that ends its request when it grows too large, whatever length was announced."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = self._most = most

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(self._most)
        return message


def _too_large(most: int) -> Problem:
    return Problem(413, "too-large", f"A body may have {most:,} bytes.", "Send less at once.")


def host_name(host: str) -> str | None:
    """The name in a Host header, lower case, without its port; None for what is none."""
    if not host or any(sign in host for sign in "@/\\?# ,"):
        return None
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.rstrip(".").lower() if name else None

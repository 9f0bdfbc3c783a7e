"""Errors as the API tells them: RFC 9457 problem details, with a slug and how to mend it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from flowengine.errors import Finding

MEDIA_TYPE = "application/problem+json"
TITLES = {
    "bad-login": "Name and password do not match.",
    "bad-flow": "This is no flow that can be kept.",
    "bad-request": "The request is not what this route takes.",
    "csrf": "The request does not come from the editor's own page.",
    "deploy-conflict": "Something else was deployed in the meantime.",
    "draft-changed": "The draft was changed by someone else.",
    "exists": "There is one of that name.",
    "fault": "This is a fault of flowengine itself.",
    "foreign-origin": "The request comes from another site.",
    "last-admin": "This is the last admin.",
    "need-etag": "Say which version you have.",
    "not-allowed": "You may not do this.",
    "not-found": "There is no such thing.",
    "not-json": "The body must be JSON.",
    "not-logged-in": "Log in first.",
    "not-running": "The flow does not run.",
    "not-yet": "This cannot be done yet.",
    "refused": "This was refused; nothing was changed.",
    "too-large": "The body is too large.",
    "too-many": "Too many tries.",
    "unavailable": "This cannot be done now.",
    "wrong-host": "The editor is not known by this name.",
    "wrong-method": "This address takes another method.",
}


class Problem(Exception):  # it is what the client is told, as RFC 9457 names it
    """An answer that is an error: HTTP status, slug, what happened and how to mend it.

    `more` are further members of the answer, as `findings` or `right`.
    """

    def __init__(
        self, status: int, slug: str, detail: str = "", mend: str = "", **more: Any
    ) -> None:
        super().__init__(detail or TITLES.get(slug, slug))
        self.status = status
        self.slug = slug
        self.detail = detail
        self.mend = mend
        self.more = more

    def body(self) -> dict[str, Any]:
        """The members of the answer (RFC 9457 §3.1), with ours behind them."""
        return {
            "type": f"urn:flowengine:problem:{self.slug}",
            "slug": self.slug,
            "title": TITLES.get(self.slug, self.slug),
            "status": self.status,
            "detail": self.detail,
            "mend": self.mend,
            **self.more,
        }

    def response(self) -> Response:
        """The answer itself."""
        headers = {"Cache-Control": "no-store"}
        if "retry_after" in self.more:
            headers["Retry-After"] = str(self.more["retry_after"])
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(to_json(self.body()), self.status, headers, MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """404 for `what`, as `flow "x"`."""
    return Problem(404, "not-found", f"There is no {what}.", "Look at its name.")


def to_json(value: Any) -> bytes:
    """A value as JSON; structs become objects, what JSON has no word for becomes text."""
    return msgspec.json.encode(value, enc_hook=str)


def findings_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as `check --json` prints them (R13)."""
    return [
        {
            "slug": finding.slug,
            "severity": finding.severity,
            "what": finding.what,
            "mend": finding.mend,
            "where": msgspec.to_builtins(finding.where),
        }
        for finding in findings
    ]


def check_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings with their number and whether the flow may run."""
    errors = sum(finding.severity == "error" for finding in findings)
    return {
        "ok": not errors,
        "errors": errors,
        "warnings": len(findings) - errors,
        "findings": findings_json(findings),
    }

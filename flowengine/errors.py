"""What can go wrong, as one small tree, and how it is told: what, where, how to mend.

FlowengineError
  FindingsError      a flow (or several) cannot be used; carries every Finding at once
  SyntaxFault        an expression, template or field path that does not compile
  StartError         the engine cannot start (exit code 3)
  UsageError         the command was given wrongly (exit code 2)
  NodeError          one message that one node cannot handle: the error route (R6)
    PayloadError     its payload is not what the node works on
    ExpressionError  an expression failed on it
  Unavailable        a far side is absent or slow: wait and try again, nothing is lost
  RecordRefused      a far side refuses records for good: they take the error route
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a flow file: line and column count from 1; what does not apply is None (R13)."""

    file: str | None = None
    line: int | None = None
    column: int | None = None
    flow: str | None = None
    node: str | None = None
    connection: str | None = None
    wire: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        """The place in words: file, then node, connection or wire, then the field."""
        parts = [self.file or self.flow or ""]
        if self.line is not None:
            parts[0] += f":{self.line}"
        if self.node is not None:
            parts.append(f'node "{self.node}"')
        if self.connection is not None:
            parts.append(f'connection "{self.connection}"')
        if self.wire is not None:
            parts.append(f'wire "{self.wire}"')
        if self.field is not None:
            parts.append(self.field)
        return ": ".join(part for part in parts if part)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a flow: a stable slug, what was found, how to mend it, and where."""

    slug: str
    what: str
    mend: str = ""
    severity: Literal["error", "warning"] = "error"
    where: Where = Where()

    def __str__(self) -> str:
        """The finding as people read it: the place on the first line, then what and the mend."""
        lines = [str(self.where), f"  {self.what}"]
        if self.mend:
            lines.append(f"  {self.mend}")
        return "\n".join(lines)


class FlowengineError(Exception):
    """Whatever goes wrong in flowengine: `what` was found and how to `mend` it."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        """What, and the mend behind it."""
        return f"{self.what} {self.mend}".rstrip() if self.mend else self.what


class FindingsError(FlowengineError):
    """A flow that cannot be used, with everything that was found in it."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = tuple(findings)


class SyntaxFault(FlowengineError):
    """Text that does not compile: slug `bad-expression`, `bad-template` or `bad-path`."""

    def __init__(self, slug: str, what: str, mend: str = "") -> None:
        super().__init__(what, mend)
        self.slug = slug


class StartError(FlowengineError):
    """The engine cannot start: a port is taken, the data folder is in use, a secret is missing."""


class UsageError(FlowengineError):
    """A command was given wrongly: a path that is not there, a name that no flow has."""


class NodeError(FlowengineError):
    """One message that one node cannot handle; the engine sends it by the error route (R6)."""

    slug = "failed"

    def __init__(
        self, what: str, *, slug: str | None = None, mend: str = "", path: str | None = None
    ) -> None:
        super().__init__(what, mend)
        if slug is not None:
            self.slug = slug
        self.path = path


class PayloadError(NodeError):
    """The payload is not what the node works on: `not-a-number`, `not-text`, `missing`."""

    slug = "bad-payload"


class ExpressionError(NodeError):
    """An expression or template failed on a message."""

    slug = "expression"


class Unavailable(FlowengineError):
    """A far side is absent, slow or asks to wait; the sink holds its records and tries again.

    `retry_after` is in seconds, None for the sink's own backoff. `state` is what the node is said
    to be: `waiting`, or `failed` where waiting alone will not help and someone must act.
    `is_unanswered` is whether records may have been written all the same: a request was sent, and
    no answer came. It is False where no request went out, or the far side answered that it did not.
    """

    state: Literal["waiting", "failed"] = "waiting"

    def __init__(
        self,
        what: str,
        mend: str = "",
        *,
        retry_after: float | None = None,
        is_unanswered: bool = True,
    ) -> None:
        super().__init__(what, mend)
        self.retry_after = retry_after
        self.is_unanswered = is_unanswered


class RecordRefused(FlowengineError):
    """A far side refuses records for good.

    `refused` maps the index in the written batch to the reason where the far side named them; all
    others were written. Empty: the batch was refused as a whole, nothing of it was written, and the
    engine finds the bad record by halves.
    """

    def __init__(self, what: str, mend: str = "", *, refused: dict[int, str] | None = None) -> None:
        super().__init__(what, mend)
        self.refused: dict[int, str] = refused or {}


class BatchTooLarge(RecordRefused):
    """A far side refuses a batch for its size alone: no record of it need be bad."""


def describe_value(value: Any, limit: int = 60) -> str:
    """A value as an error message quotes it: short, one line."""
    if isinstance(value, str | bytes):
        value = value[: limit + 1]
    elif isinstance(value, int) and value.bit_length() > 4 * limit:
        return f"an integer of about {int(value.bit_length() * 0.30103):,} digits"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""What the tests of a flow are made of; `casefile` says how they are read (R14)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from flowengine.clock import TOLD_START
from flowengine.flow.strict_json import Document

HOUR = 3_600_000_000_000
LINK_STATES = ("up", "down", "slow")

FILE_KEYS = ("$schema", "format", "doc", "tests")
CASE_KEYS = (
    "name",
    "doc",
    "start",
    "params",
    "env",
    "secrets",
    "state",
    "tolerance",
    "input",
    "until",
    "expect",
    "expect_state",
    "expect_findings",
)
TOLERANCE_KEYS = ("abs", "rel", "time")
MESSAGE_KEYS = ("at", "node", "connection", "state", "topic", "key", "time", "payload", "meta")
FINDING_KEYS = ("node", "slug", "count")


class Tolerance(msgspec.Struct, kw_only=True):
    """How far a number (absolute, relative) and a time (ns) may be off."""

    abs: float = 1e-6
    rel: float = 1e-6
    time: int = 1_000_000


class CaseInput(msgspec.Struct, kw_only=True):
    """One thing that happens `at` ns after the start.

    A message to the broker's stand-in by `topic`, to a `node`, or a change of a `connection` to
    `state` (`up`, `down`, `slow`). `given` names the keys that were written.
    """

    at: int
    index: int
    topic: str | None = None
    node: str | None = None
    connection: str | None = None
    state: str | None = None
    key: str | None = None
    time: int | None = None
    payload: Any = None
    meta: dict[str, Any] = {}
    given: frozenset[str] = frozenset()


class ExpectedFinding(msgspec.Struct, kw_only=True):
    """Errors that a test expects: how often (None: at least once) which slug at which node."""

    slug: str
    node: str | None = None
    count: int | None = None


class Case(msgspec.Struct, kw_only=True):
    """One test. `inputs` are in order of time, equal times in order of the file.

    `expect` maps `"node"` or `"node.output"` to messages as they were written; of each only the
    keys that are there are compared.
    """

    name: str
    index: int
    doc: str | None = None
    start: int = TOLD_START
    params: dict[str, Any] = {}
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    state: dict[str, dict[str, Any]] = {}
    tolerance: Tolerance = msgspec.field(default_factory=Tolerance)
    inputs: list[CaseInput] = []
    until: int = HOUR
    expect: dict[str, list[dict[str, Any]]] = {}
    expect_state: dict[str, dict[str, Any]] = {}
    expect_findings: list[ExpectedFinding] = []


class CaseFile(msgspec.Struct, kw_only=True, eq=False):
    """The tests of one flow, and the object they were read from."""

    cases: list[Case]
    raw: dict[str, Any]
    file: str | None = None
    document: Document | None = None

    def with_expect(self, expected: Mapping[int, dict[str, list[Any]]]) -> dict[str, Any]:
        """The file's object with another `expect` for some tests by index; all else is as it was.

        `canonical.canonical_cases` makes the file's text of it.
        """
        tests = [
            {**test, "expect": expected[index]} if index in expected else test
            for index, test in enumerate(self.raw["tests"])
        ]
        return {**self.raw, "tests": tests}

"""What the API takes, as pydantic models: checked on the way in, and told in `openapi.json`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from flowengine.web.door import Body, Query

Document = dict[str, Any]
Places = dict[str, Annotated[list[int], Field(min_length=2, max_length=2)]]
_SLUG = r"^[a-z][a-z0-9-]{0,99}$"
Slug = Annotated[str, Field(pattern=_SLUG)]
Text = Annotated[str, Field(max_length=1_000)]
Last = Annotated[int, Field(ge=1, le=1_000)]


class Nothing(Body):
    """An empty object."""


class Login(Body):
    """A name and a password."""

    name: Annotated[str, Field(max_length=100)]
    password: Annotated[str, Field(max_length=2_000)]


class FirstLogin(Body):
    """The token of the one-time link."""

    token: Annotated[str, Field(max_length=200)]


class NewPassword(Body):
    """The old password (null while there is none) and the new one."""

    old: Annotated[str, Field(max_length=2_000)] | None = None
    new: Annotated[str, Field(max_length=2_000)]


Role = Literal["viewer", "editor", "deployer", "admin"]
UserName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,63}$")]


class NewUser(Body):
    """A user to be added; without a password a one-time link is made."""

    name: UserName
    role: Role = "viewer"
    powers: bool = False
    password: Annotated[str, Field(max_length=2_000)] | None = None


class UserRole(Body):
    """What a user may do from now on."""

    role: Role
    powers: bool = False


class NewToken(Body):
    """An API token to be made: it can do what its role and its user may, both."""

    user: Annotated[str, Field(max_length=100)]
    role: Role = "viewer"
    days: Annotated[float, Field(gt=0, le=366, strict=False)] = 90.0
    note: Annotated[str, Field(max_length=200)] = ""


class FormValues(Body):
    """A config as it stands in the form, and where it belongs."""

    config: Document
    flow: Slug | None = None
    node: str | None = None


class Try(Body):
    """A text of a form as it is typed, and the outputs that lead to its node."""

    kind: Literal["expression", "path", "template", "topic-template"]
    text: Annotated[str, Field(max_length=70_000)]
    outputs: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=20)] = Field(
        default=[]
    )


class NewFlow(Body):
    """A flow to be made: blank, from an example, or from a document."""

    id: Slug | None = None
    title: Text | None = None
    example: Slug | None = None
    document: Document | None = None
    layout: Places | None = None


class DraftChange(Body):
    """A draft as a whole."""

    document: Document
    label: Text | None = None


class Layout(Body):
    """Places of nodes: top left corner, whole numbers."""

    nodes: Places


class CheckThis(Body):
    """A document to check; null is the draft."""

    document: Document | None = None


class Deploy(Body):
    """Which version of the draft to deploy; `over` replaces what came in between."""

    etag: Annotated[str, Field(max_length=100)]
    note: Text | None = None
    over: bool = False


class DryRun(Query):
    """Whether only to say what would happen."""

    dry_run: bool = False


Side = Annotated[str, Field(pattern=r"^(draft|deployed|file|[0-9]{1,9})$")]


class Sides(Query):
    """Two versions of a flow."""

    from_: Side = Field(alias="from")
    to: Side


class Inject(Body):
    """A message to put into a node, or out of it by an output."""

    payload: Any = None
    topic: Text = ""
    key: Annotated[str, Field(max_length=256)] = ""
    time: str | None = None
    meta: Document = Field(default={})
    output: str | None = None


class LastOnly(Query):
    """How many, newest first or last as the route says."""

    last: Last = 20


class LastLines(Query):
    """How many lines or entries."""

    last: Last = 200


class AuditQuery(Query):
    """How many entries, with which words in them, and below which number."""

    last: Last = 200
    find: Annotated[str, Field(max_length=200)] = ""
    before: Annotated[int, Field(ge=1, le=2**53)] | None = None


class Replay(Body):
    """The number of a kept sample."""

    n: int


class CaseDocument(Body):
    """The whole test file."""

    document: Document


class RunTests(Body):
    """Which tests (null: all) of which document (null: the draft)."""

    names: list[str] | None = None
    document: Document | None = None


class Capture(Body):
    """What to listen to, and how long, for a new test."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    seconds: Annotated[float, Field(gt=0, le=60, strict=False)] = 10.0
    inputs: list[str] | None = None
    outputs: list[str] | None = None


class SecretValue(Body):
    """The value of a secret; it is never given back."""

    value: Annotated[str, Field(min_length=1, max_length=1_000_000)]


class Import(Body):
    """The text of a bundle or a flow file, and the id it is to have."""

    text: str
    id: Slug | None = None


class TypesQuery(Query):
    """Whether only what the palette needs comes along."""

    short: bool = False


class Export(Query):
    """Whether layout, tests and connections come along."""

    bundle: bool = False


class TopicFilter(Query):
    """An MQTT topic filter."""

    filter: Annotated[str, Field(max_length=1_000)] = "#"


class Points(Query):
    """Which points of the box's own time series."""

    name: Annotated[str, Field(max_length=1_000)]
    since: Annotated[str, Field(max_length=100)] = "1h"
    last: Last = 500


class PageQuery(Query):
    """What a page may be asked."""

    view: Literal["0", "1"] = "0"
    next: Annotated[str, Field(max_length=1_000)] = "/"

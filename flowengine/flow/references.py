"""References of a flow resolved: `$param`, `$env` and `$secret` replaced by their values (R19).

What has no value on this box is told apart from what is wrong in the flow: `run` stops for the
first, `check` only for the second.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from msgspec import UNSET

from flowengine.errors import Finding, Where
from flowengine.flow.model import ConnectionSpec, Flow, NodeSpec, reference_of
from flowengine.flow.params import a_kind, fit, from_text, load_params, read_params
from flowengine.flow.schema_paths import Schema, at

__all__ = [
    "Absent",
    "FieldType",
    "Kind",
    "Missing",
    "Resolved",
    "load_params",
    "read_params",
    "references",
    "resolve",
    "schema_field_type",
]

Kind = Literal["node", "connection"]
FieldKind = Literal["number", "integer", "boolean", "text", "secret", "list", "map"]
FieldType = Callable[[Kind, str, Sequence[str | int]], FieldKind | None]
ConfigPath = tuple[str | int, ...]
"""A path from the top of a flow file, as `("nodes", "alarm", "config", "above")`."""

_HOMES: dict[Kind, str] = {"node": "nodes", "connection": "connections"}


class Missing(NamedTuple):
    """Something without a value on this box: `kind` is `param`, `env` or `secret`."""

    kind: str
    name: str
    where: Where


class Absent:
    """Stands in a config where a value is missing; `placeholders` holds its path."""

    __slots__ = ("kind", "name")

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name

    def __repr__(self) -> str:
        return f"<no value for {self.kind} {self.name}>"


class Resolved:
    """A flow's configs with values in place of references.

    `params` are the values of the flow's params (those without one are left out), `missing` what
    has no value here, `placeholders` the paths whose value is not known or already found wrong, so
    that a validator says nothing about them, `findings` the references that are wrong.
    """

    def __init__(self, flow: Flow, params: dict[str, Any]) -> None:
        self.flow = flow
        self.params = params
        self.missing: list[Missing] = []
        self.findings: list[Finding] = []
        self.placeholders: set[ConfigPath] = set()
        self._configs: dict[tuple[str, str], dict[str, Any]] = {}

    def config(self, kind: Kind, name: str) -> dict[str, Any]:
        """The config of a node or connection, values in place, without `x-` keys.

        Secrets are `flowengine.fields.Secret`. Not to be changed in place.
        """
        return self._configs[kind, name]


class _Resolver:
    def __init__(
        self,
        resolved: Resolved,
        env: Mapping[str, str],
        secrets: Callable[[str], str | None],
        field_type: FieldType | None,
    ) -> None:
        self.resolved = resolved
        self.flow = resolved.flow
        self.env = env
        self.secrets = secrets
        self.field_type = field_type
        self.kind: Kind = "node"
        self.type = ""
        self.counts = True

    def spec(self, kind: Kind, name: str, spec: NodeSpec | ConnectionSpec, counts: bool) -> None:
        """Resolve one config; `counts` says whether its missing values are missed."""
        self.kind, self.type, self.counts = kind, spec.type, counts
        top: ConfigPath = (_HOMES[kind], name, "config")
        config = spec.config
        if any(key.startswith("x-") for key in config):
            config = {key: value for key, value in config.items() if not key.startswith("x-")}
        if reference_of(config) is not None:
            config = {}  # loading has told that a reference cannot be a whole config
        self.resolved._configs[kind, name] = self.value(top, config)  # same file

    def value(self, path: ConfigPath, value: Any) -> Any:
        """The value with references replaced; the very same object if there are none."""
        if type(value) is dict:
            reference = reference_of(value)
            if reference is not None:
                return self.reference(path, value, reference)
            changed = {
                key: new
                for key, old in value.items()
                if (type(old) is dict or type(old) is list)
                and (new := self.value((*path, key), old)) is not old
            }
            return {**value, **changed} if changed else value
        if type(value) is list:
            new_items = [
                self.value((*path, index), old) if type(old) is dict or type(old) is list else old
                for index, old in enumerate(value)
            ]
            same = all(new is old for new, old in zip(new_items, value, strict=True))
            return value if same else new_items
        return value

    def reference(self, path: ConfigPath, raw: dict[str, Any], reference: str) -> Any:
        name = raw[reference]
        if type(name) is not str or len(raw) > (2 if "default" in raw else 1):
            return self.absent(path, reference, str(name))  # its shape is told by loading
        wanted = self.field_type(self.kind, self.type, path[3:]) if self.field_type else None
        if reference == "$secret":
            return self.secret(path, name, wanted)
        if wanted == "secret":
            self.wrong(
                path,
                f"a {reference} stands where a secret belongs.",
                'Store it with "flowengine secrets set NAME" and write {"$secret": "NAME"}.',
            )
            return self.absent(path, reference, name)
        if reference == "$env":
            return self.variable(path, name, raw, wanted)
        return self.param(path, name, wanted)

    def param(self, path: ConfigPath, name: str, wanted: FieldKind | None) -> Any:
        declared = self.flow.params.get(name)
        if declared is None:
            known = ", ".join(self.flow.params) or "none"
            mend = f"Declare it in params, or write another name. Declared: {known}."
            self.wrong(path, f'no param "{name}".', mend)
            return self.absent(path, "param", name)
        if wanted is not None and not _may_hold(wanted, declared.type):
            what = f'param "{name}" is {a_kind(declared.type)}, the field takes {a_kind(wanted)}.'
            self.wrong(path, what, "Change the type of the param, or use another one.")
            return self.absent(path, "param", name)
        if name in self.resolved.params:
            return self.resolved.params[name]
        self.resolved.placeholders.add(path)  # it is missed once, where it is declared
        return Absent("param", name)

    def variable(
        self, path: ConfigPath, name: str, raw: dict[str, Any], wanted: FieldKind | None
    ) -> Any:
        value = self.env.get(name, raw.get("default", UNSET))
        if value is UNSET:
            return self.miss(path, "env", name)
        if type(value) is not str or wanted not in {"number", "integer", "boolean"}:
            return value
        try:
            return from_text(value, str(wanted))
        except ValueError:
            # the value itself is not told: variables hold passwords, too
            what = f"the environment variable {name} holds no {wanted}."
            self.wrong(path, what, f"Set {name} to {a_kind(str(wanted))}.", slug="bad-value")
            return self.absent(path, "env", name)

    def secret(self, path: ConfigPath, name: str, wanted: FieldKind | None) -> Any:
        from flowengine.fields import Secret  # noqa: PLC0415  # pydantic, only where it is needed

        if wanted is not None and wanted != "secret":
            what = f'the secret "{name}" stands where {a_kind(wanted)} belongs.'
            mend = "Use it in a field for secrets, or write the value, a $param or an $env."
            self.wrong(path, what, mend)
            return self.absent(path, "secret", name)
        value = self.secrets(name) if self.counts else None
        if value is None:
            self.miss(path, "secret", name)
            self.resolved.placeholders.discard(path)  # an empty Secret is valid, too
        return Secret(name, value)

    def miss(self, path: ConfigPath, kind: str, name: str) -> Absent:
        if self.counts:
            self.resolved.missing.append(Missing(kind, name, self.flow.where(path)))
        return self.absent(path, kind, name)

    def absent(self, path: ConfigPath, kind: str, name: str) -> Absent:
        self.resolved.placeholders.add(path)
        return Absent(kind.removeprefix("$"), name)

    def wrong(self, path: ConfigPath, what: str, mend: str, slug: str = "bad-reference") -> None:
        where = self.flow.where(path)
        self.resolved.findings.append(Finding(slug=slug, what=what, mend=mend, where=where))


def resolve(
    flow: Flow,
    *,
    params: Mapping[str, Any],
    env: Mapping[str, str],
    secrets: Callable[[str], str | None],
    field_type: FieldType | None = None,
) -> Resolved:
    """The flow's configs with values in place.

    Args:
        flow: the flow as it was loaded.
        params: values for this flow, over the defaults; names the flow lacks are passed over.
        env: the environment.
        secrets: the value of a secret, None if there is none on this box.
        field_type: the type of a config field, `(kind, type name, path within the config)`; text of
            `$env` is read as that type. Without it such text is left as it is.

    What a disabled node or a shared connection that no node names lacks is not missed.
    """
    values: dict[str, Any] = {}
    resolved = Resolved(flow, values)
    resolver = _Resolver(resolved, env, secrets, field_type)
    for name, param in flow.params.items():
        value = params.get(name, param.default)
        if value is UNSET:
            where = flow.where(("params", name))
            resolved.missing.append(Missing("param", name, where))
            continue
        try:
            values[name] = fit(value, param.type)
        except ValueError as err:
            if name in params:  # a default that does not fit is told by loading
                mend = f"Give {a_kind(param.type)}."
                resolver.wrong(("params", name), str(err), mend, slug="bad-value")
    named = _texts(spec.config for spec in flow.nodes.values() if not spec.disabled)
    for name, connection in flow.connections.items():
        counts = name not in flow.shared or name in named
        resolver.spec("connection", name, connection, counts)
    for name, node in flow.nodes.items():
        resolver.spec("node", name, node, not node.disabled)
    return resolved


def schema_field_type(schema_of: Callable[[Kind, str], Schema | None]) -> FieldType:
    """A `field_type` for `resolve` from the JSON Schemas of configs.

    `schema_of` is asked for a kind and a type name, and answers None for an unknown type.
    """

    def field_type(kind: Kind, type_name: str, path: Sequence[str | int]) -> FieldKind | None:
        schema = schema_of(kind, type_name)
        if schema is None:
            return None
        found = {_kind_of(way) for way in at(schema, path) if way.get("type") != "null"}
        return found.pop() if len(found) == 1 else None

    return field_type


_KINDS: dict[str, FieldKind] = {
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "string": "text",
    "array": "list",
    "object": "map",
}


def _kind_of(schema: Schema) -> FieldKind | None:
    if schema.get("format") == "secret":
        return "secret"
    kind = schema.get("type")
    return _KINDS.get(kind) if isinstance(kind, str) else None


def _may_hold(wanted: FieldKind, declared: str) -> bool:
    """Whether a field can hold values of a param's type; what depends on the value is let pass."""
    numbers = {"number", "integer"}
    if wanted in numbers:
        return declared in numbers
    if wanted == "text":
        return declared in {"text", "duration"}
    return wanted == declared


def _texts(configs: Any) -> set[str]:
    """Every text in some configs: among them the ids of the connections they name."""
    found: set[str] = set()
    waiting = list(configs)
    while waiting:
        value = waiting.pop()
        if type(value) is str:
            found.add(value)
        elif type(value) is dict:
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
    return found


def references(flow: Flow) -> Iterator[tuple[str, str, ConfigPath]]:
    """Every reference of a flow in order: its kind (`param`, `env`, `secret`), name and path."""
    homes: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("connections", flow.connections),
        ("nodes", flow.nodes),
    )
    for home, specs in homes:
        for name, spec in specs.items():
            yield from _inside((home, name, "config"), spec.config)


def _inside(path: ConfigPath, value: Any) -> Iterator[tuple[str, str, ConfigPath]]:
    if type(value) is dict:
        kind = reference_of(value)
        if kind is not None:
            if type(value[kind]) is str:
                yield kind[1:], value[kind], path
            return
        for key, item in value.items():
            yield from _inside((*path, key), item)
    elif type(value) is list:
        for index, item in enumerate(value):
            yield from _inside((*path, index), item)

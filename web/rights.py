"""Who may do what: four roles, each with the rights of the one before, and the right to powers.

A power is what a node type can do to the box itself: read and write files, run programs, call
other hosts at will. Deploying or changing such a node needs the right `powers` besides (S-05), and
types that run code of the flow's author stay off until a setting names them (S-20).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from flowengine.flow import Flow

ROLES = ("viewer", "editor", "deployer", "admin")
RIGHTS = ("view", "edit", "deploy", "admin")
POWERS = "powers"

FAMILY_POWERS: Mapping[str, tuple[str, ...]] = {
    "file": ("file",),
    "exec": ("exec",),
    "python": ("code",),
    "js": ("code",),
    "function": ("code",),
    "http": ("net",),
    "snmp": ("net",),
    "ssh": ("exec", "net"),
}
"""What each family of node types can do beyond its flow."""

OFF_BY_DEFAULT = frozenset({"exec", "code"})
"""Powers that a setting must switch on before any flow may use them."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a person in a browser (with a session) or a script (with a token)."""

    name: str
    role: str
    rights: frozenset[str]
    session: str = ""
    has_password: bool = True

    def told(self) -> dict[str, Any]:
        """As the editor's page shows it."""
        order = [*RIGHTS, POWERS]
        return {
            "name": self.name,
            "role": self.role,
            "rights": [right for right in order if right in self.rights],
            "has_password": self.has_password,
        }


def rights_of(role: str, *, powers: bool = False) -> frozenset[str]:
    """The rights of a role; an admin has the powers always, others where they were given."""
    found = set(RIGHTS[: ROLES.index(role) + 1])
    if powers or role == "admin":
        found.add(POWERS)
    return frozenset(found)


def powers_of(type_name: str) -> tuple[str, ...]:
    """The powers of a node type, by its family; most have none."""
    return FAMILY_POWERS.get(type_name.partition(".")[0], ())


def powered(flow: Flow, allowed: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The nodes of a flow with powers; `allowed` says whether every one of them is switched on."""
    on = set(allowed)
    found = []
    for name, spec in flow.nodes.items():
        powers = powers_of(spec.type)
        if powers:
            off = [power for power in powers if power in OFF_BY_DEFAULT and power not in on]
            entry = {"node": name, "type": spec.type, "powers": list(powers), "allowed": not off}
            found.append(entry)
    return found


def touched_powers(old: Flow | None, new: Flow) -> list[str]:
    """The nodes with powers that `new` adds, changes or removes, or wires anew, against `old`."""
    before = {} if old is None else old.nodes
    return [
        name
        for name in sorted(set(before) | set(new.nodes))
        if any(powers_of(s.type) for s in (before.get(name), new.nodes.get(name)) if s is not None)
        and (before.get(name) != new.nodes.get(name) or _feeds(old, name) != _feeds(new, name))
    ]


def _feeds(flow: Flow | None, name: str) -> list[str]:
    """What leads into a node: who decides what a powered node gets has its power."""
    if flow is None:
        return []
    return sorted(wire.start for wire in flow.wires if wire.target == name)

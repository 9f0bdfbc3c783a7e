"""What a deploy restarts: the one comparison behind `flowengine diff` and the engine's deploys."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec


class Runs(Protocol):
    """A node or connection that can be compared with its new version."""

    @property
    def connections(self) -> Iterable[str]:
        """The connections that it uses."""

    def runs_like(self, other: Any) -> bool:
        """Whether the other would run the very same way."""


R = TypeVar("R", bound=Runs)


class Change(msgspec.Struct, kw_only=True):
    """What a deploy does: nodes and connections that start, stop, restart or stay as they are."""

    started: list[str]
    stopped: list[str]
    restarted: list[str]
    kept: list[str]
    connections_kept: list[str]


def what_restarts(
    old_nodes: Mapping[str, R],
    new_nodes: Mapping[str, R],
    old_connections: Mapping[str, R],
    new_connections: Mapping[str, R],
    *,
    same_ground: bool,
) -> Change:
    """Compare what runs with what is to run.

    A node stays if it runs the same way on the same connections, and the ground of all nodes (the
    params, the folder) is the same.
    """
    connections = [
        name
        for name, new in new_connections.items()
        if name in old_connections and new.runs_like(old_connections[name])
    ]
    links = set(connections)
    kept = [
        name
        for name, new in new_nodes.items()
        if same_ground
        and name in old_nodes
        and new.runs_like(old_nodes[name])
        and links.issuperset(new.connections)
    ]
    stays = set(kept)
    return Change(
        started=[name for name in new_nodes if name not in old_nodes],
        stopped=[name for name in old_nodes if name not in new_nodes],
        restarted=[name for name in new_nodes if name in old_nodes and name not in stays],
        kept=kept,
        connections_kept=connections,
    )

"""What the editor's server is told when it is made; defaults are the closed ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

SeriesReader = Callable[[str, dict[str, Any]], list[dict[str, Any]]]
"""Reads the box's own time series: `("list", {})`, `("points", {"name", "since", "last"})`, and as
one row `{"rows", "more"}` `("find", {"find", "most"})` and `("lines", {"name", "field", "tags",
"since", "until", "points", "most"})`, times in ns. UsageError for what takes too long to read."""

MAX_BODY = 10_000_000
SESSION_HOURS = 12


class Settings(msgspec.Struct, kw_only=True):
    """The folder of flows, where the editor keeps its own files, and how it may be reached.

    `hosts` are the names by which browsers may call it, without port (S-11). `powers` are those
    switched on (S-20). `sets` and `params_file` are this site's values of params.
    """

    folder: Path
    data: Path
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "::1"})
    is_secure: bool = False
    powers: frozenset[str] = frozenset()
    params_file: Path | None = None
    sets: list[str] = []
    max_body: int = MAX_BODY
    series: SeriesReader | None = None
    topics: Callable[[], dict[str, tuple[bytes, float]]] | None = None
    """Topic -> (last payload, wall time in s), as an embedded broker has seen them."""

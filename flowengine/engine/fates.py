"""What becomes of a message: its fate, and the place where it met it.

A fate is one of six kinds, best first; the worst of a message's branches counts (R16). With its
place (the node that filtered it, the reason for which it was dropped) it is one number, so that a
receipt carries one: the kind in the lowest three bits, the place above them.
"""

FILTERED = 0
DELIVERED = 1
SPOOLED = 2
DROPPED = 3
QUARANTINED = 4
MISSING = 5
"""Nobody knows: a damaged or deleted file, or a fault of the engine's."""
FATES = ("filtered", "delivered", "spooled", "dropped", "quarantined", "missing")
"""Names of the kinds, best first."""

KIND = 7
_names: list[str] = [""]
_numbers: dict[str, int] = {"": 0}


def fate_at(kind: int, place: str) -> int:
    """A fate of this kind, met at `place`: a node's id, or a reason."""
    number = _numbers.get(place)
    if number is None:
        number = _numbers[place] = len(_names)
        _names.append(place)
    return kind | number << 3


def place_of(fate: int) -> str:
    """Where a fate was met, `""` where that does not matter."""
    return _names[fate >> 3]


def fate_text(fate: int) -> str:
    """A fate as the ledger keeps it: `delivered`, `filtered:range`, `dropped:wire-full`."""
    place = place_of(fate)
    return f"{FATES[fate & KIND]}:{place}" if place else FATES[fate & KIND]


def fate_from(text: str) -> int:
    """A fate read back; ValueError if it is none."""
    kind, _, place = text.partition(":")
    return fate_at(FATES.index(kind), place)

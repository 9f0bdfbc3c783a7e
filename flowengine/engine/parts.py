"""A receipt that waits for all of its parts, and then says the worst of their fates once."""

from flowengine.engine.fates import FILTERED, KIND
from flowengine.message import Receipt


class Parts(Receipt):
    """What several settlements come together in."""

    __slots__ = ("fate", "parts")

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.fate = FILTERED

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts

    def settle(self, fate: int) -> None:
        """One part has met its fate."""
        if fate & KIND >= self.fate & KIND:
            self.fate = fate
        self.parts -= 1
        if not self.parts:
            self.all_settled()

    def all_settled(self) -> None:
        """Every part has met its fate: `fate` is the worst of them (R16)."""
        raise NotImplementedError

"""What each sink wrote, minute by minute: records, and not messages of a source."""

from collections.abc import Iterator

from flowengine.engine.ledger import MINUTE


class SinkLedger:
    """The account of one sink."""

    NAMES = ("records", "written", "retries", "possible_repeats")

    def __init__(self, name: str) -> None:
        self.name = name
        self.records = 0
        """Records that came to be written."""
        self.written = 0
        self.retries = 0
        self.possible_repeats = 0
        """Records written again of which nobody knows whether the far side has them already."""
        self._told = dict.fromkeys(self.NAMES, 0)

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return any(getattr(self, name) != told for name, told in self._told.items())

    def take_news(self, now: int) -> Iterator[tuple[int, str, int]]:
        """(minute, name, how many more) since the last call."""
        for name, told in self._told.items():
            number = getattr(self, name)
            if number != told:
                self._told[name] = number
                yield now // MINUTE, name, number - told

    def not_told(self, item: str, more: int) -> None:
        """What `take_news` told could not be written."""
        self._told[item] -= more

"""The ledger of one flow: its sources, its sinks, and which spool holds what of them."""

from collections.abc import Callable

from flowengine.engine.ledger import Book, SourceLedger
from flowengine.engine.sinkledger import SinkLedger


class FlowLedger:
    """What became of every message of one flow."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceLedger] = {}
        self.sinks: dict[str, SinkLedger] = {}
        self.before_write: Callable[[], None] = lambda: None
        """To be called before anything of a message is written: what came must be known by then."""
        self._books: dict[str, Book] = {}
        self._all_books: list[Book] = []  # the same list in every source

    def source(self, name: str) -> SourceLedger:
        """The account of a source, made when it is first asked for."""
        found = self.sources.get(name)
        if found is None:
            found = self.sources[name] = SourceLedger(name, self._all_books)
        return found

    def sink(self, name: str) -> SinkLedger:
        """The account of a sink, made when it is first asked for."""
        return self.sinks.setdefault(name, SinkLedger(name))

    def book(self, name: str) -> tuple[Book, bool]:
        """The book of a spool, and whether it is new: what the spool holds is to be booked in."""
        found = self._books.get(name)
        if found is not None:
            return found, False
        made = self._books[name] = Book()
        self._all_books.append(made)
        return made, True

    def moved(self, source: str, number: int, fate: int) -> None:
        """A record that holds a message is done, and removed from its book."""
        account = self.sources.get(source)
        if account is not None:
            account.moved(number, fate)

    def found_spooled(self, origins: dict[str, list[int]]) -> None:
        """A spool holds a record of a former run."""
        for source, numbers in origins.items():
            self.source(source).found_spooled(numbers)

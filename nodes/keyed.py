"""What nodes with one state a key and a pending timer need: the state's key, and a lasting time.

The engine hands a node the state of a message and not its key; a node that sets a timer or keeps
receipts names the key, so it evaluates the same rule (R10) once, when the state is new.
"""

from collections.abc import Callable
from operator import attrgetter

from flowengine import Context, KeyedConfig, Message

NO_MOMENT = 1 << 62
"""A moment that never comes: later than any other."""


def key_of(config: KeyedConfig, context: Context) -> Callable[[Message], str]:
    """The key of the state that a message belongs to, as the engine reckons it."""
    if config.key is None:
        return attrgetter("key")
    evaluate = config.key.bind(context.params, context.now)

    def key(message: Message) -> str:
        value = evaluate(message)
        return value if type(value) is str else shortest(value)

    return key


def shortest(number: float) -> str:
    """A number as a key: its shortest text (R10)."""
    whole = isinstance(number, float) and number.is_integer() and abs(number) < 1e15
    return str(int(number)) if whole else repr(number)


def bare(message: Message) -> Message:
    """A message to lay by in a state: the same without its receipt, which the engine keeps."""
    return Message(
        message.payload, message.topic, message.time, message.key, message.meta, message.id
    )


class Steady:
    """Wall time as it was when the node was made, carried on by the monotonic clock.

    It never jumps while the node runs (F-60), and unlike monotonic time it still means something
    after a restart; a node that resumes bounds what it reads, as the box's clock may have been
    set in between (F-61).
    """

    __slots__ = ("_monotonic", "_offset")

    def __init__(self, context: Context) -> None:
        self._monotonic = context.clock.monotonic
        self._offset = context.clock.now() - context.clock.monotonic()

    def now(self) -> int:
        """Nanoseconds since 1970, about."""
        return self._monotonic() + self._offset

    def monotonic(self, moment: int) -> int:
        """The monotonic time of a moment, for `wake_at`."""
        return moment - self._offset

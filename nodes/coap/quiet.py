"""What aiocoap has to say, as one line where it matters: no traceback, no line per packet."""

import logging
from collections import Counter
from collections.abc import Callable


class Quiet(logging.Handler):
    """Counts aiocoap's warnings; the first, tenth, hundredth... of a kind is said, in one line.

    Attributes:
        counts: how often each kind (the text before it is filled in) came.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; whatever traceback it carries is left out."""
        kind = str(record.msg)
        times = self.counts[kind] = self.counts[kind] + 1
        if str(times).strip("0") != "1":
            return
        try:
            line = " ".join(record.getMessage().split())[:200]
        except (TypeError, ValueError):  # a text whose holes do not fit what should fill them
            line = kind
        self._say(line if times == 1 else f"{line} ({times} times)")


def quiet_logger(name: str, say: Callable[[str], None]) -> logging.Logger:
    """The logger of this name, whose records go to `say` and nowhere else."""
    logger = logging.getLogger(name)
    logger.handlers[:] = [Quiet(say)]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    return logger

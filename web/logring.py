"""The engine's log for the editor: the last lines, without secrets, told to whoever listens."""

import contextlib
import logging
from collections import deque
from typing import Any

from flowengine.logs import shown
from flowengine.message import plain, rfc3339
from flowengine.web.redact import Redactor

KEPT = 1_000
LONGEST = 2_000


class LogRing(logging.Handler):
    """Keeps the last lines of the `flowengine` loggers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.number = 0
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        try:
            self.lines.append(self._line(record))
            self.number += 1
        except Exception:  # noqa: BLE001  # a line that cannot be shown must not stop its writer
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> dict[str, Any]:
        clean = self._redactor.clean
        facts = dict(getattr(record, "facts", {}))
        told = {name: facts.pop(name, None) for name in ("flow", "node", "mend")}
        return {
            "time": rfc3339(int(record.created * 1000) * 1_000_000),
            "level": record.levelname.lower(),
            "flow": told["flow"],
            "node": told["node"],
            "what": clean(shown(record.getMessage()))[:LONGEST],
            "mend": None if told["mend"] is None else clean(str(told["mend"]))[:LONGEST],
            "facts": {
                str(name): clean(shown(str(plain(value))))[:300] for name, value in facts.items()
            },
        }

    def since(self, number: int) -> tuple[list[dict[str, Any]], int, int]:
        """The lines after the first `number`, how many of those are gone, and the number now."""
        with self.lock or contextlib.nullcontext():
            missing = self.number - number
            lines = list(self.lines)[-missing:] if missing > 0 else []
            return lines, max(0, missing - len(lines)), self.number

"""Log lines: a sentence about one node with its facts, as text for people or JSON for machines.

Text: `12:30:01 WARNING cold-room/siren: the broker is not there`. JSON keys (R47): time, level,
flow, node, what, mend and facts.
"""

import json
import logging
import re
import sys
from typing import Any

from flowengine.message import rfc3339

# C0 but the line end, DEL, C1, and what turns the direction of writing: what a device sends must
# not reach a terminal as a command to it.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """Text with its control characters escaped, lines kept."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        facts: dict[str, Any] = dict(getattr(record, "facts", {}))
        line = {
            "time": rfc3339(int(record.created * 1000) * 1_000_000),
            "level": record.levelname.lower(),
            "flow": facts.pop("flow", None),
            "node": facts.pop("node", None),
            "what": record.getMessage(),
            "mend": facts.pop("mend", None),
            **facts,
        }
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """One line for people; the mend stands indented below."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        facts: dict[str, Any] = dict(getattr(record, "facts", {}))
        place = "/".join(str(facts.pop(k)) for k in ("flow", "node") if facts.get(k))
        mend = facts.pop("mend", None)
        clock = self.formatTime(record, "%H:%M:%S")
        what = shown(record.getMessage())
        line = f"{clock} {record.levelname:<7} {place + ': ' if place else ''}{what}"
        facts.pop("state", None)
        facts.pop("slug", None)
        if facts:
            told = ", ".join(f"{name} {value}" for name, value in facts.items())
            line += " (" + shown(told).replace("\n", "\\n") + ")"
        if mend:
            line += f"\n         {mend}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def set_up(style: str = "text", *, debug: bool = False) -> None:
    """Send flowengine's log to stderr in this style; other libraries' only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("flowengine").setLevel(logging.DEBUG if debug else logging.INFO)
    logging.raiseExceptions = False

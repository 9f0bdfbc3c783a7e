"""Secrets are taken out of whatever the editor shows: log lines, messages, error texts (S-51)."""

import json
import threading
from collections.abc import Iterable

SHOWN = "•••"
SHORTEST = 4
"""Shorter values are left alone: "on" would take half of a page with it."""


class Redactor:
    """Knows the values of the secrets in use, and replaces them in text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._values: tuple[str, ...] = ()
        for value in values:
            self.learn(value)

    def learn(self, value: str) -> None:
        """Take a value out from now on, also as it stands inside of JSON, and each of its lines."""
        forms = {value, *value.splitlines()}
        forms |= {
            json.dumps(form, ensure_ascii=is_ascii)[1:-1]
            for form in set(forms)
            for is_ascii in (True, False)
        }
        new = {form for form in forms if len(form.strip()) >= SHORTEST}
        with self._lock:
            if not new <= set(self._values):
                longest_first = sorted({*self._values, *new}, key=len, reverse=True)
                self._values = tuple(longest_first)

    def clean(self, text: str) -> str:
        """The text without any known secret."""
        for value in self._values:
            if value in text:
                text = text.replace(value, SHOWN)
        return text

    def clean_bytes(self, raw: bytes) -> bytes:
        """The same for text in UTF-8."""
        for value in self._values:
            if value.encode() in raw:
                raw = raw.replace(value.encode(), SHOWN.encode())
        return raw

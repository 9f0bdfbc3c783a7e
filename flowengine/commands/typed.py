"""Values that nobody else may see: typed without an echo, or read from stdin."""

import getpass
import sys

from flowengine.errors import UsageError


def read_value(name: str) -> str:
    """The value: typed twice on a terminal, else all of stdin but a last line end."""
    if sys.stdin.isatty():
        value = getpass.getpass(f"{name}: ")
        if getpass.getpass(f"{name}, once more: ") != value:
            raise UsageError("the two differ; nothing was stored.", "Try again.")
        return value
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as err:
        raise UsageError("stdin holds no text in UTF-8.", "Store it in base64.") from err
    return text.removesuffix("\n").removesuffix("\r")

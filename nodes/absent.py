"""Reading what may be absent: null stands for it, every other fault stays one."""

from collections.abc import Callable
from typing import Any

from flowengine import Message
from flowengine.errors import NodeError


def value_or_none(get: Callable[[Message], Any], message: Message) -> Any:
    """The value that a bound expression gives, None where what it reads is absent."""
    try:
        return get(message)
    except NodeError as err:
        if err.slug == "missing":
            return None
        raise

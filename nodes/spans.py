"""A length of time that is more than none, as config fields of several families need it."""

from typing import Annotated

from pydantic import AfterValidator

from flowengine.fields import Duration, fault


def _some(value: int) -> int:
    if value <= 0:
        raise fault("bad-duration", "0s is no time at all.", 'Give at least "1ms".')
    return value


Span = Annotated[Duration, AfterValidator(_some)]
"""A `Duration` above zero; nanoseconds in the node."""

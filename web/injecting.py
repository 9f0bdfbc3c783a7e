"""Putting a message into what runs: into a node's input, out of a source, or out of an output."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from flowengine.engine.flowrun import RunningFlow
from flowengine.engine.running import Running
from flowengine.message import Message, copy_tree, rfc3339
from flowengine.moments import parse_time
from flowengine.web.door import bad_request
from flowengine.web.problem import Problem, not_found


def inject(flow: RunningFlow, node: str, given: Mapping[str, Any], now: int) -> str:
    """Put one message in; its id. `given` has topic, key, time, meta, output, perhaps payload."""
    running = flow.nodes.get(node)
    if running is None or running.step is None:
        raise not_found(f'node "{node}" that runs')
    message = Message(
        from_plain(given["payload"]) if "payload" in given else _own_payload(running, now),
        given["topic"],
        _time(given["time"], now),
        given["key"] or (node if running.planned.type.kind == "source" else ""),
        dict(given["meta"]) | {"injected": True},
        f"injected-{secrets.token_hex(6)}",
    )
    output = given["output"]
    if output is not None:
        put_out(flow, node, output, message)
    elif running.planned.type.kind == "source":
        flow.take_in(running.step, [message], None, ())
    else:
        _put_in(running, message)
    flow.run_region()
    return message.id


def put_out(flow: RunningFlow, node: str, output: str, message: Message) -> None:
    """Let a message leave by an output, as if the node had sent it."""
    running = flow.nodes.get(node)
    step = running.step if running is not None else None
    if step is None or output not in step.outlets:
        raise not_found(f'output "{node}.{output}" that runs')
    step.outlets[output].put([message])
    flow.run_region()


def _put_in(running: Running, message: Message) -> None:
    """The way that a wire would take."""
    assert running.step is not None  # noqa: S101  # the caller looked
    (running.wire or running.step).put([message])


def _time(text: str | None, now: int) -> int:
    if text is None:
        return now
    try:
        return parse_time(text)
    except ValueError as err:
        raise bad_request(str(err), ("time",)) from err


def replayable(message: Message) -> Message:
    """A kept sample as a message of its own; one that was cut short cannot go again."""
    if message.payload is msgspec.UNSET:
        raise Problem(
            422, "bad-request", "Only the start of this message was kept.", "Inject it by hand."
        )
    meta = {**message.meta, "replayed": True}
    payload = from_plain(message.payload)
    return Message(payload, message.topic, message.time, message.key, meta)


def _own_payload(running: Running, now: int) -> Any:
    """What a timer would let in now; else the time."""
    own = getattr(running.planned.config, "payload", None)
    return copy_tree(own) if own is not None else rfc3339(now)


def from_plain(value: Any) -> Any:
    """A payload as JSON has it, with `{"$bytes": base64}` as bytes (R15)."""
    if isinstance(value, dict):
        if set(value) == {"$bytes"} and isinstance(value["$bytes"], str):
            try:
                return base64.b64decode(value["$bytes"], validate=True)
            except binascii.Error as err:
                raise bad_request(f"$bytes holds no base64: {err}", ("payload",)) from err
        return {name: from_plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [from_plain(part) for part in value]
    return value

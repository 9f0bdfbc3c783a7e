"""The loops over a batch: one a kind of node, chosen once when its step is made.

A stateless node costs 60-90 ns a message here, a keyed one 150: counters and errors are met once a
batch, and only the odd answer takes the long way round through `Step.sort`.
"""

import inspect
from collections.abc import Callable
from typing import Any

from flowengine.engine.outlet import HELD_BACK
from flowengine.engine.step import Step
from flowengine.errors import NodeError
from flowengine.message import Message
from flowengine.node import Result

MAX_KEY_BYTES = 256


def set_work(step: Step, *, in_order: bool = False) -> None:
    """Give a step its loop; `in_order` where outputs of it meet again behind it."""
    step.in_order = in_order
    step.work = _worker(step)


def _worker(step: Step) -> Callable[[list[Message]], None]:
    kind = step.type
    if kind.kind != "transform":
        return step.first.put
    if step.in_order:
        return _ordered(step, _answerer(step))
    if kind.scope == "keyed" and not kind.is_function:
        return _keyed(step)
    if getattr(step.node, "receive_batch", None) is not None:
        return _whole(step)
    return _each(step, _answerer(step))


def _answerer(step: Step) -> Callable[[Message], Result]:
    """What answers one message."""
    kind = step.type
    if kind.is_function:
        function, config = step.node, step.config
        if len(inspect.signature(function).parameters) == 1:
            return function  # type: ignore[no-any-return]  # any node may be
        return lambda message: function(message, config)
    receive: Callable[..., Result] = step.node.receive
    if kind.scope == "keyed":
        key_of, one_for_all = _key_of(step)
        clock = step.node.clock

        def keyed(message: Message) -> Result:
            assert step.entries is not None  # noqa: S101  # set with the step, before it runs
            key = _good_key(message.key if key_of is None else key_of(message), one_for_all)
            return receive(message, step.entries.touch(key, clock.monotonic()))

        return keyed
    if kind.scope == "singleton":

        def single(message: Message) -> Result:
            assert step.entries is not None  # noqa: S101  # set with the step, before it runs
            return receive(message, step.entries.touch("", 0))

        return single
    return receive


def _ordered(step: Step, answer: Callable[[Message], Result]) -> Callable[[list[Message]], None]:
    """A node of which outputs meet again: what leaves by one is done with before the other's."""

    def work(batch: list[Message]) -> None:
        leaving: list[Message] = []
        last = step.first.name
        for message in batch:
            outs: dict[str, list[Message]] = {}
            try:
                result = answer(message)
                if result is None:
                    step.drop(message)
                    continue
                step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                leaving = let_out(last, leaving)
                step.broke(message, err)
                run_behind()
                continue
            for name, messages in outs.items():
                if name != last:
                    leaving = let_out(last, leaving)
                last = name
                leaving += messages
        step.outlets[last].put(leaving)

    def let_out(name: str, messages: list[Message]) -> list[Message]:
        if messages:
            step.outlets[name].put(messages)
            run_behind()
        return []

    def run_behind() -> None:
        if step.region is not None:
            step.region.run_behind()

    return work


def _each(step: Step, call: Callable[[Message], Result]) -> Callable[[list[Message]], None]:
    """A stateless node, message by message."""

    def work(batch: list[Message]) -> None:
        first: list[Message] = []
        outs: dict[str, list[Message]] = {step.first.name: first}
        for message in batch:
            try:
                result = call(message)
                if type(result) is Message:
                    if result.receipt is not message.receipt:
                        step.sort(message, result, outs)
                    else:
                        first.append(result)
                elif result is None:
                    step.drop(message)
                else:
                    step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                step.broke(message, err)
        for name, messages in outs.items():
            if messages:
                step.outlets[name].put(messages)

    return work


def _whole(step: Step) -> Callable[[list[Message]], None]:
    """A stateless node that answers whole batches."""
    call = step.node.receive_batch

    def work(batch: list[Message]) -> None:
        for name, messages in step.answer_all(call, batch).items():
            if not messages:
                continue
            if name == HELD_BACK:
                if step.has_kept:  # the node keeps them: what answers for them leaves elsewhere
                    step.has_kept = False
                else:
                    step.filtered += len(messages)
                for message in messages:
                    message.receipt.settle(step.filtered_here)
            else:
                step.outlets[name].put(messages)

    return work


def _keyed(step: Step) -> Callable[[list[Message]], None]:
    """A node with one state per key (R10)."""
    receive = step.node.receive
    key_of, one_for_all = _key_of(step)

    def work(batch: list[Message]) -> None:
        entries = step.entries
        assert entries is not None  # noqa: S101  # set with the step, before it runs
        first: list[Message] = []
        outs: dict[str, list[Message]] = {step.first.name: first}
        now = step.node.clock.monotonic()
        for message in batch:
            try:
                key = message.key if key_of is None else key_of(message)
                if type(key) is not str or not key or len(key) > MAX_KEY_BYTES // 4:
                    key = _good_key(key, one_for_all)
                result = receive(message, entries.touch(key, now))
                if result is None:
                    step.drop(message)
                elif type(result) is Message and result.receipt is message.receipt:
                    first.append(result)
                else:
                    step.sort(message, result, outs)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                step.broke(message, err)
        for name, messages in outs.items():
            if messages:
                step.outlets[name].put(messages)

    return work


def _key_of(step: Step) -> tuple[Callable[[Message], Any] | None, bool]:
    """What gives a keyed node's key, None for the message's own; whether one key serves all."""
    expression = getattr(step.config, "key", None)
    if expression is None:
        return None, False
    context = step.node.context
    one_for_all = expression.text.strip() in {"''", '""'}
    return expression.bind(context.params, context.now), one_for_all


def _good_key(key: Any, one_for_all: bool) -> str:
    """A key as text; NodeError for one that is none, empty or too long."""
    if type(key) is not str:
        key = key_text(key)
    if not key and not one_for_all:
        raise NodeError(
            "the key is empty",
            slug="no-key",
            path="key",
            mend="Set the source's key, or this node's key to '' for one state.",
        )
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        raise NodeError(f"the key has more than {MAX_KEY_BYTES} bytes", slug="long-key", path="key")
    return str(key)


def key_text(key: Any) -> str:
    """A key as text: a number in its shortest form; anything else is no key."""
    if isinstance(key, bool) or not isinstance(key, int | float):
        raise NodeError("the key is neither text nor a number", slug="no-key", path="key")
    if isinstance(key, float) and key.is_integer() and abs(key) < 1e15:
        return str(int(key))
    return repr(key)

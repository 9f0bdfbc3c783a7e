"""An error that reaches nobody is told, without a traceback, and fills no log."""

import asyncio
import logging

import pytest

from flowengine.engine.stray import MOST_PLACES, StrayErrors


async def leak(number: int) -> None:
    raise RuntimeError(f"error {number}")


async def leave_errors(number: int) -> StrayErrors:
    stray = StrayErrors()
    asyncio.get_running_loop().set_exception_handler(stray)
    for n in range(number):
        task = asyncio.create_task(leak(n))
        await asyncio.sleep(0)
        del task
    return stray


def test_f10_an_error_of_every_message_is_told_at_every_tenfold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stray = asyncio.run(leave_errors(1234))
    assert stray.counts == {"leak": 1234}
    assert [record.getMessage() for record in caplog.records] == [
        "an error that nobody awaits, in leak: RuntimeError: error 0",
        "an error that nobody awaits, in leak: RuntimeError: error 9 (10 times)",
        "an error that nobody awaits, in leak: RuntimeError: error 99 (100 times)",
        "an error that nobody awaits, in leak: RuntimeError: error 999 (1000 times)",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_a_callback_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("no value")

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(StrayErrors())
        loop.call_soon(fails)
        await asyncio.sleep(0)

    asyncio.run(scene())
    (record,) = caplog.records
    assert "fails: ValueError: no value" in record.getMessage()


def test_what_has_no_error_is_told_by_its_message(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    StrayErrors()(loop, {"message": "socket.send() raised exception."})
    loop.close()
    assert "socket.send() raised exception." in caplog.text


def test_the_traceback_is_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "flowengine"):
        asyncio.run(leave_errors(1))
    assert caplog.records[-1].exc_info


def test_places_are_bounded() -> None:
    stray = StrayErrors()
    loop = asyncio.new_event_loop()
    for n in range(2 * MOST_PLACES):
        stray(loop, {"message": f"place {n}"})
    loop.close()
    assert len(stray.counts) == MOST_PLACES + 1
    assert stray.counts["elsewhere"] == MOST_PLACES

"""The engine around a sink loses nothing, whatever its far side does."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine import Message, Sink, SinkConfig, node
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.delivery import Intake
from flowengine.engine.fates import FATES
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.outlet import ERROR, Outlet
from flowengine.engine.region import Region
from flowengine.engine.sink import SinkRunner
from flowengine.engine.spool import Spool
from flowengine.engine.step import Step
from flowengine.engine.wire import Wire
from flowengine.errors import NodeError, RecordRefused, Unavailable
from flowengine.node import MARK, SpoolConfig


@node("shelf")
class Shelf(Sink[SinkConfig]):
    """A sink in memory whose far side does as it is told."""

    def setup(self) -> None:
        """Nothing is stored yet."""
        self.stored: list[Any] = []
        self.writes: list[int] = []
        self.is_up = True
        self.bad: set[Any] = set()
        self.names_the_bad = False
        self.retry_after: float | None = None
        self.lost_answer = False
        self.is_unanswered = True

    def prepare(self, message: Message) -> Any:
        """The payload; text is refused here."""
        if message.payload == "unpreparable":
            raise NodeError("no record can be made", slug="no-fields")
        return message.payload

    async def write(self, records: list[Any]) -> None:
        """Store all, or raise."""
        self.writes.append(len(records))
        if not self.is_up:
            raise Unavailable(
                "the shelf is away",
                retry_after=self.retry_after,
                is_unanswered=self.is_unanswered,
            )
        bad = {i: f"bad record {r}" for i, r in enumerate(records) if r in self.bad}
        if bad and self.names_the_bad:
            self.stored += [r for i, r in enumerate(records) if i not in bad]
            raise RecordRefused("some are bad", refused=bad)
        if bad:
            raise RecordRefused("something in there is bad")
        self.stored += records


class Rig:
    """One sink with its runner, its wire and its source's intake."""

    def __init__(self, config: dict[str, Any] | None = None, folder: Path | None = None) -> None:
        self.clock = ToldClock()
        self.region = Region(self.clock, self._failed)
        kind = getattr(Shelf, MARK)
        valid = SinkConfig.model_validate(config or {})
        self.failed: list[Message] = []
        self.statuses: list[str] = []
        self.logs: list[str] = []
        self.shelf = Shelf(valid, self)  # type: ignore[arg-type]  # a context in outline
        self.step = Step("shelf", kind, self.shelf, valid)
        self.step.outlets[ERROR] = Outlet(ERROR)
        self.step.region = self.region
        self.wire = Wire(self.clock)
        self.accounts = FlowAccounts("flow", self.clock, None)
        self.intake = Intake(ledger=self.accounts.source("in"))
        self.acked = 0
        self.folder = folder
        self.runner = SinkRunner(
            self.step,
            self.wire,
            self.region,
            self.clock,
            open_spool=self._spool if folder else None,
            disk=None,
            status=lambda state, _what: self.statuses.append(state),
            log=lambda _level, what, **_facts: self.logs.append(what),
            accounts=self.accounts,
        )

    def _spool(self, settings: SpoolConfig) -> Spool:
        assert self.folder is not None
        return Spool(
            self.folder, max_bytes=settings.size, max_age_ns=settings.age, now=self.clock.now
        )

    def _failed(self, _step: Step, message: Message, error: Exception) -> None:
        self.failed.append(message)
        message.receipt.settle(4)

    def put(self, *payloads: Any) -> None:
        """Let messages in, one read, straight to the sink."""
        messages = [Message(payload) for payload in payloads]
        number = len(messages)
        self.intake.let_in(messages, lambda: self._ack(number))
        self.wire.put(messages)

    def _ack(self, number: int) -> None:
        self.acked += number

    @property
    def fates(self) -> dict[str, int]:
        """What became of the messages, without what never happened."""
        return {n: c for n, c in zip(FATES, self.intake.fates, strict=True) if c}

    async def pass_time(self, duration: int) -> None:
        """Let told time pass, timer by timer, work settling between."""
        until = self.clock.monotonic() + duration
        await self.settle()
        while self.clock.step(until):
            await self.settle()
        await self.settle()

    @staticmethod
    async def settle() -> None:
        """Let every task go as far as it can."""
        for _ in range(30):
            await asyncio.sleep(0)


def play(rig: Rig, story: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """Run a story beside the runner, then stop it."""

    async def scene() -> None:
        task = asyncio.create_task(rig.runner.run())
        await rig.settle()
        await story(rig)
        rig.runner.stop()
        await rig.settle()
        await asyncio.wait_for(task, 5)

    asyncio.run(scene())


def test_a_batch_is_written_when_full() -> None:
    rig = Rig({"batch": {"size": 3, "age": "1h"}})

    async def story(rig: Rig) -> None:
        rig.put(1, 2)
        await rig.settle()
        assert rig.shelf.stored == []
        rig.put(3, 4)
        await rig.settle()
        assert rig.shelf.stored == [1, 2, 3]
        assert rig.acked == 2

    play(rig, story)
    assert rig.shelf.stored == [1, 2, 3, 4]


def test_a_batch_is_written_when_its_oldest_message_is_old_enough() -> None:
    rig = Rig({"batch": {"age": "1s"}})

    async def story(rig: Rig) -> None:
        rig.put(1)
        await rig.pass_time(SECOND // 2)
        rig.put(2)
        assert rig.shelf.stored == []
        await rig.pass_time(SECOND // 2)
        assert rig.shelf.stored == [1, 2]

    play(rig, story)


def test_a_stalling_source_hurries_the_batch() -> None:
    rig = Rig({"batch": {"age": "1h"}})

    async def story(rig: Rig) -> None:
        rig.put(1)
        await rig.settle()
        rig.runner.hurry()
        await rig.settle()
        assert rig.shelf.stored == [1]

    play(rig, story)


def test_stopping_writes_what_waits() -> None:
    rig = Rig({"batch": {"age": "1h"}})

    async def story(rig: Rig) -> None:
        rig.put(1, 2)

    play(rig, story)
    assert rig.shelf.stored == [1, 2]
    assert rig.acked == 2


@pytest.mark.parametrize("names_the_bad", [True, False], ids=["named", "found by halves"])
def test_r6_a_refused_record_takes_the_error_route_and_all_others_are_written(
    names_the_bad: bool,
) -> None:
    rig = Rig({"batch": {"age": "0s"}})
    rig.shelf.bad, rig.shelf.names_the_bad = {617}, names_the_bad

    async def story(rig: Rig) -> None:
        rig.put(*range(1000))
        await rig.pass_time(SECOND)

    play(rig, story)
    assert [m.payload for m in rig.failed] == [617]
    assert sorted(rig.shelf.stored) == [n for n in range(1000) if n != 617]
    assert rig.acked == 1000
    assert rig.fates == {"delivered": 999, "quarantined": 1}
    assert len(rig.shelf.writes) <= (1 if names_the_bad else 1 + 2 * 10)  # F-44: 2 log2 n tries


def test_a_message_that_makes_no_record_takes_the_error_route() -> None:
    rig = Rig({"batch": {"age": "0s"}})

    async def story(rig: Rig) -> None:
        rig.put(1, "unpreparable", 2)
        await rig.settle()

    play(rig, story)
    assert rig.shelf.stored == [1, 2]
    assert [m.payload for m in rig.failed] == ["unpreparable"]
    assert rig.acked == 3


def test_r31_an_absent_far_side_acknowledges_from_the_spool_and_gets_all_in_order_later(
    tmp_path: Path,
) -> None:
    rig = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        for n in range(5):
            rig.put(n)
            await rig.pass_time(SECOND)
        assert rig.shelf.stored == []
        assert rig.acked == 5
        assert rig.runner.stored == 5
        rig.shelf.is_up = True
        await rig.pass_time(120 * SECOND)
        assert rig.shelf.stored == [0, 1, 2, 3, 4]
        assert rig.runner.stored == 0
        rig.put(5)
        await rig.settle()
        assert rig.shelf.stored[-1] == 5

    play(rig, story)
    assert rig.shelf.stored == list(range(6))
    assert "running" in rig.statuses[-1:]


def test_r59_what_came_while_the_backlog_drains_is_written_behind_it(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s", "size": 2}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(*range(6))
        await rig.pass_time(SECOND // 2)
        rig.shelf.is_up = True
        rig.put(6, 7)
        await rig.pass_time(120 * SECOND)

    play(rig, story)
    assert rig.shelf.stored == list(range(8))


def test_a_spooled_backlog_survives_the_process(tmp_path: Path) -> None:
    first = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def away(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1, 2, 3)
        await rig.pass_time(SECOND)

    play(first, away)
    assert first.acked == 3
    second = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def back(rig: Rig) -> None:
        rig.put(4)
        await rig.pass_time(SECOND)

    play(second, back)
    assert second.shelf.stored == [1, 2, 3, 4]


def test_without_a_spool_an_absent_far_side_holds_everything_unacknowledged() -> None:
    rig = Rig({"batch": {"age": "0s"}})

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1, 2)
        await rig.pass_time(10 * SECOND)
        assert rig.acked == 0
        rig.shelf.is_up = True
        await rig.pass_time(120 * SECOND)
        assert rig.shelf.stored == [1, 2]
        assert rig.acked == 2

    play(rig, story)


def test_retries_back_off_and_stay_within_the_longest_wait(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s"}, "retry": {"first": "1s", "max": "8s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1)
        await rig.pass_time(60 * SECOND)

    play(rig, story)
    assert 7 <= len(rig.shelf.writes) <= 13


def test_f43_retry_after_is_honoured(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up, rig.shelf.retry_after = False, 30.0
        rig.put(1)
        await rig.pass_time(29 * SECOND)
        assert len(rig.shelf.writes) == 1
        await rig.pass_time(2 * SECOND)
        assert len(rig.shelf.writes) == 2

    play(rig, story)


@pytest.mark.parametrize("is_spooled", [True, False], ids=["spooled", "held"])
def test_f22_a_sink_that_is_told_its_far_side_is_back_tries_at_once(
    tmp_path: Path, *, is_spooled: bool
) -> None:
    rig = Rig({"batch": {"age": "0s"}}, tmp_path if is_spooled else None)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1, 2)
        await rig.pass_time(600 * SECOND)  # tries are a minute apart by now
        tries = len(rig.shelf.writes)
        rig.runner.reach()
        await rig.pass_time(0)
        assert len(rig.shelf.writes) == tries + 1
        await rig.pass_time(3 * SECOND)  # it was not, and the wait begins anew
        assert tries + 2 <= len(rig.shelf.writes) <= tries + 3
        rig.shelf.is_up = True
        rig.runner.reach()
        await rig.pass_time(0)
        assert rig.shelf.stored == [1, 2]

    play(rig, story)


def test_f43_a_far_side_that_has_said_when_is_not_asked_before(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up, rig.shelf.retry_after = False, 30.0
        rig.put(1)
        await rig.pass_time(5 * SECOND)
        rig.runner.reach()
        await rig.pass_time(20 * SECOND)
        assert len(rig.shelf.writes) == 1

    play(rig, story)


@pytest.mark.parametrize(("is_unanswered", "repeats"), [(True, 2), (False, 0)])
def test_only_what_was_sent_and_not_answered_may_have_been_written_twice(
    tmp_path: Path, *, is_unanswered: bool, repeats: int
) -> None:
    rig = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up, rig.shelf.is_unanswered = False, is_unanswered
        rig.put(1, 2)
        await rig.pass_time(0)
        assert rig.runner.account.possible_repeats == repeats

    play(rig, story)


@pytest.mark.parametrize("window", [None, 8])
def test_an_absent_far_side_costs_no_more_than_twenty_fsyncs_a_second(
    tmp_path: Path, window: int | None
) -> None:
    """However the messages come; and no source stalls for it."""
    rig = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.intake.window, rig.intake._hurry = window, rig.runner.hurry
        rig.put(0)
        await rig.pass_time(SECOND)
        assert rig.runner.backlog is not None
        spool = rig.runner.backlog.spool
        syncs, sync = 0, spool.sync

        def counted() -> int:
            nonlocal syncs
            syncs += 1
            return sync()

        spool.sync = counted  # type: ignore[method-assign]  # counts, and does it
        for number in range(1, 101):
            rig.put(number)
            rig.intake.press()
            await rig.pass_time(SECOND // 100)
            assert window is None or rig.intake.unacknowledged < window
        assert 10 <= syncs <= (21 if window is None else 30)
        await rig.pass_time(SECOND // 20)
        assert rig.acked == 101

    play(rig, story)


def test_giving_up_sends_the_records_by_the_error_route(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s"}, "retry": {"give_up": "1m"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1)
        await rig.pass_time(300 * SECOND)
        assert rig.runner.stored == 0

    play(rig, story)
    assert [m.payload for m in rig.failed] == [1]


def test_a_full_spool_that_blocks_stops_acknowledging(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s", "size": 10}, "spool": {"size": "20kB"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        for n in range(40):
            rig.put("x" * 1000 + str(n))
            await rig.pass_time(SECOND // 10)
        assert 0 < rig.acked < 40
        acked = rig.acked
        assert rig.wire.depth == 40 - acked
        rig.shelf.is_up = True
        await rig.pass_time(300 * SECOND)
        assert rig.acked == 40

    play(rig, story)
    assert len(rig.shelf.stored) == 40


def test_a_full_spool_that_drops_counts_what_it_drops(tmp_path: Path) -> None:
    rig = Rig(
        {"batch": {"age": "0s", "size": 10}, "spool": {"size": "20kB", "when_full": "drop-newest"}},
        tmp_path,
    )

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        for n in range(40):
            rig.put("x" * 1000 + str(n))
            await rig.pass_time(SECOND // 10)

    play(rig, story)
    assert rig.acked == 40
    assert rig.runner.backlog is not None
    assert rig.runner.backlog.dropped > 0
    assert rig.fates["spooled"] + rig.fates["dropped"] == 40


def test_r59_live_first_writes_new_data_before_the_backlog_is_through(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s", "size": 1}, "order": "live-first"}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(*range(50))
        await rig.pass_time(5 * SECOND)
        rig.shelf.is_up = True
        until = rig.clock.monotonic() + 300 * SECOND
        while not rig.shelf.stored and rig.clock.step(until):  # noqa: ASYNC110  # told
            await asyncio.sleep(0)
        rig.put("live")
        await rig.pass_time(300 * SECOND)

    play(rig, story)
    assert sorted(map(str, rig.shelf.stored)) == sorted(map(str, [*range(50), "live"]))
    assert rig.shelf.stored.index("live") < 49


def test_a_write_that_is_cancelled_gives_back_only_what_was_not_written(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s", "size": 100}})
    rig.shelf.bad = {3}  # so that the batch is written by halves
    hang = asyncio.Event()
    plain = rig.shelf.write

    async def write(records: list[Any]) -> None:
        if records[0] >= 4:
            await hang.wait()
        await plain(records)

    rig.shelf.write = write  # type: ignore[method-assign]

    async def scene() -> None:
        task = asyncio.create_task(rig.runner.run())
        rig.put(*range(10))
        await rig.settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())
    assert rig.shelf.stored == [0, 1, 2]
    assert [m.payload for m in rig.wire.take(99)] == [4, 5, 6, 7, 8, 9]
    assert rig.intake.in_flight == 6


def test_stopping_without_a_spool_while_the_far_side_is_away_ends() -> None:
    rig = Rig({"batch": {"age": "0s", "size": 1}})

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1, 2, 3)
        await rig.settle()

    play(rig, story)
    assert (rig.acked, rig.wire.depth) == (0, 3)


def test_a_message_that_makes_no_record_does_not_cost_the_backlog_another(tmp_path: Path) -> None:
    rig = Rig({"batch": {"age": "0s"}}, tmp_path)

    async def story(rig: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(1)
        await rig.settle()
        rig.put(2, "unpreparable", 3)
        await rig.pass_time(20 * SECOND)
        rig.shelf.is_up = True
        await rig.pass_time(100 * SECOND)

    play(rig, story)
    assert rig.shelf.stored == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.integers(1, 7),
            st.sampled_from(["down", "up", "wait", "long wait"]),
        ),
        max_size=25,
    ),
    size=st.integers(1, 5),
    with_spool=st.booleans(),
)
def test_whatever_the_far_side_does_every_message_is_written_once_and_acknowledged(
    steps: list[Any], size: int, with_spool: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool") if with_spool else None
    rig = Rig({"batch": {"age": "0s", "size": size}}, folder)
    sent = 0

    async def story(rig: Rig) -> None:
        nonlocal sent
        for step in steps:
            if isinstance(step, int):
                rig.put(*range(sent, sent + step))
                sent += step
                await rig.settle()
            elif step in {"down", "up"}:
                rig.shelf.is_up = step == "up"
            else:
                await rig.pass_time(SECOND if step == "wait" else 100 * SECOND)
        rig.shelf.is_up = True
        await rig.pass_time(300 * SECOND)

    play(rig, story)
    assert rig.shelf.stored == list(range(sent))
    assert rig.acked == sent
    assert rig.intake.in_flight == 0

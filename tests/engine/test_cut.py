"""A cut is a flow at one moment: it is written once nothing that it lacks is on its way."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.engine.backlog import Backlog
from flowengine.engine.cut import Cut
from flowengine.engine.delivery import Intake, Origins
from flowengine.engine.fates import DELIVERED, FILTERED, QUARANTINED, SPOOLED
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.gate import Gate
from flowengine.engine.leaving import Leaving
from flowengine.engine.origins import split_entering
from flowengine.engine.state import Entries
from flowengine.engine.step import Step
from flowengine.message import Message, Receipt
from flowengine.node import MARK, NodeState
from tests.engine.rigs import Gather


class Sum(NodeState):
    """Something that can be saved, or not."""

    sum: int = 0
    rest: Any = None


class Flow:
    """What a cut needs of a flow: one source, two nodes with states, no spool."""

    id = "flow"

    def __init__(self) -> None:
        self.gate, self.leaving, self.ledger = Gate(), Leaving(), FlowLedger()
        self.gate.is_open = False
        self.intake = Intake(ledger=self.ledger.source("in"), gate=self.gate)
        self.acks: list[str] = []
        self.window, self.second = (self._step(name) for name in ("window", "second"))
        self.open_spools: list[Backlog] = []

    def _step(self, node: str) -> Step:
        step = Step(node, getattr(Gather, MARK), None, None)
        step.entries, step.leaving = Entries(Sum), self.leaving
        step.entries.on_forget = step.forget
        return step

    @property
    def intakes(self) -> Mapping[str, Intake]:
        """What the source let in."""
        return {"in": self.intake}

    def steps(self) -> list[Step]:
        """Both."""
        return [self.window, self.second]

    def backlogs(self) -> list[Backlog]:
        """None but those of the test."""
        return self.open_spools

    # -- what happens

    def come(self, name: str = "") -> Message:
        """One message in one read."""
        message = Message(name)
        self.intake.let_in([message], lambda: self.acks.append(name))
        return message

    def change(self, message: Message, step: Step | None = None, key: str = "k") -> None:
        """A message changes the state of a key."""
        step = step or self.window
        step.meet([message])
        assert step.entries is not None
        step.entries.touch(key, 0).sum += 1

    def keep(self, message: Message, step: Step | None = None, key: str = "k") -> None:
        """A message stays in a window, and answers by its result."""
        step = step or self.window
        self.change(message, step, key)
        step.keep(message, key)
        message.receipt.settle(FILTERED)

    def close(self, step: Step | None = None, key: str = "k") -> Message:
        """The window's result leaves it."""
        step = step or self.window
        assert step.entries is not None
        step.entries.touch(key, 0).sum = 0
        message = step.give(Message("result"), key)
        step.left([message], "out")
        return message

    def written(self) -> Cut:
        """A cut that waits for nothing, and took effect."""
        cut = Cut(self)
        assert is_clear(cut)
        cut.took_effect()
        return cut


def is_clear(cut: Cut) -> bool:
    """Whether it may be written."""
    return cut.barrier._clear.is_set()


def rows(cut: Cut) -> dict[tuple[str, str], int]:
    """(node, key) -> the sum in the state that is to be written."""
    return {
        (node, key): msgspec.msgpack.decode(data)["sum"]
        for _, node, key, _, _, data in cut.states.rows
    }


def held(cut: Cut) -> dict[tuple[str, str], list[Origins]]:
    """(node, name) -> what is to be written of the receipts held there."""
    found: dict[tuple[str, str], list[Origins]] = {}
    for part in cut.states.held:
        found.setdefault((part.node, part.name), []).extend(part.origins)
    return found


@pytest.fixture
def flow() -> Flow:
    return Flow()


# ---- what it waits for


def test_it_waits_for_what_changed_a_state_and_is_on_its_way(flow: Flow) -> None:
    message = flow.come("a")
    flow.change(message)
    cut = Cut(flow)
    assert not is_clear(cut)
    message.receipt.settle(DELIVERED)
    assert is_clear(cut)


@pytest.mark.parametrize("is_secured", [False, True])
def test_it_waits_for_every_branch_settled_or_safe_on_disk(flow: Flow, is_secured: bool) -> None:
    message = flow.come("a")
    flow.change(message)
    message.receipt.take(2)
    cut = Cut(flow)
    message.receipt.settle(DELIVERED)
    message.receipt.secure()
    assert not is_clear(cut)
    if is_secured:
        message.receipt.secure()
    else:
        message.receipt.settle(SPOOLED)
    assert is_clear(cut)


def test_it_waits_for_what_had_left_a_state(flow: Flow) -> None:
    """The cut before it has the window open, and knows who its members are."""
    flow.keep(flow.come("a"))
    flow.written()
    result = flow.close()
    cut = Cut(flow)
    assert rows(cut) == {("window", "k"): 0}
    assert cut.states.let_go == [("window", "k")]
    assert not is_clear(cut)
    result.receipt.settle(DELIVERED)
    assert is_clear(cut)


def test_it_waits_for_what_left_a_state_in_which_nothing_was_kept(flow: Flow) -> None:
    message = Message("status")
    flow.window.track(message, "out")
    cut = Cut(flow)
    assert not is_clear(cut)
    message.receipt.settle(DELIVERED)
    assert is_clear(cut)


def test_it_does_not_wait_for_what_only_passes_by_or_comes_later(flow: Flow) -> None:
    flow.come("passes by")
    flow.keep(flow.come("held"))
    cut = Cut(flow)
    assert is_clear(cut)
    flow.change(flow.come("later"))
    flow.close().receipt.take()
    assert is_clear(cut)


def test_two_cuts_in_a_row_wait_for_the_same_message_the_newer_in_place_of_the_older(
    flow: Flow,
) -> None:
    """An older cut that was given up must not be what a message still tells."""
    message = flow.come("a")
    flow.change(message)
    Cut(flow).failed()
    cut = Cut(flow)
    assert not is_clear(cut)
    message.receipt.settle(DELIVERED)
    assert is_clear(cut)


def test_where_no_state_is_kept_it_waits_for_nothing(flow: Flow) -> None:
    flow.gate.is_open = True
    flow.change(flow.come("a"))
    flow.close()
    assert is_clear(Cut(flow))


def test_it_does_not_wait_for_what_a_state_has_that_cannot_be_saved(flow: Flow) -> None:
    """It would wait forever: the state never comes to the disk. It is taken once it can be."""
    assert flow.window.entries is not None
    message = flow.come("a")
    flow.keep(message)
    flow.window.entries.touch("k", 0).rest = 2**70
    cut = Cut(flow)
    assert (is_clear(cut), rows(cut), held(cut)) == (True, {}, {})
    cut.took_effect()
    assert flow.acks == []
    flow.window.entries.touch("k", 0).rest = None
    cut = Cut(flow)
    assert held(cut) == {("window", "k"): [{"in": [1]}]}
    assert is_clear(cut)


# ---- what enters a state meanwhile


def test_what_enters_another_state_meanwhile_is_written_with_the_cut_and_not_waited_for(
    flow: Flow,
) -> None:
    flow.keep(flow.come("a"))
    flow.written()
    result = flow.close()
    cut = Cut(flow)
    flow.keep(result, flow.second)
    assert is_clear(cut)
    [(node, data)] = cut.barrier.entering
    identity, _ = split_entering(data)
    assert (node, identity) == ("second", {"in": [1]})
    assert held(cut) == {}  # the cut does not have it there: it enters again
    cut.took_effect()
    later = Cut(flow)
    assert later.barrier.entering == []
    assert held(later) == {("second", "k"): [{"in": [1]}]}
    assert is_clear(later)


def test_the_other_branches_of_what_enters_a_state_are_waited_for(flow: Flow) -> None:
    flow.keep(flow.come("a"))
    flow.written()
    result = flow.close()
    result.receipt.take()
    cut = Cut(flow)
    flow.keep(result, flow.second)
    assert not is_clear(cut)
    result.receipt.settle(DELIVERED)
    assert is_clear(cut)


def test_what_enters_a_state_and_leaves_it_again_is_waited_for(flow: Flow) -> None:
    flow.keep(flow.come("a"))
    flow.written()
    result = flow.close()
    result.receipt.take()
    cut = Cut(flow)
    flow.keep(result, flow.second)
    second = flow.close(flow.second)
    second.receipt.settle(QUARANTINED)
    assert not is_clear(cut)
    result.receipt.settle(DELIVERED)
    assert is_clear(cut)


# ---- what is acknowledged


def test_what_a_state_holds_is_acknowledged_once_the_cut_is_on_disk(flow: Flow) -> None:
    flow.keep(flow.come("a"))
    cut = Cut(flow)
    assert flow.acks == []
    cut.took_effect()
    assert flow.acks == ["a"]
    assert flow.intake.fates == [0] * 6
    assert flow.intake.in_flight == 1
    flow.close().receipt.settle(QUARANTINED)
    assert flow.intake.in_flight == 0


def test_what_is_done_with_after_the_cut_is_acknowledged_by_the_next(flow: Flow) -> None:
    """It may have changed a state that the cut does not have."""
    first, second = flow.come("a"), flow.come("b")
    first.receipt.settle(DELIVERED)
    cut = Cut(flow)
    flow.change(second)
    second.receipt.settle(DELIVERED)
    cut.took_effect()
    assert flow.acks == ["a"]
    flow.written()
    assert flow.acks == ["a", "b"]


def test_what_may_come_again_and_changed_a_state_is_written_until_it_is_done(flow: Flow) -> None:
    message = flow.come("a")
    flow.change(message)
    flow.change(message)  # by two ways
    flow.change(flow.come("b"), flow.second)
    cut = Cut(flow)
    assert cut.states.applied == {"window": {"in": [1, 1]}, "second": {"in": [2]}}
    message.receipt.settle(DELIVERED)
    cut.failed()
    cut = Cut(flow)
    assert cut.states.applied == {"second": {"in": [2]}}


def test_what_meets_its_fate_while_the_cut_waits_for_it_is_in_its_ledger(flow: Flow) -> None:
    """Its members are in no state of the cut, and it is in none of its minutes."""
    flow.keep(flow.come("a"))
    flow.written()
    result, other = flow.close(), flow.come("b")
    cut = Cut(flow)
    result.receipt.settle(QUARANTINED)
    other.receipt.settle(DELIVERED)
    assert cut.late.take() == {"in": {(0, QUARANTINED): 1}}
    later = Cut(flow)
    assert later.late.take() == {}


# ---- a cut that fails


def test_all_of_a_cut_that_failed_is_in_the_next(flow: Flow) -> None:
    assert flow.window.entries is not None
    flow.keep(flow.come("a"))
    flow.change(other := flow.come("b"), key="gone")
    other.receipt.settle(DELIVERED)
    flow.written()
    flow.window.entries.forget("gone")
    flow.keep(flow.come("c"))
    flow.keep(flow.come("d"), flow.second)
    failed = Cut(flow)
    failed.failed()
    cut = Cut(flow)
    assert rows(cut) == rows(failed) == {("window", "k"): 2, ("second", "k"): 1}
    assert cut.states.gone == failed.states.gone == [("flow", "window", "gone")]
    assert held(failed)["window", "k"] == [{"in": [3]}]
    assert ("window", "k") in cut.states.let_go  # its parts are written anew
    assert held(cut)["window", "k"] == [{"in": [1]}, {"in": [3]}]
    assert held(cut)["second", "k"] == [{"in": [4]}]
    assert cut.states


class Disk:
    """States and receipts as a database has them after cuts."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], int] = {}
        self.held: dict[tuple[str, str], dict[int, list[Origins]]] = {}

    def write(self, cut: Cut) -> None:
        """Write what a cut has of states."""
        self.states |= rows(cut)
        for _, node, key in cut.states.gone:
            self.states.pop((node, key), None)
        for gone in cut.states.let_go:
            self.held.pop(gone, None)
        for part in cut.states.held:
            self.held.setdefault((part.node, part.name), {})[part.part] = part.origins

    def numbers(self) -> dict[tuple[str, str], list[int]]:
        """Of which messages the states hold receipts."""
        return {
            at: [
                n
                for part in sorted(parts)
                for origins in parts[part]
                for n in origins.get("in", ())
            ]
            for at, parts in self.held.items()
        }


def as_it_is(flow: Flow) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], list[int]]]:
    """The states of the flow, and of which messages they hold receipts."""
    states: dict[tuple[str, str], int] = {}
    numbers: dict[tuple[str, str], list[int]] = {}
    for step in flow.steps():
        assert step.entries is not None
        for key in step.entries.keys():  # noqa: SIM118  # no mapping
            state = step.entries.get(key)
            assert state is not None
            states[step.id, key] = state.sum
        for name, receipts in step.held.items():
            numbers[step.id, name] = [n for r in receipts for n in r.origins().get("in", ())]
    return states, numbers


WHATS = (
    *("change", "keep", "keep", "close", "move", "forget"),
    *("settle", "take", "take", "write", "fail"),
)


@settings(max_examples=100)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(WHATS), st.booleans(), st.sampled_from("kl")), max_size=40
    )
)
def test_the_disk_has_the_flow_as_it_was_when_the_last_cut_was_taken(
    steps: list[tuple[str, bool, str]],
) -> None:
    """Whatever happens until it is written, and however many failed before it."""
    flow, disk = Flow(), Disk()
    open_ones: list[Receipt] = []
    cut: Cut | None = None
    expected = taken = as_it_is(flow)
    for what, is_first, key in steps:
        step = flow.window if is_first else flow.second
        assert step.entries is not None
        if what in {"change", "keep"}:
            message = flow.come()
            (flow.keep if what == "keep" else flow.change)(message, step, key)
            open_ones += [] if what == "keep" else [message.receipt]
        elif what == "close":
            open_ones.append(flow.close(step, key).receipt)
        elif what == "move":  # a result goes into the other node's window
            flow.keep(flow.close(step, key), flow.second if is_first else flow.window, key)
        elif what == "forget":
            step.forget([key])
            step.entries.forget(key)
        elif what == "settle" and open_ones:
            open_ones.pop(0 if is_first else -1).settle(DELIVERED)
        elif what == "take" and cut is None:
            cut, taken = Cut(flow), as_it_is(flow)
        elif cut is not None and what == "fail":
            cut.failed()
            cut = None
        elif cut is not None and what == "write" and is_clear(cut):
            disk.write(cut)
            cut.took_effect()
            cut, expected = None, taken
        assert (disk.states, disk.numbers()) == expected
    assert sum(flow.intake.fates) <= flow.intake.received

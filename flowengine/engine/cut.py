"""A cut: all that a flow would have to know after a crash, taken at one moment, written together.

    take    states that changed, receipts that they hold, what changed them and may come again
    wait    until nothing that had left a state, or changed one, is on its way any more
    write   in one transaction, with the ledger; then what the cut covers is acknowledged

Only what came before the cut is waited for: the flow goes on meanwhile. So a state that is found
after a crash fits what comes again. What had changed it already is known by its number and is not
let change it twice; what had not is not known, and changes it now.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from flowengine.engine.accounts import HeldPart
from flowengine.engine.backlog import Backlog
from flowengine.engine.delivery import Intake, Origins
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.gate import Barrier, EnteredPart, Gate
from flowengine.engine.heldstore import held_parts
from flowengine.engine.leaving import Late, Leaving
from flowengine.engine.step import Step

LOG = logging.getLogger("flowengine.engine")


class States(msgspec.Struct):
    """What of node states is to be written."""

    rows: list[tuple[str, str, str, str, int, bytes]] = msgspec.field(default_factory=list)
    """(flow, node, key, type, version, data)"""
    gone: list[tuple[str, str, str]] = msgspec.field(default_factory=list)
    """(flow, node, key)"""
    held: list[HeldPart] = msgspec.field(default_factory=list)
    let_go: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """(node, name) of receipts that are not held any more, or written anew."""
    applied: dict[str, Origins] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows or self.gone or self.held or self.let_go)


class CutFlow(Protocol):
    """What a cut needs of the flow."""

    id: str
    gate: Gate
    leaving: Leaving
    ledger: FlowLedger

    @property
    def intakes(self) -> Mapping[str, Intake]:
        """What each source let in."""

    def steps(self) -> list[Step]:
        """All steps with something to save."""

    def backlogs(self) -> list[Backlog]:
        """The spools that are open."""


class Cut:
    """One cut of one flow."""

    def __init__(self, flow: CutFlow) -> None:
        """Take it; nothing is awaited in between."""
        self.flow = flow
        self.steps = flow.steps()
        self.states = States()
        for step in self.steps:
            if step.entries is not None:
                self._take(step)
        gate = flow.gate
        gate.taken += 1
        gate.covering = gate.taken
        self.barrier = Barrier()
        self.late = Late(flow.ledger.sources.values())
        if not gate.is_open:
            for intake in flow.intakes.values():
                intake.cover()
            self._wait_for_what_is_on_its_way()

    def _wait_for_what_is_on_its_way(self) -> None:
        done, unsaved = self._is_done(), self._unsaved()
        for left in self.flow.leaving.open:
            if id(left) not in unsaved:
                self.barrier.wait_for(left)
                left.late = self.late
        for step in self.steps:
            if step.entries is None or not (step.passed or step.applied):
                continue
            on_the_way, again = step.on_the_way(done)
            for receipt in on_the_way:
                if id(receipt) not in unsaved:
                    self.barrier.wait_for(receipt)
            if again:
                self.states.applied[step.id] = again

    def _take(self, step: Step) -> None:
        entries, flow_id = step.entries, self.flow.id
        assert entries is not None  # noqa: S101  # asked before
        changed, removed = entries.checkpoint()
        version, kind = entries.state.version, step.type.name
        states = self.states
        states.rows += [(flow_id, step.id, key, kind, version, data) for key, data in changed]
        states.gone += [(flow_id, step.id, key) for key in removed]
        unsaved: set[str] = set()
        for name in step.touched:
            if entries.is_unsaved(name):
                unsaved.add(name)
                continue
            held = step.held.get(name)
            if held is not None:
                held[:] = [receipt.secure() for receipt in held]
            held_parts(step, name, states.held, states.let_go, self.flow.ledger)
        step.touched = unsaved

    def _unsaved(self) -> set[int]:
        """What states hold that cannot be saved: the states on disk do not know of it."""
        return {
            id(receipt.receipt if isinstance(receipt, EnteredPart) else receipt)
            for step in self.steps
            if step.entries is not None and step.entries.unsaved
            for name in step.touched
            for receipt in step.held.get(name, ())
        }

    def _is_done(self) -> "IsDone":
        rows = {backlog.name: backlog for backlog in self.flow.backlogs()}
        return IsDone(self.flow.ledger, rows)

    def took_effect(self) -> None:
        """It is on disk."""
        for intake in self.flow.intakes.values():
            intake.covered()
        for backlog in self.flow.backlogs():
            backlog.covered()

    def failed(self) -> None:
        """It could not be written: all of it must be in the next one."""
        by_id = {step.id: step for step in self.steps if step.entries is not None}
        for _, node, key, _, _, _ in self.states.rows:
            entries = by_id[node].entries
            if entries is not None and entries.get(key) is not None:
                entries.dirty.add(key)
        for _, node, key in self.states.gone:
            entries = by_id[node].entries
            if entries is not None and entries.get(key) is None:
                entries.gone.add(key)
        for part in self.states.held:
            self._again(by_id[part.node], part.name)
        for node, name in self.states.let_go:
            self._again(by_id[node], name)

    @staticmethod
    def _again(step: Step, name: str) -> None:
        step.touched.add(name)
        step.rewritten.add(name)


class IsDone:
    """Whether something will not come again once the cut is written."""

    def __init__(self, ledger: FlowLedger, rows: Mapping[str, Backlog]) -> None:
        self._ledger = ledger
        self._rows = rows

    def __call__(self, origin: str, number: int) -> bool:
        """A source's message, or a record of a spool."""
        if origin in self._rows:
            return self._rows[origin].is_done(number)
        account = self._ledger.sources.get(origin)
        return account is not None and account.is_done(number)

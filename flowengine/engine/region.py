"""A region: the synchronous stretches of a flow, run node by node over a batch.

    feed(step, batch) --> [ step -> step -> step ] --> wires

A step is one node at work. It takes its inbox, runs the node over it in one loop, and hands each
output's messages to the steps and wires behind. Steps run in the order of the graph, so that a node
where branches meet runs once. Counters are taken once a batch. One failing message leaves by the
error route (R6); the others go on.

Where two outputs of a step meet again behind it (`alarm.raised -> fan`, `alarm.cleared -> fan`),
what left by one of them is brought to its end before what leaves next by the other: messages stay
in their order (P3).
"""

import heapq
import logging
import time
from collections.abc import Callable

from flowengine.clock import Clock
from flowengine.engine.step import Step
from flowengine.message import Message

LOG = logging.getLogger("flowengine.engine")
TOO_LONG = 50_000_000
"""A node that holds the event loop for longer (ns) is named."""


class Region:
    """The steps of one flow, and the order in which they run."""

    def __init__(
        self,
        clock: Clock,
        on_error: Callable[[Step, Message, Exception], None],
        ticks: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.clock = clock
        self._ticks = ticks
        self.steps: list[Step] = []
        self.ready: list[int] = []
        self.fail = on_error
        self._running = False
        self.working: Step | None = None

    def set_steps(self, steps: list[Step]) -> None:
        """Take steps in the order of the graph."""
        for old in self.steps:
            old.region = None
        self.steps = steps
        self.ready.clear()
        for rank, step in enumerate(steps):
            step.rank = rank
            step.region = self
            if step.inbox:
                heapq.heappush(self.ready, rank)

    def run(self) -> None:
        """Run steps until every inbox is empty."""
        if self._running:
            return
        self._running = True
        try:
            self._run_ready()
        finally:
            self.working = None
            self._running = False

    def run_behind(self) -> None:
        """Within a step's work: run what waits behind it, before the step goes on."""
        working = self.working
        self._run_ready()
        self.working = working

    def _run_ready(self) -> None:
        ready, pop, ticks = self.ready, heapq.heappop, self._ticks
        began = ticks()
        while ready:
            step = self.steps[pop(ready)]
            batch, step.inbox = step.inbox, []
            step.received += len(batch)
            self.working = step
            if step.entries is not None:
                batch = step.meet(batch)
            try:
                step.work(batch)
            except Exception:  # not one message's failure: those are met where they are made
                LOG.exception("%s failed on a batch", step.id)
            ended = ticks()
            if ended - began > TOO_LONG:
                _tell_slow(step, ended - began, len(batch))
            began = ended


def _tell_slow(step: Step, took: int, messages: int) -> None:
    """Say that a node held the loop: the first, tenth, hundredth... time; all are counted."""
    step.slow += 1
    if str(step.slow).strip("0") == "1":
        plural = "" if messages == 1 else "s"
        ms = took // 1_000_000
        LOG.warning(
            "%s held the event loop for %s ms with %s message%s", step.id, ms, messages, plural
        )

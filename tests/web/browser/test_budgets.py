"""A flow of 2,000 nodes costs little: processor time per frame and counts, never the wall clock."""

import time
from typing import Any

import pytest

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

pytestmark = pytest.mark.alone

COUNT = 2000
FRAME_MS = 8.0
ALL_MS = 16.0
NOISE = 1.6
"""Neighbours on the machine's caches make the same work so much dearer than `slowness` tells."""
TYPES = ("compute", "threshold", "filter.range", "debug", "timer.tick")


def big() -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Nodes in 40 columns and 50 rows, each row a chain with wires across."""
    nodes, wires, places = {}, [], {}
    for at in range(COUNT):
        row, column = divmod(at, 40)
        kind = "timer.tick" if column == 0 else "debug" if column == 39 else "compute"
        if column % 7 == 3:
            kind = "threshold"
        nodes[f"n{at}"] = {"type": kind, "title": f"Step {at}", "config": {}}
        places[f"n{at}"] = [40 + column * 240, 40 + row * 100]
        if column:
            before = nodes[f"n{at - 1}"]["type"]
            output = ".raised" if before == "threshold" else ""
            wires.append(f"n{at - 1}{output} -> n{at}")
            if row and column % 5 == 0:
                wires.append(f"n{at - 40 - 1}{output} -> n{at}")
    return nodes, wires, places


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """The editor with 2,000 nodes."""
    made = sit()
    made.make("big", *big())
    made.open("big")
    return made


class Meter:
    """Processor time of the page's main thread between two looks, per frame drawn."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.cdp = desk.context.new_cdp_session(desk.page)
        self.cdp.send("Performance.enable", {"timeDomain": "threadTicks"})

    def look(self) -> dict[str, float]:
        """All figures of the page."""
        found = self.cdp.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in found}

    def per_frame(self, work: str, frames: int = 60) -> float:
        """Milliseconds a frame of `work`, an expression with `i`, done once in each frame."""
        before, drawn = (
            self.look()["TaskDuration"],
            self.desk.page.evaluate("flowengine.view.frames"),
        )
        self.desk.page.evaluate(
            f"""frames => new Promise((done) => {{
              let i = 0;
              const step = () => {{ {work}; if (++i < frames) requestAnimationFrame(step); else done(); }};
              requestAnimationFrame(step);
            }})""",  # noqa: E501
            frames,
        )
        after, now = self.look()["TaskDuration"], self.desk.page.evaluate("flowengine.view.frames")
        assert now - drawn >= frames * 0.8
        return float((after - before) * 1000 / (now - drawn))


SPIN = "let s = 0; for (let k = 0; k < 4e6; k++) s += Math.sqrt(k); s"
SPIN_MS = 23.0  # the least seen of this loop on the two-core machine that the bars were held on


def slowness(meter: Meter) -> float:
    """How much slower this machine is now than that one, at least 1: neighbours share its caches."""  # noqa: E501

    def spin() -> float:
        before = meter.look()["TaskDuration"]
        meter.desk.page.evaluate(SPIN)
        return (meter.look()["TaskDuration"] - before) * 1000

    return max(1.0, min(spin() for _ in range(5)) / SPIN_MS)


def best(meter: Meter, work: str, tries: int = 4, frames: int = 60) -> float:
    """The least of some tries, as on an unhurried machine: others make a figure larger only."""
    took = min(meter.per_frame(work, frames) / slowness(meter) for _ in range(tries))
    return round(took, 2)


MOVES = {
    "pan": (1.0, "flowengine.view.pan(6, 3)", FRAME_MS),
    "pan far": (0.0, "flowengine.view.pan(i % 2 ? 6 : -6, 3)", FRAME_MS),
    "zoom": (0.6, "flowengine.view.zoomTo(0.6 + (i % 20) * 0.02)", FRAME_MS),
    "zoom far": (0.0, "flowengine.view.zoomTo(0.1 + (i % 20) * 0.01)", FRAME_MS),
    "drag one": (
        1.0,
        "flowengine.commit('Move', [{op: 'move', at: {n410: [2400 + i * 10, 1000]}}], 'drag')",
        FRAME_MS,
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_frame_of_2000_nodes_is_cheap(
    desk: Desk, move: str, request: pytest.FixtureRequest
) -> None:
    zoom, work, most = MOVES[move]
    if zoom:
        desk.page.evaluate(
            f"flowengine.view.fit({{x: 2000, y: 800, w: 900, h: 500}}), flowengine.view.zoomTo({zoom})"  # noqa: E501
        )
    else:
        desk.page.evaluate("flowengine.run('fit')")
    desk.page.wait_for_timeout(300)
    took = best(Meter(desk), work)
    print(f"{move}: {took:.2f} ms a frame")
    assert took <= most * NOISE


def test_dragging_all_2000_nodes_stays_within_a_frame(desk: Desk) -> None:
    desk.page.evaluate(
        "flowengine.run('fit'), window.places = Object.fromEntries(flowengine.store.at)"
    )
    work = (
        "const at = Object.fromEntries(Object.entries(places).map(([id, [x, y]]) => [id, [x + i * 10, y]]));"  # noqa: E501
        "flowengine.commit('Move', [{op: 'move', at}], 'drag')"
    )
    took = best(Meter(desk), work, frames=20)
    print(f"drag all: {took:.2f} ms a frame")
    assert took <= ALL_MS * NOISE


def test_only_what_is_seen_has_elements(desk: Desk) -> None:
    count = "document.querySelectorAll('.node').length"
    desk.page.evaluate("flowengine.run('fit')")
    desk.page.wait_for_timeout(200)
    assert desk.page.evaluate("flowengine.view.far")
    assert desk.page.evaluate(count) <= 1
    desk.page.evaluate("flowengine.view.zoomTo(1)")
    desk.page.wait_for_timeout(200)
    assert 10 < desk.page.evaluate(count) < 150
    assert desk.page.evaluate("flowengine.scene.boxes.size") == COUNT


def test_memory_stays_small(desk: Desk) -> None:
    desk.page.evaluate("flowengine.view.zoomTo(1)")
    desk.context.new_cdp_session(desk.page).send("HeapProfiler.collectGarbage")
    heap = Meter(desk).look()["JSHeapUsedSize"]
    print(f"heap: {heap / 1e6:.1f} MB")
    assert heap <= 60e6


ROWS, COLUMNS, WIRES = 11, 8, 500


def dense() -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Nodes that fit one window, with 500 wires between them."""
    names = [[f"n{column * ROWS + row}" for row in range(ROWS)] for column in range(COLUMNS)]
    nodes: dict[str, dict[str, Any]] = {
        name: {"type": "compute" if at else "timer.tick", "config": {}}
        for at, column in enumerate(names)
        for name in column
    }
    places = {
        name: [40 + at * 240, 40 + row * 100]
        for at, column in enumerate(names)
        for row, name in enumerate(column)
    }
    wires = [
        f"{names[at - 1][(row + step) % ROWS]} -> {names[at][row]}"
        for at in range(1, COLUMNS)
        for row in range(ROWS)
        for step in range(7)
    ]
    return nodes, wires[:WIRES], places


UPDATES = """([zoom, updates]) => new Promise((done) => {
  const { now, view, scene, live } = flowengine;
  live.close();
  now.running = true;
  if (view.zoom !== zoom) view.fit(scene.bounds()), view.zoomTo(zoom);
  let i = 0;
  const timer = setInterval(() => {
    const nodes = {}, values = {};
    for (let k = 0; k < 88; k++) {
      nodes[`n${k}`] = { in: i, out: { out: i + k }, rate: { out: 12 + ((i + k) % 7) } };
      values[`n${k}.out`] = { text: `${20 + i / 100 + k}`, kind: 'number', at: '', key: '', topic: '' };
    }
    now.metrics({ full: false, nodes });
    if (i % 2) now.gotValues({ values });
    if (++i >= updates) clearInterval(timer), setTimeout(() => done(scene.wiresIn(view.seen()).length), 300);
  }, 250);
})"""  # noqa: E501


@pytest.mark.parametrize(("zoom", "most"), [(0.5, 2.0), (0.72, 3.0)], ids=["lines", "words"])
def test_an_update_of_500_wires_in_sight_costs_little(sit: Sit, zoom: float, most: float) -> None:
    desk, updates = sit(), 12
    desk.make("dense", *dense())
    desk.open("dense")
    desk.page.evaluate("flowengine.run('toggle-left'), flowengine.run('toggle-right')")
    desk.page.wait_for_timeout(500)
    meter, took = Meter(desk), []
    desk.page.evaluate(UPDATES, [zoom, 2])
    for _ in range(3):
        before = meter.look()["TaskDuration"]
        assert desk.page.evaluate(UPDATES, [zoom, updates]) >= WIRES * 0.9
        spent = (meter.look()["TaskDuration"] - before) * 1000 / updates
        took.append(spent / slowness(meter))
    print(f"500 wires at {zoom:.0%}: {min(took):.2f} ms an update")
    assert min(took) <= most * NOISE


def test_the_first_load_is_small(sit: Sit) -> None:
    desk = sit()
    desk.make("one", {"tick": {"type": "timer.tick", "config": {"every": "1s"}}}, [])
    began = time.monotonic()
    page = desk.page
    page.goto(f"{desk.url}/flows/one")
    page.wait_for_selector("html[data-ready=true]", state="attached")
    page.wait_for_timeout(500)
    marks = page.evaluate(
        "Object.fromEntries(performance.getEntriesByType('mark').map((m) => [m.name, m.startTime]))"
    )
    at = page.evaluate(
        "performance.getEntriesByType('resource').filter((r) => r.transferSize).map((r) => [r.name, r.startTime, r.encodedBodySize])"  # noqa: E501
    )
    whole = page.evaluate("performance.getEntriesByType('navigation')[0].encodedBodySize")
    size = whole + sum(each for _, _, each in at)
    print(f"first load: {len(at) + 1} requests, {size / 1000:.1f} kB, marks in ms: {marks}")
    assert size <= 90_000
    assert len(at) + 1 <= 16
    assert len({name for name, _, _ in at}) == len(at)
    assert all(name.startswith(desk.url) for name, _, _ in at)
    assert time.monotonic() - began < 60

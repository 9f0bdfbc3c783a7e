"""What runs is seen where it happens: pinned numbers, losses at their node, charts on a wall."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from flowengine.commands.boxseries import series_reader
from flowengine.nodes.series.store import Point, SeriesStore, tags_text
from tests.system.real import until
from tests.web.box import Box
from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk
from tests.web.browser.test_accessible import faults

SECOND = 1_000_000_000
PUMP: dict[str, Any] = {
    "pump": {
        "type": "timer.tick",
        "config": {"every": "50ms", "payload": {"rpm": 1450, "bearing one": {"t": 41.5}}},
    },
    "sort": {"type": "route", "config": {"rules": [{"to": "fast", "when": "payload.rpm > 2000"}]}},
    "show": {"type": "debug", "config": {"to": ["panel"]}},
}
WIRES = ["pump -> sort", "sort.fast -> show"]
PLACES = {"pump": [100, 100], "sort": [420, 100], "show": [740, 100]}


@pytest.fixture
def empty(tmp_path: Path) -> Any:
    """A box with two devices' readings in its store."""
    (tmp_path / "data").mkdir()
    store = SeriesStore(tmp_path / "data" / "series.db", keep=3_650 * 86_400 * SECOND)
    now, chance = time.time_ns(), random.Random(4)  # noqa: S311  # readings
    store.write(
        [
            Point("temperature", tags_text({"device": name}), "value", now - n * 10 * SECOND, value)
            for name, base in (("a", 4.0), ("b", 17.0))
            for n in range(2_000)
            for value in [round(base + chance.random(), 2)]
        ]
    )
    store.close()
    with Box(tmp_path, series=series_reader(tmp_path / "data")) as made:
        yield made


def test_a_number_is_pinned_by_keys_stays_after_a_reload_and_opens_as_a_chart(sit: Sit) -> None:
    desk = sit("vera")
    sit("dora").make("hall", PUMP, WIRES, PLACES, deploy=True)
    page = desk.open("hall")
    desk.until("flowengine.now.running")
    page.click(".node[data-id=pump]")
    desk.press("Shift+P")
    desk.until("document.querySelector('dialog.palette [role=option] .side')")
    page.keyboard.type("bearing")
    desk.press("Enter")
    desk.until("document.querySelector('.pin .num')?.textContent === '41.5'")
    desk.open("hall")
    desk.until("document.querySelector('.pin .num')?.textContent === '41.5'")
    page.locator(".pin").focus()
    desk.press("Enter")
    desk.until(
        "document.querySelector('.live-chart .muted.num')?.textContent.includes('mean 41.5')"
    )
    assert faults(desk, within="dialog[open]") == []
    page.fill("dialog input", "°C")
    page.locator("dialog input").blur()
    page.click("dialog button:has-text('Pause')")
    held = page.locator(".live-chart canvas").evaluate("each => each.toDataURL()")
    came = "flowengine.now.nodes.get('pump').out.out"
    desk.until(f"{came} > {page.evaluate(came) + 5}")
    assert page.locator(".live-chart canvas").evaluate("each => each.toDataURL()") == held
    page.click("dialog button:has-text('Continue')")
    desk.until(f"document.querySelector('.live-chart canvas').toDataURL() !== '{held}'")
    desk.press("Escape")
    desk.until("document.querySelector('.pin .num')?.textContent === '41.5 °C'")
    assert page.evaluate("document.activeElement.className") == "pin"
    desk.press("Delete")
    assert page.locator(".pin").count() == 0
    assert (
        page.evaluate("Object.keys(localStorage).filter((each) => each.includes('pins')).length")
        == 0
    )


def test_nobody_taps_for_a_pin_that_nobody_sees(sit: Sit, empty: Box) -> None:
    desk = sit("dora")
    desk.make("hall", PUMP, WIRES, PLACES, deploy=True)
    page = desk.open("hall")
    desk.until("flowengine.now.running")
    page.click(".node[data-id=pump]")
    page.click("#tab-data")
    desk.until("document.querySelector('.panel-data .pin-it')")
    page.locator(".panel-data .pin-it").first.focus()
    desk.press("Enter")
    desk.until("document.querySelector('.panel-data .pin-row b')?.textContent === '1450'")
    page.click("#tab-settings")

    def tapped() -> bool:
        return bool(empty.services.hub.watches["hall"].taps.taps)

    assert tapped()
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    until(lambda: not tapped(), 10, "nobody taps")


def test_what_a_route_drops_is_said_under_it_and_a_wire_says_its_last_value(sit: Sit) -> None:
    desk = sit("dora")
    desk.make("hall", PUMP, WIRES, PLACES, deploy=True)
    page = desk.open("hall")
    under = ".node[data-id=sort] .under"
    desk.until(f"/^[1-9].* unmatched$/.test(document.querySelector('{under}')?.textContent ?? '')")
    x, y = page.evaluate(
        "(() => { const way = flowengine.scene.ways.get('pump -> sort'), { view } = flowengine;"
        " const [x, y] = view.toScreen((way.x1 + way.x2) / 2, (way.y1 + way.y2) / 2);"
        " const frame = view.element.getBoundingClientRect();"
        " return [x + frame.left, y + frame.top]; })()"
    )
    page.mouse.move(x, y)
    page.mouse.move(x + 1, y)
    desk.until(
        "document.querySelector('.wire-card:not([hidden]) .value')?.textContent.includes('1450')"
    )
    assert "/s" in page.inner_text(".wire-card header")


def charts(desk: Desk, query: str = "") -> None:
    """The charts page with figures on it."""
    desk.page.goto(f"{desk.url}/charts{query}")
    desk.until("/^Updated/.test(document.getElementById('charts-status').textContent)")


def test_a_walls_screen_shows_what_its_address_names(sit: Sit) -> None:
    desk = sit("vera", theme="dark")
    charts(desk)
    page = desk.page
    assert page.locator(".chart").count() == 1
    assert page.locator(".chart .legend p").count() == 2
    assert "s=temperature%2Fvalue" in page.url
    assert faults(desk) == []
    page.click("[data-span='24h']")
    page.click("#as-table")
    desk.until("document.querySelectorAll('.chart tbody tr').length > 10")
    assert faults(desk) == []
    address = page.url
    page.click("#add-series")
    page.locator(".find-series .found button", has_text="device b").click()
    assert faults(desk, within="dialog[open]") == []
    desk.press("Escape")
    assert page.locator(".chart").count() == 2
    other = sit("vera", theme="light", size=(390, 844))
    other.page.goto(address)
    other.until("document.querySelectorAll('.chart tbody tr').length > 10")
    assert other.page.evaluate("document.documentElement.scrollWidth") == 390
    assert faults(other) == []


def test_a_chart_left_open_holds_the_same_after_many_refreshes(sit: Sit) -> None:
    desk = sit("vera")
    charts(desk, "?span=24h&every=0&s=temperature/value&s=none/such/a=1")
    page = desk.page
    count = "document.querySelectorAll('*').length"
    before = page.evaluate(count)
    for _ in range(30):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(20)
    desk.until("/^Updated/.test(document.getElementById('charts-status').textContent)")
    assert page.evaluate(count) == before
    asked = [each for each in desk.requests if "/charts/lines" in each.url]
    assert len(asked) > 20

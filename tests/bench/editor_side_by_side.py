"""The two editors side by side, as a newcomer's browser meets them, on the same five-node flow.

    bytes, requests    what the browser reads until the network is quiet, cold cache
    clicks, drags      from the start page to a flow of five nodes that shows a value, done by mouse
    changed lines      in the file of the logic, after 20 nodes were moved by 20 pixels
    focusable nodes    nodes of the canvas that keys can reach, of five
    axe findings       elements that axe-core faults (WCAG 2.2 A and AA, best practice)

Needs playwright with a Chromium, and axe-core (`npm install axe-core`, here or where `AXE_CORE`
names the folder). Node-RED is the benches' own in `build/nodered`; it is spared
its welcome tour, which covers the page.
"""

import contextlib
import difflib
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.editor_cost import Box, watch_nothing
from tests.bench.machine import ROOT, BenchError, Process, free_port, listens
from tests.bench.peer import INSTALLED, Peer
from tests.bench.table import NO_BAR, Bar, Results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BARS = {
    "kB read": ("kB", Bar(100.0)),
    "requests": ("", Bar(30.0)),
    "clicks to a value": ("", NO_BAR),
    "drags to a value": ("", Bar(0.0)),
    "changed lines, 20 nodes moved": ("", Bar(0.0)),
    "focusable nodes of 5": ("", NO_BAR),
    "elements axe faults": ("", Bar(0.0)),
}
QUIET_MS = 1500
Figures = dict[str, float]


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: ours, then the peer's."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError as err:
        raise BenchError("the Python package playwright is not installed") from err
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise BenchError("there is no Chromium: make real-parts (as root)")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        with contextlib.closing(browser):
            mine = ours(browser, work)
            theirs = peers(browser, work) if peer is not None else {}
    for name, (unit, bar) in BARS.items():
        results.note(f"editor: {name}", unit, bar, mine[name], theirs.get(name))


# -- ours


def ours(browser: "Browser", work: Path) -> Figures:
    """The figures of flowengine's editor."""
    with watch_nothing(work) as box:
        page = _new_page(browser)
        cookies = [
            {"name": c.name, "value": c.value or "", "url": box.url} for c in box.client.cookies.jar
        ]
        page.context.add_cookies(cookies)  # type: ignore[arg-type]  # just these three keys
        page.goto(box.url)
        mouse = Mouse(page)
        mouse.click("#new-blank")
        page.fill("dialog[open] input", "Five nodes")
        mouse.click("dialog[open] button.primary")
        page.wait_for_selector("html[data-ready=true]", state="attached")
        mouse.click(".node >> nth=0")
        for kind in ("json.encode", "json.decode", "queue"):
            mouse.click(f".kind[title^='{kind}:']")
        page.wait_for_timeout(600)
        mouse.click("#deploy")
        mouse.click("dialog[open] button.primary, [popover] button.primary")
        _until(page, "flowengine.now.values.size > 0 && flowengine.store.nodes.size === 5")
        flow = str(page.evaluate("flowengine.id"))
        faults = _axe(page)
        focusable = page.evaluate(
            "[...flowengine.store.nodes.keys()].filter((id) => {flowengine.focusNode(id);"
            " return document.activeElement?.dataset.id === id}).length"
        )
        address = page.url
        page.context.close()
        fresh = _new_page(browser)
        fresh.context.add_cookies(cookies)  # type: ignore[arg-type]  # just these three keys
        kilobytes, requests = _read(fresh, address)
        fresh.context.close()
        return {
            "kB read": kilobytes,
            "requests": requests,
            "clicks to a value": mouse.clicks,
            "drags to a value": mouse.drags,
            "changed lines, 20 nodes moved": _nudged(box, flow),
            "focusable nodes of 5": float(focusable),
            "elements axe faults": faults,
        }


def _nudged(box: Box, flow: str) -> float:
    """Changed lines of the logic's file after 20 nodes were moved and saved."""
    nodes = {f"n{at}": {"type": "queue", "config": {}} for at in range(20)}
    places = {name: [at * 40, 100] for at, name in enumerate(nodes)}
    document = {"format": 1, "nodes": nodes, "wires": [f"n{at} -> n{at + 1}" for at in range(19)]}
    headers = {"X-CSRF-Token": box.csrf}
    body = {"id": "twenty", "document": document, "layout": places}
    made = box.client.post("/api/v1/flows", json=body, headers=headers).json()
    order = {"etag": made["state"]["draft"]["etag"], "note": None}
    box.client.post("/api/v1/flows/twenty/deploy", json=order, headers=headers).raise_for_status()
    file = box.flows / "twenty.json"
    before = file.read_text()
    moved = {name: [x + 20, y + 20] for name, (x, y) in places.items()}
    layout = box.client.put(
        "/api/v1/flows/twenty/layout", json={"nodes": moved}, headers={**headers, "If-Match": "*"}
    )
    layout.raise_for_status()
    assert flow != "twenty"
    return _changed(before, file.read_text())


# -- the peer's


def peers(browser: "Browser", work: Path) -> Figures:
    """The figures of Node-RED's editor."""
    with _node_red(work / "nodered-editor", []) as (url, _):
        page = _new_page(browser)
        page.goto(url)
        page.wait_for_selector(".red-ui-palette-node", timeout=60_000)
        page.wait_for_timeout(QUIET_MS)
        mouse = Mouse(page)
        kinds = ("inject", "change", "range", "switch", "debug")
        for at, kind in enumerate(kinds):
            mouse.drag(f".red-ui-palette-node[data-palette-type='{kind}']", 460 + 150 * at, 300)
        for at in range(len(kinds) - 1):
            mouse.wire(at)
        mouse.click("#red-ui-header-button-deploy")
        page.wait_for_timeout(1500)
        if page.locator("#red-ui-full-shade").is_visible():  # it asks about nodes not set up
            mouse.click(".red-ui-notification button.primary")
            page.wait_for_timeout(1000)
        mouse.click(".red-ui-flow-node-button-button >> nth=0")
        faults = _axe(page)
        focusable = page.evaluate(
            "[...document.querySelectorAll('.red-ui-flow-node-group')].filter((n) => n.tabIndex >= 0).length"  # noqa: E501
        )
        page.context.close()
        fresh = _new_page(browser)
        kilobytes, requests = _read(fresh, url)
        fresh.context.close()
    return {
        "kB read": kilobytes,
        "requests": requests,
        "clicks to a value": mouse.clicks,
        "drags to a value": mouse.drags,
        "changed lines, 20 nodes moved": _peer_nudged(work),
        "focusable nodes of 5": float(focusable),
        "elements axe faults": faults,
    }


def _peer_nudged(work: Path) -> float:
    nodes: list[dict[str, Any]] = [{"id": "tab", "type": "tab", "label": "twenty"}]
    for at in range(20):
        wires = [[f"n{at + 1}"]] if at < 19 else [[]]
        nodes.append(
            {"id": f"n{at}", "type": "junction", "z": "tab", "x": at * 40, "y": 100, "wires": wires}
        )
    with _node_red(work / "nodered-twenty", nodes) as (url, folder):
        file = folder / "flows.json"
        _post(url, nodes)
        before = file.read_text()
        _post(url, [{**n, "x": n["x"] + 20, "y": n["y"] + 20} if "x" in n else n for n in nodes])
        return _changed(before, file.read_text())


def _post(url: str, nodes: Sequence[dict[str, Any]]) -> None:
    request = urllib.request.Request(  # noqa: S310  # of the loopback
        f"{url}/flows",
        json.dumps(nodes).encode(),
        {"Content-Type": "application/json", "Node-RED-API-Version": "v1"},
    )
    urllib.request.urlopen(request, timeout=20).close()  # noqa: S310  # of the loopback


@contextlib.contextmanager
def _node_red(folder: Path, nodes: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Path]]:
    folder.mkdir()
    (folder / "flows.json").write_text(json.dumps(nodes, indent=4))
    (folder / "settings.js").write_text(
        "module.exports = {flowFile: 'flows.json', flowFilePretty: true, uiHost: '127.0.0.1',"
        " credentialSecret: false, telemetry: {enabled: false}, editorTheme: {tours: false}};\n"
    )
    port = free_port()
    modules = INSTALLED / "node_modules"
    process = Process(
        [
            *(modules / ".bin" / "node", modules / "node-red" / "red.js"),
            *("-u", folder, "-s", folder / "settings.js", "-p", str(port)),
        ],
        log=folder / "log",
    )
    try:
        process.wait_for(lambda: listens(port), 60, "Node-RED")
        yield f"http://127.0.0.1:{port}", folder
    finally:
        process.stop()


# -- a browser


class Mouse:
    """A hand that counts what it does."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.clicks = 0
        self.drags = 0

    def click(self, where: str) -> None:
        """Click."""
        self.page.locator(where).first.click(timeout=10_000)
        self.clicks += 1

    def drag(self, where: str, x: float, y: float) -> None:
        """Drag something to a place of the window."""
        found = self.page.locator(where).first
        found.scroll_into_view_if_needed()
        box = found.bounding_box()
        assert box is not None
        self._drag((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (x, y))

    def wire(self, at: int) -> None:
        """Drag from the output of the peer's node number `at` to the input of the next."""
        port = ".red-ui-flow-port-{}"
        nodes = self.page.locator(".red-ui-flow-node-group")
        starts = nodes.nth(at).locator(port.format("output")).first.bounding_box()
        ends = nodes.nth(at + 1).locator(port.format("input")).first.bounding_box()
        assert starts is not None
        assert ends is not None
        self._drag((starts["x"] + 5, starts["y"] + 5), (ends["x"] + 5, ends["y"] + 5))

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=6)
        mouse.move(*end, steps=6)
        mouse.up()
        self.page.wait_for_timeout(200)
        self.drags += 1


def _new_page(browser: "Browser") -> "Page":
    return browser.new_context(viewport={"width": 1440, "height": 900}).new_page()


def _read(page: "Page", url: str) -> tuple[float, float]:
    """Bytes in kB as they came over the wire, heads and all, and requests, until it is quiet."""
    cdp = page.context.new_cdp_session(page)
    sizes: dict[str, float] = {}
    cdp.send("Network.enable")
    cdp.on(
        "Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]})
    )
    page.goto(url)
    page.wait_for_load_state("networkidle", timeout=60_000) if "flows/" not in url else None
    page.wait_for_timeout(QUIET_MS * 2)
    return sum(sizes.values()) / 1000, len(sizes)


def _axe(page: "Page") -> float:
    """Elements that axe-core faults."""
    for folder in (os.environ.get("AXE_CORE"), ROOT / "node_modules" / "axe-core"):
        script = Path(folder) / "axe.min.js" if folder else None
        if script is not None and script.is_file():
            break
    else:
        raise BenchError(
            "axe-core is not there: npm install axe-core, or AXE_CORE names its folder"
        )
    page.evaluate(script.read_text("utf-8"))
    found = page.evaluate("(tags) => axe.run(document, {runOnly: tags})", TAGS)
    return sum(len(fault["nodes"]) for fault in found["violations"])


def _until(page: "Page", holds: str) -> None:
    for _ in range(300):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise BenchError(f"never true: {holds}")


def _changed(before: str, after: str) -> float:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(1 for line in lines if line.startswith(("+ ", "- ")))

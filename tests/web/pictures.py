"""The README's pictures, taken anew: `python -m tests.web.pictures`.

Each is the demo as a newcomer sees it, in a window of 1440 × 810, as WebP below `MOST_BYTES`.
"""

import argparse
import base64
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.web.browser.conftest import FLAGS
from tests.web.browser.desk import READY
from tests.web.browser.test_newcomer import LINK, Demo
from tests.web.tools import ROOT, program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = ROOT / "web" / "pictures"
SIZE = (1440, 810)
MOST_BYTES = 80_000
ENCODE = """async ([png, quality]) => {
  const image = new Image();
  image.src = 'data:image/png;base64,' + png;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext('2d').drawImage(image, 0, 0);
  const blob = await canvas.convertToBlob({ type: 'image/webp', quality });
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join('')); }"""


def live(page: "Page") -> None:
    """A flow with its values."""
    page.click(".node[data-id=alarm]")
    page.click("#tab-data")
    page.wait_for_selector("#inspector-body .json .number")


def deploy(page: "Page") -> None:
    """What a deploy would do."""
    page.click(".node[data-id=alarm]")
    page.wait_for_selector("#inspector-body input")
    page.evaluate("void flowengine.run('duplicate')")
    page.wait_for_selector(".node[data-id=alarm-2]")
    page.click("#deploy")
    page.wait_for_selector(".plan")


def tests(page: "Page") -> None:
    """The flow's tests, after a run."""
    page.click("#tab-tests")
    page.click("#inspector-body button:has-text('Run all')")


PICTURES = {  # the last one changes the draft
    "live": ("cold-room", "light", live),
    "pipeline": ("edge-pipeline", "dark", None),
    "tests": ("cold-room", "dark", tests),
    "deploy": ("cold-room", "light", deploy),
}
SETTLE = 4_000
"""Milliseconds in which figures come onto all wires."""


def take(browser: "Browser", url: str, state: str, name: str) -> bytes:
    """One picture as WebP."""
    flow, theme, act = PICTURES[name]
    context = browser.new_context(
        viewport={"width": SIZE[0], "height": SIZE[1]},
        color_scheme="dark" if theme == "dark" else "light",
        storage_state=state,
    )
    page = context.new_page()
    page.goto(f"{url}/flows/{flow}")
    page.wait_for_selector(READY)
    page.wait_for_timeout(SETTLE)
    if act is not None:
        act(page)
        page.wait_for_timeout(1_000)
    png = base64.b64encode(page.screenshot()).decode()
    blank = browser.new_page()
    for quality in (0.92, 0.85, 0.75, 0.6):
        webp = base64.b64decode(blank.evaluate(ENCODE, [png, quality]))
        if len(webp) < MOST_BYTES:
            break
    context.close()
    return webp


def main() -> None:
    """Start the demo, take the pictures that were asked for, stop it."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # only where pictures are taken

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    names = parser.parse_args().names or list(PICTURES)
    if strange := set(names) - set(PICTURES):
        parser.error(f"no picture {strange.pop()}; there are {', '.join(PICTURES)}")
    with (
        tempfile.TemporaryDirectory() as folder,
        Demo(Path(folder), "--port", "0") as demo,
        sync_playwright() as playwright,
    ):
        path = program("chromium", "chromium-browser", "google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        entering = browser.new_page()
        entering.goto(LINK.findall(demo.said)[0])
        entering.wait_for_selector(READY)
        state = str(Path(folder) / "session.json")
        entering.context.storage_state(path=state)
        url = re.sub(r"(:\d+)/.*", r"\1", demo.link)
        for name in names:
            webp = take(browser, url, state, name)
            (FOLDER / f"{name}.webp").write_bytes(webp)
            print(f"{name}.webp: {len(webp):,} bytes")
        browser.close()
        demo.stop()


if __name__ == "__main__":
    main()

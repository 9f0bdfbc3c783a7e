"""A real browser in front of a real box: the fixtures of the browser tests.

One Chromium and one box serve all tests of a process, each process its own: what a test makes on
the box is taken away after it. Every page is watched: an error, a dialog, a request to another
host, a breach of the page's policy or a refused request nobody expected fails the test.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from flowengine.web.door import COOKIE
from flowengine.web.people import csrf_of
from tests.web.box import Box
from tests.web.browser.desk import Desk
from tests.web.tools import absent, program

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 20_000  # milliseconds: a loaded machine is slow, not wrong

Sit = Callable[..., Desk]


@pytest.fixture(scope="package")
def chromium() -> "Iterator[Browser]":
    """One Chromium of the distribution for all browser tests of this process.

    Not longer than these: Playwright keeps a loop in this thread, which others would trip over.
    """
    try:
        from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415
    except ImportError:
        absent("the Python package playwright", "make setup")
    expect.set_options(timeout=PATIENCE)
    path = program("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """The box of all browser tests of this process; it logs as `serve` does."""
    logger = logging.getLogger("flowengine")
    before = logger.level
    logger.setLevel(logging.INFO)
    with Box(tmp_path_factory.mktemp("house")) as made:
        yield made
    logger.setLevel(before)


@pytest.fixture
def empty(house: Box) -> Iterator[Box]:
    """That box without flows, and without them again afterwards."""
    yield house
    with house.client("ada") as client:
        for state in client.get("/api/v1/flows").json()["flows"]:
            client.delete(f"/api/v1/flows/{state['id']}").raise_for_status()


@pytest.fixture
def enter(chromium: "Browser") -> Iterator[Callable[..., Desk]]:
    """Open a browser at an address with these cookies; what went wrong in it fails the test."""
    contexts = []
    desks: list[Desk] = []

    def made(
        url: str,
        csrf: str = "",
        *,
        cookies: dict[str, str] | None = None,
        theme: str = "light",
        size: tuple[int, int] = (1440, 900),
        **more: Any,
    ) -> Desk:
        viewport = {"width": size[0], "height": size[1]}
        context = chromium.new_context(viewport=viewport, color_scheme=theme, **more)  # type: ignore[arg-type]  # light or dark
        contexts.append(context)
        context.add_cookies(
            [
                {"name": name, "value": value, "url": url, "httpOnly": True, "sameSite": "Strict"}
                for name, value in (cookies or {}).items()
            ]
        )
        desk = Desk(context, url, csrf)
        desks.append(desk)
        return desk

    yield made
    seen = [fault for desk in desks for fault in desk.faults]
    for context in contexts:
        context.close()
    assert seen == []


@pytest.fixture
def sit(enter: Callable[..., Desk], empty: Box) -> Sit:
    """Sit down at the box of the test: `sit(theme="dark", size=(390, 844))` is logged in."""

    def made(who: str = "dora", **more: Any) -> Desk:
        session = empty.session(who)
        return enter(empty.url, csrf_of(session), cookies={COOKIE: session}, **more)

    return made

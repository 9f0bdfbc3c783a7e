"""A real browser in front of a real box: the fixtures of the browser tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.box import PASSWORD, Box
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

Sit = Callable[..., Desk]


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """One Chromium of the distribution for the tests of a module."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        absent("the Python package playwright")
    path = program("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def sit(chromium: "Browser", empty: Box) -> Iterator[Sit]:
    """Sit down at the box of the test: `sit(theme="dark", size=(390, 844))` logs in and waits."""
    contexts = []

    def made(
        who: str = "dora",
        *,
        theme: str = "light",
        size: tuple[int, int] = (1440, 900),
        **more: Any,
    ) -> Desk:
        viewport = {"width": size[0], "height": size[1]}
        context = chromium.new_context(viewport=viewport, color_scheme=theme, **more)  # type: ignore[arg-type]  # light or dark
        contexts.append(context)
        answer = context.request.post(
            f"{empty.url}/api/v1/session",
            data={"name": who, "password": PASSWORD},
            headers={"Origin": empty.url},
        )
        assert answer.ok, answer.text()
        return Desk(context, empty.url, answer.json()["csrf"])

    yield made
    seen = [fault for context in contexts for fault in Desk.faults_of(context)]
    for context in contexts:
        context.close()
    assert seen == []


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Box]:
    """A box without flows."""
    with Box(tmp_path) as made:
        yield made

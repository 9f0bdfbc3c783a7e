"""A person's place at the editor: one browser with its page, and what a person does there."""

import time
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request, Response

READY = "html[data-ready=true]"


class Desk:
    """One logged-in browser; what goes wrong in its page is kept and fails the test."""

    _faults: ClassVar[dict[int, list[str]]] = {}

    def __init__(self, context: "BrowserContext", url: str, csrf: str) -> None:
        self.context = context
        self.url = url
        self.csrf = csrf
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.page = self.new_page()

    @classmethod
    def faults_of(cls, context: "BrowserContext") -> list[str]:
        """What went wrong in the pages of a browser, forgotten afterwards."""
        return cls._faults.pop(id(context), [])

    @property
    def faults(self) -> list[str]:
        """What went wrong so far."""
        return self._faults.setdefault(id(self.context), [])

    def new_page(self) -> "Page":
        """Another tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        page.on("request", self._asked)
        page.on("response", self._answered)
        page.set_default_timeout(15_000)
        return page

    def _asked(self, request: "Request") -> None:
        self.requests.append(request)
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"request to {request.url}")

    def _answered(self, response: "Response") -> None:
        self.responses.append(response)
        if response.status >= 400 and response.status not in (409, 412, 422):
            self.faults.append(f"{response.status} {response.url}")

    # -- the box

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask the API as this person."""
        answer = self.context.request.fetch(
            f"{self.url}/api/v1{path}",
            method=method,
            data=None if method == "GET" else ({} if body is None else body),
            headers={"X-CSRF-Token": self.csrf, "Origin": self.url, **headers},
        )
        assert answer.ok, f"{answer.status} {answer.text()}"
        return answer.json() if answer.body() else None

    def make(
        self,
        flow: str,
        nodes: dict[str, Any],
        wires: list[Any],
        layout: dict[str, Any] | None = None,
        *,
        deploy: bool = False,
        **more: Any,
    ) -> None:
        """A flow of these nodes on the box."""
        document = {"format": 1, "title": flow.title(), "nodes": nodes, "wires": wires, **more}
        body = {"id": flow, "title": None, "example": None, "document": document}
        made = self.call("POST", "/flows", {**body, "layout": layout or {}})
        if deploy:
            etag = made["state"]["draft"]["etag"]
            self.call("POST", f"/flows/{flow}/deploy", {"etag": etag, "note": None})

    def document(self, flow: str) -> Any:
        """The draft as the box has it."""
        return self.call("GET", f"/flows/{flow}")["document"]

    # -- the page

    def open(self, flow: str, query: str = "") -> "Page":
        """The editor with a flow, ready for work."""
        self.page.goto(f"{self.url}/flows/{flow}{query}")
        self.until(
            "document.documentElement.dataset.ready === 'true'"
            " || (!document.getElementById('toast').hidden && 'failed')",
            30,
        )
        said = self.page.inner_text("#toast") if self.page.locator(READY).count() == 0 else ""
        assert not said, said
        return self.page

    def saved(self) -> None:
        """Wait until the draft is on the box."""
        self.page.evaluate("flowengine.draft.flush()")

    def until(self, holds: str, timeout: float = 15) -> Any:
        """Wait until an expression of the page is true; its value.

        (The page's policy forbids `wait_for_function`, which evaluates text inside of it.)
        """
        ends = time.monotonic() + timeout
        while not (value := self.page.evaluate(holds)):
            assert time.monotonic() < ends, f"never true: {holds}"
            self.page.wait_for_timeout(30)
        return value

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def add(self, words: str) -> None:
        """Add a node by keys alone."""
        self.press("/")
        self.page.wait_for_selector("dialog.palette input:focus")
        self.page.keyboard.type(words)
        self.press("Enter")
        self.page.wait_for_selector("dialog.palette", state="detached")

    def place(self, node: str) -> tuple[float, float]:
        """The middle of a node on the screen."""
        box = self.page.locator(f".node[data-id={node}]").bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Drag with the mouse."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=steps)
        mouse.up()

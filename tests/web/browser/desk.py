"""A person's place at the editor: one browser with its page, and what a person does there."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import (
        BrowserContext,
        ConsoleMessage,
        Locator,
        Page,
        Request,
        Response,
        Route,
    )

READY = "html[data-ready=true]"
# Chromium tells a breach of the policy on the console only for some of them; the event is for all.
WATCH = """addEventListener('securitypolicyviolation', (event) => console.error(
  'policy breach:', event.effectiveDirective, event.blockedURI, event.sample));"""
EXPECTED = frozenset({409, 412, 422})


class Desk:
    """One logged-in browser; what goes wrong in its page is kept and fails the test."""

    def __init__(self, context: "BrowserContext", url: str, csrf: str) -> None:
        self.context = context
        self.url = url
        self.csrf = csrf
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.faults: list[str] = []
        self.expected = set(EXPECTED)  # HTTP states that are no fault of this test
        context.add_init_script(WATCH)
        self.page = self.new_page()

    def new_page(self) -> "Page":
        """Another tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", self._spoken)
        page.on("console", self._told)
        page.on("request", self._asked)
        page.on("response", self._answered)
        page.set_default_timeout(20_000)
        return page

    def _spoken(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _told(self, message: "ConsoleMessage") -> None:
        if "policy" in message.text.lower():
            self.faults.append(message.text)

    def _asked(self, request: "Request") -> None:
        self.requests.append(request)
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"request to {request.url}")

    def _answered(self, response: "Response") -> None:
        self.responses.append(response)
        if response.status >= 400 and response.status not in self.expected:
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
        groups: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A flow of these nodes on the box."""
        more |= {"x-groups": groups} if groups else {}
        document = {"format": 1, "title": flow.title(), "nodes": nodes, "wires": wires, **more}
        body = {"id": flow, "title": None, "example": None, "document": document}
        made = self.call("POST", "/flows", {**body, "layout": layout or {}})
        if deploy:
            etag = made["state"]["draft"]["etag"]
            self.call("POST", f"/flows/{flow}/deploy", {"etag": etag, "note": None})

    def document(self, flow: str) -> Any:
        """The draft as the box has it."""
        return self.call("GET", f"/flows/{flow}")["document"]

    def overtake(self, flow: str, document: Any) -> None:
        """Have this saved by someone else just before the page's next saving arrives."""
        etag = self.call("GET", f"/flows/{flow}")["state"]["draft"]["etag"]
        waiting = [document]

        def first(route: "Route") -> None:
            if route.request.method == "PUT" and waiting:
                body = {"document": waiting.pop(), "label": None}
                self.call("PUT", f"/flows/{flow}", body, **{"If-Match": etag})
            route.continue_()

        self.page.route(f"**/api/v1/flows/{flow}", first)

    # -- the page

    def start(self) -> "Page":
        """The start page, ready for work."""
        self.page.goto(self.url)
        self.page.wait_for_selector(READY, state="attached")
        return self.page

    def arrived(self) -> None:
        """The page has led to an editor, which is ready."""
        self.page.wait_for_url("**/flows/*")
        self.page.wait_for_selector(READY, state="attached")

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

    def run(self, action: str) -> None:
        """Run an action of the registry, as its button or menu entry does."""
        self.page.evaluate(f"void flowengine.run('{action}')")

    def change(self, value: Any, *path: str) -> None:
        """Change one thing of the flow, as a panel does."""
        self.page.evaluate(
            "([path, value]) => flowengine.commit('Set', [{op: 'put', path, value}])",
            [path, value],
        )

    def node(self, node: str) -> "Locator":
        """The card of a node on the canvas."""
        return self.page.locator(f".node[data-id={node}]")

    def choose(self, words: str) -> None:
        """Take the first answer of an open palette to these words."""
        self.page.wait_for_selector("dialog.palette input:focus")
        self.page.keyboard.type(words)
        self.press("Enter")
        self.page.wait_for_selector("dialog.palette", state="detached")

    def on_wire(self, wire: str) -> tuple[float, float]:
        """A place on the screen that is the middle of a wire."""
        x, y = self.page.evaluate(
            """([id]) => { const wire = flowengine.store.wires.get(id);
              const ports = [[wire.from, 'out'], [wire.to, 'in']].map(([node, side]) =>
                flowengine.scene.ports(node).find((port) => port.side === side));
              const [x, y] = [(ports[0].x + ports[1].x) / 2, (ports[0].y + ports[1].y) / 2];
              const box = flowengine.view.element.getBoundingClientRect();
              const [left, top] = flowengine.view.toScreen(x, y);
              return [left + box.left, top + box.top]; }""",
            [wire],
        )
        return x, y

    @contextlib.contextmanager
    def no_pointer(self) -> Iterator[None]:
        """A block in which the page must not hear of a pointer."""
        self.page.evaluate(
            """window.pointed = 0; for (const kind of ['pointerdown', 'mousedown', 'touchstart'])
              addEventListener(kind, () => pointed++, true);"""
        )
        yield
        assert self.page.evaluate("pointed") == 0

    def tab_to(self, selector: str, most: int = 80) -> None:
        """Press Tab until what has the focus is this."""
        for _ in range(most):
            if self.page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
                return
            self.press("Tab")
        raise AssertionError(f"Tab never leads to {selector}")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def add(self, words: str) -> None:
        """Add a node by keys alone."""
        self.press("/")
        self.choose(words)

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

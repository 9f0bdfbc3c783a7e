"""The pages: the list of flows, the editor, help and login, each with what its script reads first.

The data of a page stands in it as JSON in a script block of type application/json: such a block is
no script, so the policy against inline scripts holds, and nothing of it is read as HTML.
"""

import asyncio
import re
from importlib.resources import files
from typing import Any

from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flowengine import __version__
from flowengine.web import models
from flowengine.web.api_flows import runs_now
from flowengine.web.api_session import meta_of
from flowengine.web.door import OPEN, Call, Routes
from flowengine.web.examples import examples
from flowengine.web.markdown import to_html
from flowengine.web.people import csrf_of
from flowengine.web.problem import not_found, to_json

routes = Routes()
API = "/api/v1"
_ENTRIES = {
    "editor": "main.js",
    "flows": "flows.js",
    "charts": "charts.js",
    "help": "",
    "login": "login.js",
    "people": "people.js",
}
_HELP = re.compile(r"[a-z][a-z0-9-]{0,60}")
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def data_block(page: dict[str, Any]) -> Markup:
    """The page's data as JSON in which nothing can end its block."""
    text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", to_json(page).decode())
    return Markup(f'<script type="application/json" id="page">{text}</script>')  # noqa: S704  # escaped above


async def render(call: Call, kind: str, more: dict[str, Any]) -> Response:
    """A page of a kind with its data."""
    services = call.services
    page = page_data(call, kind) | more
    entry = _ENTRIES[kind]
    assets = services.assets
    modules = assets.packs() if kind == "editor" else []
    if not modules and entry and assets.find(entry) is not None:
        modules = assets.modules(entry)
    text = services.templates.get_template(f"{kind}.html").render(
        page=page,
        page_data=data_block(page),
        asset=assets.url,
        drawing=assets.drawing,
        entry=modules[0] if modules else None,
        module_preloads=modules[1:],
        user=page["user"],
        csrf=page["csrf"],
        version=__version__,
        **({"body": more["html"]} if "html" in more else {}),
    )
    return HTMLResponse(text)


def page_data(call: Call, kind: str) -> dict[str, Any]:
    """What every page has."""
    services = call.services
    base: dict[str, Any] = {
        "kind": kind,
        "base": API,
        "csrf": None,
        "user": None,
        "version": __version__,
        "read_only": False,
        "static": services.assets.url(""),
        "features": {},
        "limits": {},
    }
    if kind == "login":
        return base
    meta = meta_of(call)
    session = call.caller.session
    return base | {
        "csrf": csrf_of(session) if session else None,
        "user": meta["user"],
        "features": meta["features"],
        "limits": meta["limits"],
        "read_only": "edit" not in call.caller.rights,
    }


@routes.add("GET", "/", "view", query=models.PageQuery, is_page=True)
async def flow_list(call: Call) -> Response:
    """Show the list of flows."""
    states = await asyncio.to_thread(call.services.workshop.states)
    shown = await asyncio.to_thread(examples)
    return await render(call, "flows", {"flows": states, "examples": shown})


@routes.add("GET", "/flows/{id}", "view", query=models.PageQuery, is_page=True)
async def editor(call: Call) -> Response:
    """Show the editor of a flow, or only look on with ?view=1."""
    flow_id = call.path["id"]
    found = await asyncio.to_thread(call.services.workshop.whole, flow_id)
    found["runs"] = runs_now(call, flow_id)
    more: dict[str, Any] = {"flow": found, "types": None}
    if call.query.view == "1":
        more["read_only"] = True
    return await render(call, "editor", more)


@routes.add("GET", "/help", "view", query=models.PageQuery, is_page=True)
async def help_index(call: Call) -> Response:
    """Show the list of help pages."""
    names = sorted(_help_pages())
    found = [{"name": name, "title": _title(_help_pages()[name])} for name in names]
    return await render(call, "help", {"pages": found, "name": None, "html": Markup("")})


@routes.add("GET", "/help/{name}", "view", query=models.PageQuery, is_page=True)
async def help_page(call: Call) -> Response:
    """Show one help page."""
    pages = _help_pages()
    name = call.path["name"]
    if not _HELP.fullmatch(name) or name not in pages:
        raise not_found(f'help page "{name[:60]}"')
    found = [{"name": each, "title": _title(pages[each])} for each in sorted(pages)]
    return await render(call, "help", {"pages": found, "name": name, "html": to_html(pages[name])})


def _help_pages() -> dict[str, str]:
    folder = files("flowengine.web") / "help"
    if not folder.is_dir():
        return {}
    return {
        item.name.removesuffix(".md"): item.read_text(encoding="utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".md")
    }


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ").strip()


@routes.add("GET", "/login", OPEN, query=models.PageQuery, is_page=True)
async def login(call: Call) -> Response:
    """Show the login page; who is logged in goes on."""
    if call.is_known and call.query.next:
        return RedirectResponse(own_path(call.query.next), 303)
    return await render(call, "login", {"next": own_path(call.query.next)})


def own_path(given: str) -> str:
    """A path of this server to go on to; never another server (an open redirect)."""
    is_own = given.startswith("/") and not given.startswith(("//", "/\\"))
    return given if is_own and given.isprintable() and "\\" not in given else "/"


@routes.add("GET", "/static/{mark}/{name:path}", OPEN, is_page=True)
async def static(call: Call) -> Response:
    """Give a static file."""
    return call.services.assets.response(call.path["mark"], call.path["name"])

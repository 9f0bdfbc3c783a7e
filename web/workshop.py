r"""The workshop: the flows of a folder with their drafts, next to the engine that runs them.

    file  <--deploy--  draft (revisions)  <--put--  browsers
      \                   |
       engine            check, diff, merge

A draft that nobody changed follows its file; a changed one keeps, and tells when the file was
changed behind it. Methods without `async` may block for a disk or a check: call them in a thread.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flowengine.diff import as_json, compare_flows
from flowengine.diff.merge import merge_flows
from flowengine.diff.text import diff_text
from flowengine.engine.loading import SecretOf, lacking
from flowengine.engine.runtime import Engine
from flowengine.errors import Finding, FindingsError, Where
from flowengine.flow import Flow
from flowengine.flow.model import slug_of
from flowengine.message import rfc3339
from flowengine.registry import REGISTRY
from flowengine.secrets import SecretsError
from flowengine.web.drafts import Deployed, Draft, Drafts, layout_etag
from flowengine.web.problem import Problem, check_json, findings_json, not_found
from flowengine.web.reading import Reading, document_of
from flowengine.web.rights import POWERS, Caller, touched_powers
from flowengine.web.settings import Settings
from flowengine.web.shelf import Shelf, text_of

Places = dict[str, tuple[int, int]]


class Workshop:
    """Flows as people work on them."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        drafts: Drafts,
        secret_of: SecretOf = lambda _name: None,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.drafts = drafts
        self.secret_of = secret_of
        self.shelf = Shelf(settings.folder)
        self.reading = Reading(self.shelf, settings)
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # -- looking

    def ids(self) -> list[str]:
        """Every flow that has a file or a draft."""
        return sorted({*self.shelf.ids(), *self.drafts.flows()})

    def draft(self, flow: str) -> Draft:
        """The draft of a flow; 404 if there is neither a draft nor a file."""
        draft, filed = self.drafts.newest(flow), self.shelf.read(flow)
        if draft is None and filed is None:
            raise not_found(f'flow "{flow}"')
        if filed is None:
            assert draft is not None  # noqa: S101  # one of both is there
            return draft
        if draft is None or (not draft.is_changed and draft.file != filed.digest):
            return self.drafts.put(flow, filed.text, base=filed.text, file=filed.digest)
        return draft

    def state(self, flow: str) -> dict[str, Any]:
        """A flow in one line: its draft, what is deployed, whether it runs."""
        draft, filed = self.draft(flow), self.shelf.read(flow)
        read = self.reading.flow(flow, draft.text)
        findings = self.reading.check(flow, draft.text)
        is_running = flow in self.engine.flows
        refused = []
        if not is_running and filed is not None:
            refused = [f for f in self.reading.check(flow, filed.text) if f.severity == "error"]
            refused = refused or self._lacking(flow, filed.text)
        found = check_json(findings)
        return {
            "id": flow,
            "title": (read.title if read is not None else None) or flow,
            "nodes": 0 if read is None else len(read.nodes),
            "draft": {
                "rev": draft.rev,
                "etag": draft.etag,
                "by": draft.by or None,
                "at": moment(draft.at),
                "changed": draft.is_changed,
            },
            "changes": self._changes(draft),
            "deployed": self._deployed(flow),
            "running": is_running,
            "file_changed": draft.is_changed
            and draft.file != (filed.digest if filed is not None else ""),
            "refused": findings_json(refused),
            "errors": found["errors"],
            "warnings": found["warnings"],
        }

    def _lacking(self, flow: str, text: str) -> list[Finding]:
        """The values without which a flow that has a file cannot run."""
        read = self.reading.flow(flow, text)
        if read is None:
            return []
        try:
            return lacking(read, self.reading.values(read), self.secret_of)
        except SecretsError as err:
            return [Finding(slug="secrets", what=err.what, mend=err.mend, where=Where(flow=flow))]

    def _changes(self, draft: Draft) -> int:
        if not draft.is_changed:
            return 0
        try:
            return len(self.reading.diff(draft.flow, draft.base, draft.text).changes)
        except ValueError:  # what is deployed has faults of its own
            return 1

    def _deployed(self, flow: str) -> dict[str, Any] | None:
        filed = self.shelf.read(flow)
        if filed is None:
            return None
        entry = self.drafts.last_entry(flow)
        if entry is not None and entry.file == filed.digest:
            return {
                "entry": entry.number,
                "at": moment(entry.at),
                "by": entry.by,
                "nodes": entry.nodes,
            }
        read = self.reading.flow(flow, filed.text)
        nodes = 0 if read is None else len(read.nodes)
        return {"entry": None, "at": moment(filed.at), "by": None, "nodes": nodes}

    def states(self) -> list[dict[str, Any]]:
        """Every flow in one line."""
        return [self.state(flow) for flow in self.ids()]

    def whole(self, flow: str) -> dict[str, Any]:
        """Everything that the editor needs to draw a flow."""
        draft = self.draft(flow)
        rev, places = self.layout(draft)
        shared, _ = self.shelf.shared()
        return {
            "state": self.state(flow),
            "document": document_of(draft.text),
            "shared": {
                name: {"type": spec.type, "config": spec.config, "title": spec.title}
                for name, spec in shared.items()
            },
            "layout": places,
            "layout_etag": layout_etag(rev, places),
            "check": check_json(self.reading.check(flow, draft.text)),
        }

    def flow_of(self, draft: Draft) -> Flow:
        """The flow of a draft; FindingsError if it cannot be read."""
        read = self.reading.flow(draft.flow, draft.text)
        if read is None or not read.whole:
            raise FindingsError(self.reading.check(draft.flow, draft.text))
        return read

    # -- changing

    async def put(
        self, flow: str, etag: str, document: Mapping[str, Any], caller: Caller, label: str
    ) -> Draft:
        """The next revision; 412 with both sides if another one came first."""
        text, read = await asyncio.to_thread(self.reading.canonical, flow, document)
        async with self.locks[flow]:
            draft = await asyncio.to_thread(self.draft, flow)
            if etag not in {draft.etag, "*"}:
                raise await asyncio.to_thread(self._changed, draft, etag, text, read)
            return await asyncio.to_thread(self.write, draft, text, read, caller, label)

    def write(self, draft: Draft, text: str, read: Flow, caller: Caller, label: str) -> Draft:
        """Write a next revision of this draft, if the caller may; holds the flow's lock."""
        if text == draft.text:
            return draft
        old = self.reading.flow(draft.flow, draft.text)
        powered = touched_powers(old, read)
        if powered and POWERS not in caller.rights:
            raise Problem(
                403,
                "not-allowed",
                f'To change "{powered[0]}" needs the right "{POWERS}".',
                "Ask an admin: flowengine users add NAME --powers.",
                right=POWERS,
                nodes=powered,
            )
        self.layout(draft)
        return self.drafts.put(
            draft.flow, text, base=draft.base, file=draft.file, by=caller.name, label=label
        )

    def _changed(self, draft: Draft, etag: str, text: str, mine: Flow) -> Problem:
        """412: what both came from, both sides, and how they go together."""
        flow = draft.flow
        base = self.drafts.by_etag(flow, etag)
        more: dict[str, Any] = {
            "etag": draft.etag,
            "by": draft.by or None,
            "mine": document_of(text),
            "theirs": document_of(draft.text),
            "base": None if base is None else document_of(base.text),
            "merged": None,
            "conflicts": [],
            "changes": None,
        }
        theirs = self.reading.flow(flow, draft.text)
        origin = None if base is None else self.reading.flow(flow, base.text)
        if origin is not None and theirs is not None and origin.whole and theirs.whole:
            merged = merge_flows(origin, mine, theirs, REGISTRY)
            more["merged"] = document_of(merged.text)
            more["conflicts"] = [{"path": c.path, "what": c.what} for c in merged.conflicts]
            more["changes"] = {
                side: {**as_json(diff), "text": diff_text(diff)}
                for side, diff in (
                    ("mine", compare_flows(origin, mine, REGISTRY)),
                    ("theirs", compare_flows(origin, theirs, REGISTRY)),
                )
            }
        return Problem(
            412,
            "draft-changed",
            f"{draft.by or 'The file'} changed it.",
            "Take the merged version, or look at what both sides changed.",
            **more,
        )

    async def create(
        self,
        flow: str | None,
        document: Mapping[str, Any],
        places: Mapping[str, Sequence[int]],
        caller: Caller,
        wanted: str = "",
    ) -> Draft:
        """A first revision of a new flow; 409 if there is one of that id."""
        async with self.locks[""]:
            taken = set(await asyncio.to_thread(self.ids))
            if flow is None:
                base = slug_of(str(document.get("title") or wanted or "flow"))[:90]
                flow, number = base, 2
                while flow in taken or flow == "connections":
                    flow, number = f"{base}-{number}", number + 1
            elif flow in taken or flow == "connections":
                raise Problem(
                    409, "exists", f'There is a flow "{flow}".', "Take another id.", id=flow
                )
            text, read = await asyncio.to_thread(self.reading.canonical, flow, document)
            empty = Draft(flow=flow, rev=0, text="", base="", file="")
            at = {name: (int(p[0]), int(p[1])) for name, p in places.items() if name in read.nodes}
            if at:
                await asyncio.to_thread(self.drafts.put_layout, flow, at)
            return await asyncio.to_thread(self.write, empty, text, read, caller, "made")

    async def take_back(self, flow: str, caller: Caller, entry: Deployed | None) -> Draft:
        """The draft becomes what is deployed, or what was deployed in an entry of the history."""
        async with self.locks[flow]:
            draft = await asyncio.to_thread(self.draft, flow)
            filed = await asyncio.to_thread(self.shelf.read, flow)
            if entry is not None:
                text, label = entry.text, f"return to {entry.number}"
                await asyncio.to_thread(self.drafts.put_layout, flow, entry.places)
            elif filed is None:
                raise Problem(409, "not-running", "It was never deployed.", "Remove it instead.")
            else:
                text, label = filed.text, "discard"
            read = await asyncio.to_thread(self.reading.flow, flow, text)
            if read is None:
                raise FindingsError(await asyncio.to_thread(self.reading.check, flow, text))
            if entry is None and filed is not None:
                return await asyncio.to_thread(
                    self._follow, draft, filed.text, filed.digest, read, caller
                )
            return await asyncio.to_thread(self.write, draft, text, read, caller, label)

    def _follow(self, draft: Draft, text: str, file: str, read: Flow, caller: Caller) -> Draft:
        if text == draft.text and draft.base == text and draft.file == file:
            return draft
        if text != draft.text:
            self.write(draft, text, read, caller, "discard")  # asks for the right to powers
        return self.drafts.put(
            draft.flow, text, base=text, file=file, by=caller.name, label="discard"
        )

    # -- layout

    def layout(self, draft: Draft) -> tuple[int, Places]:
        """Revision and places; the file's own where the draft was not changed."""
        kept = self.drafts.layout(draft.flow)
        if draft.is_changed and kept is not None:
            return kept
        places = self.shelf.layout(draft.flow)
        if kept is not None and (kept[1] == places or not places):
            return kept
        return self.drafts.put_layout(draft.flow, places), places

    async def put_layout(
        self, flow: str, etag: str, nodes: Mapping[str, Sequence[int]]
    ) -> tuple[int, Places]:
        """Keep the places; written to the file at once where nothing else is to be deployed."""
        async with self.locks[flow]:
            return await asyncio.to_thread(self._put_layout, flow, etag, nodes)

    def _put_layout(
        self, flow: str, etag: str, nodes: Mapping[str, Sequence[int]]
    ) -> tuple[int, Places]:
        draft = self.draft(flow)
        rev, old = self.layout(draft)
        if etag not in {layout_etag(rev, old), "*"}:
            theirs = layout_etag(rev, old)
            raise Problem(
                412, "draft-changed", "Someone moved nodes.", "Read it again.", etag=theirs
            )
        known = self.flow_of(draft).nodes
        places = {name: (at[0], at[1]) for name, at in nodes.items() if name in known}
        return self.keep_places(draft, places), places

    def keep_places(self, draft: Draft, places: Places) -> int:
        """Write the layout down; the new revision of it."""
        rev = self.drafts.put_layout(draft.flow, places)
        if not draft.is_changed and self.shelf.read(draft.flow) is not None:
            self.shelf.write_layout(draft.flow, places, set(self.flow_of(draft).nodes))
        return rev

    # -- comparing

    def diff(self, flow: str, one: str, other: str) -> dict[str, Any]:
        """Two versions compared by meaning, as data (R39) and as text."""
        sides = [self._side(flow, name) for name in (one, other)]
        found = compare_flows(sides[0], sides[1], REGISTRY)
        return {**as_json(found), "text": diff_text(found)}

    def _side(self, flow: str, name: str) -> Flow | None:
        draft = self.draft(flow)
        places: Mapping[str, tuple[int, int]]
        if name == "draft":
            text, places = draft.text, self.layout(draft)[1]
        elif name == "deployed":
            text, places = draft.base, self.shelf.layout(flow)
        elif name == "file":
            filed = self.shelf.read(flow)
            text, places = (filed.text if filed is not None else ""), self.shelf.layout(flow)
        else:
            entry = self.drafts.entry(flow, int(name))
            if entry is None:
                raise not_found(f"entry {name} of {flow}")
            text, places = entry.text, entry.places
        if not text:
            return None
        read = self.reading.flow(flow, text)
        if read is None:
            raise FindingsError(self.reading.check(flow, text))
        return msgspec.structs.replace(read, layout={**read.layout, **places})

    def history(self, flow: str) -> list[dict[str, Any]]:
        """What was deployed, newest first."""
        self.draft(flow)
        return [
            {
                "entry": entry.number,
                "at": moment(entry.at),
                "by": entry.by,
                "note": entry.note or None,
                "nodes": entry.nodes,
                "restarted": entry.restarted,
            }
            for entry in self.drafts.entries(flow)
        ]


def moment(at: float) -> str | None:
    """A time as the API shows it, None for never."""
    return rfc3339(int(at * 1000) * 1_000_000) if at else None


def now() -> str:
    """This moment."""
    return rfc3339(time.time_ns() // 1_000_000 * 1_000_000)


__all__ = ["Places", "Workshop", "moment", "now", "text_of"]

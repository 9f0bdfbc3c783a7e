"""Editing together: operations put in order, those that meet sent back, and who else is here.

client --ops at rev--> [meets what came since?] --no--> next rev --> everyone
| yes
'--> conflict, with what came since
"""

import asyncio
from collections import deque
from typing import Any

import msgspec

from flowengine.errors import FindingsError
from flowengine.web.door import not_allowed
from flowengine.web.drafts import Draft
from flowengine.web.listener import Listener
from flowengine.web.ops import BadOp, Mark, Op, apply_ops, marks, meetings, read_ops
from flowengine.web.problem import Problem, check_json
from flowengine.web.reading import document_of
from flowengine.web.workshop import Workshop

KEPT = 500
CHECK_AFTER = 0.3


class Edit(msgspec.Struct, kw_only=True):
    """An edit that was taken; `marks` None is a change as a whole, which meets everything."""

    rev: int
    client: str
    told: dict[str, Any]
    marks: set[Mark] | None


class Room:
    """Everyone who has one flow open."""

    def __init__(self, workshop: Workshop, flow: str) -> None:
        self.workshop = workshop
        self.flow = flow
        self.topic = f"flow/{flow}/ops"
        self.people: dict[str, tuple[Listener, dict[str, Any]]] = {}
        self._edits: deque[Edit] = deque(maxlen=KEPT)
        self._checking: asyncio.Task[None] | None = None

    # -- who is here

    async def enter(self, listener: Listener) -> None:
        """Someone opens the flow."""
        here: dict[str, Any] = {
            "client": listener.id,
            "user": listener.caller.name,
            "selection": [],
            "doing": None,
        }
        self.people[listener.id] = listener, here
        draft = await asyncio.to_thread(self.workshop.draft, self.flow)
        people = [each for _, each in self.people.values()]
        told = {"kind": "hello", "rev": draft.rev, "etag": draft.etag, "people": people}
        listener.tell({"t": self.topic, "d": told})
        self._tell_people(but=listener.id)

    def leave(self, listener: Listener) -> None:
        """Someone closes it."""
        if self.people.pop(listener.id, None) is not None:
            self._tell_people()

    def here(self, listener: Listener, selection: Any, doing: Any) -> None:
        """Someone selects something else."""
        known = self.people.get(listener.id)
        if known is None or not isinstance(selection, list):
            return
        known[1]["selection"] = [str(name)[:100] for name in selection[:200]]
        known[1]["doing"] = None if doing is None else str(doing)[:40]
        self._tell_people()

    def _tell_people(self, but: str = "") -> None:
        told = {"kind": "presence", "people": [here for _, here in self.people.values()]}
        self.tell(told, but=but)

    def tell(self, told: dict[str, Any], but: str = "") -> None:
        """Tell everyone here."""
        for name, (listener, _) in list(self.people.items()):
            if name != but:
                listener.tell({"t": self.topic, "d": told})

    # -- editing

    async def edit(self, listener: Listener, frame: dict[str, Any]) -> None:
        """Take the operations of a client, or say why not."""
        number = str(frame.get("id", ""))[:64]
        try:
            await self._edit(listener, frame, number)
        except Problem as problem:
            self._refuse(listener, number, problem.slug, problem.detail or str(problem))
        except BadOp as err:
            self._refuse(listener, number, "bad-op", err.what)
        except FindingsError as err:
            self._refuse(listener, number, err.findings[0].slug, err.findings[0].what)

    def _refuse(self, listener: Listener, number: str, slug: str, what: str) -> None:
        told = {"kind": "refused", "id": number, "slug": slug, "what": what}
        listener.tell({"t": self.topic, "d": told})

    async def _edit(self, listener: Listener, frame: dict[str, Any], number: str) -> None:
        rev, label = frame.get("rev"), str(frame.get("label") or "")[:200]
        if "edit" not in listener.caller.rights:
            raise not_allowed("edit")
        if type(rev) is not int:
            raise BadOp("rev is missing")
        ops = read_ops(frame.get("ops"))
        async with self.workshop.locks[self.flow]:
            draft = await asyncio.to_thread(self.workshop.draft, self.flow)
            if not self._may_follow(listener, draft, rev, ops, number):
                return
            made = await asyncio.to_thread(self._apply, listener, draft, ops, label)
            told = {
                "kind": "edit",
                "rev": made.rev,
                "by": listener.caller.name,
                "client": listener.id,
                "id": number,
                "label": label,
                "etag": made.etag,
                "ops": frame["ops"],
            }
            edit = Edit(rev=made.rev, client=listener.id, told=told, marks=marks(ops))
            self._edits.append(edit)
            self.tell(told)
        self._check_soon()

    def _may_follow(
        self, listener: Listener, draft: Draft, rev: int, ops: list[Op], number: str
    ) -> bool:
        """Whether operations on `rev` fit onto the draft as it is; if not, the client is told."""
        since = [edit for edit in self._edits if edit.rev > rev]
        known = {edit.rev for edit in since}
        lacks = any(each not in known for each in range(rev + 1, draft.rev + 1))
        if rev > draft.rev or lacks or any(edit.marks is None for edit in since):
            told = {"kind": "reload", "rev": draft.rev, "by": draft.by or None, "why": "behind"}
            listener.tell({"t": self.topic, "d": told})
            return False
        others = [edit for edit in since if edit.client != listener.id]
        theirs = {mark for edit in others for mark in edit.marks or ()}
        met = meetings(marks(ops), theirs)
        if not met:
            return True
        told = {
            "kind": "conflict",
            "id": number,
            "rev": draft.rev,
            "paths": [list(mark) for mark in met],
            "since": [edit.told for edit in others],
        }
        listener.tell({"t": self.topic, "d": told})
        return False

    def _apply(self, listener: Listener, draft: Draft, ops: list[Op], label: str) -> Draft:
        shop = self.workshop
        document = document_of(draft.text)
        if document is None:
            raise BadOp("the flow's file is no JSON: mend it first")
        _, before = shop.layout(draft)
        changed, places = apply_ops(document, before, ops)
        made = draft
        if changed != document:
            text, read = shop.reading.canonical(self.flow, changed)
            made = shop.write(draft, text, read, listener.caller, label)
        if places != before:
            shop.keep_places(made, places)
        return made

    def replaced(self, rev: int, by: str, why: str) -> None:
        """The draft was changed as a whole."""
        told = {"kind": "reload", "rev": rev, "by": by, "why": why}
        self._edits.append(Edit(rev=rev, client="", told=told, marks=None))
        self.tell(told)

    # -- what check says, soon after

    def _check_soon(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        await asyncio.sleep(CHECK_AFTER)
        draft = await asyncio.to_thread(self.workshop.draft, self.flow)
        found = await asyncio.to_thread(self.workshop.reading.check, self.flow, draft.text)
        self.tell({"kind": "check", "rev": draft.rev, "check": check_json(found)})

    def close(self) -> None:
        """Nobody is here any more."""
        if self._checking is not None:
            self._checking.cancel()

"""Deploying a draft: first what would happen, then it; a failed deploy leaves the old one running.

draft --check--> values --> plan --compare--> what restarts
|
deploy --> file, layout, history, audit
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from flowengine.diff import as_json
from flowengine.diff.text import diff_text
from flowengine.engine.loading import plan_of, resolve_flow
from flowengine.engine.plan import Change, Plan, compare
from flowengine.errors import FindingsError, FlowengineError
from flowengine.flow import Flow
from flowengine.secrets import SecretStore
from flowengine.web.audit import digest_of
from flowengine.web.drafts import Draft
from flowengine.web.problem import Problem, check_json
from flowengine.web.redact import Redactor
from flowengine.web.rights import OFF_BY_DEFAULT, POWERS, Caller, powered, touched_powers
from flowengine.web.workshop import Workshop

LOG = logging.getLogger("flowengine.web")


class Prepared(msgspec.Struct, kw_only=True):
    """A draft on its way: what was found, and the plan if there can be one."""

    draft: Draft
    flow: Flow | None
    plan: Plan | None
    told: dict[str, Any]


class Deploys:
    """Makes drafts run."""

    def __init__(self, workshop: Workshop, secrets: SecretStore, redactor: Redactor) -> None:
        self.workshop = workshop
        self.secrets = secrets
        self.redactor = redactor

    def prepare(self, flow: str) -> Prepared:
        """What a deploy of the draft would do; changes nothing."""
        shop = self.workshop
        draft = shop.draft(flow)
        findings = shop.reading.check(flow, draft.text)
        read = shop.reading.flow(flow, draft.text)
        found = check_json(findings)
        told: dict[str, Any] = {
            "start": [],
            "restart": [],
            "stop": [],
            "keep": [],
            "reasons": {},
            "waiting": {},
            "dropped": 0,
            "diff": None,
            "missing": [],
            "powers": [] if read is None else powered(read, shop.settings.powers),
            "check": found,
            "can": False,
        }
        if read is not None and read.whole:
            with contextlib.suppress(ValueError):
                diff = shop.reading.diff(flow, draft.base, draft.text)
                told["diff"] = {**as_json(diff), "text": diff_text(diff)}
            told["missing"] = self._missing(read)
        plan = None
        if read is not None and found["ok"] and not told["missing"]:
            plan = self._plan(read, told)
        allowed = all(entry["allowed"] for entry in told["powers"])
        told["can"] = plan is not None and allowed
        return Prepared(draft=draft, flow=read, plan=plan, told=told)

    def _missing(self, flow: Flow) -> list[dict[str, Any]]:
        resolved = resolve_flow(flow, self.workshop.reading.values(flow), self._secret)
        return [
            {"kind": lack.kind, "name": lack.name, "where": str(lack.where)}
            for lack in resolved.missing
        ]

    def _secret(self, name: str) -> str | None:
        """A secret's value; noted, so that it is shown nowhere."""
        value = self.secrets.get(name)
        if value is not None:
            self.redactor.learn(value)
        return value

    def _plan(self, flow: Flow, told: dict[str, Any]) -> Plan | None:
        try:
            plan = plan_of(flow, self.workshop.reading.values(flow), self._secret)
        except FindingsError as err:
            told["check"] = check_json(err.findings)
            return None
        running = self.workshop.engine.flows.get(flow.id)
        old = running.plan if running is not None else None
        change = compare(old, plan)
        told |= {
            "start": change.started,
            "restart": change.restarted,
            "stop": change.stopped,
            "keep": change.kept,
            "reasons": reasons(change, told["diff"], old, plan),
        }
        if running is not None:
            for name in [*change.restarted, *change.stopped]:
                wire = running.nodes[name].wire if name in running.nodes else None
                if wire is not None and wire.depth:
                    told["waiting"][name] = wire.depth
            told["dropped"] = sum(told["waiting"].get(name, 0) for name in change.stopped)
        return plan

    async def deploy(
        self, flow: str, etag: str, caller: Caller, *, note: str = "", over: bool = False
    ) -> dict[str, Any]:
        """Run the draft from now on, and write it to its file."""
        shop = self.workshop
        async with shop.locks[flow]:
            started = time.monotonic()
            ready = await asyncio.to_thread(self.prepare, flow)
            await asyncio.to_thread(self._stop_at_conflict, ready.draft, etag, over)
            self._stop_at_powers(ready, caller)
            if ready.plan is None or ready.flow is None:
                raise self._refused(ready)
            before = digest_of(ready.draft.base) if ready.draft.base else ""
            await self._run(ready.plan)
            kept = await asyncio.to_thread(self._keep, ready, caller, note)
            took = time.monotonic() - started
        after = digest_of(ready.draft.text)
        LOG.info("deployed", extra={"facts": {"flow": flow, "by": caller.name, "entry": kept}})
        return {
            "plan": ready.told,
            "entry": kept,
            "took": round(took, 3),
            "before": before,
            "after": after,
        }

    async def _run(self, plan: Plan) -> None:
        try:
            await self.workshop.engine.deploy(plan)
        except FlowengineError as err:
            raise Problem(
                422, "refused", f"{err.what} The old version goes on running.", err.mend
            ) from err
        except Exception as err:
            LOG.exception("a deploy failed", extra={"facts": {"flow": plan.flow}})
            what = f"{type(err).__name__}: {err}"
            raise Problem(
                422,
                "refused",
                f"It could not be built: {self.redactor.clean(what)}",
                "The old version goes on running. Look at the log.",
            ) from err

    def _keep(self, ready: Prepared, caller: Caller, note: str) -> int:
        """Write the file, the layout and the history of what runs now."""
        shop, draft = self.workshop, ready.draft
        assert ready.flow is not None  # noqa: S101  # it was deployed
        _, places = shop.layout(draft)
        file = shop.shelf.write(draft.flow, draft.text)
        shop.shelf.write_layout(draft.flow, places, set(ready.flow.nodes))
        shop.drafts.rebase(draft, draft.text, file)
        entry = shop.drafts.add_entry(
            draft,
            places,
            by=caller.name,
            note=note,
            file=file,
            restarted=[*ready.told["start"], *ready.told["restart"]],
            nodes=len(ready.flow.nodes),
        )
        return entry.number

    def _stop_at_conflict(self, draft: Draft, etag: str, over: bool) -> None:
        shop = self.workshop
        if etag != draft.etag:
            raise Problem(
                409,
                "deploy-conflict",
                f"{draft.by or 'The file'} changed the draft since.",
                "Look at it again, then deploy.",
                etag=draft.etag,
                diff=None,
            )
        filed = shop.shelf.read(draft.flow)
        if not over and draft.file != (filed.digest if filed is not None else ""):
            diff = None
            with contextlib.suppress(ValueError, FlowengineError):
                diff = shop.diff(draft.flow, "deployed", "file")
            raise Problem(
                409,
                "deploy-conflict",
                "The file was changed outside of the editor since the draft began.",
                "Discard the draft to see it, or deploy over it.",
                etag=draft.etag,
                diff=diff,
            )

    def _stop_at_powers(self, ready: Prepared, caller: Caller) -> None:
        off = [entry for entry in ready.told["powers"] if not entry["allowed"]]
        if off:
            raise power_is_off(off)
        if ready.flow is None or POWERS in caller.rights:
            return
        base = ready.draft.base
        old = self.workshop.reading.flow(ready.draft.flow, base) if base else None
        touched = touched_powers(old, ready.flow)
        if touched:
            raise Problem(
                403,
                "not-allowed",
                f'To deploy "{touched[0]}" needs the right "{POWERS}".',
                "Ask someone who has it.",
                right=POWERS,
                nodes=touched,
            )

    def _refused(self, ready: Prepared) -> Problem:
        found, missing = ready.told["check"], ready.told["missing"]
        if missing:
            first = missing[0]
            what = f'The {first["kind"]} "{first["name"]}" has no value.'
            mend = "Store it under Secrets." if first["kind"] == "secret" else "Give it a value."
        else:
            what = f"{found['errors']} error{'' if found['errors'] == 1 else 's'} to mend first."
            mend = "The old version goes on running."
        return Problem(
            422, "refused", what, mend, findings=found["findings"], missing=missing, plan=ready.told
        )


def power_is_off(entries: list[dict[str, Any]]) -> Problem:
    """422 for a flow whose nodes may do what no setting has switched on (S-20)."""
    types = ", ".join(sorted({entry["type"] for entry in entries}))
    powers = sorted({power for entry in entries for power in entry["powers"]} & OFF_BY_DEFAULT)
    return Problem(
        422,
        "refused",
        f"The flow runs code of its own: {types}. That is switched off.",
        f"If you trust it: flowengine serve --allow {','.join(powers)}",
        powers=entries,
    )


def reasons(
    change: Change, diff: Mapping[str, Any] | None, old: Plan | None, new: Plan
) -> dict[str, str]:
    """Why each node starts, stops or restarts, in a few words."""
    found = dict.fromkeys(change.started, "new")
    found |= dict.fromkeys(change.stopped, "removed")
    told: dict[str, list[str]] = {}
    for entry in (diff or {}).get("changes", []):
        if entry["kind"] == "node" and entry["path"]:
            told.setdefault(entry["id"], []).append(entry["path"])
    links = set(new.connections) - set(change.connections_kept)
    for name in change.restarted:
        through = sorted(new.nodes[name].connections & links)
        if name in told:
            found[name] = f"{', '.join(told[name])} changed"
        elif through:
            found[name] = f"its connection {through[0]} changed"
        elif old is not None and old.params != new.params:
            found[name] = "the params changed"
        else:
            found[name] = "a value it refers to changed"
    return found


__all__ = ["Deploys", "Prepared", "power_is_off", "reasons"]

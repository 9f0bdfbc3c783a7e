"""Tests of a flow read part by part, with a finding for each part that is wrong."""

import base64
from collections.abc import Callable
from typing import Any

from flowengine.cases.model import (
    CASE_KEYS,
    FINDING_KEYS,
    HOUR,
    LINK_STATES,
    TOLERANCE_KEYS,
    Case,
    CaseInput,
    ExpectedFinding,
    Tolerance,
)
from flowengine.clock import TOLD_START
from flowengine.errors import describe_value
from flowengine.flow.model import Path, field_path
from flowengine.flow.parts import PartReader, guess
from flowengine.moments import parse_duration, parse_time

_MESSAGE = ("at", "topic", "key", "time", "payload", "meta")


class CaseReader(PartReader):
    """Reads tests part by part."""

    def cases(self, path: Path, raw: Any) -> list[Case]:
        """All tests of a list."""
        if type(raw) is not list:
            self.bad(path, "the tests are no list.", 'Write "tests": [].')
            return []
        found: list[Case] = []
        names: dict[str, int] = {}
        for index, item in enumerate(raw):
            here = (*path, index)
            if type(item) is not dict:
                self.bad(here, f"{describe_value(item)} is no test.", 'Write {"name": "..."}.')
                continue
            case = self.case(here, index, item)
            if case.name in names:
                what = f'the name "{case.name}" is taken by test {names[case.name] + 1}.'
                self.add("bad-value", (*here, "name"), what, "Give each test a name of its own.")
            names.setdefault(case.name, index)
            found.append(case)
        return found

    def case(self, path: Path, index: int, raw: dict[str, Any]) -> Case:
        """One test."""
        self.unknown_keys(path, raw, CASE_KEYS)
        name = self.text(path, raw, "name")
        if not name and "name" not in raw:
            self.lacks(path, "name", "Say what is promised, as a sentence without a subject.")
        inputs = [
            item
            for at, each in enumerate(self.objects(path, raw, "input"))
            if each is not None and (item := self.input((*path, "input", at), at, each))
        ]
        inputs.sort(key=lambda item: item.at)
        last = inputs[-1].at if inputs else 0
        until = self.duration(path, raw, "until", last + HOUR)
        if until < last:
            what = "the test ends before its last input."
            self.add("bad-value", (*path, "until"), what, "Write a later time, or leave it out.")
        findings = [
            self.finding((*path, "expect_findings", at), each)
            for at, each in enumerate(self.objects(path, raw, "expect_findings"))
            if each is not None
        ]
        return Case(
            name=name or f"test {index + 1}",
            index=index,
            doc=self.doc(path, raw),
            start=self.time(path, raw, "start", TOLD_START),
            params=self.a_map(path, raw, "params"),
            env=self.texts(path, raw, "env"),
            secrets=self.texts(path, raw, "secrets"),
            state=self.maps(path, raw, "state"),
            tolerance=self.tolerance(path, raw),
            inputs=inputs,
            until=until,
            expect=self.expect(path, raw),
            expect_state=self.maps(path, raw, "expect_state"),
            expect_findings=findings,
        )

    def input(self, path: Path, index: int, raw: dict[str, Any]) -> CaseInput | None:
        """One input: by topic, by node, or a connection's state."""
        ways = [key for key in ("node", "connection", "topic") if key in raw]
        if not ways:
            mend = 'Write "topic", "node", or "connection" with "state".'
            self.bad(path, "this input goes nowhere.", mend)
            return None
        if "connection" in raw:
            self.unknown_keys(path, raw, ("at", "connection", "state"))
            state = raw.get("state")
            if state not in LINK_STATES:
                what = f"{describe_value(state)} is no state of a connection."
                self.bad((*path, "state"), what, guess(state, LINK_STATES))
                return None
        else:
            known = ("node", *_MESSAGE) if "node" in raw else _MESSAGE
            self.unknown_keys(path, raw, known)
        self.payload((*path, "payload"), raw.get("payload"), expected=False)
        time = self.time(path, raw, "time", None) if "time" in raw else None
        return CaseInput(
            at=self.duration(path, raw, "at", 0),
            index=index,
            topic=self.text(path, raw, "topic"),
            node=self.text(path, raw, "node"),
            connection=self.text(path, raw, "connection"),
            state=raw.get("state"),
            key=self.text(path, raw, "key"),
            time=time,
            payload=raw.get("payload"),
            meta=self.a_map(path, raw, "meta"),
            given=frozenset(raw),
        )

    def expect(self, path: Path, raw: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """What is expected by node and output, as it was written."""
        found: dict[str, list[dict[str, Any]]] = {}
        for place, messages in self.a_map(path, raw, "expect").items():
            here = (*path, "expect", place)
            if type(messages) is not list or any(type(item) is not dict for item in messages):
                mend = 'Write [{"payload": ...}], or [] for nothing.'
                self.bad(here, "what is expected is no list of messages.", mend)
                continue
            for index, message in enumerate(messages):
                at = (*here, index)
                self.unknown_keys(at, message, _MESSAGE)
                self.duration(at, message, "at", 0)
                self.time(at, message, "time", 0)
                for part in ("payload", "meta"):
                    self.payload((*at, part), message.get(part), expected=True)
            found[place] = messages
        return found

    def payload(self, path: Path, value: Any, *, expected: bool) -> None:
        """Look at the special objects in a payload."""
        if type(value) is list:
            for index, item in enumerate(value):
                self.payload((*path, index), item, expected=expected)
        elif type(value) is dict:
            fault = _special_fault(value, expected)
            if fault is not None:
                self.bad(path, *fault)
            for key, item in value.items():
                self.payload((*path, key), item, expected=expected)

    def finding(self, path: Path, raw: dict[str, Any]) -> ExpectedFinding:
        """One expected error."""
        self.unknown_keys(path, raw, FINDING_KEYS)
        if "slug" not in raw:
            self.lacks(path, "slug", 'Write "slug": "not-a-number" or another.')
        count = raw.get("count")
        if "count" in raw and (type(count) is not int or count < 0):
            self.bad((*path, "count"), f"{describe_value(count)} is no count.", "Write 1 or more.")
            count = None
        slug = self.text(path, raw, "slug") or ""
        return ExpectedFinding(slug=slug, node=self.text(path, raw, "node"), count=count)

    def tolerance(self, path: Path, raw: dict[str, Any]) -> Tolerance:
        """How far numbers and times may be off."""
        given = self.a_map(path, raw, "tolerance")
        here = (*path, "tolerance")
        self.unknown_keys(here, given, TOLERANCE_KEYS)
        usual = Tolerance()
        numbers = {}
        for key in ("abs", "rel"):
            value = given.get(key, getattr(usual, key))
            if type(value) not in {int, float} or value < 0:
                what = f"{describe_value(value)} is no tolerance."
                self.bad((*here, key), what, "Write a number of 0 or more.")
                value = getattr(usual, key)
            numbers[key] = float(value)
        return Tolerance(time=self.duration(here, given, "time", usual.time), **numbers)

    # -- values ----------------------------------------------------------------------------------

    def duration(self, path: Path, raw: dict[str, Any], key: str, default: int) -> int:
        """A duration in nanoseconds."""
        if key not in raw:
            return default
        try:
            return parse_duration(raw[key])
        except ValueError as err:
            self.whole = False
            mend = 'Durations look like "250ms", "5s" or "1h30m".'
            self.add("bad-duration", (*path, key), str(err), mend)
            return default

    def time(self, path: Path, raw: dict[str, Any], key: str, default: int | None) -> Any:
        """A time in nanoseconds since 1970, written as RFC 3339."""
        if key not in raw:
            return default
        try:
            return parse_time(raw[key], "rfc3339")
        except ValueError as err:
            self.bad((*path, key), str(err), 'Write it as "2026-01-01T00:00:00Z".')
            return default

    def a_map(self, path: Path, raw: dict[str, Any], key: str) -> dict[str, Any]:
        """An object, empty if it is not there."""
        value = raw.get(key, {})
        if type(value) is dict:
            return value
        self.bad((*path, key), f"{key} is no object.", f'Write "{key}": {{}}.')
        return {}

    def texts(self, path: Path, raw: dict[str, Any], key: str) -> dict[str, str]:
        """A map of texts."""
        found = {}
        for name, value in self.a_map(path, raw, key).items():
            if type(value) is str:
                found[name] = value
            else:
                what = "this value is not text."
                self.bad((*path, key, name), what, "Put it in quotes.")
        return found

    def maps(self, path: Path, raw: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
        """A map of objects: state by node, then by key."""
        found = {}
        for name, value in self.a_map(path, raw, key).items():
            if type(value) is dict:
                found[name] = value
            else:
                what = f"{describe_value(value)} is no state by key."
                self.bad((*path, key, name), what, 'Write {"dev-1": {...}}; "" for a single state.')
        return found

    def objects(self, path: Path, raw: dict[str, Any], key: str) -> list[dict[str, Any] | None]:
        """A list of objects; None stands for what is none."""
        value = raw.get(key, [])
        if type(value) is not list:
            self.bad((*path, key), f"{key} is no list.", f'Write "{key}": [].')
            return []
        found: list[dict[str, Any] | None] = []
        for index, item in enumerate(value):
            found.append(item if type(item) is dict else None)
            if type(item) is not dict:
                where = field_path((key, index))
                self.bad((*path, key, index), f"{where} is no object.", 'Write {"at": "0s", ...}.')
        return found


def _special_fault(value: dict[str, Any], expected: bool) -> tuple[str, str] | None:
    """What is wrong with an object that has a meaning of its own, and the mend."""
    marks = [key for key in ("$bytes", "$any", "$approx", "$partial") if key in value]
    if not marks:
        return None
    mark = marks[0]
    if mark != "$bytes" and not expected:
        return f'"{mark}" has a meaning only in what is expected.', "Write the value itself."
    fits, what, mend = _SPECIAL[mark]
    return None if fits(value) else (what, mend)


def _is_bytes(value: dict[str, Any]) -> bool:
    try:
        base64.b64decode(value["$bytes"], validate=True)
    except (TypeError, ValueError):
        return False
    return len(value) == 1


def _is_approx(value: dict[str, Any]) -> bool:
    numbers = [item for item in value.values() if type(item) in {int, float}]
    return value.keys() <= {"$approx", "abs", "rel"} and len(numbers) == len(value)


_SPECIAL: dict[str, tuple[Callable[[dict[str, Any]], bool], str, str]] = {
    "$bytes": (_is_bytes, '"$bytes" takes base64, and stands alone.', 'Write {"$bytes": "AQID"}.'),
    "$any": (
        lambda value: value == {"$any": True},
        '"$any" is true, and stands alone.',
        'Write {"$any": true}.',
    ),
    "$approx": (
        _is_approx,
        '"$approx" takes a number, beside it "abs" or "rel".',
        'Write {"$approx": 9.1, "abs": 0.05}.',
    ),
    "$partial": (
        lambda value: type(value["$partial"]) is bool,
        '"$partial" is true or false.',
        'Write "$partial": true.',
    ),
}

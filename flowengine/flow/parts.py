"""The small parts of a flow file, read one by one with a finding for each that is wrong.

What several kinds of file share stands here: the top object, keys, ids, texts, and the values of
configs, in which references have a shape and URLs no password.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

from msgspec import UNSET
from msgspec.structs import replace

from flowengine.errors import Finding, describe_value
from flowengine.flow.model import FORMAT, SLUG, Path, place_of, reference_of, slug_of
from flowengine.flow.strict_json import Document

PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# RFC 3986 §3.2.1; a password that is one template hole is no literal
_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@]*):(?!\{[^{}]*\}@)[^/?#\s@]+@")


class PartReader:
    """Reads one document part by part and collects findings."""

    def __init__(self, document: Document, flow_id: str | None, file: str | None) -> None:
        self.document = document
        self.flow_id = flow_id
        self.file = file
        self.whole = not document.faults
        self.findings: list[Finding] = []
        for fault in document.faults:
            where = place_of(fault.path, flow=flow_id, file=file, document=None)
            line, column = document.place(fault.offset)
            where = replace(where, line=line, column=column)
            self.findings.append(
                Finding(slug=fault.slug, what=fault.what, mend=fault.mend, where=where)
            )

    def sorted(self) -> list[Finding]:
        """The findings in order of the file."""
        return sorted(self.findings, key=lambda f: (f.where.line or 0, f.where.column or 0))

    def add(
        self,
        slug: str,
        path: Path,
        what: str,
        mend: str = "",
        *,
        key: bool = False,
        severity: Literal["error", "warning"] = "error",
        wire: str | None = None,
    ) -> None:
        """Note a finding at the value of `path`, or at its key."""
        where = place_of(
            path, flow=self.flow_id, file=self.file, document=self.document, key=key, wire=wire
        )
        self.findings.append(
            Finding(slug=slug, what=what, mend=mend, severity=severity, where=where)
        )

    def bad(self, path: Path, what: str, mend: str = "") -> None:
        """Note a value that cannot be kept."""
        self.whole = False
        self.add("bad-value", path, what, mend)

    def top(self, known: Collection[str]) -> dict[str, Any] | None:
        """The top object, None when it is no object or of a newer format."""
        top = self.document.value
        if top is UNSET:
            return None
        if type(top) is list:
            if not top or any(type(item) is dict and "type" in item for item in top):
                what = "this is a Node-RED flow (a JSON list at the top)."
                mend = "Importing it is not supported yet: draw the flow in the editor."
                self.add("node-red", (), what, mend)
                return None
            self.bad((), "the file holds a list.", 'A flow is {"format": 1, "nodes": {...}}.')
            return None
        if type(top) is not dict:
            what = f"the file holds {describe_value(top)}."
            self.bad((), what, 'A flow is {"format": 1, "nodes": {...}}.')
            return None
        version = top.get("format", UNSET)
        if version is UNSET:
            self.add("missing-field", (), 'there is no "format".', 'Write "format": 1 at the top.')
        elif type(version) is not int or version < 1:
            self.bad(("format",), f"{describe_value(version)} is no format.", "Write 1.")
        elif version > FORMAT:
            what = f"format {version} is newer than {FORMAT}, the newest this version reads."
            mend = "Update flowengine: pip install --upgrade flowengine."
            self.add("newer-format", ("format",), what, mend)
            return None
        self.unknown_keys((), top, known)
        return top

    def map(self, path: Path, raw: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
        """The entries of a map of objects."""
        value = raw.get(name, {})
        if type(value) is not dict:
            self.bad((*path, name), f"{name} is no object.", f'Write "{name}": {{}}.')
            return []
        entries = []
        for key, item in value.items():
            if type(item) is dict:
                entries.append((key, item))
            else:
                what = f"{describe_value(item)} stands where an object belongs."
                mend = 'Write {"type": "...", "config": {...}}.'
                self.bad((*path, name, key), what, mend)
        return entries

    def lacks(self, path: Path, name: str, mend: str) -> None:
        """Note a key that must be there."""
        self.whole = False
        self.add("missing-field", (*path, name), f'there is no "{name}".', mend)

    def unknown_keys(self, path: Path, raw: dict[str, Any], known: Collection[str]) -> None:
        """Note keys that mean nothing."""
        for key in raw:
            if key not in known and not key.startswith("x-"):
                mend = guess(key, known, 'Remove it; notes of your own begin with "x-".')
                self.add("unknown-key", (*path, key), f'no key "{key}" here.', mend, key=True)

    def slug(self, path: Path, name: str, kind: str) -> None:
        """Note an id that is no slug."""
        if not SLUG.fullmatch(name):
            what = f"{describe_value(name)} is no id of a {kind}."
            mend = f'Use small letters, digits and hyphens, as "{slug_of(name)}".'
            self.add("bad-id", path, what, mend, key=True)

    def type(self, path: Path, raw: dict[str, Any], example: str) -> str:
        """The type of a node or connection; `check` says whether it exists."""
        name = raw.get("type", UNSET)
        if name is UNSET:
            self.lacks(path, "type", f'Write "type": "{example}" or another.')
            return ""
        if type(name) is not str or not name:
            self.bad((*path, "type"), f"{describe_value(name)} is no type.", f'Write "{example}".')
            return ""
        return name

    def text(self, path: Path, raw: dict[str, Any], key: str) -> str | None:
        """A text, None if it is not there."""
        value = raw.get(key)
        if value is None and key not in raw:
            return None
        if type(value) is not str:
            self.bad((*path, key), f"{describe_value(value)} is not text.", "Put it in quotes.")
            return None
        return value

    def doc(self, path: Path, raw: dict[str, Any]) -> str | None:
        """Markdown, written as text or as a list of lines."""
        value = raw.get("doc")
        if type(value) is list and all(type(line) is str for line in value):
            return "\n".join(value)
        return self.text(path, raw, "doc")

    def config(self, path: Path, raw: dict[str, Any]) -> dict[str, Any]:
        """A config as written; its references are looked at for their shape alone."""
        config = raw.get("config", {})
        path = (*path, "config")
        if type(config) is not dict:
            self.bad(path, "the config is no object.", 'Write "config": {}.')
            return {}
        if reference_of(config) is not None:
            what = "a reference stands in place of a whole config."
            self.add("bad-reference", path, what, "Write it as the value of one field.")
        self.inside(path, config.items(), literal=False)
        return config

    def inside(self, path: Path, items: Iterable[tuple[Any, Any]], *, literal: bool) -> None:
        """Look through values for references and passwords."""
        for step, value in items:
            kind = type(value)
            if (kind is str and "://" in value) or kind is dict or kind is list:
                self.values((*path, step), value, literal=literal)

    def values(self, path: Path, value: Any, *, literal: bool) -> None:
        """Look at one value; in a `literal` no reference may stand."""
        if type(value) is str:
            found = _URL_PASSWORD.search(value)
            if found is not None:
                what = f"a URL holds a password: {found[1][:100]}:***@..."
                mend = (
                    'Take it out, store it with "flowengine secrets set NAME" and write '
                    '{"$secret": "NAME"} in the field for the password.'
                )
                self.add("literal-secret", path, what, mend)
        elif type(value) is list:
            self.inside(path, enumerate(value), literal=literal)
        elif type(value) is dict:
            kind = reference_of(value)
            if kind is None:
                self.near_reference(path, value)
                self.inside(path, value.items(), literal=literal)
            elif literal:
                what = f"a reference ({kind}) stands where a literal belongs."
                mend = "References do not nest: write the value itself."
                self.add("bad-reference", path, what, mend)
            else:
                self.reference(path, value, kind)

    def near_reference(self, path: Path, value: dict[str, Any]) -> None:
        """Note `{"$parm": ...}`; `$ref` or `$bytes` mean something else and are let be."""
        if len(value) > 2:
            return
        for key in value:
            if key.startswith("$"):
                near = difflib.get_close_matches(key.lower(), _SHAPES, n=1, cutoff=0.8)
                if near:
                    what, mend = f'no reference "{key}".', f'Did you mean "{near[0]}"?'
                    self.add("bad-reference", (*path, key), what, mend, key=True)

    def reference(self, path: Path, value: dict[str, Any], kind: str) -> None:
        """Note a reference of the wrong shape."""
        allowed, is_name, example = _SHAPES[kind]
        name = value[kind]
        if type(name) is not str or not is_name(name):
            what = f"{describe_value(name)} is no name for {kind}."
            if type(name) is dict and reference_of(name) is not None:
                what = "a reference stands inside a reference; they do not nest."
            self.add("bad-reference", (*path, kind), what, f"Write {example}.")
        for key in value:
            if key not in allowed:
                what = f'"{key}" has no place beside "{kind}".'
                self.add("bad-reference", (*path, key), what, f"Write {example}.", key=True)
        if "default" in value and "default" in allowed:
            self.values((*path, "default"), value["default"], literal=True)


_SHAPES: dict[str, tuple[set[str], Callable[[str], Any], str]] = {
    "$param": ({"$param"}, PARAM_NAME.fullmatch, '{"$param": "limit"}'),
    "$env": (
        {"$env", "default"},
        _VARIABLE.fullmatch,
        '{"$env": "MQTT_HOST", "default": "127.0.0.1"}',
    ),
    "$secret": ({"$secret"}, SLUG.fullmatch, '{"$secret": "site-mqtt"}'),
}


def extra(raw: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """What is kept untouched: `x-` keys, and unknown ones so that nothing gets lost."""
    if all(key in known for key in raw):
        return {}
    return {key: value for key, value in raw.items() if key not in known}


def guess(name: Any, known: Collection[str], otherwise: str | None = None) -> str:
    """The nearest known name as a remedy, else all of them or `otherwise`."""
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return otherwise or f"Write one of {', '.join(known)}."

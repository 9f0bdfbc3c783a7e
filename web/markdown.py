"""Markdown as safe HTML: a small, fixed set of elements, and every other sign as text (S-14).

Headings, paragraphs, lists, code, emphasis and links to http, https or paths of this server. There
is no raw HTML, so there is nothing to sanitise: what is not one of these is escaped.
"""

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_BULLET = re.compile(r"\s*[-*]\s+(.*)")
_NUMBERED = re.compile(r"\s*\d+[.)]\s+(.*)")
_HEADING = re.compile(r"(#{1,4})\s+(.*)")
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[([^\]\n]{1,200})\]\(((?:https?://|/)[^\s()<>\"']{0,500})\)")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_ITALIC = re.compile(r"(?<!\*)\*([^*\n]+)\*(?!\*)")


def to_html(text: str) -> Markup:
    """The HTML of a text."""
    return Markup("\n").join(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].startswith("```")), None)
            end = len(lines) if end is None else end
            yield Markup("<pre><code>{}</code></pre>").format("\n".join(lines[at + 1 : end]))
            at = end + 1
        elif found := _HEADING.match(line):
            level = len(found[1])
            yield Markup("<h{}>{}</h{}>").format(level, _inline(found[2]), level)
            at += 1
        elif (is_list := _BULLET.match(line)) or _NUMBERED.match(line):
            pattern = _BULLET if is_list else _NUMBERED
            items = []
            while at < len(lines) and (item := pattern.match(lines[at])):
                items.append(Markup("<li>{}</li>").format(_inline(item[1])))
                at += 1
            shape = Markup("<ul>{}</ul>") if is_list else Markup("<ol>{}</ol>")
            yield shape.format(Markup("").join(items))
        else:
            begin = at
            while at < len(lines) and lines[at].strip() and not _starts_block(lines[at]):
                at += 1
            at = max(at, begin + 1)
            yield Markup("<p>{}</p>").format(_inline(" ".join(lines[begin:at])))


def _starts_block(line: str) -> bool:
    return line.startswith("```") or bool(
        _HEADING.match(line) or _BULLET.match(line) or _NUMBERED.match(line)
    )


def _inline(text: str) -> Markup:
    parts: list[Markup] = []
    at = 0
    for found in _CODE.finditer(text):
        parts.append(_linked(text[at : found.start()]))
        parts.append(Markup("<code>{}</code>").format(found[1]))
        at = found.end()
    parts.append(_linked(text[at:]))
    return Markup("").join(parts)


def _linked(text: str) -> Markup:
    parts: list[Markup] = []
    at = 0
    for found in _LINK.finditer(text):
        parts.append(_emphasis(text[at : found.start()]))
        is_own = found[2].startswith("/") and not found[2].startswith("//")
        shape = '<a href="{}">{}</a>' if is_own else '<a href="{}" rel="noreferrer">{}</a>'
        parts.append(Markup(shape).format(found[2], _emphasis(found[1])))  # noqa: S704  # both are shapes of ours
        at = found.end()
    parts.append(_emphasis(text[at:]))
    return Markup("").join(parts)


def _emphasis(text: str) -> Markup:
    safe = str(escape(text))
    safe = _BOLD.sub(r"<strong>\1</strong>", safe)
    return Markup(_ITALIC.sub(r"<em>\1</em>", safe))  # noqa: S704  # escaped first

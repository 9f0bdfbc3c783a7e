"""Line protocol, the text that InfluxDB and VictoriaMetrics take: one renderer per sink, made once.

    measurement[,tag=value...] field=value[,field=value...] time

A sink's tags and fields have fixed names, so their escapes are made once, and the escaped head
(measurement and tag set) of each series is remembered. One line with two tags and three fields
takes about a microsecond; a `Point` of influxdb-client takes 18.

Source: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ and the grammar of
github.com/influxdata/line-protocol. No I/O.
"""

import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

from flowengine.errors import NodeError, describe_value

Precision = Literal["ns", "us", "ms", "s"]
NS_PER: dict[Precision, int] = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}

Render = Callable[[str, Sequence[Any], Sequence[Any], int], str]
"""(measurement, tag values, field values, time in ns) -> line."""

HEADS = 20_000
"""Series whose escaped head is remembered; at this many the memory starts afresh."""

_INT64 = 1 << 63
# A line ends at a newline, so these three cannot stand in a name or tag; every InfluxData client
# writes the two characters instead.
_UNPRINTABLE = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_IN_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ ", **_UNPRINTABLE})
_IN_TAG = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ ", **_UNPRINTABLE})
_LOST = re.compile(r'\\(?:[,= "\n\r\t]|\Z)')
_IN_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})


def escape_measurement(text: str) -> str:
    """A measurement's name as a line holds it; NodeError for one that would not be found again."""
    if not text:
        raise NodeError("the measurement is empty.", slug="no-measurement")
    if text[0] == "#":
        # The server takes the line for a comment and drops it without a word.
        raise NodeError(
            f"the measurement {describe_value(text)} starts with #.", slug="bad-measurement"
        )
    if _LOST.search(text):
        # Seen on InfluxDB 1.6.7: it answers 204, and no query finds the points.
        raise NodeError(
            f"the measurement {describe_value(text)} has a backslash before a comma, a space, "
            "an equals sign, a quote or its end.",
            slug="bad-measurement",
        )
    return text.translate(_IN_MEASUREMENT)


def escape_tag(text: str) -> str:
    """A tag's name or value, or a field's name, as a line holds it.

    A backslash at the end would escape the separator behind it: the server reads it as a space.
    """
    text = text.translate(_IN_TAG)
    return text + " " if text.endswith("\\") else text


def escape_text(text: str) -> str:
    """A text field's value with its quotes."""
    return f'"{text.translate(_IN_TEXT)}"'


def make_renderer(
    tags: Sequence[str],
    fields: Sequence[str],
    *,
    integers: Collection[str] = (),
    precision: Precision = "ns",
    not_finite: Callable[[str], None] = lambda name: None,
) -> Render:
    """Make the function that writes lines with these tags and fields (R4).

    Numbers are written as floats (`21`), those in `integers` as integers (`21i`). A tag that is
    None or empty and a field that is None are left out, and so is a field that is NaN or infinite,
    after `not_finite(name)`. Tags and fields stand in the order of their names.

    The function takes the measurement, the values of `tags` and of `fields` in the order given
    here, and the time in nanoseconds. It raises NodeError: `no-fields` when every field is left
    out, `not-an-integer`, `bad-field`, `bad-tag`, `no-measurement`, `bad-measurement`.
    """
    tag_order = sorted(range(len(tags)), key=lambda index: tags[index])
    tag_names = [f",{escape_tag(tags[index])}=" for index in tag_order]
    order = sorted(range(len(fields)), key=lambda index: fields[index])
    columns = [
        (index, fields[index], f"{escape_tag(fields[index])}=", fields[index] in integers)
        for index in order
    ]
    heads: dict[Any, str] = {}
    tick = NS_PER[precision]

    def head_of(measurement: str, tag_values: Sequence[Any]) -> str:
        # Only texts are remembered: a key of numbers would find 1 where True is meant.
        texts = [
            value if type(value) is str else _tag_text(name, value)
            for name, value in zip(tags, tag_values, strict=True)
        ]
        key = (measurement, *texts)
        head = heads.get(key)
        if head is None:
            if len(heads) >= HEADS:
                heads.clear()
            head = escape_measurement(measurement)
            for index, name in zip(tag_order, tag_names, strict=True):
                if texts[index]:
                    head += name + escape_tag(texts[index])
            heads[key] = head = head + " "
        return head

    def render(
        measurement: str, tag_values: Sequence[Any], values: Sequence[Any], time: int
    ) -> str:
        try:
            head = heads[(measurement, *tag_values)]
        except (KeyError, TypeError):  # TypeError: a map or list, which has no hash
            head = head_of(measurement, tag_values)
        parts = []
        for index, name, start, is_integer in columns:
            value = values[index]
            if value is None:
                continue
            if type(value) is float and not is_integer:
                text = repr(value)
                if value - value != 0.0:  # NaN and both infinities, and nothing else
                    not_finite(name)
                elif text[-2:] == ".0":
                    parts.append(start + text[:-2])
                else:
                    parts.append(start + text)
            else:
                other = _field_text(name, value, is_integer)
                if other is None:
                    not_finite(name)
                else:
                    parts.append(start + other)
        if not parts:
            raise NodeError(
                f"none of the fields {', '.join(fields)} has a value.",
                slug="no-fields",
                mend="Filter such messages before, or give a field that is always there.",
            )
        return f"{head}{','.join(parts)} {time if tick == 1 else time // tick}"

    return render


def _field_text(name: str, value: Any, is_integer: bool) -> str | None:
    """A field's value as text; None for a number that is not finite."""
    kind = type(value)
    if kind is int or kind is float:
        return _integer_text(name, value) if is_integer else _float_text(value)
    if kind is str and not is_integer:
        return escape_text(value)
    if kind is bool and not is_integer:
        return "true" if value else "false"
    what = "a whole number" if is_integer else "a number, true, false or text"
    raise NodeError(
        f'field "{name}" is {describe_value(value)}, not {what}.',
        slug="not-an-integer" if is_integer else "bad-field",
        mend='Take it out of "integers".' if is_integer else "Name a part of it, or use json(...).",
    )


def _float_text(value: float) -> str | None:
    if type(value) is int and -_INT64 <= value < _INT64:
        return str(value)
    try:
        number = float(value)
    except OverflowError:
        return None
    return repr(number).removesuffix(".0") if math.isfinite(number) else None


def _integer_text(name: str, value: float) -> str | None:
    if not math.isfinite(value):
        return None
    if value != int(value):
        raise NodeError(
            f'field "{name}" is {value}, and stands in "integers".',
            slug="not-an-integer",
            mend="Round it, or write the field as a float for good.",
        )
    if not -_INT64 <= value < _INT64:
        raise NodeError(
            f'field "{name}" is {value}, beyond 64 bits.',
            slug="not-an-integer",
            mend="Write a float.",
        )
    return f"{int(value)}i"


def _tag_text(name: str, value: Any) -> str:
    """A tag's value as text, `""` for none; JSON's spelling of true and false."""
    kind = type(value)
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float:
        return repr(value)
    raise NodeError(
        f'tag "{name}" is {describe_value(value)}, not text or a number.',
        slug="bad-tag",
        mend="Name one part of it.",
    )


def series_and_time(line: bytes) -> tuple[bytes, bytes]:
    """The series (measurement and tag set, escaped) and the time of a rendered line."""
    at = line.index(b" ")
    while line[at - 1] == 0x5C:  # a backslash: this space is part of a name
        at = line.index(b" ", at + 1)
    return line[:at], line[line.rindex(b" ") + 1 :]

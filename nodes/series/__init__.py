"""The box's own store of time series: write readings, ask for them again. SQLite, no server."""

import json
import math
import sqlite3
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PlainValidator, TypeAdapter, WithJsonSchema, model_validator

from flowengine import Message, NodeConfig, Sink, SinkConfig, copy_tree, node, rfc3339
from flowengine.errors import NodeError, Unavailable, describe_value
from flowengine.fields import Duration, ExpressionField, PathField, TemplateField, fault
from flowengine.nodes.absent import value_or_none
from flowengine.nodes.series.read import query_series
from flowengine.nodes.series.sql import Function, open_reading
from flowengine.nodes.series.store import NewerStore, Point, Rollup, SeriesStore, tags_text
from flowengine.nodes.worker_thread import WorkerThread

FILE = "series.db"
UPKEEP_NS = 60_000_000_000
"""Between two looks for what is due to be removed or thinned out."""
JUMP_NS = 60_000_000_000
"""A wall clock that moved this much against the monotonic one was set: nothing is removed yet."""

Question = tuple[Message, str, dict[str, str]]
"""The message that asks, the series and the tags that it asks for."""
_INT64 = 1 << 63
_path: TypeAdapter[Any] = TypeAdapter(PathField)


def _read_fields(value: Any) -> dict[str, Any]:
    """A path, named by its last part, or a map of name -> path."""
    if isinstance(value, dict) and value and all(isinstance(name, str) and name for name in value):
        return {name: _path.validate_python(path) for name, path in value.items()}
    if isinstance(value, dict | list):
        raise fault(
            "bad-value",
            f"{describe_value(value)} names no field.",
            'Write a path as "payload.temperature", or {"temperature": "payload.t"}.',
        )
    path = _path.validate_python(value)
    last = path.parts[-1] if path.parts else "value" if path.root == "payload" else path.root
    return {str(last): path}


_PATH_SCHEMA = {"type": "string", "format": "path"}
FieldsField = Annotated[
    Any,
    PlainValidator(_read_fields),
    WithJsonSchema(
        {"anyOf": [_PATH_SCHEMA, {"type": "object", "additionalProperties": _PATH_SCHEMA}]}
    ),
]
"""Name -> compiled path; written as one path or as a map."""


class DownsampleConfig(NodeConfig):
    """Thin out: beside every reading for `retention`, one value per `every` for `keep`."""

    every: Duration = Field(description="Length of a bucket, aligned to 1970 UTC.")
    functions: list[Function] = Field(
        default=["mean"], min_length=1, description="Each gives a field `<field>_<function>`."
    )
    keep: Duration = Field(default="365d", description="These values are removed after this long.")


class SeriesWriteConfig(SinkConfig):
    """Which series a reading goes to, and how long it stays."""

    series: TemplateField = Field(description="Name of the series, its holes filled in.")
    field: FieldsField = Field(
        default="payload",
        description="Path of the value, or a map of field name to path. A map as payload gives a "
        "field for each of its values.",
    )
    tags: dict[str, ExpressionField] = Field(
        default_factory=dict, description="Labels that tell series of one name apart."
    )
    retention: Duration = Field(default="30d", description="Readings older than this are removed.")
    downsample: DownsampleConfig | None = Field(
        default=None, description="Keep thinned out values for longer than the readings."
    )

    @model_validator(mode="after")
    def _kept_until_thinned_out(self) -> Self:
        if self.downsample is not None and self.retention < 2 * self.downsample.every:
            raise fault(
                "limits-crossed",
                "readings are removed before they are thinned out.",
                'Make "retention" at least twice "downsample.every".',
            )
        return self


@node("series.write", identity="series + tags + field + time", time_keyed=True)
class SeriesWrite(Sink[SeriesWriteConfig]):
    """Store readings on this box.

    In: numbers, text, true and false; null and absent fields are left out, and so are NaN and
    infinities (counted as `not-finite`). Committed when they are on disk. Writing a reading of the
    same series, tags, field and time again replaces it: set the source's `time` for exactly-once.
    `flowengine series list` and `export` show what is there, also while the engine runs.
    """

    spools = False

    def setup(self) -> None:
        """Bind the expressions."""
        config, context = self.config, self.context
        self._series = config.series.bind(context.params, context.now)
        self._tags = [
            (name, tag.bind(context.params, context.now)) for name, tag in config.tags.items()
        ]
        self._fields = [(name, path.getter()) for name, path in config.field.items()]
        self._sets: dict[tuple[Any, ...], str] = {}
        self._store: SeriesStore | None = None
        self._thread = WorkerThread("series")
        down = config.downsample
        self._rollup = Rollup(down.every, tuple(down.functions), down.keep) if down else None
        self._clocks = (self.clock.now(), self.clock.monotonic())
        self._upkeep_at = self.clock.monotonic() + UPKEEP_NS

    async def close(self) -> None:
        """Close the file."""
        await self._thread.close(self._close)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def prepare(self, message: Message) -> list[Point]:
        """The points of a message; NodeError `no-fields` if there is none."""
        series, time = self._series(message), message.time
        if not series:
            raise NodeError("the name of the series is empty.", slug="no-series")
        if not -_INT64 <= time < _INT64:
            raise NodeError(f"the time {time} ns is beyond 64 bits.", slug="bad-time")
        tags = self._tags_of(message)
        points: list[Point] = []
        for name, get in self._fields:
            value = value_or_none(get, message)
            parts = value.items() if type(value) is dict else ((name, value),)
            for field, part in parts:
                if part is not None and self._is_storable(field, part):
                    points.append(Point(series, tags, field, time, part))
        if not points:
            raise NodeError(
                f"{', '.join(map(str, self.config.field.values()))}: there is no value to store.",
                slug="no-fields",
                mend="Name the fields, or filter such messages before.",
            )
        return points

    def _is_storable(self, field: str, value: Any) -> bool:
        kind = type(value)
        if kind is float and not math.isfinite(value):
            self.context.count("not-finite")
            return False
        if kind is int and not -_INT64 <= value < _INT64:
            raise NodeError(f'field "{field}" is {value}, beyond 64 bits.', slug="bad-field")
        if kind is float or kind is int or kind is bool or kind is str:
            return True
        raise NodeError(
            f'field "{field}" is {describe_value(value)}, not a number, text, true or false.',
            slug="bad-field",
            mend='Name a part of it in "field".',
        )

    def _tags_of(self, message: Message) -> str:
        if not self._tags:
            return "{}"
        found: dict[str, str] = {}
        for name, tag in self._tags:
            value = value_or_none(tag, message)
            if value is None or value == "":
                continue
            if isinstance(value, dict | list | bytes):
                raise NodeError(
                    f'tag "{name}" is {describe_value(value)}, not text or a number.',
                    slug="bad-tag",
                )
            found[name] = value if isinstance(value, str) else json.dumps(value)
        key = tuple(found.items())
        text = self._sets.get(key)
        if text is None:
            if len(self._sets) > 10_000:
                self._sets.clear()
            text = self._sets[key] = tags_text(found)
        return text

    async def write(self, records: list[list[Point]]) -> None:
        """Store all points in one transaction."""
        try:
            await self._thread.run(self._write, [point for points in records for point in points])
        except (sqlite3.Error, OSError, NewerStore) as err:
            raise Unavailable(
                f"the series store {FILE} cannot be written: {err}.",
                "Look at the free space and the rights of the data folder.",
            ) from err

    def _write(self, points: list[Point]) -> None:
        if self._store is None:
            path = Path(self.context.data) / FILE
            self._store = SeriesStore(path, self.config.retention, self._rollup)
        store = self._store
        store.write(points)
        if store.moved_aside is not None:
            self.context.log(
                "error",
                f"{FILE} was damaged: a new one was begun.",
                mend=f"The old one is {store.moved_aside}; `sqlite3 .recover` may read it.",
            )
            store.moved_aside = None
        if self.clock.monotonic() >= self._upkeep_at:
            self._keep_up(store)

    def _keep_up(self, store: SeriesStore) -> None:
        # A wall clock that was just set, at boot or wrongly, must not remove a month of readings.
        wall, monotonic = self.clock.now(), self.clock.monotonic()
        drift = (wall - self._clocks[0]) - (monotonic - self._clocks[1])
        self._clocks = (wall, monotonic)
        done = abs(drift) > JUMP_NS or store.upkeep(wall)
        self._upkeep_at = monotonic + (UPKEEP_NS if done else 0)


class SeriesQueryConfig(SinkConfig):
    """What to ask for."""

    series: TemplateField = Field(description="Name of the series.")
    range: Duration = Field(description="How far back, from the message's time.")
    field: str | None = Field(default=None, description="Only this field; all if left out.")
    tags: dict[str, ExpressionField] = Field(
        default_factory=dict, description="Only series with these labels."
    )
    every: Duration | None = Field(
        default=None,
        description="One row per this much time, aligned to 1970 UTC; one row in all if left out.",
    )
    function: Function | None = Field(
        default=None, description="What a row tells; every reading if left out (`mean` with every)."
    )
    into: PathField = Field(default="payload", description="Where the rows go.")
    each: bool = Field(default=False, description="One message a row, in place of a list.")

    @model_validator(mode="after")
    def _buckets_are_few(self) -> Self:
        if self.every is not None and not 0 < self.every <= self.range <= 100_000 * self.every:
            raise fault(
                "limits-crossed",
                "the range has no bucket, or more than 100,000.",
                'Make "every" a part of "range".',
            )
        return self


@node("series.query", outputs=("out",), writes="anything")
class SeriesQuery(Sink[SeriesQueryConfig]):
    """Ask this box's store: the mean of the last hour, the readings of a day.

    In: anything; its time is the end of the range, which does not hold that very time.
    Out: the message with a list of rows at `into`, series by series, oldest first, each
    `{"series", "tags", "time", "field", "value"}`; with `each` one message a row, none if there is
    no row. A function takes numbers only; a row of a function has the start of its bucket as time.
    """

    spools = False
    batch_size = 50
    batch_age = 0

    def setup(self) -> None:
        """Bind the expressions."""
        config, context = self.config, self.context
        self._series = config.series.bind(context.params, context.now)
        self._tags = {
            name: tag.bind(context.params, context.now) for name, tag in config.tags.items()
        }
        self._function = config.function or ("mean" if config.every is not None else None)
        self._db: sqlite3.Connection | None = None
        self._thread = WorkerThread("series-query")

    async def close(self) -> None:
        """Close the file."""
        await self._thread.close(self._close)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def prepare(self, message: Message) -> Question:
        """The message with the series and tags that it asks for."""
        tags = {}
        for name, tag in self._tags.items():
            value = tag(message)
            tags[name] = value if isinstance(value, str) else json.dumps(value)
        return message, self._series(message), tags

    async def write(self, records: list[Question]) -> list[Any]:
        """One answer a message."""
        try:
            found = await self._thread.run(self._ask, records)
        except (sqlite3.Error, OSError) as err:
            raise Unavailable(
                f"the series store {FILE} cannot be read: {err}.",
                "Look at the rights of the data folder.",
            ) from err
        return [
            self._answer(message, rows)
            for (message, _, _), rows in zip(records, found, strict=True)
        ]

    def _ask(self, records: list[Question]) -> list[list[dict[str, Any]]]:
        if self._db is None:
            try:
                self._db = open_reading(Path(self.context.data) / FILE)
            except FileNotFoundError:  # nothing was ever stored
                return [[] for _ in records]
        config = self.config
        return [
            query_series(
                self._db,
                series,
                tags=tags,
                field=config.field,
                since=message.time - config.range,
                until=message.time,
                function=self._function,
                every=config.every,
            )
            for message, series, tags in records
        ]

    def _answer(self, message: Message, rows: list[dict[str, Any]]) -> Message | list[Message]:
        for row in rows:
            row["time"] = rfc3339(row["time"])
        if not self.config.each:
            self.config.into.set(message, rows)
            return message
        parts = [message.copy() for _ in rows]
        for part, row in zip(parts, rows, strict=True):
            if self.config.into.parts:
                part.payload = copy_tree(part.payload)
            self.config.into.set(part, row)
        return parts

"""Files on this box: append readings to JSON lines or CSV, and turn the files over in time."""

import csv
import io
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from flowengine import Message, NodeConfig, Sink, SinkConfig, encode, message_to_json, node, plain
from flowengine.errors import NodeError, RecordRefused, Unavailable, describe_value
from flowengine.fields import Duration, PathTemplate, Size, fault
from flowengine.nodes.file.jail import Opened, PathRefused, open_below, reopen, steps_of
from flowengine.nodes.worker_thread import WorkerThread

MAX_HEADER = 65_536


class RotateConfig(NodeConfig):
    """When a file is given the name `<file>.1` and a new one begun."""

    size: Size | None = Field(default=None, description="Before it would grow beyond this.")
    age: Duration | None = Field(
        default=None, description="At every multiple of this since 1970 UTC: 1d is at midnight."
    )
    keep: int = Field(default=5, ge=1, le=1000, description="Older files that stay, .1 to .keep.")

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if not self.size and not self.age:
            raise fault("bad-value", '"rotate" says neither size nor age.', "Add one of them.")
        return self


class FileAppendConfig(SinkConfig):
    """Which file a message is written to, and how."""

    path: PathTemplate = Field(description="Below the data folder's files/; holes are filled in.")
    format: Literal["jsonl", "csv"] = Field(
        default="jsonl", description="One JSON text a line, or comma-separated values."
    )
    content: Literal["payload", "message"] = Field(
        default="payload", description="jsonl: the payload alone, or time, topic, key and meta too."
    )
    columns: list[str] = Field(
        default=[], description="csv: the columns; left out: the file's, or the first payload's."
    )
    rotate: RotateConfig | None = Field(default=None, description="When a new file is begun.")

    @model_validator(mode="after")
    def _fits_its_format(self) -> Self:
        if self.path.is_constant:
            try:
                steps_of(self.path.text)
            except PathRefused as err:
                raise fault("bad-value", f'the path "{self.path.text}": {err}.') from err
        if len(set(self.columns)) != len(self.columns):
            raise fault("bad-value", "a column is named twice.")
        if self.format == "csv" and self.content == "message":
            raise fault(
                "bad-value",
                "csv holds the payload's values.",
                'Put "time" in it by a compute node.',
            )
        return self


class Record(NamedTuple):
    """What is to be appended: the path, a line or a row's values, the message it stands for."""

    path: str
    line: bytes
    values: dict[str, Any]
    message: Message


@node("file.append")
class FileAppend(Sink[FileAppendConfig]):
    """Append messages to files below the data folder's `files/`.

    In: anything that JSON can hold; for csv a map. Committed when it is on disk (fsync). A repeat
    after a crash is a second line. Files are made as they are named, with their folders; a path
    that leads out, a link and a device take the error route. A line that a power cut has torn is
    ended. csv: absent columns are empty; a value for which the file has no column takes the error
    route, unless `columns` chooses.
    """

    spools = False

    def setup(self) -> None:
        """Bind the path."""
        config, context = self.config, self.context
        self._path = config.path.bind(context.params, context.now)
        self._thread = WorkerThread("file-append")
        # What the batch has on disk already, while another file of it cannot be written. It holds
        # the messages themselves, so that no other one takes their place in memory.
        self._written: dict[int, Message] = {}

    async def close(self) -> None:
        """End the worker thread."""
        await self._thread.close()

    def prepare(self, message: Message) -> Record:
        """The line of a message and the file it goes to."""
        path = self._path(message)
        try:
            steps_of(path)
        except PathRefused as err:
            raise NodeError(f'the path "{path[:100]}": {err}.', slug="bad-file-path") from err
        if self.config.format == "csv":
            if type(message.payload) is not dict or not message.payload:
                raise NodeError(
                    f"payload is {describe_value(message.payload)}, not a map of columns.",
                    slug="not-a-map",
                    mend='Make one with compute: {"payload.value": "payload"}.',
                )
            return Record(path, b"", message.payload, message)
        content = message.payload if self.config.content == "payload" else message_to_json(message)
        return Record(path, encode(plain(content), "json") + b"\n", {}, message)

    async def write(self, records: list[Record]) -> None:
        """Append file by file; what was written before one failed is not written again."""
        await self._thread.run(self._write, records)

    def _write(self, records: list[Record]) -> None:
        files: dict[str, list[tuple[int, Record]]] = {}
        for index, record in enumerate(records):
            if id(record.message) not in self._written:
                files.setdefault(record.path, []).append((index, record))
        refused: dict[int, str] = {}
        for path, rows in files.items():
            try:
                with open_below(Path(self.context.files), path) as opened:
                    appending = _Appending(self.config, opened, self.clock.now(), self._written)
                    refused |= appending.append(rows)
            except PathRefused as err:
                refused |= dict.fromkeys([index for index, _ in rows], f'the path "{path}": {err}.')
            except OSError as err:
                raise Unavailable(
                    f'the file "{path}" cannot be written: {err.strerror or err}.',
                    "Look at the free space and the rights of the data folder.",
                ) from err
        self._written.clear()
        if refused:
            raise RecordRefused(next(iter(refused.values())), refused=refused)


class _Appending:
    """One file, open, and the records that go to it."""

    def __init__(
        self, config: FileAppendConfig, opened: Opened, now: int, written: dict[int, Message]
    ) -> None:
        self._config = config
        self._opened = opened
        self._file = opened.file
        self._now = now
        self._columns = config.columns
        self._written = written
        self._waiting: list[bytes] = []
        self._answered: list[Message] = []
        self._begin()

    def _begin(self) -> None:
        """Look at the file as it is: its size, whether its last line is whole, its columns."""
        self._size = self._whole = os.fstat(self._file).st_size
        self._is_own = self._file != self._opened.file
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            if self._config.format == "csv" and b"\n" not in os.pread(self._file, MAX_HEADER, 0):
                # Not even the names of the columns are whole, so no row was ever committed.
                os.ftruncate(self._file, 0)
                self._size = self._whole = 0
            else:
                self._add(b"\n")
        self._header: list[str] = []
        if self._config.format == "csv" and self._size:
            head = os.pread(self._file, MAX_HEADER, 0).decode("utf-8", "replace")
            self._header = next(csv.reader(io.StringIO(head, newline="")), [])

    def append(self, rows: list[tuple[int, Record]]) -> dict[int, str]:
        """Write the records; which ones were refused, with the reason."""
        refused: dict[int, str] = {}
        try:
            if self._is_of_another_age():
                self._turn_over()
            for index, record in rows:
                try:
                    line = record.line or self._row(record.values)
                except NodeError as err:
                    refused[index] = str(err)
                    continue
                limit = self._config.rotate and self._config.rotate.size
                if limit and self._size and self._size + len(line) > limit:
                    self._turn_over()
                    line = record.line or self._row(record.values)
                self._add(line)
                self._answered.append(record.message)
            self._flush()
        finally:
            if self._is_own:
                os.close(self._file)
        return refused

    def _add(self, line: bytes) -> None:
        self._waiting.append(line)
        self._size += len(line)

    def _flush(self) -> None:
        """Write what waits, on disk when it returns; or leave the file as it was."""
        data = memoryview(b"".join(self._waiting))
        self._waiting = []
        if not data:
            return
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.utime(self._file, ns=(self._now, self._now))
            os.fsync(self._file)
        except OSError:
            # No half line stays, and the next try writes every byte anew: after a failed fsync
            # what the system holds of them may never reach the disk.
            os.ftruncate(self._file, self._whole)
            raise
        self._whole = self._size
        self._written |= {id(message): message for message in self._answered}
        self._answered = []

    # -- csv

    def _row(self, values: dict[str, Any]) -> bytes:
        line = b""
        if not self._header:
            self._header = self._columns or list(values)
            line = _csv_line(self._header)
        if self._columns and self._columns != self._header:
            raise NodeError(
                f"the file has the columns {', '.join(self._header)[:200]}.",
                mend='Move it away, or change "columns".',
            )
        strange = [name for name in values if name not in self._header]
        if strange and not self._columns:
            raise NodeError(
                f'the file has no column "{strange[0]}".', mend='Name the columns in "columns".'
            )
        return line + _csv_line([_cell(values.get(name)) for name in self._header])

    # -- turning over

    def _is_of_another_age(self) -> bool:
        age = self._config.rotate and self._config.rotate.age
        if not age or not self._size:
            return False
        return bool(os.fstat(self._file).st_mtime_ns // age != self._now // age)

    def _turn_over(self) -> None:
        """Name the file `<name>.1`, the older ones one higher, and begin a new one."""
        self._flush()
        folder, name = self._opened.folder, self._opened.name
        keep = self._config.rotate.keep if self._config.rotate else 1
        names = [name, *(f"{name}.{number}" for number in range(1, keep + 1))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            try:
                os.rename(newer, older, src_dir_fd=folder, dst_dir_fd=folder)
            except FileNotFoundError:
                continue
        os.fsync(folder)
        old, self._file = self._file, reopen(self._opened)
        if self._is_own:
            os.close(old)
        self._begin()


def _csv_line(cells: list[str]) -> bytes:
    """One line of RFC 4180, with a newline alone at its end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(plain(value), "json").decode()

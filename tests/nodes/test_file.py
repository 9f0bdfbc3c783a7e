"""A committed line is in its file, whole and once, and nothing outside the folder is touched."""

import csv
import fcntl
import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.clock import TOLD_START
from flowengine.errors import FindingsError, RecordRefused, Unavailable
from flowengine.nodes.file import jail as file_jail
from flowengine.nodes.file.jail import PathRefused, open_below, steps_of
from flowengine.testing import NodeBench


def appending(files: Path, **config: Any) -> NodeBench:
    return NodeBench("file.append", {"path": "log.jsonl", **config}, files=str(files))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path / "files"


# -- lines


def test_payloads_are_one_json_text_a_line(files: Path) -> None:
    bench = appending(files)
    payloads = [21.5, {"t": 1, "note": "a\nb"}, None, [True], "ü", b"\x00\xff"]
    bench.send_many([Message(payload) for payload in payloads])
    bench.send("more")
    assert bench.unsettled == 0
    bench.close()
    assert lines(files / "log.jsonl") == [*payloads[:5], {"$bytes": "AP8="}, "more"]


def test_whole_message_where_asked_for(files: Path) -> None:
    bench = appending(files, content="message")
    bench.send({"t": 1}, key="dev-1", topic="a/b", meta={"qos": 1})
    bench.close()
    (found,) = lines(files / "log.jsonl")
    assert (found["time"], found["topic"], found["key"]) == ("2026-01-01T00:00:00Z", "a/b", "dev-1")
    assert (found["payload"], found["meta"]) == ({"t": 1}, {"qos": 1})


def test_path_is_filled_in_and_its_folders_made(files: Path) -> None:
    bench = appending(files, path="{payload.site}/{key}.jsonl")
    batch = [Message({"site": site}, key=key) for site in ("a", "b") for key in ("x", "y")] * 2
    bench.send_many(batch)
    bench.close()
    found = sorted(str(path.relative_to(files)) for path in files.rglob("*.jsonl"))
    assert found == ["a/x.jsonl", "a/y.jsonl", "b/x.jsonl", "b/y.jsonl"]
    assert lines(files / "a/x.jsonl") == [{"site": "a"}] * 2


def test_line_that_was_torn_is_ended_before_the_next(files: Path) -> None:
    files.mkdir()
    (files / "log.jsonl").write_text('{"t":1}\n{"t"')
    bench = appending(files)
    bench.send({"t": 3})
    bench.close()
    assert (files / "log.jsonl").read_text() == '{"t":1}\n{"t"\n{"t":3}\n'


def test_r57_commit_is_on_disk(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", spy)
    bench = appending(files, path="a/log.jsonl")
    bench.send(1)
    # the new folder's name, the new file's name, then what was written
    assert synced == [str(files), str(files / "a"), str(files / "a/log.jsonl")]
    bench.send(2)
    assert synced[3:] == [str(files / "a/log.jsonl")]
    bench.close()


@pytest.fixture
def no_larger_than() -> Iterator[Callable[[int], None]]:
    """Let the kernel refuse every byte beyond a file size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_that_is_full_leaves_no_half_line_and_repeats_no_whole_one(
    files: Path, no_larger_than: Callable[[int], None]
) -> None:
    bench = appending(files, path="{payload.to}.jsonl")
    batch = [Message({"to": to, "n": n}) for n in range(2) for to in ("small", "large")]
    batch[3].payload["text"] = "x" * 500
    no_larger_than(200)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"large\.jsonl"):
            bench.send_many(batch)
        assert (files / "large.jsonl").read_bytes() == b""
    no_larger_than(resource.RLIM_INFINITY)
    bench.send_many(batch)
    bench.close()
    assert [row["n"] for row in lines(files / "small.jsonl")] == [0, 1]
    assert [row["n"] for row in lines(files / "large.jsonl")] == [0, 1]


def test_failed_fsync_takes_back_what_was_written(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = appending(files)
    bench.send(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(Unavailable, match="I/O error"):
            bench.send(2)
    assert lines(files / "log.jsonl") == [1]
    bench.send(2)
    bench.close()
    assert lines(files / "log.jsonl") == [1, 2]


def test_two_nodes_on_one_file_mix_no_lines(files: Path) -> None:
    def write(number: int) -> None:
        bench = appending(files, rotate={"size": "4KB", "keep": 100})
        done = 0
        while done < 40:
            try:
                bench.send_many([Message({"from": number, "n": done, "text": "x" * 100})])
                done += 1
            except Unavailable:
                continue  # as the engine does: the other one is at it
        bench.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [row for path in files.iterdir() for row in lines(path)]
    assert sorted((row["from"], row["n"]) for row in found) == [
        (number, n) for number in range(2) for n in range(40)
    ]


def test_file_that_another_writer_holds_is_waited_for(files: Path) -> None:
    bench = appending(files)
    bench.send(1)
    with (files / "log.jsonl").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match=r"log\.jsonl"):
            bench.send(2)
    bench.send(2)
    bench.close()
    assert lines(files / "log.jsonl") == [1, 2]


def test_file_that_another_writer_turned_over_meanwhile_is_opened_anew(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = appending(files)
    bench.send(1)

    def turn_over(*_: object) -> None:
        os.rename(files / "log.jsonl", files / "log.jsonl.1")
        (files / "log.jsonl").write_text("")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", turn_over)
        with pytest.raises(Unavailable):
            bench.send(2)
    bench.send(2)
    bench.close()
    assert lines(files / "log.jsonl.1") == [1]
    assert lines(files / "log.jsonl") == [2]


def test_writing_leaves_the_event_loop_free(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    write = os.write

    def spy(file: int, data: bytes) -> int:
        if "log.jsonl" in os.readlink(f"/proc/self/fd/{file}"):
            seen.append(threading.get_ident())
        return write(file, data)

    monkeypatch.setattr(os, "write", spy)
    bench = appending(files)
    bench.send(1)
    bench.close()
    bench.close()
    assert seen
    assert threading.get_ident() not in seen


# -- csv


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def table(files: Path, **config: Any) -> NodeBench:
    return appending(files, path="log.csv", format="csv", **config)


def test_columns_are_the_first_payloads_and_then_the_files(files: Path) -> None:
    bench = table(files)
    bench.send_many([Message({"t": 21.5, "on": True}), Message({"on": None, "t": 'a,"b"\nc'})])
    bench.close()
    again = table(files)
    again.send({"on": {"x": [1]}})
    again.close()
    assert rows(files / "log.csv") == [
        ["t", "on"],
        ["21.5", "true"],
        ['a,"b"\nc', ""],
        ["", '{"x":[1]}'],
    ]


def test_value_without_a_column_takes_the_error_route_alone(files: Path) -> None:
    bench = table(files)
    with pytest.raises(RecordRefused) as caught:
        bench.send_many([Message({"t": 1}), Message({"t": 2, "h": 3}), Message({"t": 4})])
    assert list(caught.value.refused) == [1]
    assert '"h"' in caught.value.refused[1]
    bench.close()
    assert rows(files / "log.csv") == [["t"], ["1"], ["4"]]


def test_named_columns_choose(files: Path) -> None:
    bench = table(files, columns=["h", "t"])
    bench.send({"t": 1, "x": 2})
    bench.close()
    assert rows(files / "log.csv") == [["h", "t"], ["", "1"]]


def test_named_columns_never_go_under_other_ones(files: Path) -> None:
    files.mkdir()
    (files / "log.csv").write_text("t,h\n1,2\n")
    bench = table(files, columns=["h", "t"])
    with pytest.raises(RecordRefused, match="t, h"):
        bench.send({"t": 1})
    bench.close()
    assert (files / "log.csv").read_text() == "t,h\n1,2\n"


def test_torn_names_of_columns_are_written_anew(files: Path) -> None:
    files.mkdir()
    (files / "log.csv").write_text("t,hum")
    bench = table(files)
    bench.send({"t": 1})
    bench.close()
    assert rows(files / "log.csv") == [["t"], ["1"]]


@pytest.mark.parametrize("payload", [21.5, {}, None, [1]])
def test_csv_of_no_map_takes_the_error_route(files: Path, payload: Any) -> None:
    bench = table(files)
    (failed,) = bench.send(payload)["error"]
    assert failed.meta["error"]["slug"] == "not-a-map"


# -- turning over


def test_file_turns_over_before_it_grows_beyond_its_size(files: Path) -> None:
    bench = appending(files, rotate={"size": "20B", "keep": 2})
    bench.send_many([Message(f"line {n:02}") for n in range(7)])  # 10 bytes each
    bench.close()
    assert {path.name: lines(path) for path in files.iterdir()} == {
        "log.jsonl": ["line 06"],
        "log.jsonl.1": ["line 04", "line 05"],
        "log.jsonl.2": ["line 02", "line 03"],
    }


def test_line_larger_than_the_size_gets_a_file_of_its_own(files: Path) -> None:
    bench = appending(files, rotate={"size": "20B"})
    bench.send_many([Message(text) for text in ("a", "b" * 50, "c")])
    bench.close()
    assert lines(files / "log.jsonl.1") == ["b" * 50]
    assert lines(files / "log.jsonl") == ["c"]


def test_file_turns_over_at_midnight_also_after_a_restart(files: Path) -> None:
    bench = appending(files, rotate={"age": "1d"})
    bench.send("first")
    bench.advance("23h")
    bench.send("same day")
    bench.close()
    again = NodeBench(
        "file.append",
        {"path": "log.jsonl", "rotate": {"age": "1d"}},
        files=str(files),
        clock=bench.clock,  # type: ignore[arg-type]  # the told one
    )
    again.advance("2h")
    again.send("next day")
    again.close()
    assert lines(files / "log.jsonl") == ["next day"]
    assert lines(files / "log.jsonl.1") == ["first", "same day"]


def test_new_csv_file_names_its_columns_again(files: Path) -> None:
    bench = table(files, rotate={"size": "12B"})
    for n in range(4):
        bench.send({"n": f"row {n}"})
    bench.close()
    assert {path.name: rows(path) for path in files.iterdir()} == {
        f"log.csv{tail}": [["n"], [f"row {n}"]]
        for tail, n in (("", 3), (".1", 2), (".2", 1), (".3", 0))
    }


# -- the jail

TRAVERSAL = [
    "../out", "a/../../out", "/etc/passwd", "..", ".", "", "a//b", "a/", "./a", "a/./b", "..\\out",
    "a\0b", "a\nb", "x" * 256, "/".join("a" * 40), "a/..",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSAL)
def test_r18_path_that_leads_out_is_refused(files: Path, path: str) -> None:
    with pytest.raises(PathRefused), open_below(files, path):
        pass
    assert not files.exists()


@pytest.mark.parametrize("path", [path for path in TRAVERSAL if path])
def test_flow_with_a_path_that_leads_out_is_refused(files: Path, path: str) -> None:
    with pytest.raises(FindingsError):
        appending(files, path=path)


@pytest.mark.parametrize(
    "device", ["..", "../x", "/etc/passwd", "a/b", "", ".\0", "..\\x", "x" * 300]
)
def test_device_cannot_choose_its_way_out(files: Path, device: str) -> None:
    bench = appending(files, path="{key}")
    (failed,) = bench.send(1, key=device)["error"]
    assert failed.meta["error"]["slug"]
    assert not files.exists()


@given(st.text())
def test_steps_never_lead_out(path: str) -> None:
    try:
        steps = steps_of(path)
    except PathRefused:
        return
    assert os.path.normpath("/".join(steps)) == path
    assert not path.startswith(("/", "../"))
    assert path not in {"", ".", ".."}


@pytest.fixture
def outside(tmp_path: Path, files: Path) -> Path:
    """A file outside, and links to it and to its folder inside."""
    target = tmp_path / "outside" / "target"
    target.parent.mkdir()
    target.write_text("untouched")
    files.mkdir()
    (files / "link").symlink_to(target)
    (files / "folder").symlink_to(target.parent)
    (files / "dangling").symlink_to(target.parent / "new")
    return target


@pytest.mark.parametrize("path", ["link", "folder/target", "folder/new", "dangling", "link/x"])
def test_link_is_not_followed(files: Path, outside: Path, path: str) -> None:
    bench = appending(files, path=path)
    with pytest.raises(RecordRefused, match=r"link|folder"):
        bench.send(1)
    bench.close()
    assert outside.read_text() == "untouched"
    assert [path.name for path in outside.parent.iterdir()] == ["target"]


def test_link_put_in_place_between_look_and_use_is_not_followed(
    files: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "a").mkdir()
    real = file_jail._open_file

    def swap(folder: int, name: str) -> int:
        os.rename(files / "a", files / "gone")
        (files / "a").symlink_to(outside.parent)
        return real(folder, name)

    monkeypatch.setattr(file_jail, "_open_file", swap)
    with open_below(files, "a/target") as opened:
        os.write(opened.file, b"x")
    assert outside.read_text() == "untouched"
    assert (files / "gone/target").read_text() == "x"


def test_device_pipe_socket_and_folder_are_refused(files: Path) -> None:
    files.mkdir()
    os.mkfifo(files / "pipe")
    (files / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(files)  # a socket's path is short
        server.bind("socket")
        os.chdir(here)
        names = ["pipe", "folder", "socket"]
        if os.geteuid() == 0:
            os.mknod(files / "null", 0o20666, os.makedev(1, 3))
            names.append("null")
        for name in names:
            with pytest.raises(PathRefused), open_below(files, name):
                pass


def test_refused_path_holds_up_no_other_message(files: Path, outside: Path) -> None:
    bench = appending(files, path="{key}")
    with pytest.raises(RecordRefused) as caught:
        bench.send_many([Message(1, key="good"), Message(2, key="link"), Message(3, key="good")])
    assert list(caught.value.refused) == [1]
    bench.close()
    assert lines(files / "good") == [1, 3]
    assert outside.read_text() == "untouched"


def test_files_are_not_for_everyone(files: Path) -> None:
    before = os.umask(0)
    try:
        bench = appending(files, path="a/log.jsonl")
        bench.send(1)
        bench.close()
    finally:
        os.umask(before)
    for path in (files, files / "a", files / "a/log.jsonl"):
        assert path.stat().st_mode & 0o007 == 0


# -- settings


@pytest.mark.parametrize(
    "config",
    [
        {"rotate": {}},
        {"rotate": {"size": "1MB", "keep": 0}},
        {"columns": ["a", "a"]},
        {"format": "csv", "content": "message"},
        {"format": "xml"},
        {"path": ""},
    ],
)
def test_setting_that_cannot_work_is_a_finding(files: Path, config: dict[str, Any]) -> None:
    with pytest.raises(FindingsError):
        appending(files, **config)


def test_time_of_a_file_is_the_engines(files: Path) -> None:
    bench = appending(files)
    bench.send(1)
    bench.close()
    assert (files / "log.jsonl").stat().st_mtime_ns == TOLD_START

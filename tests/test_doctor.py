"""`flowengine doctor` finds what is wrong with a data folder and what that costs, and mends it."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.commands import doctor as doctor_command
from flowengine.engine import reserve
from flowengine.engine.accounts import Standing
from flowengine.engine.disk import LookingDisk, OsDisk
from flowengine.engine.doctor import Report, examine
from flowengine.engine.folderlock import FolderInUse, held, holder
from flowengine.engine.journal import Frame, Journal
from flowengine.engine.opening import open_folder
from flowengine.engine.segment import encode_header, segment_name
from flowengine.engine.spool import Spool
from flowengine.engine.store import Store
from flowengine.nodes.series.store import Point, SeriesStore
from flowengine.secrets import SecretStore
from tests.flow_process import FlowProcess, flowengine, write_flow

SPOOL = Path("spool") / "cold-room" / "influx"
TIME = 1_767_225_600 * 10**9
ROWS = 300


def filled(folder: Path) -> Path:
    """A data folder with something of everything in it."""
    folder.mkdir(mode=0o700)
    spool = Spool(folder / SPOOL, segment_bytes=5000, now=lambda: TIME)
    for number in range(400):
        spool.append([b"%050d" % number])
    spool.commit(10)
    spool.close()
    state(folder / "state.db")
    series = SeriesStore(folder / "series.db", keep=10**18)
    series.write([Point("room", "{}", "t", n, 1.0) for n in range(2000)])
    series.close()
    SecretStore(folder).set("site", "a secret value")
    (folder / "files").mkdir()
    (folder / "files" / "log.txt").write_text("x" * 100)
    (folder / "lock").touch()
    reserve.keep(folder)
    journal = Journal(folder / "journal" / "cold-room.log")
    for number in range(20):
        journal.append([Frame("in", number, Standing(), [], [], [])])
    journal.close()
    return folder


def state(path: Path) -> None:
    """A state.db of some pages."""
    store = Store(path)
    with sqlite3.connect(path) as db:
        db.executemany(
            "insert into node_state (flow, node, key, version, data, type)"
            " values ('f', 'n', ?, 1, ?, 'window')",
            [(f"key-{n:04d}", bytes([n % 256]) * 90) for n in range(ROWS)],
        )
        db.executemany(
            "insert into quarantine (flow, node, time, slug, what, message)"
            " values ('f', 'n', ?, 'not-json', 'no', '{}')",
            [(n,) for n in range(ROWS)],
        )
    db.close()
    store.close()


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and bytes; the lock says who was here last."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
        if path.name != "lock"
    }


def segments(folder: Path) -> list[Path]:
    return sorted((folder / SPOOL).glob("*.seg"))


def places(report: Report) -> list[str]:
    return [found.place for found in report.found]


# -- a whole folder


def test_a_whole_folder_is_said_to_be_whole_and_not_touched(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    before = contents(folder)
    ran = flowengine("doctor", "--data", folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("\nall is whole\n")
    assert "no engine runs in it" in ran.stdout
    assert contents(folder) == before
    assert examine(folder).found == []


def test_each_thing_is_listed_with_what_deleting_it_costs(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    report = json.loads(flowengine("doctor", "--data", folder, "--json").stdout)
    assert set(report) == {"folder", "pid", "whole", "found", "items"}
    items = {item["place"]: item for item in report["items"]}
    names = {str(SPOOL), "state.db", "series.db", "secrets.json", "secrets.key", "lock", "files"}
    names |= {"reserve", "journal/cold-room.log"}
    assert set(items) == {".", *names}
    assert all(item["deleting"] and item["bytes"] >= 0 for item in items.values())
    assert items["state.db"]["facts"]["tables"]["quarantine"] == ROWS
    spool = items[str(SPOOL)]
    assert (spool["facts"]["waiting"], spool["facts"]["missing"]) == (390, "")
    assert "390 messages not delivered, the oldest file from 2026-01-01T00:00:00Z" in spool["what"]
    assert items["secrets.json"]["facts"]["names"] == ["site"]
    assert items["files"]["facts"]["files"] == 1
    text = flowengine("doctor", "--data", folder).stdout
    assert text.count("deleting it costs: ") == len(items)
    assert "a secret value" not in text + json.dumps(report)


def test_an_empty_folder_is_whole(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert examine(tmp_path).whole


# -- what can be wrong


def cut_tail(folder: Path) -> None:
    path = segments(folder)[-1]
    path.write_bytes(path.read_bytes()[:-5])


def flip_bit(folder: Path) -> None:
    path = segments(folder)[1]
    body = bytearray(path.read_bytes())
    body[100] ^= 4
    path.write_bytes(body)


def delete_segment(folder: Path) -> None:
    segments(folder)[2].unlink()


def foreign_version(folder: Path) -> None:
    path = segments(folder)[2]
    path.write_bytes(encode_header(int(path.stem), 0, version=7) + b"?" * 90)


def rename_segment(folder: Path) -> None:
    segments(folder)[1].rename(folder / SPOOL / "old")


def damage_cursor(folder: Path) -> None:
    (folder / SPOOL / "cursor").write_bytes(b"nonsense")


def damage_page(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        body = bytearray((folder / name).read_bytes())
        at = len(body) // 4096 // 2 * 4096
        body[at : at + 4096] = b"\xff" * 4096
        (folder / name).write_bytes(body)

    return damage


def open_folder_to_all(folder: Path) -> None:
    folder.chmod(0o755)


def show_key_to_all(folder: Path) -> None:
    (folder / "secrets.key").chmod(0o644)


def break_off_a_repair(folder: Path) -> None:
    (folder / "series.db.mending").write_bytes(b"half")


def tear_journal(folder: Path) -> None:
    path = folder / "journal" / "cold-room.log"
    path.write_bytes(path.read_bytes()[:-3])


def damage_secrets(folder: Path) -> None:
    (folder / "secrets.json").write_text('{"format": 1, "secrets": {')


DAMAGE: list[tuple[Callable[[Path], None], str, str, bool]] = [
    (cut_tail, f"{SPOOL}/{segment_name(396)}", "no whole record", True),
    (flip_bit, f"{SPOOL}/{segment_name(66)}", "1 records damaged and skipped: 66", False),
    (delete_segment, str(SPOOL), "records 132-197 are missing", False),
    (foreign_version, str(SPOOL), "records 132-197 are missing", False),
    (rename_segment, f"{SPOOL}/old", "holds records from 66 on", True),
    (damage_cursor, f"{SPOOL}/cursor", "the cursor is damaged", True),
    (damage_page("state.db"), "state.db", "damaged: ", True),
    (damage_page("series.db"), "series.db", "damaged: ", True),
    (open_folder_to_all, ".", "other users of this box can enter it (mode 0755)", True),
    (show_key_to_all, "secrets.key", "other users may read it (mode 0644)", True),
    (break_off_a_repair, "series.db.mending", "a repair was broken off here", True),
    (tear_journal, "journal/cold-room.log", "bytes are no whole notes", True),
    (damage_secrets, "secrets.json", "is damaged", False),
]


@pytest.mark.parametrize(
    ("damage", "place", "what", "is_mended"), DAMAGE, ids=[row[0].__name__ for row in DAMAGE]
)
def test_f55_damage_is_found_told_and_mended_where_it_can_be(
    tmp_path: Path, damage: Callable[[Path], None], place: str, what: str, is_mended: bool
) -> None:
    folder = filled(tmp_path / "data")
    damage(folder)
    before = contents(folder)
    looked = examine(folder)
    assert contents(folder) == before, "looking changes nothing"
    assert not looked.whole
    found = next(f for f in looked.found if f.place == place and what in f.what)
    assert not found.mended
    assert found.mend
    mended = examine(folder, mend=True)
    again = next(f for f in mended.found if f.place == place and what in f.what)
    assert again.mended == is_mended
    left = [(f.place, f.what) for f in mended.found if not f.mended]
    assert [(f.place, f.what) for f in examine(folder).found] == left
    if damage is not damage_secrets:
        assert SecretStore(folder).get("site") == "a secret value"


def test_f55_lost_messages_are_counted_and_nothing_else_is_told_as_lost(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    delete_segment(folder)
    flip_bit(folder)
    ran = flowengine("doctor", "--data", folder, "--mend")
    assert ran.returncode == 1
    assert re.findall(r"It costs: (.*)", ran.stdout) == [
        "66 messages are lost.",
        "1 message is lost.",
    ]
    assert ran.stdout.endswith("\n2 things found\n")
    spool = Spool(folder / SPOOL, now=lambda: TIME)
    assert spool.depth == 390 - 67
    spool.close()


def test_mending_again_finds_nothing_new(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    for damage, *_ in DAMAGE:
        if damage not in (damage_secrets, delete_segment, foreign_version):
            damage(folder)
    first = flowengine("doctor", "--data", folder, "--mend")
    assert first.returncode == 1  # the record that was hit
    before = contents(folder)
    second = flowengine("doctor", "--data", folder, "--mend", "--json")
    assert places(examine(folder)) == [f["place"] for f in json.loads(second.stdout)["found"]]
    assert contents(folder) == before


def test_what_is_mended_is_said_and_ends_with_0(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    cut_tail(folder)
    open_folder_to_all(folder)
    damage_page("state.db")(folder)
    ran = flowengine("doctor", "--data", folder, "--mend")
    # the record whose end was cut off is one that had been synced: that it is gone is told
    assert ran.returncode == 1
    assert "Mended: cut off." in ran.stdout
    assert "Mended: chmod 700." in ran.stdout
    assert re.search(
        r"Mended: set aside as state\.db\.damaged-1; rows taken over: \d+ of node_state", ran.stdout
    )
    assert ran.stdout.endswith("1 thing found, 3 more mended\n")
    assert "state.db.damaged-1" in flowengine("doctor", "--data", folder).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_found_and_given_back(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    path = folder / SPOOL / "cursor"
    shutil.chown(path, "nobody")
    found = examine(folder).found
    assert [(f.place, f.mend) for f in found] == [(f"{SPOOL}/cursor", "chown to root, as root")]
    assert examine(folder, mend=True).whole
    assert path.stat().st_uid == 0


def test_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path / "data")
    monkeypatch.setattr("flowengine.engine.doctor_folder.LITTLE_FREE", 2**80)
    report = examine(folder)
    assert re.match(r"only .*B are free on its disk", report.found[0].what)
    assert not examine(folder, mend=True).whole


def test_a_torn_journal_keeps_its_whole_notes(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    path = folder / "journal" / "cold-room.log"
    before = len(Journal(path).read())
    tear_journal(folder)
    torn = path.read_bytes()
    examine(folder, mend=True)
    assert [frame.stamp for frame in Journal(path).read()] == list(range(before - 1))
    assert path.with_name("cold-room.log.damaged").read_bytes() == torn


# -- beside an engine


def test_it_looks_beside_a_running_engine_and_mends_only_without_one(tmp_path: Path) -> None:
    nodes = {
        "tick": {"type": "timer.tick", "every": "10ms"},
        "keep": {"type": "series.write", "series": "room"},
        "up": {"type": "mqtt.out", "broker": "far", "topic": "t"},
    }
    far = {"far": {"type": "mqtt.broker", "host": "127.0.0.1", "port": 1}}
    write_flow(tmp_path, "busy", nodes, ["tick -> keep", "tick -> up"], far)
    with FlowProcess(tmp_path, "--ready-after", "1s") as engine:
        engine.until_ready()
        engine.until_said("busy/up", "waiting")
        at = ("--data", engine.data)
        for _ in range(3):
            ran = flowengine("doctor", *at)
            assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "all is whole"), ran.stdout
            assert f"an engine runs in it (pid {engine.process.pid})" in ran.stdout
        ran = flowengine("doctor", *at, "--mend")
        assert ran.returncode == 3
        assert f"is in use by pid {engine.process.pid}." in ran.stderr
        engine.stop()
        ran = flowengine("doctor", *at, "--mend")
        assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "all is whole")


def test_what_an_engine_is_just_writing_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(tmp_path / "data")
    monkeypatch.setattr("flowengine.engine.doctor.holder", lambda _folder: 4711)
    pauses: list[float] = []

    def mend(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 2:
            whole = path.with_suffix(".whole")
            whole.rename(path)

    cut_tail(folder)
    assert places(examine(folder, sleep=pauses.append)) == [str(SPOOL)]  # it had been synced
    pauses.clear()
    path = segments(folder)[1]
    shutil.copy(path, path.with_suffix(".whole"))
    flip_bit(folder)
    assert f"{SPOOL}/{path.name}" not in places(examine(folder, sleep=mend))
    assert len(pauses) == 3


def test_who_holds_a_folder_is_known_without_the_lock_being_touched(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    (tmp_path / "lock").write_text("1\n")  # left by one that was killed
    assert holder(tmp_path) is None
    with held(tmp_path):
        assert holder(tmp_path) == os.getpid()
        with pytest.raises(FolderInUse, match=f"pid {os.getpid()}"):
            examine(tmp_path, mend=True)
    assert holder(tmp_path) is None


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--data", "nowhere"], 2, ["there is no data folder nowhere", "--data DIR"]),
        ([], 2, ["--data DIR"]),
        (["--data", "file"], 2, ["there is no data folder file"]),
    ],
)
def test_a_folder_that_is_none_is_said(
    tmp_path: Path, args: list[str], code: int, words: list[str]
) -> None:
    (tmp_path / "file").touch()
    ran = flowengine("doctor", *args, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert [word for word in words if word not in ran.stderr] == []


def test_no_control_character_of_a_name_reaches_the_terminal(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    (folder / SPOOL / "\x1b[31m.txt").touch()
    ran = flowengine("doctor", "--data", folder)
    assert "\x1b" not in ran.stdout
    assert r"\x1b[31m.txt" in ran.stdout


def test_help_says_what_the_exit_codes_mean() -> None:
    shown = " ".join(flowengine("doctor", "--help").stdout.split())
    assert "Exit code 0: whole, or all of it mended; 1: something is wrong still" in shown
    assert doctor_command.__doc__


# -- looking is the same as mending


HURTS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "delete", "empty", "rename", "zero", "version", "cursor"]),
        st.integers(0, 6),
        st.integers(0, 4000),
    ),
    max_size=4,
)


def hurt(folder: Path, what: str, which: int, at: int) -> None:
    if what == "cursor":
        (folder / "cursor").write_bytes(b"?" * (at % 99))
        return
    paths = sorted(folder.glob("*.seg"))
    if not paths:
        return
    path = paths[which % len(paths)]
    body = bytearray(path.read_bytes())
    if what == "flip" and body:
        body[at % len(body)] ^= 8
    changed: dict[str, Callable[[], Any]] = {
        "cut": lambda: path.write_bytes(body[:at]),
        "flip": lambda: path.write_bytes(body),
        "delete": path.unlink,
        "empty": lambda: path.write_bytes(b""),
        "rename": lambda: path.rename(folder / f"moved-{at}"),
        "zero": lambda: path.write_bytes(bytes(len(body))),
        "version": lambda: path.write_bytes(encode_header(int(path.stem), 0, 9) + body[64:]),
    }
    changed[what]()


@given(HURTS)
def test_f55_looking_tells_what_mending_would_do_and_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, hurts: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spools")
    spool = Spool(folder / "one", segment_bytes=4096, max_bytes=10**6, now=lambda: TIME)
    for number in range(300):
        spool.append([b"%050d" % number])
    spool.commit(70)
    spool.close()
    for what, which, at in hurts:
        hurt(folder / "one", what, which, at)
    before = contents(folder / "one")
    looked = open_folder(folder / "one", LookingDisk())
    assert contents(folder / "one") == before
    shutil.move(folder / "one", folder / "two")
    mended = open_folder(folder / "two", OsDisk())
    assert [str(note) for note in looked.notes] == [str(note) for note in mended.notes]
    assert (looked.cursor, looked.appended, looked.lost) == (
        mended.cursor,
        mended.appended,
        mended.lost,
    )
    shutil.rmtree(folder)


# -- state.db salvaged


def rows_of(path: Path, table: str) -> set[Any]:
    db = sqlite3.connect(path)
    try:
        return set(db.execute(f"select * from {table}").fetchall())  # noqa: S608  # our own names
    finally:
        db.close()


def test_f55_a_damaged_page_of_state_db_costs_what_lies_on_it_and_the_engine_starts(
    tmp_path: Path,
) -> None:
    state(tmp_path / "whole.db")
    before = {t: rows_of(tmp_path / "whole.db", t) for t in ("node_state", "quarantine")}
    size = (tmp_path / "whole.db").stat().st_size
    kept: list[int] = []
    for page in range(1, size // 4096):
        path = tmp_path / f"{page}" / "state.db"
        path.parent.mkdir()
        body = bytearray((tmp_path / "whole.db").read_bytes())
        body[page * 4096 : (page + 1) * 4096] = os.urandom(4096)
        path.write_bytes(body)
        Store(path).close()  # as the engine does when it starts
        after = {table: rows_of(path, table) for table in before}
        for table, rows in after.items():
            assert rows <= before[table], (page, table)
        kept.append(sum(map(len, after.values())))
        assert Store(path).moved_aside is None
    leaf = 100  # rows on a page of the smaller kind, at most
    assert sum(number >= 2 * ROWS - leaf for number in kept) >= len(kept) - 6
    assert max(kept) == 2 * ROWS


@pytest.mark.parametrize("body", [b"", b"no database at all " * 500, bytes(8192)])
def test_f55_a_state_db_that_is_none_is_begun_anew(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(body)
    store = Store(path)
    assert (store.moved_aside is None) == (body == b"")
    assert store.select("select count(*) from quarantine") == [(0,)]
    store.close()


def test_f01_a_repair_that_was_broken_off_is_brought_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state(path)
    path.rename(tmp_path / "state.db.mending")  # the damaged one is moved, the new one not named
    store = Store(path)
    assert store.select("select count(*) from quarantine") == [(ROWS,)]
    store.close()
    assert not (tmp_path / "state.db.mending").exists()

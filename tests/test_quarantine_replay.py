"""A message set aside is let in again where it was refused, and leaves once that is settled."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message, Source, node
from flowengine.clock import SECOND
from flowengine.engine import quarantine_rows
from flowengine.engine.quarantine import as_text
from flowengine.engine.replay import CannotReplay, read_message
from flowengine.engine.replayreceipt import Replayed, ReplayReceipt, rows_replaced
from flowengine.errors import NodeError
from flowengine.message import NO_RECEIPT
from tests.engine import rigs
from tests.engine.rigs import BINS, TAPS, LabelConfig, Rig
from tests.flow_process import FlowProcess, flowengine, write_flow
from tests.system.real import until

Story = Callable[[Rig], Coroutine[Any, Any, None]]
NODES = {"in": "tap", "strict": "stubborn", "out": "bin"}
WIRES = ["in -> strict", "strict -> out"]


@node("letters")
class Letters(Source[LabelConfig]):
    """A source of bytes; with a label it takes ASCII only."""

    def setup(self) -> None:
        """Be found by the test."""
        TAPS[self.context.node] = self  # type: ignore[assignment]  # another kind of tap

    def turn(self, raw: bytes) -> None:
        """Let one message in."""
        self.feed("post", raw, {})

    def feed(self, topic: str, payload: bytes, meta: dict[str, Any]) -> bool:
        """Decode."""
        if topic != "post":
            return False
        try:
            text = payload.decode("ascii" if self.config.label else "latin-1")
        except UnicodeDecodeError:
            broken = Message(payload, topic, self.clock.now(), "k", meta)
            self.emit([], None, [(broken, NodeError("not ASCII", slug="not-text"))])
        else:
            self.emit([Message(text, topic, self.clock.now(), "k", meta)])
        return True


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rigs, "OWN", [*rigs.OWN, Letters])


def play(folder: Path, story: Story) -> None:
    async def scene() -> None:
        async with Rig(folder) as rig:
            await story(rig)

    asyncio.run(scene())


async def rows(rig: Rig) -> list[tuple[Any, ...]]:
    columns = "select id, node, slug, replay is not null, note from quarantine order by id"
    return await rig.engine.folder.store.run(lambda db: db.execute(columns).fetchall())


async def messages(rig: Rig) -> list[dict[str, Any]]:
    text = "select message from quarantine order by id"
    found = await rig.engine.folder.store.run(lambda db: db.execute(text).fetchall())
    return [json.loads(row[0]) for row in found]


async def mark(rig: Rig, *ids: int) -> None:
    now = rig.clock.now()
    await rig.engine.folder.store.run(lambda db: quarantine_rows.mark(db, ids, now))


async def look(rig: Rig, times: int = 3) -> None:
    """Let the engine look for marks so often, and what it lets in come to its end."""
    for _ in range(times):
        await rig.pass_time(SECOND)
        for _ in range(8):  # a look asks the store several times
            await rig.settle()


async def refused(rig: Rig, *payloads: Any) -> None:
    """Deploy the flow and have it refuse these."""
    await rig.deploy(NODES, WIRES)
    TAPS["in"].turn(*payloads)
    await rig.settle()
    assert BINS["out"].got == [p for p in payloads if not isinstance(p, str)]


# -- what becomes of it


def test_a_replayed_message_goes_through_the_node_that_refused_it_and_is_gone(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a", 1, "b")
        mended = {"type": "template", "config": {"text": "<{payload}>"}}
        await rig.deploy({**NODES, "strict": mended}, WIRES)
        await mark(rig, 1)
        await look(rig)
        assert BINS["out"].got == [1, "<a>"]
        assert await rows(rig) == [(2, "strict", "text", 0, "")]

    play(tmp_path, story)


def test_one_that_is_refused_again_comes_back_once_with_a_new_number(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a")
        before = (await messages(rig))[0]
        for again in (2, 3):
            await mark(rig, again - 1)
            await look(rig, 1)  # the old row goes with the new one's coming, not some time later
            assert await rows(rig) == [(again, "strict", "text", 0, "")]
        after = (await messages(rig))[0]
        assert after["meta"].pop("replayed")["id"] == 2
        assert after == before

    play(tmp_path, story)


def test_it_carries_when_it_was_replayed_and_not_its_former_error(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        # what handles the error fails as well, so the message is set aside with its error
        await rig.deploy(
            {"in": "tap", "strict": "stubborn", "late": "stubborn", "out": "bin"},
            ["in -> strict", "strict.error -> late", "late -> out"],
        )
        TAPS["in"].turn("a")
        await rig.settle()
        assert (await messages(rig))[0]["meta"]["error"]["node"] == "strict"
        await mark(rig, 1)
        await look(rig)
        found = (await messages(rig))[0]["meta"]
        assert set(found) == {"replayed"}
        assert set(found["replayed"]) == {"id", "time"}

    play(tmp_path, story)


def test_it_stays_in_quarantine_until_its_sink_has_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a")
        await rig.deploy({**NODES, "strict": {"type": "queue", "config": {}}}, WIRES)
        BINS["out"].hangs = hangs = asyncio.Event()
        await mark(rig, 1)
        await look(rig, 12)
        assert await rows(rig) == [(1, "strict", "text", 1, "")]
        hangs.set()
        await look(rig)
        assert (BINS["out"].got, await rows(rig)) == (["a"], [])

    play(tmp_path, story)


def test_a_crash_on_its_way_replays_it_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a")
        await rig.deploy({**NODES, "strict": {"type": "queue", "config": {}}}, WIRES)
        BINS["out"].hangs = asyncio.Event()
        await mark(rig, 1)
        await look(rig, 5)
        shutil.copytree(tmp_path / "one", tmp_path / "two")  # what a crash would leave
        BINS["out"].hangs.set()

    play(tmp_path / "one", story)

    async def again(rig: Rig) -> None:
        await rig.deploy({**NODES, "strict": {"type": "queue", "config": {}}}, WIRES)
        await look(rig)
        assert (BINS["out"].got, await rows(rig)) == (["a"], [])

    play(tmp_path / "two", again)


def test_a_stop_right_after_its_end_leaves_nothing_to_replay_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a")
        await rig.deploy({**NODES, "strict": {"type": "queue", "config": {}}}, WIRES)
        await mark(rig, 1)
        await look(rig, 1)
        assert BINS["out"].got == ["a"]

    play(tmp_path, story)

    async def again(rig: Rig) -> None:
        assert await rows(rig) == []

    play(tmp_path, again)


def test_marks_of_a_stopped_engine_are_met_when_it_starts(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a", "b")

    play(tmp_path, story)
    with sqlite3.connect(tmp_path / "state.db") as db:
        quarantine_rows.mark(db, [1, 2], 7)
    db.close()

    async def again(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "strict": "bin"}, ["in -> strict"])
        await look(rig)
        assert (BINS["strict"].got, await rows(rig)) == (["a", "b"], [])

    play(tmp_path, again)


def test_one_for_a_flow_that_does_not_run_waits_for_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a")
        await rig.engine.remove("test")
        await mark(rig, 1)
        await look(rig, 5)
        assert await rows(rig) == [(1, "strict", "text", 1, "")]
        await rig.deploy({"in": "tap", "strict": "bin"}, ["in -> strict"])
        await look(rig)
        assert (BINS["strict"].got, await rows(rig)) == (["a"], [])

    play(tmp_path, story)


def test_one_whose_node_is_gone_stays_with_a_note_that_says_so(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a")
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        await mark(rig, 1)
        await look(rig)
        note = 'the flow "test" has no node "strict" now'
        assert await rows(rig) == [(1, "strict", "text", 0, note)]
        await mark(rig, 1)
        assert (await rows(rig))[0][3:] == (1, "")

    play(tmp_path, story)


def test_a_source_decodes_it_once_more(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        ascii_only = {"type": "letters", "config": {"label": "ascii"}}
        await rig.deploy({"in": ascii_only, "out": "bin"}, ["in -> out"])
        TAPS["in"].turn("grün".encode("latin-1"))
        await rig.settle()
        before = (await messages(rig))[0]
        await mark(rig, 1)
        await look(rig)
        assert [row[:3] for row in await rows(rig)] == [(2, "in", "not-text")]
        again = (await messages(rig))[0]
        assert (again["id"], again["time"]) == (before["id"], before["time"])
        await rig.deploy({"in": "letters", "out": "bin"}, ["in -> out"])
        await mark(rig, 2)
        await look(rig)
        assert (BINS["out"].got, await rows(rig)) == (["grün"], [])
        TAPS["in"].turn(b"on")
        await rig.pass_time(SECOND)
        assert BINS["out"].got == ["grün", "on"]

    play(tmp_path, story)


def test_many_are_let_in_bounded_and_in_order(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        payloads = [f"{n:04d}" for n in range(2500)]
        await refused(rig, *payloads)
        await rig.deploy({"in": "tap", "strict": "bin"}, ["in -> strict"])
        BINS["strict"].hangs = hangs = asyncio.Event()
        await mark(rig, *range(1, 2501))
        await look(rig, 12)
        wire = rig.engine.flows["test"].nodes["strict"].wire
        assert wire is not None
        assert wire.depth <= 1000
        hangs.set()
        await look(rig, 12)
        assert len(await rows(rig)) == 0
        assert BINS["strict"].got == payloads

    play(tmp_path, story)


def test_a_number_is_not_given_twice(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await refused(rig, "a", "b")
        await rig.engine.folder.store.run(lambda db: db.execute("delete from quarantine"))
        TAPS["in"].turn("c")
        await rig.settle()
        assert [row[0] for row in await rows(rig)] == [3]

    play(tmp_path, story)


# -- its parts


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    JSON_VALUES,
    st.text(),
    st.integers(-(10**18), 4 * 10**18),
    st.text(),
    st.dictionaries(st.text(), JSON_VALUES, max_size=3),
)
def test_a_message_comes_back_from_its_json_as_it_was(
    payload: Any, topic: str, time: int, key: str, meta: dict[str, Any]
) -> None:
    message = Message(payload, topic, time, key, meta, "id-1")
    assert repr(read_message(as_text(message))) == repr(message)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (as_text(Message({"a": 1}, time=10**30)), "only shown"),
        ("{}", "not whole: KeyError: 'payload'"),
        ('{"payload": 1, "topic": "", "time": "yesterday", "key": "", "meta": {}}', "yesterday"),
        ("[1]", "not whole"),
        ("{", "not whole"),
    ],
)
def test_what_was_not_kept_whole_is_not_replayed_as_something_else(text: str, why: str) -> None:
    with pytest.raises(CannotReplay, match=why):
        read_message(text)


@pytest.mark.parametrize(
    ("parts", "refused_here", "replaced"),
    [(1, 1, [(7, 1)]), (2, 2, [(7, 1)]), (2, 1, []), (3, 2, [])],
)
def test_a_row_is_replaced_only_if_nothing_else_of_it_is_on_its_way(
    parts: int, refused_here: int, replaced: Sequence[tuple[int, int]]
) -> None:
    receipt = ReplayReceipt(Replayed(7, 1), lambda _row: None, parts)
    assert rows_replaced([receipt] * refused_here + [NO_RECEIPT]) == list(replaced)


def test_a_part_that_is_secured_counts_as_safe() -> None:
    ended: list[Replayed] = []
    receipt = ReplayReceipt(Replayed(7, 1), ended.append, 2)
    receipt.secure().settle(0)
    assert ended == []
    receipt.settle(0)
    assert ended == [(7, 1)]


def test_the_end_of_a_replay_removes_no_other_message_with_its_number() -> None:
    db = sqlite3.connect(":memory:")
    quarantine_rows.set_up(db)
    db.execute("insert into quarantine values (7, 'f', 'n', 0, 's', 'w', '{}', 99, '')")
    quarantine_rows.end(db, [Replayed(7, 1)])
    assert db.execute("select count(*) from quarantine").fetchone() == (1,)
    quarantine_rows.end(db, [Replayed(7, 99)])
    assert db.execute("select count(*) from quarantine").fetchone() == (0,)
    db.close()


# -- the command, beside an engine and without one


def spoilt(folder: Path, factor: str = "payload") -> Path:
    """A flow whose scale refuses a map; `payload.t` would mend it."""
    return write_flow(
        folder,
        "room",
        {
            "tick": {"type": "timer.tick", "every": "1h", "payload": {"t": 21.5}},
            "bad": {"type": "scale", "factor": 2, "field": factor},
            "keep": {"type": "series.write", "series": "room", "field": factor},
        },
        ["tick -> bad", "bad -> keep"],
    )


def test_the_command_replays_beside_a_running_engine_and_says_how_it_ended(tmp_path: Path) -> None:
    spoilt(tmp_path)
    with FlowProcess(tmp_path, "--watch") as engine:
        engine.until_ready()
        at = ("--data", engine.data)

        def listed() -> list[Any]:
            ran = flowengine("quarantine", "list", "--json", *at)
            return [json.loads(line) for line in ran.stdout.splitlines()]

        first = until(listed, what="one in quarantine")
        ran = flowengine("quarantine", "replay", first[0]["id"], *at)
        assert ran.returncode == 1, ran.stderr
        assert "0 messages replayed\nrefused again, now 2: not-a-number:" in ran.stderr
        assert f"pid {engine.process.pid}" in ran.stderr
        spoilt(tmp_path, "payload.t")
        engine.until_said("deployed")
        ran = flowengine("quarantine", "replay", "--flow", "room", "--node", "bad", *at)
        assert (ran.returncode, ran.stderr.splitlines()[-1]) == (0, "1 message replayed")
        assert listed() == []
        exported = flowengine("series", "export", "room", "--json", *at).stdout.splitlines()
        assert [json.loads(line)["value"] for line in exported] == [43.0]


def test_the_command_marks_for_an_engine_that_is_stopped(tmp_path: Path) -> None:
    spoilt(tmp_path)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        at = ("--data", engine.data)
        until(lambda: flowengine("quarantine", "list", *at).stdout, what="one in quarantine")
        engine.stop()
        ran = flowengine("quarantine", "replay", "--all", *at)
        assert (ran.returncode, ran.stdout) == (0, "")
        assert "when the engine starts" in ran.stderr
        listed = flowengine("quarantine", "list", *at)
        assert "(to be replayed, asked for at 20" in listed.stdout
        assert "quarantine replay --flow room --node bad" in listed.stderr
        shown = flowengine("quarantine", "show", 1, *at)
        assert "replay" in json.loads(shown.stdout)
        assert "flowengine quarantine replay 1" in shown.stderr
        spoilt(tmp_path, "payload.t")
        engine.start()
        engine.until_ready()
        until(lambda: not flowengine("quarantine", "list", *at).stdout, what="none in quarantine")


def old_store(folder: Path) -> Path:
    """A state.db of an earlier version: no marks in its quarantine."""
    db = sqlite3.connect(folder / "state.db")
    db.execute(
        "create table quarantine (id integer primary key, flow text, node text, time integer,"
        " slug text, what text, message text)"
    )
    for flow, name in (("a", "n"), ("a", "m"), ("b", "n")):
        row = (flow, name, 0, "failed", "no", as_text(Message(1)))
        columns = "flow, node, time, slug, what, message"
        db.execute(f"insert into quarantine ({columns}) values (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
    db.commit()
    db.close()
    return folder


def test_one_that_a_damaged_disk_has_spoilt_is_listed_with_the_others(tmp_path: Path) -> None:
    at = ("--data", old_store(tmp_path))
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("update quarantine set message = '{\x1b' where id = 2")
    db.close()
    listed = flowengine("quarantine", "list", *at)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["1", "2", "3"]
    shown = json.loads(flowengine("quarantine", "show", 2, *at).stdout)
    assert shown["message"] == {"$text": "{\x1b"}


@pytest.mark.parametrize(
    ("args", "code", "left"),
    [
        (["2"], 0, [2]),
        (["1", "3"], 0, [1, 3]),
        (["--all"], 0, [1, 2, 3]),
        (["--flow", "a"], 0, [1, 2]),
        (["--flow", "a", "--node", "n"], 0, [1]),
        (["--node", "n"], 0, [1, 3]),
        (["--flow", "none"], 0, []),
        ([], 2, []),
        (["--all", "--flow", "a"], 2, []),
        (["1", "--flow", "a"], 2, []),
        (["1", "9"], 2, []),
    ],
)
def test_replay_marks_what_it_was_told(
    tmp_path: Path, args: list[str], code: int, left: list[int]
) -> None:
    at = ("--data", old_store(tmp_path))
    assert flowengine("quarantine", "replay", *args, *at).returncode == code
    listed = flowengine("quarantine", "list", "--json", *at).stdout.splitlines()
    entries = [json.loads(line) for line in listed]
    assert [entry["id"] for entry in entries if "replay" in entry] == left
    assert len(entries) == 3

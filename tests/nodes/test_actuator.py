"""An actuator brings its switch to the state asked for last, and never faster than it may."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError, NodeError, RecordRefused, Unavailable
from flowengine.nodes.actuator import Switch
from flowengine.nodes.actuator.rules import Pace, Past, as_state
from flowengine.nodes.mqtt_wire import Incoming
from flowengine.testing import NodeBench

SECOND = 1_000_000_000


class Broker:
    """A broker connection: what was published, with the time; it can be away, or refuse a topic."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, int, bool, Any]] = []
        self.is_away = False
        self.hangs = False
        self.refuses: set[str] = set()
        self.listeners: list[Any] = []

    async def publish(self, messages: Sequence[tuple[str, bytes, int, bool, Any]]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_away:
            raise Unavailable("the broker is away.")
        refused = {i: "no right" for i, m in enumerate(messages) if m[0] in self.refuses}
        self.published += [m for i, m in enumerate(messages) if i not in refused]
        if refused:
            raise RecordRefused("refused", refused=refused)

    def join(self, listener: Any) -> None:
        self.listeners.append(listener)

    def leave(self, listener: Any) -> None:
        self.listeners.remove(listener)

    def tell(self, topic: str, payload: bytes, *, retained: bool = False) -> list[int]:
        settled: list[int] = []
        packet = Incoming(topic, payload, 1, retained, False, 1, None, 1)
        for listener in self.listeners:
            listener.take([packet], lambda: settled.append(1))
        return settled

    @property
    def said(self) -> list[str]:
        return [payload.decode() for _, payload, _, _, _ in self.published]


def bench_of(broker: Broker, **config: Any) -> NodeBench:
    given = {"through": "mqtt", "broker": "site", "topic": "site/{key}/set", **config}
    return NodeBench("actuator.switch", given, connections={"site": broker})


# --- what a message asks (R1)


@pytest.mark.parametrize("value", [True, 1, 1.0, "on", "ON"])
def test_r1_reads_these_as_on(value: Any) -> None:
    assert as_state(value) is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "off", "OFF"])
def test_r1_reads_these_as_off(value: Any) -> None:
    assert as_state(value) is False


@pytest.mark.parametrize(
    "value", ["On", "true", "", 2, -1, 0.5, None, {}, [1], b"ON", float("nan")]
)
def test_r1_refuses_everything_else(value: Any) -> None:
    with pytest.raises(NodeError) as caught:
        as_state(value)
    assert caught.value.slug == "not-a-state"


@pytest.mark.parametrize(
    ("config", "payload", "meta", "sent"),
    [
        ({}, "ON", {}, "ON"),
        ({}, 9.1, {"active": True}, "ON"),
        ({}, True, {"active": False}, "OFF"),
        ({"value": "payload.door == 'open'"}, {"door": "open"}, {"active": False}, "ON"),
        ({"on": "1", "off": "0"}, False, {}, "0"),
    ],
    ids=["the payload", "meta.active", "meta.active first", "an expression", "other words"],
)
def test_r1_takes_the_state_from(
    config: dict[str, Any], payload: Any, meta: dict[str, Any], sent: str
) -> None:
    broker = Broker()
    bench_of(broker, **config).send(payload, meta=meta, key="siren")
    assert broker.published == [("site/siren/set", sent.encode(), 1, True, None)]


@pytest.mark.parametrize(
    ("payload", "key", "slug"),
    [("perhaps", "a", "not-a-state"), (True, "", "no-key"), (True, "a/b", "bad-hole")],
)
def test_sends_by_the_error_route(payload: Any, key: str, slug: str) -> None:
    broker = Broker()
    out = bench_of(broker).send(payload, key=key)
    assert [m.meta["error"]["slug"] for m in out["error"]] == [slug]
    assert broker.published == []


# --- only changes


def test_r36_sends_the_first_message_and_then_changes_only() -> None:
    broker = Broker()
    bench = bench_of(broker)
    outs = [bench.send(state, key="fan") for state in (True, True, 1, False, "off", "ON")]
    assert broker.said == ["ON", "OFF", "ON"]
    assert ["confirmed" in out for out in outs] == [True, False, False, True, False, True]
    assert outs[3]["confirmed"][0].meta["state"] == "off"
    assert outs[3]["confirmed"][0].payload is False
    assert bench.unsettled == 0


def test_r36_keeps_a_state_for_each_key() -> None:
    broker = Broker()
    bench = bench_of(broker)
    for key in ("a", "b", "a", "b"):
        bench.send(True, key=key)
    assert [m[0] for m in broker.published] == ["site/a/set", "site/b/set"]


def test_takes_one_constant_key_as_one_switch() -> None:
    broker = Broker()
    bench = bench_of(broker, topic="site/siren/set", key="''")
    bench.send(True, key="room-1")
    bench.send(True, key="room-2")
    bench.send(False, key="")
    assert broker.said == ["ON", "OFF"]


def test_sends_the_first_message_after_a_restart_again() -> None:
    broker = Broker()
    bench = bench_of(broker)
    bench.send(True)
    bench.restart()
    bench.send(True)
    bench.send(True)
    assert broker.said == ["ON", "ON"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=30))
def test_leaves_every_switch_as_it_was_asked_last(asked: list[tuple[str, bool]]) -> None:
    broker = Broker()
    bench = bench_of(broker)
    bench.send_many([Message(state, "", 0, key) for key, state in asked])
    for key in {key for key, _ in asked}:
        sent = [m[1] for m in broker.published if m[0] == f"site/{key}/set"]
        assert sent[-1] == (b"ON" if [s for k, s in asked if k == key][-1] else b"OFF")
        assert all(one != other for one, other in pairwise(sent))
    assert bench.unsettled == 0


# --- a change too soon


def test_r36_keeps_a_change_within_min_on_and_makes_it_when_it_may() -> None:
    broker = Broker()
    bench = bench_of(broker, min_on="10s")
    bench.send(True)
    bench.advance("4s")
    assert bench.send(False) == {}
    assert (broker.said, bench.unsettled) == (["ON"], 1)
    assert bench.advance("5.9s") == {}
    out = bench.advance("100ms")
    assert broker.said == ["ON", "OFF"]
    assert out["confirmed"][0].meta == {"state": "off"}
    assert bench.unsettled == 0


def test_r36_takes_the_newest_of_what_came_too_soon() -> None:
    broker = Broker()
    bench = bench_of(broker, min_on="10s", min_off="1s")
    for state in (True, False, True, False, True):
        bench.send(state)
    bench.advance("1m")
    assert broker.said == ["ON"]
    bench.send(False)
    bench.send(True)
    bench.send(False)
    bench.advance("1m")
    assert broker.said == ["ON", "OFF"]
    assert bench.unsettled == 0


def test_makes_a_kept_change_after_a_restart() -> None:
    broker = Broker()
    bench = bench_of(broker, min_on="10s")
    bench.send(True)
    bench.send(False)
    bench.restart()
    assert broker.said == ["ON"]
    bench.advance("10s")
    assert broker.said == ["ON", "OFF"]


def test_tries_a_kept_change_with_the_engine_and_not_by_itself() -> None:
    """What may be made now goes through the sink's own wire: retries and the store are there."""
    broker = Broker()
    bench = bench_of(broker, min_on="10s")
    bench.send(True)
    bench.send(False)
    broker.is_away = True
    with pytest.raises(Unavailable):
        bench.advance("10s")
    assert bench.state("dev-1").pending is not None  # and still known, should the box go down


def test_forgets_a_kept_change_that_a_newer_wish_undid_on_its_way() -> None:
    broker = Broker()
    bench = bench_of(broker, min_on="10s")
    for state in (True, False, True):
        bench.send(state)
    bench.advance("20s")
    bench.send(False, meta={"kept": 1})  # as it comes back from the wire or the store
    assert broker.said == ["ON"]
    assert bench.unsettled == 0


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(0, "ON"), (10, "OFF"), (20, "ON")]),
        (2, [(0, "ON"), (3, "OFF"), (10, "ON"), (13, "OFF"), (20, "ON")]),
    ],
)
def test_changes_no_faster_than_max_rate(count: int, expected: list[tuple[int, str]]) -> None:
    wishes = {0: True, 3: False, 4: True, 11: False, 15: True}
    broker = Broker()
    bench = bench_of(broker, max_rate={"count": count, "per": "10s"})
    seen: list[tuple[int, str]] = []
    for second in range(30):
        if second in wishes:
            bench.send(wishes[second])
        if second == 4:
            bench.send(False)
            bench.send(True)
            if count == 1:
                bench.send(False)
        seen += [(second, word) for word in broker.said[len(seen) :]]
        bench.advance("1s")
        seen += [(second + 1, word) for word in broker.said[len(seen) :]]
    assert seen == expected


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=25),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(1, 3),
    st.integers(1, 15),
)
def test_never_changes_too_soon_and_ends_as_it_was_asked(
    asked: list[tuple[int, bool]], min_on: int, min_off: int, count: int, per: int
) -> None:
    broker = TimedBroker()
    bench = broker.bench = bench_of(
        broker,
        min_on=f"{min_on}s",
        min_off=f"{min_off}s",
        max_rate={"count": count, "per": f"{per}s"},
    )
    for pause, state in asked:
        bench.advance(pause * SECOND)
        bench.send(state)
    bench.advance("10m")
    said, times = broker.said, broker.times
    assert said[-1] == ("ON" if asked[-1][1] else "OFF")
    for (word, at), (_, then) in pairwise(zip(said, times, strict=True)):
        assert then - at >= (min_on if word == "ON" else min_off) * SECOND
    for index in range(len(times) - count):
        assert times[index + count] - times[index] >= per * SECOND
    assert bench.unsettled == 0


def test_pace_holds_back_a_repeat_by_the_rate_alone() -> None:
    past = Past(on=True, since=100, changes=[100])
    pace = Pace(min_on=50, min_off=50, count=1, per=20)
    assert past.allowed_at(True, pace) == 120
    assert past.allowed_at(False, pace) == 150


# --- the device away, or refusing


def test_brings_a_device_that_was_away_to_the_newest_state_alone() -> None:
    broker = Broker()
    bench = bench_of(broker)
    batch = [Message(state, "", 0, key) for key in "ab" for state in (True, False, True, False)]
    broker.is_away = True
    with pytest.raises(Unavailable):
        bench.send_many(batch)
    broker.is_away = False
    bench.send_many(batch)
    assert [(m[0], m[1]) for m in broker.published] == [
        ("site/a/set", b"OFF"),
        ("site/b/set", b"OFF"),
    ]


def test_sends_again_what_was_not_committed() -> None:
    broker = Broker()
    bench = bench_of(broker)
    bench.send(False)
    broker.is_away = True
    with pytest.raises(Unavailable):
        bench.send(True)
    broker.is_away = False
    bench.send(True)
    assert broker.said == ["OFF", "ON"]


def test_names_the_switches_that_the_broker_refuses_and_knows_that_they_are_not_switched() -> None:
    broker = Broker()
    bench = bench_of(broker)
    broker.refuses = {"site/b/set"}
    with pytest.raises(RecordRefused) as caught:
        bench.send_many([Message(True, "", 0, key) for key in "abc"])
    assert caught.value.refused == {1: "no right"}
    assert [m[0] for m in broker.published] == ["site/a/set", "site/c/set"]
    broker.refuses = set()
    bench.send_many([Message(True, "", 0, key) for key in "abc"])
    assert [m[0] for m in broker.published][2:] == ["site/b/set"]


# --- the device's own word


CONFIRM = {"topic": "site/{key}/state", "timeout": "5s"}


def test_r57_is_committed_when_the_device_tells_the_state() -> None:
    broker = Broker()
    bench = bench_of(broker, confirm=CONFIRM)
    bench.open()
    assert broker.listeners[0].topics == ["site/+/state"]
    assert bench.send(True, key="pump") == {}
    assert bench.unsettled == 1
    assert broker.tell("site/pump/state", b"ON") == [1]
    out = bench.advance("0s")
    assert [(m.key, m.payload, m.meta["state"]) for m in out["confirmed"]] == [("pump", True, "on")]
    assert bench.unsettled == 0
    assert bench.advance("1m") == {}


@pytest.mark.parametrize(
    ("topic", "payload", "retained"),
    [
        ("site/pump/state", b"OFF", False),
        ("site/pump/state", b"perhaps", False),
        ("site/other/state", b"ON", False),
        ("site/pump/state", b"ON", True),
    ],
    ids=["the other state", "no state", "another switch", "kept from before"],
)
def test_fails_when_no_such_word_comes_in_time(topic: str, payload: bytes, retained: bool) -> None:
    broker = Broker()
    bench = bench_of(broker, confirm=CONFIRM)
    bench.open()
    bench.send(True, key="pump")
    assert broker.tell(topic, payload, retained=retained) == [1]
    assert bench.advance("4.9s") == {}
    (failed,) = bench.advance("100ms")["failed"]
    assert failed.meta == {"state": "on", "failed": "not confirmed within 5s"}
    assert bench.unsettled == 0


def test_reads_the_state_within_an_answer() -> None:
    broker = Broker()
    bench = bench_of(broker, confirm={**CONFIRM, "value": "payload.state"}, off="CLOSE")
    bench.open()
    bench.send(False, key="valve")
    broker.tell("site/valve/state", b'{"state": "off"}')
    assert [m.meta["state"] for m in bench.advance("0s")["confirmed"]] == ["off"]


def test_waits_for_the_newest_state_alone() -> None:
    broker = Broker()
    bench = bench_of(broker, confirm=CONFIRM)
    bench.open()
    bench.send(True, key="pump")
    bench.send(False, key="pump")
    broker.tell("site/pump/state", b"ON")
    broker.tell("site/pump/state", b"OFF")
    out = bench.advance("1m")
    assert [m.meta["state"] for m in out["confirmed"]] == ["off"]
    assert "failed" not in out
    assert bench.unsettled == 0


def test_goes_on_waiting_for_the_word_after_a_restart() -> None:
    broker = Broker()
    bench = bench_of(broker, confirm=CONFIRM)
    bench.open()
    bench.send(True, key="pump")
    bench.restart()
    broker.listeners.clear()
    bench.open()
    broker.tell("site/pump/state", b"ON")
    assert [m.key for m in bench.advance("0s")["confirmed"]] == ["pump"]


# --- the end


@pytest.mark.parametrize(
    ("safe", "said"),
    [("off", ["ON", "OFF", "OFF"]), ("on", ["ON", "OFF", "ON"]), ("keep", ["ON", "OFF"])],
)
def test_r36_leaves_every_switch_in_its_safe_state(safe: str, said: list[str]) -> None:
    broker = Broker()
    bench = bench_of(broker, safe=safe)
    bench.open()
    bench.send(True, key="a")
    bench.send(False, key="b")
    bench.close()
    bench.close()
    assert broker.said == said


def test_says_when_the_safe_state_could_not_be_sent(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    bench = bench_of(broker, safe="off")
    bench.open()
    bench.send(True)
    broker.is_away = True
    bench.close()
    assert "the safe state off was not sent: the broker is away." in caplog.text


def test_stops_in_time_though_the_broker_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    bench = bench_of(broker, safe="off")
    bench.open()
    bench.send(True)
    broker.hangs = True
    bench.close()
    assert "the safe state off was not sent: no answer" in caplog.text


@pytest.mark.parametrize(
    ("away", "said"),
    [("59s", ["ON", "OFF", "ON"]), ("61s", ["ON", "OFF"])],
    ids=["a deploy", "a long stop"],
)
def test_asks_again_for_what_a_short_stop_undid(away: str, said: list[str]) -> None:
    broker = Broker()
    bench = bench_of(broker, safe="off")
    bench.open()
    bench.send(True)
    bench.close()
    bench.advance(away)
    bench.restart()
    bench.advance("1m")
    assert broker.said == said


# --- CoAP


class Answer:
    def __init__(self, code: str) -> None:
        self.code = self.text = code
        self.is_good = code.startswith("2.")


class TimedBroker(Broker):
    """A broker that notes when each message came; `bench` is set once there is one."""

    bench: NodeBench

    def __init__(self) -> None:
        super().__init__()
        self.times: list[int] = []

    async def publish(self, messages: Any) -> None:
        self.times += [self.bench.told.monotonic()] * len(messages)
        await super().publish(messages)


class Peer:
    """A CoAP peer that answers by path."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, bytes, int]] = []

    async def request(
        self, method: str, path: str, payload: bytes = b"", *, content_format: int
    ) -> Answer:
        self.asked.append((method, path, payload, content_format))
        return Answer(self.answers.get(path, "2.04"))


def coap_bench(peer: Peer, **config: Any) -> NodeBench:
    given = {"through": "coap", "peer": "relay", "path": "/relay/{key}", **config}
    return NodeBench("actuator.switch", given, connections={"relay": peer})


def test_r36_puts_the_state_to_a_coap_device() -> None:
    peer = Peer({})
    out = coap_bench(peer, on="1", off="0").send("OFF", key="3")
    assert peer.asked == [("PUT", "/relay/3", b"0", 0)]
    assert [m.meta["state"] for m in out["confirmed"]] == ["off"]


@pytest.mark.parametrize("code", ["5.03", "5.00", "4.08", "4.29"])
def test_waits_for_a_coap_device_that_is_not_able_now(code: str) -> None:
    with pytest.raises(Unavailable) as caught:
        coap_bench(Peer({"/relay/3": code})).send("ON", key="3")
    assert f"PUT /relay/3 is answered {code}." in caught.value.what


def test_gives_up_a_switch_that_the_coap_device_does_not_have() -> None:
    peer = Peer({"/relay/2": "4.04"})
    with pytest.raises(RecordRefused) as caught:
        coap_bench(peer).send_many([Message(True, "", 0, key) for key in "123"])
    assert caught.value.refused == {1: "PUT /relay/2 is answered 4.04."}
    assert len(peer.asked) == 3


# --- levels


def level_of(broker: Broker, **config: Any) -> NodeBench:
    given = {"through": "mqtt", "broker": "site", "topic": "site/{key}/set", **config}
    return NodeBench("actuator.level", given, connections={"site": broker})


@pytest.mark.parametrize(
    ("config", "asked", "said"),
    [
        ({}, [10, 10.0, 20.5, 10], ["10", "20.5", "10"]),
        ({"min": 0, "max": 100}, [-5, 130, 50.25], ["0", "100", "50.25"]),
        ({"deadband": 2}, [10, 12, 8, 12.5, 12.5], ["10", "12.5"]),
        ({"value": "payload * 10"}, [1, 0.1], ["10", "1"]),
        ({}, [0.1 + 0.2, 1e18], ["0.3", "1e+18"]),
    ],
    ids=["changes", "limits", "a deadband", "an expression", "short numbers"],
)
def test_sends_levels(config: dict[str, Any], asked: list[float], said: list[str]) -> None:
    broker = Broker()
    bench = level_of(broker, **config)
    outs = [bench.send(level) for level in asked]
    assert broker.said == said
    assert sum("confirmed" in out for out in outs) == len(said)
    assert bench.unsettled == 0


@pytest.mark.parametrize("payload", ["10", None, True, {"level": 10}])
def test_sends_what_is_no_level_by_the_error_route(payload: Any) -> None:
    (failed,) = level_of(Broker()).send(payload)["error"]
    assert failed.meta["error"]["slug"] == "not-a-number"


def test_goes_to_a_level_in_steps_no_faster_than_slew() -> None:
    broker = Broker()
    bench = level_of(broker, slew=5, step="2s")
    bench.send(0)
    bench.advance("1m")
    assert bench.send(25) == {}
    assert (broker.said, bench.unsettled) == (["0", "10"], 1)
    assert bench.advance("1.9s") == {}
    assert bench.advance("100ms") == {}
    assert broker.said == ["0", "10", "20"]
    (reached,) = bench.advance("2s")["confirmed"]
    assert broker.said == ["0", "10", "20", "25"]
    assert (reached.payload, reached.meta) == (25, {"level": 25.0})
    assert (bench.unsettled, bench.filtered) == (0, 0)
    assert bench.advance("1m") == {}


def test_turns_to_a_newer_level_on_its_way() -> None:
    broker = Broker()
    bench = level_of(broker, slew=10)
    bench.send(0)
    bench.advance("1m")
    bench.send(100)
    bench.advance("1s")
    bench.send(5)
    bench.advance("1m")
    assert broker.said == ["0", "10", "20", "10", "5"]
    assert bench.unsettled == 0


def test_forgets_a_step_that_a_newer_level_undid_on_its_way() -> None:
    broker = Broker()
    bench = level_of(broker, slew=10)
    for level in (0, 50, 10):
        bench.send(level)
        bench.advance("1s")
    said = broker.said
    bench.advance("1m")
    bench.send(50, meta={"kept": 1})  # as it comes back from the wire or the store
    assert broker.said == said == ["0", "10", "20", "10"]


def test_goes_on_with_a_slow_change_after_a_restart() -> None:
    broker = Broker()
    bench = level_of(broker, slew=10)
    bench.send(0)
    bench.advance("1m")
    bench.send(25)
    bench.restart()
    bench.advance("1m")
    assert broker.said == ["0", "10", "20", "25"]


@pytest.mark.parametrize(
    ("away", "said"), [("10s", ["70", "20", "70"]), ("2m", ["70", "20"])], ids=["short", "long"]
)
def test_is_left_at_its_safe_level(away: str, said: list[str]) -> None:
    broker = Broker()
    bench = level_of(broker, safe=20)
    bench.open()
    bench.send(70)
    bench.close()
    bench.advance(away)
    bench.restart()
    bench.advance("1m")
    assert broker.said == said


def test_keeps_a_level_that_was_not_committed() -> None:
    broker = Broker()
    bench = level_of(broker)
    bench.send(1)
    broker.is_away = True
    with pytest.raises(Unavailable):
        bench.send(2)
    broker.is_away = False
    bench.send(2)
    broker.refuses = {"site/dev-1/set"}
    with pytest.raises(RecordRefused):
        bench.send(3)
    broker.refuses = set()
    bench.send(3)
    assert broker.said == ["1", "2", "3"]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-50, 150)), min_size=1, max_size=20),
    st.integers(1, 30),
)
def test_never_jumps_and_ends_at_the_level_asked_last(
    asked: list[tuple[int, int]], slew: int
) -> None:
    broker = TimedBroker()
    bench = broker.bench = level_of(broker, min=0, max=100, slew=slew)
    for pause, level in asked:
        bench.advance(pause * SECOND)
        bench.send(level)
    bench.advance("10m")
    levels = [float(word) for word in broker.said]
    assert levels[-1] == min(100, max(0, asked[-1][1]))
    assert all(abs(one - other) <= slew for one, other in pairwise(levels))
    assert all(then - at >= SECOND for at, then in pairwise(broker.times))
    assert bench.unsettled == 0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"min": 5, "max": 1}, "min (5.0) is above max (1.0)"),
        ({"max": 10, "safe": 20}, "safe (20.0) is not between"),
        ({"step": "0s"}, "step"),
    ],
)
def test_refuses_levels_that_cannot_be(config: dict[str, Any], words: str) -> None:
    with pytest.raises(FindingsError) as caught:
        level_of(Broker(), **config)
    assert words in str(caught.value)


# --- the config


@pytest.mark.parametrize(
    ("config", "slug", "words"),
    [
        ({"broker": None}, "missing-field", '"broker" is missing: the way "mqtt" needs it'),
        ({"peer": "relay"}, "bad-value", '"peer" belongs to the way "coap"'),
        ({"through": "gpio"}, "bad-value", "gpio"),
        ({"on": "X", "off": "X"}, "limits-crossed", "the same"),
        ({"through": "coap", "peer": "p", "path": "/x"}, "bad-value", "belongs to the way"),
    ],
    ids=["a field missing", "a field of another way", "no such way", "on is off", "left over"],
)
def test_refuses_a_config(config: dict[str, Any], slug: str, words: str) -> None:
    whole = {"through": "mqtt", "broker": "site", "topic": "x", **config}
    given = {name: value for name, value in whole.items() if value is not None}
    with pytest.raises(FindingsError) as caught:
        NodeBench("actuator.switch", given, connections={"site": Broker()})
    assert slug in [finding.slug for finding in caught.value.findings]
    assert words in str(caught.value)


def test_refuses_to_wait_for_a_word_where_the_answer_is_one() -> None:
    with pytest.raises(FindingsError) as caught:
        coap_bench(Peer({}), confirm={"topic": "x"})
    assert '"confirm" needs the way "mqtt"' in str(caught.value)


def test_says_of_every_field_what_it_is() -> None:
    assert Switch.__doc__
    bench = bench_of(Broker())
    assert all(f.description for f in type(bench.config).model_fields.values())

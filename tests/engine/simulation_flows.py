"""Random flows for the simulation of delivery: their node types, their files, and what they owe.

A flow here is small and every node's effect on a message is known from the message's number alone,
so that a model can say for each number where it must arrive, and where it may.
"""

import base64
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from pydantic import Field

from flowengine import (
    KeyedConfig,
    Message,
    Node,
    NodeConfig,
    NodeState,
    Result,
    Sink,
    SinkConfig,
    Source,
    node,
)
from flowengine.clock import SECOND
from flowengine.errors import NodeError, RecordRefused, Unavailable
from flowengine.node import MARK, NodeType
from flowengine.registry import REGISTRY, Registry

NOWHERE = -1


class Outside(Protocol):
    """What the nodes of a simulation know of the world around the engine."""

    def opened(self, source: "In") -> None:
        """A source is open."""

    def write(self, sink: str, messages: list[Message]) -> None:
        """A far side has committed messages."""

    def mode(self, sink: str) -> str:
        """How a far side is: `up`, `away`, `hang`."""


OUTSIDE: list[Outside] = []
"""The world that runs now, as its only element."""


class InConfig(NodeConfig):
    """What a source does with what it reads."""

    label: str = Field(default="", description="Any text, so that the config can change.")
    window: int | None = Field(default=None, description="Messages unacknowledged at most.")


@node("sim.in")
class In(Source[InConfig]):
    """A source that the world feeds, as a broker does."""

    def setup(self) -> None:
        """Note the world of this run."""
        self.window = self.config.window
        self.is_paused = False
        self.is_open = False
        self.outside = OUTSIDE[0]

    async def open(self) -> None:
        """Be fed."""
        self.is_open = True
        self.outside.opened(self)

    async def close(self) -> None:
        """Be fed no more."""
        self.is_open = False

    def pause(self) -> None:
        """The flow is full."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """The flow has room."""
        self.is_paused = False


class DigitConfig(NodeConfig):
    """Which numbers a node treats in its own way."""

    digit: int = Field(default=NOWHERE, description="Those with this last digit.")
    label: str = Field(default="", description="Any text, so that the config can change.")


def ids_of(payload: Any) -> list[int]:
    """The numbers that a payload carries; what could not be understood is text or bytes."""
    if isinstance(payload, dict) and "ids" in payload:
        return [int(number) for number in payload["ids"]]
    if isinstance(payload, dict):
        payload = base64.b64decode(payload["$bytes"])
    return [int(number) for number in re.findall(rb"\d+", payload)]


def last_digit(message: Message) -> int:
    """The last digit of the (first) number that a message carries."""
    return ids_of(message.payload)[0] % 10


@node("sim.sift")
def sift(message: Message, config: DigitConfig) -> Message | None:
    """Hold back numbers with a digit."""
    return None if last_digit(message) == config.digit else message


@node("sim.brittle")
def brittle(message: Message, config: DigitConfig) -> Message:
    """Fail on numbers with a digit."""
    if last_digit(message) == config.digit:
        raise NodeError("it broke", slug="broke")
    return message


@node("sim.whole", writes="top")
class Whole(Node[DigitConfig]):
    """Answer whole batches: hold back the digit, fail on the one above it, change the rest."""

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """One list for each fate."""
        outs: dict[str, list[Message]] = {"out": [], "": []}
        for message in messages:
            digit = last_digit(message)
            if digit == self.config.digit:
                outs[""].append(message)
            elif self.config.digit != NOWHERE and digit == (self.config.digit + 1) % 10:
                self.context.fail(message, NodeError("it broke", slug="broke"))
            else:
                message.payload["seen"] = self.context.node
                outs["out"].append(message)
        return outs


class BundleConfig(KeyedConfig):
    """When a bundle leaves."""

    size: int = Field(default=3, description="When it has so many numbers.")
    seconds: float = Field(default=5.0, description="When its first came so long ago.")


@node("sim.bundle", scope="keyed")
class Bundle(Node[BundleConfig]):
    """Put numbers of a key together, as a window does."""

    class State(NodeState):
        """The numbers so far."""

        ids: list[int] = msgspec.field(default_factory=list)

    def receive(self, message: Message, *states: Any) -> Message | None:
        """Lay by, or answer for all."""
        [state] = states
        self.context.keep(message, message.key)
        if not state.ids:
            self._set_timer(message.key)
        state.ids += message.payload["ids"]
        return self._leave(message.key, state) if len(state.ids) >= self.config.size else None

    def _set_timer(self, key: str) -> None:
        self.context.wake_at(key, self.clock.monotonic() + int(self.config.seconds * SECOND))

    def _leave(self, key: str, state: Any) -> Message | None:
        ids, state.ids = state.ids, []
        return self.context.give(Message({"ids": ids, "made": True}, key=key), key) if ids else None

    def wake(self, key: str, state: Any) -> Message | None:
        """Answer for what there is."""
        return self._leave(key, state)

    def resume(self, key: str, state: Any) -> None:
        """Set the timer again."""
        if state.ids:
            self._set_timer(key)


@node("sim.tally", scope="keyed")
class Tally(Node[KeyedConfig]):
    """Note every number that passes, for ever: what a state knows after crashes is read off it."""

    class State(NodeState):
        """All numbers so far."""

        ids: list[int] = msgspec.field(default_factory=list)

    def receive(self, message: Message, *states: Any) -> Message:
        """Note it."""
        [state] = states
        state.ids += message.payload["ids"]
        return message


class OutConfig(SinkConfig):
    """How a far side judges."""

    digit: int = Field(default=NOWHERE, description="Numbers with this last digit are refused.")
    names: bool = Field(default=False, description="Whether it names those it refuses.")
    label: str = Field(default="", description="Any text, so that the config can change.")


@node("sim.out", outputs=("out",), optional=("out",))
class Out(Sink[OutConfig]):
    """A far side of the world; it answers with the message where `out` is wired."""

    batch_age = SECOND // 2

    def setup(self) -> None:
        """Note the world of this run."""
        self.outside = OUTSIDE[0]

    async def write(self, records: list[Message]) -> list[Result]:
        """Commit, or do as the world says."""
        name, outside = self.context.node, self.outside
        while outside.mode(name) == "hang":
            await self.clock.sleep(SECOND // 4)
        if outside.mode(name) == "away":
            raise Unavailable(f"{name} is away")
        config = self.config
        bad = {i: "bad" for i, m in enumerate(records) if last_digit(m) == config.digit}
        if bad and not config.names:
            raise RecordRefused("something is bad")
        outside.write(name, [m for i, m in enumerate(records) if i not in bad])
        if bad:
            raise RecordRefused("some are bad", refused=bad)
        return list(records)


@node("sim.bare", outputs=("out",), optional=("out",))
class Bare(Out):
    """A far side without a store on disk in front of it."""

    spools = False


@node("sim.wide", outputs=("out",), optional=("out",))
class Wide(Out):
    """A far side that takes three writes at once."""

    concurrency = 3


class SimulationRegistry(Registry):
    """The types of this module beside the shipped ones."""

    def find(self, name: str) -> NodeType:
        """A type of this module, else a shipped one."""
        for target in (In, sift, brittle, Whole, Bundle, Tally, Out, Bare, Wide):
            mark: NodeType = getattr(target, MARK)
            if mark.name == name:
                return mark
        return REGISTRY.find(name)


SOURCES = {"sim.in", "mqtt.in"}
SINKS = {"sim.out", "sim.bare", "sim.wide"}
HOLDING = {"sim.bundle", "delay"}
LOSSY = {"debounce", "throttle"}


@dataclass
class SimFlow:
    """A flow: nodes as in a file, wires as `(source, output, target, settings)`."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    wires: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    garbled: dict[str, int] = field(default_factory=dict)
    """By source: numbers with this last digit are garbled."""
    _known: dict[tuple[str, int], tuple[Counter[str], Counter[str]]] = field(default_factory=dict)

    def file_wires(self) -> list[Any]:
        """The wires as a flow file has them."""
        return [
            {"from": f"{source}.{output}", "to": target, **settings}
            if settings
            else f"{source}.{output} -> {target}"
            for source, output, target, settings in self.wires
        ]

    def kind(self, name: str) -> str:
        """The type of a node."""
        return str(self.nodes[name]["type"])

    def names(self, *kinds: str) -> list[str]:
        """Nodes of some types."""
        return [name for name in self.nodes if self.kind(name) in kinds]

    def sources(self) -> list[str]:
        """The sources."""
        return self.names(*SOURCES)

    def known(self) -> list[str]:
        """Sources whose messages have an identity."""
        return self.names("mqtt.in")

    def sinks(self) -> list[str]:
        """The sinks."""
        return self.names(*SINKS)

    def spools(self) -> set[tuple[str, ...]]:
        """What has a spool."""
        wires = {w[:3] for w in self.wires if w[3].get("when_full") == "spill"}
        nodes = {(name,) for name, node in self.nodes.items() if _spills(node.get("config", {}))}
        return wires | nodes | {(name,) for name in self.sinks()}

    def spilling(self) -> bool:
        """Whether a wire or a queue has a spool."""
        return len(self.spools()) > len(self.sinks())

    def is_exact(self, state: str) -> bool:
        """Whether nothing is kept in a spool on the way to a state.

        A spool's record is no part of a cut: a state that falls back makes it once more, and so the
        states behind it may know a number twice.
        """
        behind: set[str] = set()
        todo = [name for name in self.nodes if self.kind(name) in {"sim.out", "sim.wide"}]
        todo += [w[2] for w in self.wires if w[3].get("when_full") == "spill"]
        todo += [name for name, node in self.nodes.items() if _spills(node.get("config", {}))]
        while todo:
            name = todo.pop()
            if name not in behind:
                behind.add(name)
                todo += [target for source, _, target, _ in self.wires if source == name]
        return state not in behind

    def is_sure(self) -> bool:
        """Whether nothing in it may drop a message."""
        policies = [node.get("config", {}).get("when_full", "") for node in self.nodes.values()]
        policies += [settings.get("when_full", "") for *_, settings in self.wires]
        return not self.names(*LOSSY) and not any(str(p).startswith("drop") for p in policies)

    def behind(self, name: str, output: str) -> Iterator[tuple[str, bool]]:
        """Where an output leads, and whether the wire keeps everything."""
        for source, out, target, settings in self.wires:
            if (source, out) == (name, output):
                yield target, not str(settings.get("when_full", "")).startswith("drop")

    def owed(self, source: str, number: int) -> tuple[Counter[str], Counter[str]]:
        """Where a number must arrive, and where it may at most; `quarantine` is a place too."""
        key = source, number % 10  # nodes tell numbers by their last digit alone
        if key not in self._known:
            self._known[key] = self._owed(source, number)
        return self._known[key]

    def _owed(self, source: str, number: int) -> tuple[Counter[str], Counter[str]]:
        must: Counter[str] = Counter()
        may: Counter[str] = Counter()

        def out(name: str, output: str, sure: bool, handled: bool) -> None:
            for target, keeps in self.behind(name, output):
                into(target, sure and keeps, handled)

        def error(name: str, sure: bool, handled: bool) -> None:
            if not handled and any(self.behind(name, "error")):
                out(name, "error", sure, True)
            elif not handled and self.names("catch"):
                for catch in self.names("catch"):
                    out(catch, "out", sure, True)
            else:
                arrive("quarantine", sure)

        def arrive(place: str, sure: bool) -> None:
            may[place] += 1
            must[place] += sure

        def into(name: str, sure: bool, handled: bool) -> None:
            kind = self.kind(name)
            config = self.nodes[name].get("config", {})
            digit, own = config.get("digit", NOWHERE), number % 10
            if kind in {"sim.sift", "sim.whole"} and own == digit:
                return
            if kind == "queue" and str(config.get("when_full", "")).startswith("drop"):
                sure = False
            if kind == "sim.brittle" and own == digit:
                error(name, sure, handled)
                return
            if kind == "sim.whole" and digit != NOWHERE and own == (digit + 1) % 10:
                error(name, sure, handled)
                return
            if kind in SINKS:
                if own == digit:
                    error(name, sure, handled)
                    return
                arrive(name, sure)
                # A write in which something was refused by name gives no answers.
                sure = sure and not (config.get("names") and digit != NOWHERE)
            if kind == "sim.tally":
                arrive(name, sure)
            out(name, "out", sure and kind not in LOSSY, handled)

        if number % 10 == self.garbled.get(source, NOWHERE):
            error(source, True, False)
        else:
            out(source, "out", True, False)
        return must, may

    def ordered(self) -> set[str]:
        """Sinks that every number reaches by one way at most, all of it in order (P3)."""
        ways: Counter[tuple[str, str]] = Counter()
        mixed: set[str] = set()

        def walk(start: str, name: str, is_mixed: bool) -> None:
            config = self.nodes[name].get("config", {})
            is_mixed |= self.kind(name) == "sim.wide" or config.get("order") == "live-first"
            ways[start, name] += 1
            if is_mixed:
                mixed.add(name)
            for source, _, target, _ in self.wires:
                if source == name:
                    walk(start, target, is_mixed)

        for source in self.sources():
            walk(source, source, False)
        for catch in self.names("catch"):
            walk(catch, catch, True)
        many = {name for (_, name), number in ways.items() if number > 1}
        return set(self.sinks()) - many - mixed


def _spills(settings: Mapping[str, Any]) -> bool:
    return settings.get("when_full") == "spill"


class FlowMaker:
    """Makes small random flows and changes them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self._number = 0

    def _name(self, word: str) -> str:
        self._number += 1
        return f"{word}{self._number}"

    def make(self) -> SimFlow:
        """A flow of one or two sources, a few nodes and one to three sinks."""
        chance, flow = self.chance, SimFlow()
        ends: list[tuple[str, str, bool]] = []
        has_broker = chance.random() < 0.5
        for _ in range(chance.choice([1, 1, 2])):
            name = self._name("in")
            if chance.random() < 0.3:
                flow.garbled[name] = chance.randrange(10)
            if has_broker and chance.random() < 0.9:
                flow.nodes[name] = self._known(flow, name)
            else:
                config = {"window": chance.choice([None, 6, 20])}
                flow.nodes[name] = {"type": "sim.in", "config": config}
            ends.append((name, "out", False))
        for _ in range(chance.randrange(6)):
            self._grow(flow, ends)
        for _ in range(chance.choice([1, 2, 2, 3])):
            self._end(flow, ends)
        self._handle_errors(flow)
        return flow

    def _known(self, flow: SimFlow, name: str) -> dict[str, Any]:
        """A source of a broker, of its own or of one that is there."""
        chance = self.chance
        if not flow.connections or chance.random() < 0.3:
            broker = self._name("broker")
            config: dict[str, Any] = {"host": "127.0.0.1", "client_id": broker}
            config["receive_maximum"] = chance.choice([6, 20, 1000])
            flow.connections[broker] = {"type": "mqtt.broker", "config": config}
        broker = chance.choice(list(flow.connections))
        config = {"broker": broker, "topic": f"{name}/+", "decode": "json"}
        return {"type": "mqtt.in", "config": config}

    def _grow(self, flow: SimFlow, ends: list[tuple[str, str, bool]]) -> None:
        """Put one more node behind an open end (or two, which then merge)."""
        chance = self.chance
        at = chance.randrange(len(ends))
        is_grouped = ends[at][2]
        kinds = ["queue", "delay", "sim.bundle", "sim.tally", "sim.tally", "debounce", "throttle"]
        if not is_grouped:
            kinds += ["sim.sift", "sim.brittle", "sim.whole", "sim.sift", "sim.brittle"]
        kind = chance.choice(kinds)
        name = self._name(kind.rpartition(".")[2])
        flow.nodes[name] = {"type": kind, "config": self._config(kind)}
        self._wire(flow, ends[at][:2], name)
        is_grouped = is_grouped or kind == "sim.bundle"
        if chance.random() < 0.6:
            ends[at] = (name, "out", is_grouped)
        else:
            ends.append((name, "out", is_grouped))
        others = [end for end in ends if end[0] != name and not (is_grouped < end[2])]
        if others and chance.random() < 0.2:
            self._wire(flow, chance.choice(others)[:2], name)

    def _config(self, kind: str) -> dict[str, Any]:  # noqa: PLR0911  # a table of types
        chance = self.chance
        if kind in {"sim.sift", "sim.brittle", "sim.whole"}:
            return {"digit": chance.randrange(10)}
        if kind == "sim.bundle":
            return {"size": chance.randint(2, 5), "seconds": chance.choice([0.5, 3.0, 20.0])}
        if kind == "queue":
            policy = chance.choice(["block", "block", "drop-oldest", "drop-newest", "spill"])
            return {"capacity": chance.choice([2, 5, 50]), "when_full": policy}
        if kind == "delay":
            return {"for": chance.choice(["200ms", "2s", "15s"])}
        if kind == "sim.tally":
            return {}
        if kind == "debounce":
            return {"for": chance.choice(["100ms", "2s"])}
        per = {"count": chance.randint(1, 3), "per": chance.choice(["1s", "5s"])}
        return {**per, "excess": chance.choice(["drop", "latest"])}

    def _wire(self, flow: SimFlow, end: tuple[str, str], target: str) -> None:
        chance, settings = self.chance, {}
        if any(wire[:3] == (*end, target) for wire in flow.wires):
            return
        if chance.random() < 0.15:
            policy = chance.choice(["block", "block", "drop-oldest", "drop-newest", "spill"])
            settings = {"capacity": chance.choice([2, 8]), "when_full": policy}
        flow.wires.append((*end, target, settings))

    def _end(self, flow: SimFlow, ends: list[tuple[str, str, bool]]) -> None:
        chance = self.chance
        source, output, is_grouped = chance.choice(ends)
        kind = chance.choice(["sim.out", "sim.out", "sim.out", "sim.bare", "sim.wide"])
        config: dict[str, Any] = {
            "batch": {
                "size": chance.choice([1, 2, 5, 5000]),
                "age": chance.choice(["0s", "500ms", "1s"]),
            },
            "retry": {"first": "500ms", "max": "4s"},
            "names": chance.random() < 0.5,
        }
        if chance.random() < 0.3:
            config["spool"] = {"size": chance.choice(["2kB", "1MB"])}
        if chance.random() < 0.1:
            config["order"] = "live-first"
        if not is_grouped and chance.random() < 0.3:
            config["digit"] = chance.randrange(10)
        name = self._name("sink")
        flow.nodes[name] = {"type": kind, "config": config}
        self._wire(flow, (source, output), name)
        if chance.random() < 0.2:
            ends.append((name, "out", is_grouped))

    def _handle_errors(self, flow: SimFlow) -> None:
        chance = self.chance
        failing = [
            name
            for name in flow.nodes
            if flow.kind(name) in {"sim.brittle", "sim.whole", *SOURCES, *SINKS}
        ]
        for name in failing:
            if chance.random() < 0.25:
                self._end(flow, [(name, "error", True)])
        if chance.random() < 0.2:
            catch = self._name("catch")
            flow.nodes[catch] = {"type": "catch"}
            self._end(flow, [(catch, "out", True)])

    def change(self, flow: SimFlow) -> SimFlow:
        """The flow with other settings that change nothing of what it owes."""
        chance = self.chance
        nodes = {
            name: {**node, "config": dict(node.get("config", {}))}
            for name, node in flow.nodes.items()
        }
        for settings in nodes.values():
            kind, config = settings["type"], settings["config"]
            if chance.random() < 0.5:
                continue
            self._change_config(kind, config)
        wires = []
        for source, output, target, old in flow.wires:
            new = old
            if old and chance.random() < 0.5:
                new = {**old, "capacity": chance.choice([2, 3, 8])}
            elif chance.random() < 0.1:
                new = {} if not str(old.get("when_full", "")).startswith("drop") else old
                new = new or {"capacity": 4, "when_full": "block"} if not old else new
            wires.append((source, output, target, new))
        brokers = {name: dict(broker) for name, broker in flow.connections.items()}
        for broker in brokers.values():
            if chance.random() < 0.2:
                window = chance.choice([6, 20, 1000])
                broker["config"] = {**broker["config"], "receive_maximum": window}
        return SimFlow(nodes, wires, brokers, flow.garbled)

    def _change_config(self, kind: str, config: dict[str, Any]) -> None:
        chance = self.chance
        if kind in {"sim.in", "sim.sift", "sim.brittle", "sim.whole", *SINKS}:
            config["label"] = str(chance.randrange(1000))
        if kind == "mqtt.in":
            config["retained"] = chance.choice(["accept", "ignore"])
        if kind in SINKS:
            config["batch"] = {"size": chance.choice([1, 3, 5000]), "age": "200ms"}
        if kind == "sim.bundle":
            config["size"] = chance.randint(2, 5)
        if kind == "queue":
            config["capacity"] = chance.choice([2, 5, 50])
        if kind == "delay":
            config["for"] = chance.choice(["200ms", "2s", "15s"])

    def prune(self, flow: SimFlow) -> SimFlow:
        """The flow without one node, and without what then has no way in."""
        chance = self.chance
        candidates = [name for name in flow.nodes if flow.kind(name) not in SOURCES]
        if not candidates:
            return flow
        gone = {chance.choice(candidates)}
        if len(flow.sources()) > 1 and chance.random() < 0.3:
            gone = {chance.choice(flow.sources())}
        nodes: Mapping[str, dict[str, Any]] = {
            name: settings for name, settings in flow.nodes.items() if name not in gone
        }
        wires = [w for w in flow.wires if w[0] not in gone and w[2] not in gone]
        return SimFlow(dict(nodes), wires, flow.connections, flow.garbled)

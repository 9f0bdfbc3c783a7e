"""Brokers of the simulated world: a plain one for `sim.in`, and one that speaks as MQTT does.

`SimLink` stands where `MqttLink` does, so that the real `mqtt.broker` and `mqtt.in` run: packet ids
that are used again, DUP, a receive maximum, sessions that get lost, and acknowledgements that leave
the engine and never arrive.
"""

import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from flowengine.nodes.mqtt.link import LinkOptions
from flowengine.nodes.mqtt.outbox import LinkDown
from flowengine.nodes.mqtt_wire import Incoming
from tests.engine.simulation_loop import Broken


class Topic:
    """What the broker holds for one `sim.in`."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self.unacknowledged: deque[int] = deque()

    def again(self) -> None:
        """The client is new: what it did not acknowledge comes again, first."""
        self.waiting.extendleft(reversed(self.unacknowledged))
        self.unacknowledged.clear()


class Session:
    """What an MQTT broker keeps of one client, and the line between the two."""

    def __init__(
        self,
        chance: random.Random,
        packet_of: Callable[[int], tuple[str, bytes]],
        handed: Callable[[list[int]], None],
        acknowledged: Callable[[int], None],
    ) -> None:
        """`packet_of` gives a number's topic and payload; the others are told numbers."""
        self.chance = chance
        self.waiting: deque[int] = deque()
        self.inflight: dict[int, int] = {}
        """Packet id -> number, in the order in which they were sent."""
        self.is_present = False
        self.link: SimLink | None = None
        self.is_down = False
        self._packet_of = packet_of
        self._handed = handed
        self._acknowledged = acknowledged
        self._lowest = chance.random() < 0.5
        self._last = 0
        self._top = chance.choice([65535, 65535, 40])
        self._again: deque[int] = deque()
        self._open: deque[int] = deque()
        """Packet ids handed over by this connection and not acknowledged by the engine."""
        self._on_the_way: deque[int] = deque()
        """Packet ids whose acknowledgement has left the engine."""

    @property
    def unacknowledged(self) -> list[int]:
        """Numbers that the broker would send again."""
        return list(self.inflight.values())

    @property
    def is_idle(self) -> bool:
        """Whether everything came and was acknowledged."""
        return not (self.waiting or self.inflight or self._open)

    @property
    def owes(self) -> list[int]:
        """Numbers that the engine has by this connection and has not acknowledged."""
        return [self.inflight[packet] for packet in self._open]

    # -- the line

    def tend(self) -> None:
        """Acknowledgements arrive, the client connects, messages go out."""
        link, chance = self.link, self.chance
        if chance.random() < 0.7:
            self._arrive(len(self._on_the_way))
        if link is None or self.is_down:
            return
        if not link.is_up:
            self._again = deque(self.inflight)
            was_there, self.is_present = self.is_present, True
            link.accepted(session_present=was_there)
        while link.is_up and not link.is_paused:
            packets = self._next(chance.randint(1, 5), link.receive_maximum)
            if not packets:
                return
            self._hand_over(link, packets)

    def _next(self, most: int, window: int) -> list[tuple[int, bool]]:
        """(packet id, DUP) of what may be sent now."""
        packets: list[tuple[int, bool]] = []
        while len(packets) < most and len(self._open) + len(packets) < window:
            if self._again:
                packets.append((self._again.popleft(), True))
                continue
            packet = self._send()
            if packet is None:
                break
            packets.append((packet, False))
        return packets

    def _send(self) -> int | None:
        """Give the next message a packet id that no message has, as long as there is one."""
        if not self.waiting or len(self.inflight) >= self._top:
            return None
        packet = 1 if self._lowest else self._last % self._top + 1
        while packet in self.inflight:
            packet = packet % self._top + 1
        self._last = packet
        self.inflight[packet] = self.waiting.popleft()
        return packet

    def _hand_over(self, link: "SimLink", packets: list[tuple[int, bool]]) -> None:
        self._open.extend(packet for packet, _ in packets)
        self._handed([self.inflight[packet] for packet, _ in packets])
        link.hand_over(
            [
                Incoming(
                    *self._packet_of(self.inflight[packet]), 1, False, dup, packet, None, link.epoch
                )
                for packet, dup in packets
            ]
        )

    def acked(self, packet: int) -> None:
        """The engine acknowledges: it leaves by the line."""
        if not self._open or self._open.popleft() != packet:
            raise Broken(f"packet {packet} is acknowledged out of turn")
        self._on_the_way.append(packet)
        self._acknowledged(self.inflight[packet])

    def _arrive(self, number: int) -> None:
        for _ in range(number):
            del self.inflight[self._on_the_way.popleft()]

    def lose_line(self, *, gently: bool = False) -> None:
        """The connection ends: some of what was on its way has arrived, some has not."""
        chance, link = self.chance, self.link
        there = len(self._on_the_way)
        self._arrive(there if gently else chance.randint(0, there))
        self._on_the_way.clear()
        self._open.clear()
        self._again.clear()
        if link is not None and link.is_up:
            link.is_up = False
            if not gently:  # sent, and never received
                for _ in range(chance.choice([0, 0, 1, 2])):
                    self._send()

    def forget(self) -> None:
        """The broker is restarted, and has kept nothing."""
        self.inflight.clear()
        self.waiting.clear()
        self.is_present = False


class SimLink:
    """Stands in for `MqttLink`: the client's end of a session's line."""

    sessions: dict[str, Session]
    """Of the world that runs now, by client id."""

    def __init__(
        self,
        options: LinkOptions,
        *,
        on_messages: Callable[[list[Incoming]], None],
        on_state: Callable[[str, str], None],
        on_gap: Callable[[str], None],
        on_new_session: Callable[[], None],
        clock: Any,
        random: Callable[[], float],
    ) -> None:
        self.protocol = "5"
        self.epoch = 0
        self.is_up = self.is_paused = False
        self.receive_maximum = options.receive_maximum
        self._session = self.sessions[options.client_id]
        self._on_messages, self._on_state = on_messages, on_state
        self._on_new_session = on_new_session

    async def open(self) -> None:
        """Connect as soon as the broker answers."""
        self._session.link = self

    async def close(self) -> None:
        """Say goodbye."""
        if self._session.link is self:
            self._session.lose_line(gently=self._session.chance.random() < 0.8)
            self._session.link = None

    def accepted(self, *, session_present: bool) -> None:
        """The broker took us in."""
        self.epoch += 1
        self.is_up = True
        if not session_present:
            self._on_new_session()
        self._on_state("running", "connected")

    def hand_over(self, incoming: list[Incoming]) -> None:
        """What one read gave."""
        self._on_messages(incoming)

    def ack(self, incoming: Sequence[Incoming]) -> None:
        """Acknowledge; what came by an earlier connection falls out."""
        for packet in incoming:
            if self.is_up and packet.epoch == self.epoch:
                self._session.acked(packet.mid)

    def pause(self) -> None:
        """Hand over nothing more."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on."""
        self.is_paused = False

    def subscribe(self, topic: str, qos: int, number: int = 0) -> None:
        """The session has it already."""

    def unsubscribe(self, topic: str) -> None:
        """Nothing is published to it any more."""

    async def wait_subscribed(self) -> None:
        """It is so as soon as there is a connection."""

    def publish(self, messages: Sequence[Any]) -> Any:
        """Nothing is published in the simulation."""
        raise LinkDown("nothing is published here")


def payload_of(number: int, *, is_garbled: bool) -> bytes:
    """What a device publishes."""
    whole = json.dumps({"ids": [number]}).encode()
    return whole[:-2] if is_garbled else whole

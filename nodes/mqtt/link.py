"""A link to an MQTT broker that stays: it connects, comes back, subscribes, receives and publishes.

Everything happens on the event loop. Nothing is acknowledged by itself: `ack` says what is done
with, and what was not acknowledged comes again after the next connect.

Back-pressure. `pause` lets the link read on, as PINGRESP and acknowledgements must come through,
but keeps the messages. In QoS 1 and 2 the broker stops by itself at `receive_maximum`
unacknowledged messages. Beyond `hold_size` bytes the socket is left unread and TCP pushes back;
PINGREQs still go out, so the connection stays, and whether the broker is alive is judged again
after `resume`.

Sessions. With `clean_start` false the broker keeps subscriptions and messages while the link is
away. MQTT 5 brokers get SUBSCRIBE at every connect all the same, as one that was killed may have
kept the session and lost its last subscriptions; they send retained messages only for filters new
to them. MQTT 3.1.1 brokers would send them again, so there SUBSCRIBE is sent only for what the
session does not have; a new process cannot know that and asks for everything.

Cost, in microseconds of CPU a message (mosquitto 2.0.11 on loopback, 130 byte payloads, floods of
100,000 in and 50,000 out, two cores, CPython 3.11; in brackets stock paho 2.2.0 in the same run):

    ========  ============  =============  ============  ============
    protocol  in, QoS 0     in, QoS 1      out, QoS 0    out, QoS 1
    ========  ============  =============  ============  ============
    5         1.0 (25)      1.5-2.2 (38)   0.4 (22)      1.6-4.8 (40)
    3.1.1     1.1 (13)      1.7-5.4 (24)   0.4 (20)      2.6-4.6 (35)
    ========  ============  =============  ============  ============

The wider figures are for brokers with a window of 20 messages, where each read brings few.
"""

import asyncio
import contextlib
import itertools
import logging
import random as chance
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes

from flowengine.nodes.mqtt.client import FastClient
from flowengine.nodes.mqtt.comeback import Comeback, ProtocolChoice
from flowengine.nodes.mqtt.options import SECOND, LinkClock, LinkOptions, Will
from flowengine.nodes.mqtt.outbox import LinkDown, PublishRefused
from flowengine.nodes.mqtt.paho import missing_names
from flowengine.nodes.mqtt.reasons import Ending, fault, reason_text
from flowengine.nodes.mqtt.stock import StockClient
from flowengine.nodes.mqtt.subscriptions import Subscriptions
from flowengine.nodes.mqtt_wire import Incoming, Outgoing

__all__ = ["Incoming", "LinkDown", "LinkOptions", "MqttLink", "PublishRefused", "Will"]

_log = logging.getLogger(__name__)

State = Literal["connecting", "running", "failed", "stopped"]


class _LoopClock:
    """The machine's monotonic clock and the running loop's timers."""

    monotonic = staticmethod(time.monotonic_ns)

    def call_at(self, when: int, call: Callable[[], None]) -> Any:
        return asyncio.get_running_loop().call_at(when / SECOND, call)

    async def sleep(self, duration: int) -> None:
        await asyncio.sleep(duration / SECOND)


class MqttLink:
    """One client of one broker.

    `on_messages` gets what each read gave, in order; it must not raise. `on_state` gets the state
    and a sentence, once per change. States: `connecting`, `running`, `failed` (the broker refuses:
    someone must act, the link tries on), `stopped`. `on_gap` gets a sentence when the broker lost
    the session, and `on_new_session` is called when it has none. `random` gives numbers from 0 to 1
    for the jitter.
    """

    def __init__(
        self,
        options: LinkOptions,
        *,
        on_messages: Callable[[list[Incoming]], None],
        on_state: Callable[[str, str], None],
        on_gap: Callable[[str], None] = lambda _what: None,
        on_new_session: Callable[[], None] = lambda: None,
        clock: LinkClock | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.state: State = "stopped"
        self.epoch = 0
        """Number of the connection; acknowledgements for an earlier one are dropped."""
        self.session_present = False
        self._options, self._on_messages, self._on_state = options, on_messages, on_state
        self._on_gap, self._on_new_session = on_gap, on_new_session
        self._clock: LinkClock = clock or _LoopClock()
        self._where = f"{options.host}:{options.port}"
        self._choice = ProtocolChoice(options.protocol)
        self._mids = itertools.cycle(range(1, 65536))
        self._task: asyncio.Task[None] | None = None
        self._client: FastClient | StockClient | None = None
        self._over: asyncio.Future[Ending] | None = None
        self._taken_in: asyncio.Future[None] | None = None
        self._since: int | None = None
        self._comeback = Comeback(random)
        self._was_connected = False
        self._said = ("", "")
        self._subscriptions = Subscriptions()
        self._is_subscribing_soon = False
        self._again: Any = None
        self._waiters: list[asyncio.Future[None]] = []
        self._is_paused = False
        self._held: list[Incoming] = []
        self._held_size = 0
        self._recorded: set[int] = set()
        """Packet ids of QoS 2 messages that are done with, until the broker releases them."""

    # --- opening and closing

    @property
    def protocol(self) -> str:
        """The protocol in use, or tried next: `5` or `3.1.1`."""
        return "5" if self._choice.version5 else "3.1.1"

    async def open(self) -> None:
        """Begin to connect, and keep at it; returns at once."""
        if self._task is None:
            self._say("connecting", f"connecting to {self._where}.")
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Say DISCONNECT and stop, within a second; harmless when called twice."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._is_up and self._client is not None and self._over is not None:
            self._client.disconnect()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._over), 1.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        what = f"the link to {self._where} was closed."
        self._say("stopped", what)
        self._wake(LinkDown(what))

    async def _run(self) -> None:
        while True:
            ending = await self._connect_once()
            if self._task is None:
                return
            if self._choice.try_other(ending):
                continue
            now = self._clock.monotonic() / SECOND
            lived = None if self._since is None else now - self._since / SECOND
            wait, is_shared = self._comeback.wait_after(ending, now, lived)
            self._explain(ending, is_shared=is_shared)
            await self._clock.sleep(round(wait * SECOND))

    async def _connect_once(self) -> Ending:
        """Connect, stay while it lasts, and answer why it ended."""
        loop = asyncio.get_running_loop()
        self.epoch += 1
        self._since = None
        over: asyncio.Future[Ending] = loop.create_future()
        self._over, self._taken_in = over, loop.create_future()
        try:
            client = self._client = self._make_client()
            patience = self._options.connect_timeout
            try:
                async with asyncio.timeout(patience):
                    await client.open()
            except (OSError, ValueError) as err:
                return fault(self._where, err)
            if self._choice.is_a_guess:
                patience /= 2
            await asyncio.wait(
                (self._taken_in, over), timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not (self._taken_in.done() or over.done()):
                return Ending("silent", f"{self._where} does not answer CONNECT.")
            return await over
        except Exception as err:  # noqa: BLE001  # ours or paho's: never end the link in silence
            _log.exception("The MQTT link to %s failed.", self._where)
            return Ending("refused", f"the link failed: {type(err).__name__}: {err}.")
        finally:
            used, self._client, self._over = self._client, None, None
            if used is not None:
                used.abort()

    def _make_client(self) -> FastClient | StockClient:
        kind: type[FastClient | StockClient] = FastClient
        if missing := missing_names():
            kind = StockClient
        if missing and self.epoch == 1:
            _log.warning(
                "paho-mqtt %s lacks %s: the MQTT link to %s works, but several times slower. "
                "Install a paho-mqtt 2 release that flowengine was tested with.",
                paho.mqtt.__version__,
                ", ".join(missing),
                self._where,
            )
        protocol = mqtt.MQTTv5 if self._choice.version5 else mqtt.MQTTv311
        return kind(
            self._options,
            protocol,
            self,
            epoch=self.epoch,
            clock=self._clock,
            mids=self._mids,
        )

    def _explain(self, ending: Ending, *, is_shared: bool) -> None:
        what = f"{ending.what} {ending.mend}".rstrip()
        if is_shared:
            what += (
                f' This happens again and again: does another client use the client_id "'
                f'{self._options.client_id}"? The link now keeps {Comeback.APART:.0f} s apart. '
                "Give each client its own client_id."
            )
        failed = is_shared or ending.kind in ("refused", "version")
        self._say("failed" if failed else "connecting", what + " Trying again.")

    def _say(self, state: State, what: str) -> None:
        self.state = state
        if (state, what) != self._said:
            self._said = state, what
            self._on_state(state, what)

    @property
    def _is_up(self) -> bool:
        return self._client is not None and self._client.is_accepted

    # --- what the client tells

    def accepted(self, session_present: bool) -> None:
        """The broker took us in (called by the client)."""
        self.session_present = session_present
        self._since = self._clock.monotonic()
        if session_present:
            # The broker sends again what was not acknowledged; what it cannot repeat is kept.
            self._hold([message for message in self._held if not message.qos])
        else:
            self._recorded.clear()
            self._on_new_session()
        # Asking again is free of retained messages in MQTT 5 only (retain handling 1).
        self._subscriptions.connected(
            session_present=session_present, ask_again=self._choice.version5
        )
        self._choice.accepted()
        what = f"connected to {self._where} by MQTT {self.protocol}."
        is_gap = self._was_connected and not session_present and not self._options.clean_start
        if is_gap:
            what += " The broker had lost the session: messages sent meanwhile may be missing."
        self._was_connected = True
        self._say("running", what)
        if is_gap:
            self._on_gap(
                f"the broker {self._where} had lost the session: messages sent meanwhile may be "
                "missing. Turn on persistence in the broker, or raise session_expiry."
            )
        if self._taken_in is not None and not self._taken_in.done():
            self._taken_in.set_result(None)
        if self._client is not None:
            self._client.hold_reading(
                self._is_paused and self._held_size >= self._options.hold_size
            )
        if self._options.birth is not None:
            self._publish_birth(self._options.birth)
        self._subscribe_soon()

    def ended(self, ending: Ending) -> None:
        """The connection is gone (called by the client)."""
        self._stop_asking_again()
        if self._over is not None and not self._over.done():
            self._over.set_result(ending)

    def received(self, messages: list[Incoming]) -> None:
        """What one read gave (called by the client)."""
        if self._recorded:
            messages = self._without_repeats(messages)
        if not self._is_paused and not self._held:
            self._on_messages(messages)
            return
        self._hold(self._held + messages)
        if self._held_size >= self._options.hold_size and self._client is not None:
            self._client.hold_reading(True)

    def _hold(self, messages: list[Incoming]) -> None:
        self._held = messages
        self._held_size = sum(len(message.payload) + 200 for message in messages)

    def released(self, mids: list[int]) -> None:
        """The broker will not repeat these QoS 2 messages any more (called by the client)."""
        self._recorded.difference_update(mids)

    def _without_repeats(self, messages: list[Incoming]) -> list[Incoming]:
        """Answer QoS 2 messages that are done with, whose PUBREC was lost (MQTT 5.0 §4.3.3)."""
        repeats = [m.mid for m in messages if m.qos == 2 and m.mid in self._recorded]
        if repeats and self._client is not None:
            self._client.acknowledge([], repeats)
        return [m for m in messages if m.qos != 2 or m.mid not in self._recorded]

    # --- receiving

    def ack(self, incoming: Sequence[Incoming]) -> None:
        """Acknowledge messages in one write; those of QoS 0 or an earlier connection fall out."""
        if not self._is_up or self._client is None:
            return
        epoch = self.epoch
        mids = [message.mid for message in incoming if message.qos == 1 and message.epoch == epoch]
        done: list[int] = []
        if len(mids) != len(incoming):
            done = [
                message.mid for message in incoming if message.qos == 2 and message.epoch == epoch
            ]
            self._recorded.update(done)
        if mids or done:
            self._client.acknowledge(mids, done)

    def pause(self) -> None:
        """Hand over no more messages until `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Hand over messages again, those held first."""
        self._is_paused = False
        asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        if self._is_paused:
            return
        held, self._held, self._held_size = self._held, [], 0
        if held:
            self._on_messages(held)
        if self._client is not None:
            self._client.hold_reading(False)

    # --- subscribing

    def subscribe(
        self,
        filter: str,  # noqa: A002  # MQTT's own word
        qos: int,
        number: int = 0,
    ) -> None:
        """Subscribe now and in every new session; ValueError if the filter is none."""
        self._subscriptions.want(filter, qos, number)
        self._subscribe_soon()

    def unsubscribe(self, filter: str) -> None:  # noqa: A002  # MQTT's own word
        """Forget a subscription, here and in the broker."""
        self._subscriptions.leave(filter)
        self._subscribe_soon()

    async def wait_subscribed(self) -> None:
        """Wait until the broker has answered for all subscriptions; LinkDown once closed."""
        if self._task is None:
            raise LinkDown(f"The link to {self._where} is not open.")
        if not (self._is_up and self._subscriptions.is_settled):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _subscribe_soon(self) -> None:
        """Ask for all filters of this turn of the loop together."""
        if self._is_up and not self._is_subscribing_soon:
            self._is_subscribing_soon = True
            asyncio.get_running_loop().call_soon(self._subscribe_now)

    def _subscribe_now(self) -> None:
        self._is_subscribing_soon = False
        if not self._is_up or self._client is None:
            return
        if left := self._subscriptions.to_leave():
            self._client.unsubscribe(left)
        for filters in self._subscriptions.to_ask():
            self._subscriptions.asked(self._client.subscribe(filters), filters)
        if self._subscriptions.is_settled:
            self._tell_refused()
        self._wake_if_settled()

    def subscribed(self, mid: int, codes: list[int]) -> None:
        """The answer to SUBSCRIBE (called by the client)."""
        if self._subscriptions.answered(mid, codes):
            # Rules may be mended in the broker while we are connected: ask again now and then.
            self._stop_asking_again()
            when = self._clock.monotonic() + round(Comeback.LAST * SECOND)
            self._again = self._clock.call_at(when, self._ask_again)
        self._tell_refused()
        self._wake_if_settled()

    def _tell_refused(self) -> None:
        if refused := self._subscriptions.refused:
            name, code = min(refused.items())
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            reason = reason_text(PacketTypes.SUBACK, code)
            self._say(
                "failed",
                f'the broker {self._where} refused the subscription to "{name}"{more}: {reason}. '
                "Correct the topic, or allow it in the broker's rules.",
            )
        elif self.state == "failed":
            self._say("running", f"connected to {self._where}, and subscribed.")

    def _ask_again(self) -> None:
        self._subscriptions.refused.clear()
        self._subscribe_soon()

    def _stop_asking_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _wake_if_settled(self) -> None:
        if self._subscriptions.is_settled:
            self._wake(None)

    def _wake(self, error: LinkDown | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    # --- publishing

    def publish(self, messages: Sequence[Outgoing]) -> "asyncio.Future[None]":
        """Publish messages of topic, payload, QoS, retain and properties, in order.

        The future resolves when all are acknowledged (QoS 0: in the socket). It fails with
        PublishRefused if the broker refused some for good, with LinkDown if the connection was lost
        before. Raises LinkDown when there is none. Properties (MQTT 5; see
        `mqtt_wire.decode_properties`) are left out in 3.1.1.
        """
        if not self._is_up or self._client is None:
            what = f"There is no connection to the broker {self._where}."
            raise LinkDown(what, is_unanswered=False)
        return self._client.publish(messages)

    def _publish_birth(self, birth: Will) -> None:
        def note(done: "asyncio.Future[None]") -> None:
            if not done.cancelled() and isinstance(err := done.exception(), PublishRefused):
                _log.warning("The birth message of the link to %s: %s", self._where, err)

        message = (birth.topic, birth.payload, birth.qos, birth.retain, None)
        self.publish([message]).add_done_callback(note)

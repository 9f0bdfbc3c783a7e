"""When an MQTT link tries again, and with which protocol."""

from collections.abc import Callable

from flowengine.nodes.mqtt.reasons import Ending


class Comeback:
    """How long to wait before the next attempt, in seconds."""

    FIRST, LAST = 1.0, 60.0
    STEADY = 5.0
    """A connection that held for so long starts the delays anew."""
    LOOKUP = 15.0
    """The longest wait for a name: asking again burdens no broker, which may have moved."""
    BRIEF, WITHIN, APART = 10.0, 30.0, 10.0
    """Two endings of BRIEF lives WITHIN so long: another client has our id; stay APART at least."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._delay = self.FIRST
        self._suspect_at: float | None = None

    def wait_after(self, ending: Ending, now: float, lived: float | None) -> tuple[float, bool]:
        """Return the wait, and whether two clients seem to share our id.

        `lived` is for how long the broker had us in; None if it did not take us in.
        """
        if lived is not None and lived >= self.STEADY:
            self._delay = self.FIRST
        wait = self._delay * (0.5 + self._random() / 2)
        self._delay = min(self._delay * 2, self.LAST)
        if ending.kind == "unnamed":
            wait = min(wait, self.LOOKUP)
        # Few brokers say it: others just close a connection that has hardly begun, without a reset.
        unsaid = ending.kind == "lost" and lived is not None and lived < self.BRIEF
        if ending.kind != "taken" and not unsaid:
            return wait, False
        before, self._suspect_at = self._suspect_at, now
        if before is None or now - before > self.WITHIN:
            return wait, False
        return max(wait, self.APART * (1 + self._random() / 2)), True


class ProtocolChoice:
    """Which protocol to speak: as asked for; with `auto` 5, and 3.1.1 if 5 is not understood.

    Some brokers say so; some close without a word (one that restarts does that too, so it takes two
    in a row); some wait for more. Once a broker was heard to speak, only its word changes it.
    """

    def __init__(self, asked: str) -> None:
        self.version5 = asked != "3.1.1"
        self.is_a_guess = asked == "auto"
        """Whether 5 or 3.1.1 is still to be found out."""
        self._is_open = asked == "auto"
        self._mute_in_a_row = 0

    def accepted(self) -> None:
        """The broker speaks it."""
        self.is_a_guess = False
        self._mute_in_a_row = 0

    def try_other(self, ending: Ending) -> bool:
        """Choose after a connection ended; True to try again at once, with the other protocol."""
        if not self._is_open:
            return False
        if ending.kind == "version" and self.version5:
            self.version5 = False
            return True
        self._mute_in_a_row = self._mute_in_a_row + 1 if ending.kind == "mute" else 0
        if self.is_a_guess and (ending.kind == "silent" or self._mute_in_a_row == 2):
            self.version5, self._mute_in_a_row = not self.version5, 0
            return not self.version5
        return False

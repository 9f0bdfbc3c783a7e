"""What a made-up sensor measures: a pure function of seed, device, reading number and time.

Nothing here draws from a generator that others share. A reading's chance is a hash of what names
it, so that the same seed gives the same readings whatever else runs and in whichever order nodes
start (R27); the one door to chance (`clock.random`) is for what need not be repeated.
"""

import hashlib
import math
import struct
from statistics import NormalDist

DAY = 86_400_000
_NORMAL = NormalDist().inv_cdf
_STEPS = 1 << 32


def chances(seed: int, device: str, number: int) -> tuple[float, ...]:
    """Eight numbers in (0, 1), evenly spread, for reading `number` of a device."""
    named = f"{seed}/{device}/{number}".encode()
    drawn = struct.unpack("<8I", hashlib.blake2b(named, digest_size=32).digest())
    return tuple((one + 0.5) / _STEPS for one in drawn)


def temperature(millis: int, *, base: float, swing: float) -> float:
    """Degrees Celsius at a Unix time: coldest at 03:00 UTC, warmest at 15:00."""
    return base + swing * math.sin(2 * math.pi * (millis % DAY / DAY - 9 / 24))


def noise(chance: float, deviation: float) -> float:
    """Normal noise of this standard deviation."""
    return _NORMAL(chance) * deviation


def spike(chance: float) -> float:
    """A wrong value's distance from the right one: 20 to 60 degrees up or down."""
    return (40 * abs(2 * chance - 1) + 20) * (1 if chance >= 0.5 else -1)


def humidity(warmer: float, chance: float) -> float:
    """Relative humidity in percent: 45 at the base temperature, less when it is warmer."""
    return min(100.0, max(0.0, 45 - 1.5 * warmer + noise(chance, 0.5)))


def battery(age_days: float, chance: float) -> float:
    """Volts of a lithium cell: from 3.65 down to 3.0 within about five years."""
    return max(3.0, 3.65 - 0.65 * age_days / 1800) + noise(chance, 0.005)

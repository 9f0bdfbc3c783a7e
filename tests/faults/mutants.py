"""Mutants of good contents: bits, bytes, pieces and numbers changed, by a seed.

for raw in mutants(CORPUS, seed=7, number=10_000): ...
"""

import random
from collections.abc import Iterator, Sequence

SPICE = (
    b"\0", b"\xff", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbf\xbe", b"\xe2\x80\xae", b"\n", b"\r\n",
    b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b",", b":", b"=", b" ", b"{", b"}", b"[", b"]",
    b"NaN", b"Infinity", b"-0", b"1e400", b"-1e-400", b"9007199254740993", b"18446744073709551616",
    b"9" * 400, b"null", b"true", b"[" * 70, b'{"a":' * 70, b"\x9f", b"\xbf", b"\x5f", b"\x7f",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xbb\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xc2\x49\x01" + b"\0" * 8, b"\xd8\x1d\x00",
    b"\xd8\x1c\x81", b"\xfb\x7f\xf8\0\0\0\0\0\0", b"\xf9\x7c\x00", b"\x81" * 70, b"\xc1" * 70,
)  # fmt: skip


def mutants(corpus: Sequence[bytes], *, seed: int, number: int) -> Iterator[bytes]:
    """So many mutants; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  # the same for the same seed
    for _ in range(number):
        raw = bytearray(chance.choice(corpus))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            chance.choice(CHANGES)(raw, corpus, chance)
        yield bytes(raw)


def _place(raw: bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randint(0, len(raw))
    return start, min(len(raw), start + chance.choice((0, 1, 1, 2, 4, 16)))


def _flip(raw: bytearray, _corpus: Sequence[bytes], chance: random.Random) -> None:
    if raw:
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)


def _set(raw: bytearray, _corpus: Sequence[bytes], chance: random.Random) -> None:
    if raw:
        raw[chance.randrange(len(raw))] = chance.randrange(256)


def _cut(raw: bytearray, _corpus: Sequence[bytes], chance: random.Random) -> None:
    start, end = _place(raw, chance)
    del raw[start:end]


def _cut_short(raw: bytearray, _corpus: Sequence[bytes], chance: random.Random) -> None:
    del raw[chance.randint(0, len(raw)) :]


def _spice(raw: bytearray, _corpus: Sequence[bytes], chance: random.Random) -> None:
    start, end = _place(raw, chance)
    raw[start:end] = chance.choice(SPICE)


def _repeat(raw: bytearray, _corpus: Sequence[bytes], chance: random.Random) -> None:
    start, end = _place(raw, chance)
    raw[start:end] = raw[start:end] * chance.choice((2, 2, 3, 50))


def _splice(raw: bytearray, corpus: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(corpus)
    raw[chance.randint(0, len(raw)) :] = other[chance.randint(0, len(other)) :]


CHANGES = (_flip, _set, _cut, _cut_short, _spice, _repeat, _splice)

"""Times, durations and sizes are read exactly, written short and refused with a mend (R2, R30)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.moments import (
    SECOND,
    format_duration,
    format_time,
    ns_to_seconds,
    parse_duration,
    parse_size,
    parse_time,
    seconds_to_ns,
)

NEW_YEAR = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("value", "format", "ns"),
    [
        ("2026-01-01T00:00:00Z", "auto", NEW_YEAR),
        ("2026-01-01T00:00:00.25Z", "auto", NEW_YEAR + 250_000_000),
        ("2026-01-01T00:00:00.123456789Z", "rfc3339", NEW_YEAR + 123_456_789),
        ("2026-01-01T00:00:00.1234567891Z", "auto", NEW_YEAR + 123_456_789),
        ("2026-01-01T01:30:00+01:30", "auto", NEW_YEAR),
        ("2025-12-31T19:00:00-05:00", "auto", NEW_YEAR),
        ("2026-01-01t00:00:00z", "auto", NEW_YEAR),
        ("2026-01-01 00:00:00Z", "auto", NEW_YEAR),
        ("2025-12-31T23:59:60Z", "auto", NEW_YEAR),
        ("1969-12-31T23:59:59.5Z", "auto", -500_000_000),
        ("2024-02-29T00:00:00Z", "auto", 1_709_164_800 * SECOND),
        (1_767_225_600, "auto", NEW_YEAR),
        (1_767_225_600.25, "auto", NEW_YEAR + 250_000_000),
        (1_767_225_600_000, "auto", NEW_YEAR),
        (1_767_225_600_123.5, "auto", NEW_YEAR + 123_500_000),
        (1_767_225_600_123_456, "auto", NEW_YEAR + 123_456_000),
        (1_767_225_600_123_456_789, "auto", NEW_YEAR + 123_456_789),
        (99_999_999_999, "auto", None),
        (100_000_000_000, "auto", 100_000_000 * SECOND),
        (9_223_372_036_854, "auto", 9_223_372_036_854_000_000),
        (99_999_999_999_999, "auto", None),
        (100_000_000_000_000, "auto", 100_000_000 * SECOND),
        (99_999_999_999_999_999, "auto", None),
        (100_000_000_000_000_000, "auto", 100_000_000 * SECOND),
        (0, "auto", 0),
        (5, "unix", 5 * SECOND),
        (5, "unix_ms", 5_000_000),
        (5, "unix_us", 5_000),
        (5, "unix_ns", 5),
        (1.5, "unix_ms", 1_500_000),
        ("5.25", "unix", 5_250_000_000),
        (" 1767225600123 ", "unix_ms", NEW_YEAR + 123_000_000),
    ],
)
def test_r2_reads(value: Any, format: str, ns: int | None) -> None:  # noqa: A002  # as the field
    if ns is None:  # the largest of its unit, which lies beyond the years of 64 bits
        with pytest.raises(ValueError, match="1677 to 2262"):
            parse_time(value, format)
    else:
        assert parse_time(value, format) == ns


@pytest.mark.parametrize(
    ("value", "format"),
    [
        (None, "auto"),
        (True, "auto"),
        ([], "auto"),
        ({}, "unix"),
        (b"1", "unix"),
        (float("nan"), "auto"),
        (float("inf"), "unix"),
        ("", "auto"),
        ("1767225600", "auto"),
        ("yesterday", "auto"),
        ("2026-01-01", "auto"),
        ("2026-01-01T00:00:00", "auto"),
        ("2026-02-29T00:00:00Z", "auto"),
        ("2026-13-01T00:00:00Z", "auto"),
        ("2026-01-01T24:00:00Z", "auto"),
        ("2026-01-01T00:60:00Z", "auto"),
        ("2026-01-01T00:00:61Z", "auto"),
        ("2026-01-01T00:00:00+24:00", "auto"),
        ("0001-01-01T00:00:00Z", "auto"),
        ("\u0662026-01-01T00:00:00Z", "auto"),
        ("x", "unix_ms"),
        ("1e5", "unix"),
        (5, "rfc3339"),
        (5, "weeks"),
        (1 << 80, "unix_ns"),
        (1e300, "unix"),
    ],
)
def test_r2_refuses(value: Any, format: str) -> None:  # noqa: A002  # as the field
    with pytest.raises(ValueError, match=r"\w"):
        parse_time(value, format)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (NEW_YEAR, "2026-01-01T00:00:00Z"),
        (NEW_YEAR + 250_000_000, "2026-01-01T00:00:00.25Z"),
        (NEW_YEAR + 1, "2026-01-01T00:00:00.000000001Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-(1 << 63), "1677-09-21T00:12:43.145224192Z"),
        ((1 << 63) - 1, "2262-04-11T23:47:16.854775807Z"),
        (-62_135_596_800 * SECOND, "0001-01-01T00:00:00Z"),
    ],
)
def test_r2_writes(ns: int, text: str) -> None:
    assert format_time(ns) == text


def test_r2_seconds_become_whole_microseconds() -> None:
    assert int(1_795_449_204.25 * 1e9) != 1_795_449_204_250_000_000, "the fault this rule is for"
    assert seconds_to_ns(1_795_449_204.25) == 1_795_449_204_250_000_000
    for bad in (float("nan"), float("inf"), 1e300, 1 << 70):
        with pytest.raises(ValueError, match=r"time|1677"):
            seconds_to_ns(bad)
    with pytest.raises(ValueError, match="years 1 to 9999"):
        format_time(1 << 80)


@given(st.integers(0, 4_294_967_295_999_999))
def test_r2_microseconds_are_exact_through_seconds(us: int) -> None:
    assert seconds_to_ns(ns_to_seconds(us * 1000)) == us * 1000


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_r2_a_time_is_read_as_it_is_written(ns: int) -> None:
    assert parse_time(format_time(ns)) == ns


@given(st.text(max_size=30) | st.floats() | st.integers() | st.none() | st.binary(max_size=4))
def test_nothing_but_value_errors(value: Any) -> None:
    for read in (parse_time, parse_duration, parse_size):
        try:
            assert isinstance(read(value), int)
        except ValueError as error:
            assert str(error)  # noqa: PT017  # an integer is as good


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("5s", 5 * SECOND),
        ("250ms", 250_000_000),
        ("1h30m", 5400 * SECOND),
        ("7d", 7 * 86400 * SECOND),
        ("1d2h3m4s5ms", 93_784_005_000_000),
        ("12.5s", 12_500_000_000),
        ("0.5ms", 500_000),
        ("0s", 0),
        ("60s", 60 * SECOND),
        ("0.1s", 100_000_000),
    ],
)
def test_r30_reads_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (5, 'Write "5s"'),
        (None, "no unit"),
        ("5", 'Write "5s".'),
        ("", "no duration"),
        ("5 s", "no duration"),
        ("-5s", "no duration"),
        ("5sec", "no duration"),
        ("1.s", "no duration"),
        (".5s", "no duration"),
        ("30m1h", "larger unit comes first"),
        ("1s1s", "larger unit comes first"),
        ("999999999999d", "outside"),
        ("9" * 70 + "s", "no duration"),
        ("\u0665s", "no duration"),
    ],
)
def test_r30_refuses_durations(text: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_duration(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (60 * SECOND, "1m"),
        (5400 * SECOND, "1h30m"),
        (12_500_000_000, "12.5s"),
        (250_000_000, "250ms"),
        (1_500_000, "1.5ms"),
        (1, "0.000001ms"),
        (86400 * SECOND, "1d"),
        (3600 * SECOND + 1, "1h0.000000001s"),
    ],
)
def test_r30_writes_durations_short(ns: int, text: str) -> None:
    assert format_duration(ns) == text


@given(st.integers(0, 1 << 62))
def test_r30_a_duration_is_read_as_it_is_written(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


def test_r30_no_duration_is_negative() -> None:
    with pytest.raises(ValueError, match="below zero"):
        format_duration(-1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64KB", 64_000),
        ("64kB", 64_000),
        ("10MB", 10_000_000),
        ("1MiB", 1 << 20),
        ("1GB", 10**9),
        ("2GiB", 2 << 30),
        ("1TB", 10**12),
        ("1TiB", 1 << 40),
        ("512B", 512),
        ("1.5KiB", 1536),
        ("0B", 0),
    ],
)
def test_r30_reads_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (64, 'Write "64B" for bytes'),
        ("64", 'Write "64B".'),
        ("", "no size"),
        ("64K", "no size"),
        ("64iB", "no size"),
        ("64kiB", "no size"),
        ("-1KB", "no size"),
        ("0.0001KB", "no whole number"),
    ],
)
def test_r30_refuses_sizes(text: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_size(text)
    assert words in str(caught.value)

"""convert gives the number in another unit to the last digit, and refuses units that do not fit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import FindingsError
from flowengine.nodes.convert import units
from flowengine.testing import NodeBench


def converted(source: str, target: str, reading: Any) -> Any:
    """The payload that leaves by `out`."""
    out = NodeBench("convert", {"from": source, "to": target}).send(reading)
    assert list(out) == ["out"], out
    return out["out"][0].payload


@pytest.mark.parametrize(
    ("source", "reading", "target", "expected"),
    [
        ("degC", 100, "degF", 212.0),
        ("degC", -40, "degF", -40.0),
        ("degC", 21.5, "degF", 70.7),
        ("degF", 212, "degC", 100.0),
        ("degC", 0, "K", 273.15),
        ("°C", 0, "°F", 32.0),
        ("delta_degC", 10, "delta_degF", 18.0),
        ("mm", 9, "m", 0.009),
        ("inch", 1, "cm", 2.54),
        ("kWh", 1, "J", 3.6e6),
        ("km/h", 36, "m/s", 10.0),
        ("bar", 1.5, "kPa", 150.0),
        ("percent", 50, "dimensionless", 0.5),
        ("lb", 1, "kg", 0.45359237),
        ("m**3/h", 6, "L/min", 100.0),
    ],
)
def test_r45_a_line_is_exact(source: str, reading: float, target: str, expected: float) -> None:
    assert converted(source, target, reading) == expected


@pytest.mark.parametrize(
    ("source", "reading", "target", "expected"),
    [
        ("psi", 14.5, "kPa", 99.97398),
        ("degree", 180, "radian", 3.14159265),
        ("dBm", 30, "mW", 1000.0),
        ("mW", 100, "dBm", 20.0),
        ("mW", 1, "dBm", 0.0),
        ("hPa", 1013.25, "inHg", 29.9212),
    ],
)
def test_other_units_are_as_near_as_a_float_is(
    source: str, reading: float, target: str, expected: float
) -> None:
    assert converted(source, target, reading) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_field_is_converted_in_its_place() -> None:
    config = {"from": "degC", "to": "degF", "field": "payload.t"}
    out = NodeBench("convert", config).send({"t": 100, "u": 1})
    assert out["out"][0].payload == {"t": 212.0, "u": 1}


@pytest.mark.parametrize("reading", [0, -1.0, "1", None, True, float("nan"), float("inf")])
def test_what_has_no_value_takes_the_error_route(reading: Any) -> None:
    out = NodeBench("convert", {"from": "mW", "to": "dBm"}).send(reading)
    assert list(out) == ["error"]
    assert out["error"][0].meta["error"]["slug"] == "not-a-number"


@pytest.mark.parametrize(
    ("source", "target", "field", "words"),
    [
        ("celsuis", "degF", "config.from", 'Did you mean "celsius"?'),
        ("degC", "farenheit", "config.to", "fahrenheit"),
        ("m", "s", "config", "different things"),
        ("degC", "delta_degF", "config", "delta_degC"),
        ("qqqqqqq", "m", "config.from", "pint"),
        ("", "m", "config.from", "no unit"),
        ("m**", "m", "config.from", "no unit"),
        ("5 m", "m", "config.from", "without a number"),
        ("m", "m**9**9**9**9", "config.to", "no unit"),
        ("10000*m", "m", "config.from", "no unit"),
        ("m" * 5000, "m", "config.from", "no unit"),
        ("__import__('os').getcwd()", "m", "config.from", "no unit"),
    ],
)
def test_units_that_do_not_fit_are_a_finding(
    source: str, target: str, field: str, words: str
) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("convert", {"from": source, "to": target})
    (finding,) = caught.value.findings
    assert (finding.slug, finding.where.field) == ("bad-value", field)
    assert words in str(finding)


@pytest.mark.parametrize(
    ("source", "target"), [("degC", "degF"), ("psi", "kPa"), ("mm", "inch"), ("degree", "radian")]
)
@given(value=st.floats(-1e6, 1e6))
def test_there_and_back_is_the_same(source: str, target: str, value: float) -> None:
    there, back = units.conversion(source, target), units.conversion(target, source)
    assert isinstance(there, tuple)
    assert isinstance(back, tuple)
    once = (value * there[0] + there[1]) / there[2]
    assert (once * back[0] + back[1]) / back[2] == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(st.text(max_size=30) | st.text("degCm/*^0123456789. ()", max_size=30))
def test_no_text_is_more_than_an_unknown_unit(name: str) -> None:
    try:
        units.known(name)
    except units.UnitFault as err:
        message = str(err)
    else:
        message = "known."
    assert message

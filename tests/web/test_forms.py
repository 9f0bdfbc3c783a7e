"""Each node type gets a form from its config's schema, and a config is judged field by field."""

from collections.abc import Iterator
from typing import Any

import pytest

from flowengine.registry import REGISTRY
from flowengine.web.forms import form, judged
from flowengine.web.problem import Problem
from flowengine.web.typenames import title, types_told
from tests.web.box import API, Box

TYPES = types_told(REGISTRY)["types"]
WIDGETS = {
    "switch", "segmented", "select", "checks", "number", "integer", "text", "duration", "size",
    "expression", "path", "template", "topic-template", "topic-filter", "code", "secret",
    "connection", "nodes", "rows", "map", "group", "union", "json", "host",
}  # fmt: skip
CATEGORIES = {
    "source", "network", "logic", "function", "storage", "output", "flow", "debug", "connection",
}  # fmt: skip


def fields(shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A form's fields, and those inside of them."""
    for field in shape.get("fields") or []:
        yield field
        yield from fields(field)
        for inner in [field["item"], *(way["field"] for way in field["ways"] or [])]:
            if inner is not None:
                yield inner
                yield from fields(inner)


def named(type_name: str, *path: str) -> dict[str, Any]:
    """A field of a type by its path."""
    found = form(type_name)
    for name in path:
        found = next(field for field in found["fields"] if field["name"] == name)
    return found


@pytest.mark.parametrize("name", [entry["name"] for entry in TYPES])
def test_every_type_has_a_form_whose_fields_say_what_they_are(name: str) -> None:
    shape = form(name)
    assert shape["title"]
    assert shape["summary"]
    for field in shape["fields"]:
        assert field["help"], field["name"]
        assert field["label"]
    for field in fields(shape):
        assert field["widget"] in WIDGETS, field
        assert (field["widget"] in {"segmented", "select", "checks"}) <= bool(field["options"])
        assert (field["widget"] == "group") <= bool(field["fields"])
        assert (field["widget"] == "union") <= (len(field["ways"] or []) > 1)
        assert (field["widget"] in {"rows", "map"}) <= (field["item"] is not None)


@pytest.mark.parametrize(
    ("type_name", "path", "widget"),
    [
        ("mqtt.in", ("topic",), "union"),
        ("mqtt.in", ("broker",), "connection"),
        ("mqtt.in", ("qos",), "segmented"),
        ("mqtt.in", ("decode",), "select"),
        ("mqtt.in", ("max_ahead",), "duration"),
        ("mqtt.out", ("topic",), "topic-template"),
        ("mqtt.out", ("payload",), "template"),
        ("mqtt.out", ("batch",), "group"),
        ("mqtt.out", ("batch", "age"), "duration"),
        ("mqtt.broker", ("password",), "secret"),
        ("mqtt.broker", ("tls",), "group"),
        ("mqtt.broker", ("host",), "host"),
        ("mqtt.broker", ("port",), "integer"),
        ("threshold", ("above",), "number"),
        ("threshold", ("field",), "path"),
        ("threshold", ("hold",), "duration"),
        ("route", ("rules",), "rows"),
        ("route", ("first_only",), "switch"),
        ("compute", ("set",), "map"),
        ("catch", ("nodes",), "nodes"),
        ("debug", ("to",), "checks"),
        ("timer.tick", ("payload",), "json"),
    ],
)
def test_a_field_says_the_kind_of_its_value(
    type_name: str, path: tuple[str, ...], widget: str
) -> None:
    assert named(type_name, *path)["widget"] == widget


def test_a_field_says_what_may_stand_there() -> None:
    broker = named("mqtt.in", "broker")
    assert (broker["connection_types"], broker["options_from"]) == (["mqtt.broker"], "connections")
    assert broker["required"] is True
    assert named("mqtt.broker", "password")["references"] == ["secret"]
    assert named("mqtt.broker", "host")["references"] == ["param", "env"]
    port = named("mqtt.broker", "port")
    assert (port["min"], port["max"], port["nullable"], port["has_default"]) == (
        1, 65_535, True, False,
    )  # fmt: skip
    qos = named("mqtt.in", "qos")
    assert [option["value"] for option in qos["options"]] == [0, 1, 2]
    assert (qos["default"], qos["has_default"]) == (1, True)
    assert named("threshold", "forget")["advanced"] is True
    rule = named("route", "rules")["item"]
    assert [field["name"] for field in rule["fields"]] == ["to", "when"]
    assert named("compute", "set")["item"]["widget"] == "expression"


def test_types_are_named_and_sorted_for_people() -> None:
    told = {entry["name"]: entry for entry in TYPES}
    assert title("mqtt.in") == "MQTT in"
    assert title("senml.decode") == "SenML decode"
    assert title("threshold") == "Threshold"
    assert {entry["category"] for entry in TYPES} <= CATEGORIES
    assert told["mqtt.broker"]["category"] == "connection"
    assert told["threshold"]["shows"] == "above"
    assert told["mqtt.in"]["shows"] == "topic"
    assert told["timer.tick"]["shows"] == "every"
    assert told["file.append"]["powers"] == ["file"]


@pytest.mark.parametrize(
    ("type_name", "config", "paths"),
    [
        ("threshold", {"above": 8}, []),
        ("threshold", {"above": "x"}, [["above"]]),
        ("threshold", {"above": 8, "hold": "5"}, [["hold"]]),
        ("threshold", {"above": {"$param": "limit"}}, []),
        ("threshold", {"above": {"$param": "nothing"}}, []),
        ("threshold", {"above": {"$param": "word"}}, [["above"]]),
        ("threshold", {"above": 8, "other": 1}, [["other"]]),
        ("route", {"rules": [{"to": "a", "when": "1 +"}]}, [["rules", 0, "when"]]),
        ("mqtt.in", {"topic": "a/#/b", "broker": "site"}, [["topic"]]),
        ("mqtt.in", {"broker": "site"}, [["topic"]]),
        ("mqtt.broker", {"host": "h", "password": "p"}, [["password"]]),
        ("mqtt.broker", {"host": "h", "password": {"$secret": "p"}}, []),
    ],
)
def test_a_config_is_judged_field_by_field(
    type_name: str, config: dict[str, Any], paths: list[Any]
) -> None:
    found = judged(type_name, config, {"limit": 8.0, "word": "x"})
    assert [error["path"] for error in found["errors"]] == paths


def test_outputs_and_the_cards_line_follow_the_config() -> None:
    rules = [{"to": "warm", "when": "payload > 8"}, {"to": "cold", "when": "payload < 2"}]
    assert judged("route", {"rules": rules})["outputs"] == ["warm", "cold"]
    assert judged("route", {"rules": rules, "x": 1})["outputs"] == ["warm", "cold"]
    assert judged("route", {})["outputs"] == []
    assert judged("threshold", {"above": 8})["shows"] == "8"
    assert judged("threshold", {"above": {"$param": "p"}})["shows"] is None


def test_a_type_that_is_not_there_is_404() -> None:
    with pytest.raises(Problem) as found:
        form("no.such")
    assert found.value.status == 404


def test_the_routes_give_types_once_and_forms_with_the_flows_params(box: Box) -> None:
    with box.client("ed") as client:
        types = client.get(f"{API}/node-types")
        assert len(types.json()["types"]) == len(TYPES)
        again = client.get(f"{API}/node-types", headers={"If-None-Match": types.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        document = {
            "format": 1,
            "params": {"limit": {"type": "text", "default": "eight"}},
            "nodes": {"hot": {"type": "threshold", "config": {"above": {"$param": "limit"}}}},
        }
        client.post(f"{API}/flows", json={"id": "with-param", "document": document})
        body = {"config": {"above": {"$param": "limit"}}, "flow": "with-param", "node": "hot"}
        found = client.post(f"{API}/node-types/threshold/form", json=body).json()
        assert [error["path"] for error in found["errors"]] == [["above"]]
        assert found["form"] == client.get(f"{API}/node-types/threshold/form").json()
        assert found["outputs"] == ["raised", "cleared"]

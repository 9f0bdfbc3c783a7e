"""Pages, table and palette say what the node types say, and nothing of their own."""

import json
from pathlib import Path
from typing import Any

import pytest

from flowengine.docs import BEGIN, END, fill_readme, index, page, palette, readme_table
from flowengine.registry import REGISTRY
from tests.sample_types import SAMPLES

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
REAL, _ = REGISTRY.everything()


def test_a_page_tells_the_docstring_the_outputs_and_every_setting() -> None:
    text = page(SAMPLES.types["limit"])
    assert text.startswith("# limit\n\nSay when a reading crosses a limit.\n")
    assert "\n- In: a finite number.\n- Out `raised`: the reading.\n" in text
    assert "`raised`, `cleared` (may stay unwired), and `error`" in text
    assert "| `high` | number | required | Upper limit. |" in text
    assert '| `hold` | duration, as `"5s"` | `"0s"` | How long. |' in text
    assert "state: one for each key" in text


def test_a_page_has_a_table_for_each_map_within() -> None:
    text = page(SAMPLES.types["store"])
    assert "## `retry`" in text
    assert "| `give_up` |" in text
    assert "harmless; identity: series + time" in text
    assert "| `database` | id of a connection: `link.database` |" in text


@pytest.mark.parametrize("name", sorted(REAL))
def test_every_page_names_every_setting(name: str) -> None:
    kind = REAL[name]
    text = page(kind)
    for key, info in kind.config.model_fields.items():
        assert f"| `{info.alias or key}` |" in text
        assert info.description, f"{name}.{key} has no description"
    assert all(line.count(" | ") >= 3 for line in text.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize(
    ("name", "identity"),
    [("influxdb.write", "series + time"), ("series.write", "series + tags + field + time")],
)
def test_r56_the_page_of_a_store_says_what_makes_it_exact(name: str, identity: str) -> None:
    text = page(REAL[name])
    assert f"identity: {identity}" in text
    assert 'set the source\'s "time" for exactly-once' in text


def test_r55_the_page_says_to_keep_ns_without_a_time_of_its_own() -> None:
    text = " ".join(page(REAL["influxdb.write"]).split())
    assert "without it, keep `precision` at ns" in text


def test_the_index_says_what_cannot_be_used_and_why() -> None:
    text = index(SAMPLES)
    assert "| [`limit`](limit.md) | transform | Say when a reading crosses a limit. |" in text
    assert '- `broken`: the node family "broken" cannot be imported: no module "driver".' in text


def test_the_palette_is_json_with_a_form_for_every_type() -> None:
    entries = {entry["name"]: entry for entry in json.loads(json.dumps(palette(SAMPLES)))}
    assert sorted(entries) == sorted(SAMPLES.types)
    limit: dict[str, Any] = entries["limit"]
    assert (limit["family"], limit["kind"], limit["origin"]) == ("limit", "transform", "flowengine")
    assert limit["outputs"] == ["raised", "cleared"]
    assert limit["config"]["properties"]["hold"]["format"] == "duration"
    assert entries["sort"]["outputs_vary"] is True
    assert entries["feed"]["has_input"] is False
    assert entries["feed"]["connections"] == {"broker": ["link.broker"]}


def test_readmes_table_stands_between_its_markers_and_changes_nothing_else() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    filled = fill_readme(text, SAMPLES)
    assert filled == f"before\n{BEGIN}\n\n{readme_table(SAMPLES)}\n{END}\nafter\n"
    assert fill_readme(filled, SAMPLES) == filled
    with pytest.raises(ValueError, match="markers"):
        fill_readme("no table here", SAMPLES)


@pytest.mark.skipif(not README.exists(), reason="there is no README.md yet")
def test_readmes_table_is_todays() -> None:
    text = README.read_text(encoding="utf-8")
    assert fill_readme(text, REGISTRY) == text, "run flowengine docs --readme README.md"

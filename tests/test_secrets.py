"""Secrets are found by name, kept encrypted for their owner alone, and survive what breaks."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import StartError, UsageError
from flowengine.secrets import SecretStore
from flowengine.secrets.keys import new_key, seal, unseal

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path / "data", env={})


def mode(path: Any) -> Any:
    return stat.S_IMODE(path.stat().st_mode)


def again(store: SecretStore, **env: Any) -> Any:
    return SecretStore(store.folder, env=env)


def test_gives_back_what_was_stored(store: SecretStore) -> None:
    store.set("site-mqtt", "hünter2\n with a second line")
    store.set("a", "1")
    assert again(store).get("site-mqtt") == "hünter2\n with a second line"
    assert store.list() == ["a", "site-mqtt"]
    assert store.get("gone") is None


def test_a_new_value_takes_the_place_of_the_old(store: SecretStore) -> None:
    store.set("a", "1")
    store.set("a", "2")
    assert (store.get("a"), store.list()) == ("2", ["a"])


def test_asking_an_empty_box_makes_nothing(store: SecretStore) -> None:
    assert store.get("a") is None
    assert store.list() == []
    assert store.rotate() == 0
    assert not store.file.exists()
    assert not store.key_file.exists()


def test_no_value_stands_in_any_file(store: SecretStore) -> None:
    store.set("a", "hunter2")
    for path in store.folder.iterdir():
        assert b"hunter2" not in path.read_bytes()
        assert base64.b64encode(b"hunter2")[:8] not in path.read_bytes()


def test_files_are_for_their_owner_alone_and_nothing_is_left_over(store: SecretStore) -> None:
    before = os.umask(0)
    try:
        store.set("a", "1")
    finally:
        os.umask(before)
    assert (mode(store.folder), mode(store.file), mode(store.key_file)) == (0o700, 0o600, 0o600)
    assert sorted(path.name for path in store.folder.iterdir()) == ["secrets.json", "secrets.key"]


def test_two_boxes_share_neither_key_nor_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        store = SecretStore(tmp_path / name, env={})
        store.set("a", "same")
        files.append((store.key_file.read_text(), store.file.read_text()))
    assert files[0][0] != files[1][0]
    assert files[0][1] != files[1][1]


def test_one_value_is_never_stored_alike_twice(store: SecretStore) -> None:
    store.set("a", "same")
    first = json.loads(store.file.read_text())["secrets"]["a"]
    store.set("a", "same")
    second = json.loads(store.file.read_text())["secrets"]["a"]
    assert first["nonce"] != second["nonce"]
    assert first["value"] != second["value"]


def test_r19_credential_then_variable_then_store(store: SecretStore, tmp_path: Path) -> None:
    store.set("site-mqtt", "store")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    variable = {"FLOWENGINE_SECRET_SITE_MQTT": "variable"}
    both = {**variable, "CREDENTIALS_DIRECTORY": str(credentials)}
    assert (store.get("site-mqtt"), store.home("site-mqtt")) == ("store", "store")
    assert again(store, **variable).get("site-mqtt") == "variable"
    assert again(store, **both).home("site-mqtt") == "variable"
    (credentials / "site-mqtt").write_text("credential\n")
    assert again(store, **both).get("site-mqtt") == "credential"
    assert again(store, **both).home("site-mqtt") == "credential"
    assert again(store, **both).home("gone") is None


def test_an_empty_variable_counts_as_not_set(store: SecretStore) -> None:
    assert again(store, FLOWENGINE_SECRET_A="").get("a") is None


def test_no_name_leads_out_of_the_credentials(store: SecretStore, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    (tmp_path / "credentials").mkdir()
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    for name in ("../outside", "/etc/hostname", "", ".", "a/../../outside"):
        assert again(store, **env).get(name) is None


def test_removes(store: SecretStore) -> None:
    store.set("a", "1")
    assert store.remove("a") is True
    assert store.remove("a") is False
    assert (store.get("a"), store.list()) == (None, [])


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("Site", "x", '"Site"'),
        ("../a", "x", "no name"),
        ("a", "", "empty"),
        ("a", "\ud800", "UTF-8"),
        ("a", "x" * 1_000_001, "longer"),
    ],
)
def test_refuses_what_cannot_be_stored(
    store: SecretStore, name: str, value: Any, what: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        store.set(name, value)
    assert what in caught.value.what
    assert caught.value.mend
    assert not store.file.exists()


def test_rotating_changes_key_and_bytes_and_no_value(store: SecretStore) -> None:
    store.set("a", "1")
    store.set("b", "2")
    key, held = store.key_file.read_text(), store.file.read_text()
    assert store.rotate() == 2
    assert store.key_file.read_text() != key
    assert len(store.key_file.read_text().split()) == 1
    assert mode(store.key_file) == 0o600
    assert store.file.read_text() != held
    assert (store.get("a"), store.get("b")) == ("1", "2")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_crash_while_rotating_loses_nothing(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    store.set("a", "1")
    count = 0

    def crash(path: Any, text: str) -> None:
        nonlocal count
        count += 1
        if count == step:
            raise KeyboardInterrupt
        real(path, text)

    real = __import__("flowengine.secrets", fromlist=["x"]).write_whole
    with monkeypatch.context() as patch:
        patch.setattr("flowengine.secrets.write_whole", crash)
        with pytest.raises(KeyboardInterrupt):
            store.rotate()
    assert store.get("a") == "1"
    assert store.rotate() == 1
    assert store.get("a") == "1"
    assert len(store.key_file.read_text().split()) == 1


@pytest.mark.parametrize("key", [KEY, (b"k" * 32).hex()])
def test_takes_a_key_from_outside_and_makes_none(
    store: SecretStore, tmp_path: Path, key: Any
) -> None:
    outside = again(store, FLOWENGINE_SECRETS_KEY=key)
    outside.set("a", "1")
    assert not store.key_file.exists()
    assert again(store, FLOWENGINE_SECRETS_KEY=KEY).get("a") == "1"
    (tmp_path / "flowengine-key").write_text(KEY + "\n")
    by_credential = {"CREDENTIALS_DIRECTORY": str(tmp_path), "FLOWENGINE_SECRETS_KEY": OTHER}
    assert again(store, **by_credential).get("a") == "1"


def test_rotates_a_key_from_outside_with_the_old_one_behind_the_new(store: SecretStore) -> None:
    again(store, FLOWENGINE_SECRETS_KEY=KEY).set("a", "1")
    with pytest.raises(UsageError, match="holds one key"):
        again(store, FLOWENGINE_SECRETS_KEY=KEY).rotate()
    assert again(store, FLOWENGINE_SECRETS_KEY=f"{OTHER} {KEY}").rotate() == 1
    assert again(store, FLOWENGINE_SECRETS_KEY=OTHER).get("a") == "1"
    assert not store.key_file.exists()


def refused(call: Any) -> Any:
    with pytest.raises(StartError) as caught:
        call()
    assert caught.value.mend
    assert "hunter2" not in str(caught.value)
    return caught.value


def test_another_key_is_told_and_values_wait_for_theirs(store: SecretStore) -> None:
    store.set("a", "hunter2")
    other = again(store, FLOWENGINE_SECRETS_KEY=KEY)
    err = refused(lambda: other.get("a"))
    assert "another key" in err.what
    assert "secrets set a" in err.mend
    other.set("b", "2")
    assert (store.get("a"), other.get("b")) == ("hunter2", "2")


def test_a_lost_key_is_told_and_new_values_can_be_stored(store: SecretStore) -> None:
    store.set("a", "hunter2")
    store.key_file.unlink()
    err = refused(lambda: store.get("a"))
    assert str(store.key_file) in err.what
    store.set("b", "2")
    assert store.get("b") == "2"
    assert store.list() == ["a", "b"]
    refused(lambda: store.get("a"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b'{"format": 1, "secrets": {', "line 1, column"),
        (b"", "empty"),
        (b"\xff\xfe", "UTF-16"),
        (b"[]", '"secrets"'),
        (b'{"format": 1, "secrets": {"a": {"key": "x"}}}', '"a" is not whole'),
        (b'{"format": 1, "secrets": {"a": 7}}', '"a" is not whole'),
    ],
)
def test_a_damaged_store_is_told_and_set_aside_by_the_next_value(
    store: SecretStore, text: bytes, what: Any
) -> None:
    store.set("a", "1")
    store.file.write_bytes(text)
    for call in (lambda: store.get("a"), store.list, lambda: store.remove("a"), store.rotate):
        err = refused(call)
        assert str(store.file) in err.what
        assert what in err.what
    store.set("b", "2")
    assert (store.get("b"), store.list()) == ("2", ["b"])
    aside = [path for path in store.folder.iterdir() if "damaged" in path.name]
    assert [path.read_bytes() for path in aside] == [text]


def test_a_store_of_a_newer_version_is_not_touched(store: SecretStore) -> None:
    store.folder.mkdir()
    text = '{"format": 2, "secrets": {}}'
    store.file.write_text(text)
    assert "format 2" in refused(lambda: store.set("a", "1")).what
    assert store.file.read_text() == text


@pytest.mark.parametrize("part", ["nonce", "value", "name"])
def test_a_changed_entry_is_told(store: SecretStore, part: Any) -> None:
    store.set("a", "hunter2")
    store.set("b", "other")
    top = json.loads(store.file.read_text())
    entries = top["secrets"]
    if part == "name":
        entries["a"], entries["b"] = entries["b"], entries["a"]
    else:
        raw = bytearray(base64.b64decode(entries["a"][part]))
        raw[0] ^= 1
        entries["a"][part] = base64.b64encode(raw).decode()
    store.file.write_text(json.dumps(top))
    assert '"a" is not what was stored' in refused(lambda: store.get("a")).what


@pytest.mark.parametrize("text", ["", "short", "zz" * 32, KEY + " x"])
def test_a_damaged_key_is_told(store: SecretStore, text: str) -> None:
    store.set("a", "1")
    store.key_file.write_text(text)
    assert str(store.key_file) in refused(lambda: store.get("a")).what
    store.set("b", "2")
    assert store.get("b") == "2"


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(store: SecretStore, rights: Any) -> None:
    store.set("a", "1")
    store.key_file.chmod(rights)
    err = refused(lambda: store.get("a"))
    assert f"{rights:04o}" in err.what
    assert "chmod 600" in err.mend
    store.key_file.chmod(0o600)
    assert store.get("a") == "1"


def test_a_data_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    err = refused(lambda: SecretStore(tmp_path / "data", env={}).set("a", "1"))
    assert "--data" in err.mend


def test_what_a_crash_left_does_not_hold_up_the_next_value(store: SecretStore) -> None:
    store.set("a", "1")
    (store.folder / ".secrets.json.new").write_text("half")
    store.set("b", "2")
    assert (store.get("a"), store.get("b")) == ("1", "2")


def test_two_commands_at_once_lose_no_value(store: SecretStore) -> None:
    store.set("first", "1")
    code = (
        "import sys; from flowengine.secrets import SecretStore; "
        "[SecretStore(sys.argv[1], env={}).set(f'{sys.argv[2]}-{n}', 'x') for n in range(10)]"
    )
    root = str(Path(__file__).parents[1])
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(store.folder), name], cwd=root)
        for name in ("a", "b")
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(store.list()) == 21


@given(
    st.text(st.characters(exclude_categories=["Cs"])), st.from_regex(r"[a-z]{1,9}", fullmatch=True)
)
def test_every_text_comes_back_under_its_own_name_and_key_alone(value: Any, name: str) -> None:
    key = new_key()
    entry = seal(name, value, key)
    assert unseal(name, entry, [new_key(), key]) == value
    with pytest.raises(ValueError, match="not what was stored"):
        unseal(name + "x", entry, [key])
    with pytest.raises(KeyError):
        unseal(name, entry, [new_key()])

"""OSCORE protects every message between two ends that share keys, and never repeats a number.

Both ends are aiocoap's: no independent OSCORE peer is at hand. One of them is aiocoap's own client
with its own files, so that the keys here are those of RFC 8613 as aiocoap reads it.
"""

import asyncio
import gc
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiocoap
import pytest

from flowengine.clock import RealClock
from flowengine.errors import FindingsError, StartError, Unavailable
from flowengine.fields import Secret
from flowengine.nodes import coap
from flowengine.nodes.coap.wiring import Udp
from flowengine.testing import NodeBench
from tests.nodes.coap_device import Desk, Device, Held, connect, device, packet, run, until
from tests.system.real import LOOPBACK

MASTER = "0102030405060708090a0b0c0d0e0f10"
SALT = "9e7ca92223786340"


def ends(sender: str, recipient: str, master: str = MASTER) -> dict[str, Any]:
    """The config of one end."""
    secret = Secret("master", master)
    return {"sender": sender, "recipient": recipient, "master": secret, "salt": SALT}


class Pair:
    """A listener and a peer with one set of keys, each with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk()
        self.folder = folder
        self.port = self.desk.port
        self.desk.listen = self.listener("box")
        self.peer = self.client("device")

    def listener(self, data: str) -> Any:
        """A listener on the port; its clock is the desk's."""
        where = str(self.folder / data)
        config = {"port": self.port, "oscore": ends("01", "02")}
        return connect(coap.Listen, self.desk.told, where, **config)

    def client(self, data: str, **oscore: Any) -> Any:
        """A peer that asks the listener."""
        settings = {"host": LOOPBACK, "port": self.port, "timeout": "5s"}
        if oscore.get("protected", True):
            settings["oscore"] = oscore.get("keys") or ends("02", "01")
        return connect(coap.Peer, RealClock(), str(self.folder / data), **settings)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """Both ends open."""
    made = Pair(folder)
    await made.desk.listen.open()
    await made.peer.open()
    try:
        yield made
    finally:
        await made.peer.close()
        await made.desk.listen.close()


def test_r68_both_ends_understand_each_other(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both:
            bench = await both.desk.serve(observable=True)
            payload = bytes(range(256)) * 12
            assert (await both.peer.request("PUT", "/t/x", payload)).code == "2.04"
            assert (await both.peer.request("GET", "/t/x")).payload == payload
            assert (await both.peer.request("GET", "/nix")).code == "4.04"
            (message,) = bench._left()["out"]
            assert (message.payload, message.key) == (payload, "x")

    run(work())


def test_what_is_not_protected_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both, device(both.port) as dev:
            bench = await both.desk.serve()
            plain = both.client("plain", protected=False)
            for path in ("/t/x", "/nix", "/.well-known/core"):
                assert (await plain.request("POST", path, b"1")).code == "4.01"
            await plain.close()
            stranger = both.client("stranger", keys=ends("03", "01"))
            with pytest.raises(Unavailable, match="OSCORE keys may differ"):
                await stranger.request("POST", "/t/x", b"1")
            await stranger.close()
            other = both.client("other", keys=ends("02", "01", "ff" * 16))
            with pytest.raises(Unavailable, match="OSCORE keys may differ"):
                await other.request("POST", "/t/x", b"1")
            await other.close()
            await hostile(dev)
            assert bench._left() == {}
            assert (await both.peer.request("POST", "/t/x", b"1")).code == "2.04"

    run(work())


async def hostile(dev: Device) -> None:
    """Send options that no context made."""
    for option in (
        b"",
        b"\x10",
        b"\x1f",
        b"\x07\x01",
        b"\x19\x00\x02",
        b"\xff" * 20,
        b"\x09\x00\x02",
    ):
        for payload in (b"", b"x", b"x" * 40):
            dev.send(packet(aiocoap.POST, "", payload, oscore=option, token=b"h"))
    await dev.ping()


def test_a_message_that_is_replayed_is_not_taken_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = Udp.send

    def record(self: Any, message: Any) -> None:
        sent.append(message.encode())
        send(self, message)

    async def work() -> None:
        async with pair(tmp_path) as both, device(both.port) as dev:
            bench = await both.desk.serve()
            monkeypatch.setattr(Udp, "send", record)
            await both.peer.request("POST", "/t/x", b"1")
            monkeypatch.undo()
            assert len(bench._left()["out"]) == 1
            assert b"/t/x" not in sent[0]
            dev.send(sent[0])
            answer = await dev.receive()
            assert (str(answer.code), answer.payload) == ("4.01 Unauthorized", b"Replay detected")
            assert bench._left() == {}

    run(work())


def numbers(folder: Path) -> list[int]:
    """The next number of every set of keys below a folder."""
    files = sorted(folder.rglob("sequence.json"))
    return [json.loads(file.read_text())["next-to-send"] for file in files]


def test_numbers_go_on_after_a_restart_and_keys_are_not_on_disk(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both:
            await both.desk.serve()
            for _ in range(3):
                await both.peer.request("POST", "/t/x", b"1")
        (after,) = numbers(tmp_path / "device")
        assert after == 3
        async with pair(tmp_path) as both:
            await both.desk.serve()
            await both.peer.request("POST", "/t/x", b"1")
            (ahead,) = numbers(tmp_path / "device")
            assert ahead > 4
        assert numbers(tmp_path / "device") == [4]

    run(work())
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert MASTER.encode() not in file.read_bytes()
            assert bytes.fromhex(MASTER) not in file.read_bytes()


def test_after_a_power_cut_nothing_old_is_taken_and_what_is_new_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = Udp.send

    def record(self: Any, message: Any) -> None:
        sent.append(message.encode())
        send(self, message)

    async def work() -> None:
        async with pair(tmp_path) as both:
            await both.desk.serve()
            monkeypatch.setattr(Udp, "send", record)
            await both.peer.request("POST", "/t/x", b"1")
            monkeypatch.undo()
            shutil.copytree(tmp_path / "box", tmp_path / "cut")
        (kept,) = (tmp_path / "cut").rglob("sequence.json")
        assert json.loads(kept.read_text())["received"] == "unknown"
        next(iter((tmp_path / "cut").rglob("lock"))).unlink()
        made = Pair(tmp_path)
        made.desk.listen = made.listener("cut")
        await made.desk.listen.open()
        bench = await made.desk.serve()
        async with device(made.port) as dev:
            dev.send(sent[0])
            assert (
                await dev.receive()
            ).opt.oscore is not None  # the question, for who has the keys
            assert bench._left() == {}
        assert (await made.peer.request("POST", "/t/x", b"2")).code == "2.04"
        assert [m.payload for m in bench._left()["out"]] == [2]
        await made.peer.close()
        await made.desk.listen.close()

    run(work())


def test_closing_asks_those_who_wait_to_come_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both:
            held = Held(await both.desk.serve())
            asked = asyncio.create_task(both.peer.request("POST", "/t/x", b"1"))
            await held.count(1)
            await both.desk.listen.close()
            answer = await asked
            assert (answer.code, answer.max_age) == ("5.03", 5)

    run(work())


def test_one_set_of_keys_has_one_user(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both:
            second = both.client("device")
            with pytest.raises(StartError, match="in use by another connection"):
                await second.open()
            await second.close()

    run(work())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sender": "xyz"}, "hexadecimal"),
        ({"sender": "0102030405060708"}, "more than 7 bytes"),
        ({"recipient": "01"}, "the same"),
        ({"salt": "0"}, "hexadecimal"),
    ],
)
def test_r68_a_config_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(FindingsError, match=words):
        NodeBench("coap.peer", {"host": "x", "oscore": {**ends("01", "02"), **change}})


@pytest.mark.parametrize("master", ["", "0102", "not hexadecimal, but long enough"])
def test_a_master_secret_that_is_none_is_named_and_not_shown(tmp_path: Path, master: str) -> None:
    link = connect(coap.Peer, data=str(tmp_path), host="x", oscore=ends("01", "02", master or "00"))
    with pytest.raises(StartError, match='secret "master" is no master secret') as caught:
        run(link.open())
    assert not master or master not in str(caught.value)


def ends_with(told: list[Any], payload: bytes) -> bool:
    """Whether the last notification is this one."""
    return bool(told) and told[-1].payload == payload


def test_an_observation_is_told_and_can_be_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both:
            await both.desk.serve(observable=True)
            await both.peer.request("PUT", "/t/x", b"1")
            told: list[Any] = []
            first, stop = await both.peer.observe("/t/x", told.append)
            assert first.payload == b"1"
            assert stop is not None
            for value in (b"2", b"3"):
                await both.peer.request("PUT", "/t/x", value)
                await until(partial(ends_with, told, value), both.desk.told)
            stop()
            await asyncio.sleep(0)
            gc.collect()
            watchers = both.desk.listen._door.site._values._watchers
            for value in (b"4", b"5"):  # aiocoap acknowledges one more, and resets the next
                await both.peer.request("PUT", "/t/x", value)
                await until(lambda: not both.desk.listen._door.network.messages._backlogs)
            await until(lambda: not watchers, both.desk.told)
            assert len(told) == 2

    run(work())


def test_aiocoap_itself_is_understood(tmp_path: Path) -> None:
    async def work() -> None:
        async with pair(tmp_path) as both:
            bench = await both.desk.serve()
            await both.peer.close()
            keys = tmp_path / "aiocoap"
            keys.mkdir()
            (keys / "settings.json").write_text(
                json.dumps(
                    {
                        "sender-id_hex": "02",
                        "recipient-id_hex": "01",
                        "secret_hex": MASTER,
                        "salt_hex": SALT,
                    }
                )
            )
            client = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
            uri = f"coap://{LOOPBACK}:{both.port}"
            client.client_credentials.load_from_dict(
                {f"{uri}/*": {"oscore": {"basedir": str(keys)}}}
            )
            request = aiocoap.Message(code=aiocoap.PUT, uri=f"{uri}/t/x", payload=b"21.5")
            answer = await client.request(request).response
            assert answer.code == aiocoap.CHANGED
            assert [m.payload for m in bench._left()["out"]] == [21.5]
            await client.shutdown()

    run(work())

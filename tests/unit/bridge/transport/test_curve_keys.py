"""Keys: files that are made once and read strictly, and a door that opens for known keys alone."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.transport.curve_keys import (
    ZAP_DOMAIN,
    ServerKeys,
    load_client_keys,
    load_server_keys,
    new_keys,
    read_key,
    zap_reply,
)

# The test vector of ZeroMQ RFC 32 is 8 bytes; repeated it makes a key of 32.
RFC_BYTES, RFC_TEXT = bytes.fromhex("864fd26fb559f75b"), "HelloWorld"
KEY_BYTES, KEY = RFC_BYTES * 4, RFC_TEXT * 4
STRANGER = bytes(32)


def pairs() -> Iterator[tuple[str, str]]:
    for count in itertools.count():
        yield f"{count:040d}", f"{count + 500:040d}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = pairs()
    new_keys(tmp_path / "keys", ["alice"], lambda: next(made))
    return tmp_path / "keys"


def test_the_files_are_the_documented_ones(folder: Path) -> None:
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "alice/client.public",
        "alice/client.secret",
        "alice/server.public",
        "clients/alice.public",
        "server.public",
        "server.secret",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*.secret")} == {0o600}


def test_client_and_server_hold_matching_keys(folder: Path) -> None:
    client, server = load_client_keys(folder / "alice"), load_server_keys(folder)
    assert client.server == read_key(folder / "server.public") == "0" * 40
    assert client.public == read_key(folder / "clients" / "alice.public")
    assert (client.secret, server.secret) == (f"{501:040d}", f"{500:040d}")


def test_more_clients_are_added_and_nothing_is_written_over(folder: Path) -> None:
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    made = pairs()
    assert new_keys(folder, ["bob"], lambda: next(made)) == [folder / "bob"]
    with pytest.raises(ConfigError, match="alice has keys"):
        new_keys(folder, ["carol", "alice"], lambda: next(made))
    assert not (folder / "carol").exists()
    assert all(path.read_text() == text for path, text in before.items())


@pytest.mark.parametrize("name", ["", "../evil", "a b", "clients", "server", ".hidden", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--client: got"):
        new_keys(tmp_path / "keys", [name], lambda: ("0" * 40, "0" * 40))
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("text", ["", "short", "x" * 41, "~" * 40, "é" * 40, f"{KEY}\n{KEY}"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.public").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.public"):
        read_key(tmp_path / "a.public")


@pytest.mark.parametrize("missing", ["server.secret", "clients"])
def test_a_folder_that_is_none_names_the_command(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "gone")
    with pytest.raises(ConfigError, match="helios-bridge keys new"):
        load_server_keys(folder)


def request(*, domain: bytes = ZAP_DOMAIN, mechanism: bytes = b"CURVE", key: bytes = KEY_BYTES) -> list[bytes]:
    return [b"1.0", b"7", domain, b"10.0.0.9", b"", mechanism, key]


@pytest.fixture
def server(tmp_path: Path) -> ServerKeys:
    (tmp_path / "alice.public").write_text(f"{KEY}\n")
    return ServerKeys(secret="0" * 40, clients=tmp_path)


def status(server: ServerKeys, parts: list[bytes]) -> bytes:
    reply = zap_reply(parts, server.allows)
    assert reply is not None
    assert (reply[0], reply[1], len(reply)) == (b"1.0", b"7", 6)
    return reply[2]


def test_a_known_key_may_in(server: ServerKeys) -> None:
    assert status(server, request()) == b"200"


@pytest.mark.parametrize(
    "parts",
    [
        request(key=STRANGER),
        request(key=KEY_BYTES[:-1]),
        request(domain=b"*"),
        request(domain=b""),
        request(mechanism=b"NULL"),
        [*request()[:5], b"PLAIN", b"user", b"password"],
        request()[:6],
    ],
    ids=["stranger", "short", "any domain", "no domain", "NULL", "PLAIN", "no key"],
)
def test_everybody_else_stays_out(server: ServerKeys, parts: list[bytes]) -> None:
    assert status(server, parts) == b"400"


@pytest.mark.parametrize("parts", [[], [b"2.0", *request()[1:]], request()[:5]])
def test_what_is_no_request_gets_no_permission(server: ServerKeys, parts: list[bytes]) -> None:
    assert zap_reply(parts, server.allows) is None


def test_a_key_deleted_is_locked_out_and_a_broken_file_opens_nothing(server: ServerKeys) -> None:
    (server.clients / "broken.public").write_text("#" * 40)  # a group beyond 2^32
    assert status(server, request()) == b"200"
    (server.clients / "alice.public").unlink()
    assert status(server, request()) == b"400"

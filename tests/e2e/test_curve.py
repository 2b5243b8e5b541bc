"""Encrypted connections over real sockets: known clients play, strangers and the unencrypted get nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import Camera, ConnectTimeout
from bridge.cli.main import main
from bridge.conformance.command import conform_server
from bridge.transport.curve_keys import new_keys
from bridge.transport.sockets import new_curve_pair

CAMERA = Camera(position=(0.0, 0.0, 0.0))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    new_keys(tmp_path / "keys", ["alice"], new_curve_pair)
    return tmp_path / "keys"


def test_only_known_keys_get_a_frame(start_service: Callable[..., Any], keys: Path, tmp_path: Path) -> None:
    service = start_service(curve=keys)
    with service.client(curve=keys / "alice") as alice:
        assert alice.step(CAMERA).seq == 0
    new_keys(tmp_path / "other", ["mallory"], new_curve_pair)
    mallory = tmp_path / "other" / "mallory"
    (mallory / "server.public").write_text((keys / "server.public").read_text())
    with pytest.raises(ConnectTimeout, match="does it know these keys"):
        service.client(curve=mallory, connect_timeout_s=0.4)
    with pytest.raises(ConnectTimeout, match="pass curve=FOLDER"):
        service.client(connect_timeout_s=0.4)
    (keys / "clients" / "mallory.public").write_text((mallory / "client.public").read_text())
    with service.client(curve=mallory) as known:
        assert known.step(CAMERA).seq == 0
    (keys / "clients" / "alice.public").unlink()
    with pytest.raises(ConnectTimeout):
        service.client(curve=keys / "alice", connect_timeout_s=0.4)


def test_a_client_does_not_speak_to_a_server_without_the_secret(start_service: Callable[..., Any], keys: Path) -> None:
    """The client's keys name one server; another one, or an unencrypted one, learns nothing from it."""
    with pytest.raises(ConnectTimeout):
        start_service().client(curve=keys / "alice", connect_timeout_s=0.4)


def test_the_kit_speaks_curve(start_service: Callable[..., Any], keys: Path) -> None:
    service = start_service(curve=keys)
    assert (
        conform_server(
            address=service.address,
            curve=keys / "alice",
            only=["handshake", "answers", "resume"],
            patience_s=3,
            junit=None,
        )
        == 0
    )


def test_listening_beyond_this_machine_needs_keys_or_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "synthetic", "--bind", "tcp://0.0.0.0:*"]) == 2
    said = capsys.readouterr().err
    assert "can be reached from other machines" in said
    assert "--insecure" in said


@pytest.mark.parametrize("how", ["curve", "insecure"])
def test_listening_beyond_this_machine_with_keys_or_the_word(keys: Path, how: str) -> None:
    options = ["--curve", str(keys)] if how == "curve" else ["--insecure"]
    command = [sys.executable, "-m", "bridge", "serve", "--model", "synthetic", "--bind", "tcp://0.0.0.0:*", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on tcp://0.0.0.0:")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_keys_new_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "k"
    assert main(["keys", "new", str(folder), "--client", "alice"]) == 0
    said = capsys.readouterr().out
    assert f"--curve {folder}" in said
    assert f"hand over {folder / 'alice'}" in said
    assert main(["keys", "new", str(folder), "--client", "alice"]) == 2


def test_without_a_doorkeeper_nobody_comes_in(
    start_service: Callable[..., Any], keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CURVE alone takes any key; the enforced ZAP domain is what makes a missing handler a closed door."""
    monkeypatch.setattr("bridge.transport.sockets._keep_the_door", lambda door, keys: door.close())
    with pytest.raises(ConnectTimeout):
        start_service(curve=keys).client(curve=keys / "alice", connect_timeout_s=0.4)

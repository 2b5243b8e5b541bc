"""What the service calls itself."""

from __future__ import annotations

import importlib.metadata

import pytest

from bridge import version
from bridge.cli.main import main
from bridge.config import ServeConfig
from bridge.session.capabilities import capabilities_of
from tests.scripted_process import INFO


def test_the_command_and_welcome_tell_name_and_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"helios-bridge": "1.2.3"}[name])
    assert capabilities_of(INFO, ServeConfig()).server == "helios-bridge 1.2.3"
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, "helios-bridge 1.2.3\n")


def test_a_checkout_that_was_never_installed_has_a_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version.name_and_version() == "helios-bridge"

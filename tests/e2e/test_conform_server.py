"""`helios-bridge conform server` on the real service, and on services with one fault each: every fault is found."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from bridge.cli.main import main
from bridge.conformance.server_scripts import SCRIPTS
from bridge.protocol import axes, codec, messages
from bridge.session import capabilities as offer
from bridge.session import flow_control as delivery
from bridge.session import registry as registry
from bridge.session import scene_admission as level
from bridge.session import session
from bridge.transport import frame_ring as shared_frames

Patch = Callable[[pytest.MonkeyPatch], None]


def conform(address: str, *arguments: str) -> int:
    return main(["conform", "server", address, "--patience", "3", *arguments])


def test_the_service_passes_every_script(
    start_service: Callable[..., Any], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = start_service(heartbeat_us=100_000, states=tmp_path)
    junit = tmp_path / "conform.xml"
    assert conform(service.address, "--junit", str(junit)) == 0, capsys.readouterr().out
    assert f"{len(SCRIPTS)} passed, 0 failed, 0 not done" in capsys.readouterr().out
    assert [case.get("name") for case in ElementTree.parse(junit).getroot()] == list(SCRIPTS)


def answering(change: Callable[[messages.FrameHeader], messages.FrameHeader]) -> Patch:
    """Every answer's header changed."""
    sound = session.Session.answer

    def answer(self: session.Session, header: messages.FrameHeader, pixels: codec.Buffer) -> Any:
        return [dataclasses.replace(out, message=change(out.message)) for out in sound(self, header, pixels)]

    return lambda patch: patch.setattr(session.Session, "answer", answer)


def resetting(target: object, name: str, value: object) -> Patch:
    return lambda patch: patch.setattr(target, name, value)


def ring_written_twice(patch: pytest.MonkeyPatch) -> None:
    sound = shared_frames.FrameRingWriter.write
    patch.setattr(shared_frames.FrameRingWriter, "write", lambda ring, pixels: (sound(ring, pixels)[0], 1))


def anybody_resumes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(registry.hmac, "compare_digest", lambda a, b: True)


_FORGETS = "forgets the level that it restored"
_RESTORED = level.SceneAdmission.restored

# fault: the script that must find it, what it must say, how the service gets it
FAULTS: dict[str, tuple[str, str, Patch]] = {
    "speaks another version": ("handshake", "version_mismatch", resetting(session, "VERSION_MAJOR", 2)),
    "answers another clock": ("answers", "its CONTROL had", answering(lambda h: msgspec.structs.replace(h, t_us=1))),
    "misses its deadline unsaid": (
        "answers",
        "deadline_met True with server_us",
        answering(lambda h: msgspec.structs.replace(h, server_us=99_000, deadline_met=True)),
    ),
    "sends without credit": ("credit", "FRAMEs unread", resetting(delivery.FlowControl, "has_credit", True)),
    "gives no credit back": (
        "credit",
        "a FRAME for CONTROL",
        resetting(delivery.FlowControl, "acknowledge", lambda *_: 0),
    ),
    "takes any quaternion": ("refusals", "a quaternion of length 2", resetting(codec, "validate", lambda m: m)),
    "never loses patience": ("strikes", "too_many_errors", resetting(session, "MAX_STRIKES", 10**6)),
    "lets anybody resume": ("resume", "a wrong resume_token", anybody_resumes),
    "forgets whose axes": (
        "axes",
        "rotation: got",
        resetting(session, "client_from_ours", lambda *_: axes.client_from_ours(messages.Axes.OPENGL, 1.0)),
    ),
    "names a wrong sequence": ("shared-memory", "does not hold sequence", ring_written_twice),
    "keeps states unasked": (
        "save",
        "expected ERROR unsupported",
        resetting(offer.ServerCapabilities, "check", lambda *_: None),
    ),
    _FORGETS: (
        "save",
        "the default map cannot be changed",
        resetting(level.SceneAdmission, "restored", lambda self, scene: _RESTORED(self, None)),
    ),
    "does not count refusals": ("stats", "expected 21", resetting(delivery.FlowControl, "refuse", lambda _: None)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(
    fault: str, start_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    script, expected, patch = FAULTS[fault]
    service = start_service(states=tmp_path if fault == _FORGETS else None)
    patch(monkeypatch)
    junit = tmp_path / "conform.xml"
    assert main(["conform", "server", service.address, "--patience", "1", "--only", script, "--junit", str(junit)]) == 1
    failure = ElementTree.parse(junit).find("testcase/failure")
    assert failure is not None
    assert expected in failure.attrib["message"]


def test_nobody_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "server", "tcp://127.0.0.1:9", "--patience", "0.1", "--only", "ping"]) == 1
    assert "no server takes messages" in capsys.readouterr().out

"""`helios-bridge conform client` on a sound client and on clients with one fault each: every fault is found."""

from __future__ import annotations

import pathlib
import sys
from xml.etree import ElementTree

import pytest

from bridge.cli.main import main
from bridge.conformance.client_scripts import SCRIPTS

SUBJECT = [sys.executable, str(pathlib.Path(__file__).with_name("conform_subject.py")), "{address}"]
# fault: the script that must find it, and what it must say
FAULTS = {
    "no hello": ("handshake", "the first message was CONTROL, expected HELLO"),
    "hasty": ("handshake", "CONTROLs before WELCOME"),
    "no rgb8": ("handshake", "rgb8 is missing"),
    "another version": ("handshake", "version_major 2, expected 1"),
    "seq stands still": ("controls", "it must rise"),
    "too fast": ("controls", "expected about 60"),
    "long quaternion": ("controls", "bad_rotation"),
    "names no frame": ("credit", "frame_received_seq"),
    "names a frame too many": ("credit", "but the newest FRAME sent was"),
    "no pong": ("ping", "expected PONG with t_us 0"),
    "32-bit pong": ("ping", f"expected PONG with t_us {2**32}"),
    "waits for frames": ("stall", "a game must not wait for frames"),
    "names any frame": ("old-frame", "it must not fall"),
    "takes unsent frames": ("unsent-frame", "but the newest FRAME sent was"),
    "impatient": ("busy", "HELLO again within 1 s of BUSY"),
    "ignores errors": ("fatal-error", "after the session's end"),
    "ignores bye": ("bye", "after the session's end"),
    "a token of its own": ("resume", "its resume_token"),
    "ignores last_seq": ("resume", "seq above WELCOME's last_seq"),
    "never claims a ring": ("shared-memory", "shared_frames false"),
    "claims any ring": ("no-ring", "no ring of that name exists"),
    "gives up when a frame is gone": ("shared-memory", "its process has ended"),
    "dies of broken bytes": ("hostile", "its process was ended by signal 11"),
    "pixels unchecked": ("hostile", "but the newest FRAME sent was"),
}


def conform(*arguments: str, fault: str = "", patience_s: float) -> int:
    command = [*SUBJECT, fault] if fault else SUBJECT
    return main(["conform", "client", "--patience", str(patience_s), *arguments, "--", *command])


def test_a_sound_client_passes_every_script(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    junit = tmp_path / "reports" / "conform.xml"
    assert conform("--junit", str(junit), patience_s=10) == 0, capfd.readouterr().out
    assert f"{len(SCRIPTS)} passed, 0 failed, 0 not done" in capfd.readouterr().out
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(len(SCRIPTS)), "0")
    assert [case.get("name") for case in suite] == list(SCRIPTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    script, expected = FAULTS[fault]
    junit = tmp_path / "conform.xml"
    assert conform("--only", script, "--junit", str(junit), fault=fault, patience_s=2) == 1
    assert "FAIL" in capfd.readouterr().out
    failure = ElementTree.parse(junit).find("testcase/failure")
    assert failure is not None
    assert expected in failure.attrib["message"]


def test_scripts_are_chosen_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert conform("--only", "nonsense", patience_s=1) == 2
    assert "expected some of handshake" in capfd.readouterr().err

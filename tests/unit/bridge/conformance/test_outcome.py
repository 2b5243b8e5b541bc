"""What the conformance kit makes of its scripts' ends."""

from xml.etree import ElementTree

import pytest

from bridge.clock import FakeClock
from bridge.conformance.outcome import (
    Declined,
    Failed,
    Outcome,
    Verdict,
    exit_status,
    judge,
    junit_xml,
    require,
    summary,
)


def outcome(verdict: Verdict, detail: str = "") -> Outcome:
    return Outcome(script="ping", about="PONG", verdict=verdict, detail=detail, seconds=0.25)


def test_a_script_passes_fails_or_declines() -> None:
    clock = FakeClock()

    def play() -> str:
        clock.advance_us(1_500_000)
        return "7 of 7"

    def fail() -> str:
        require(1 + 1 == 2, "never said")
        require(1 + 1 == 3, "got 2, expected 3")
        return ""

    def decline() -> str:
        raise Declined("does not resume")

    passed = judge(clock, "ping", "PONG", play)
    assert (passed.verdict, passed.detail, passed.seconds) == (Verdict.PASSED, "7 of 7", 1.5)
    assert judge(clock, "a", "", fail).verdict is Verdict.FAILED
    assert judge(clock, "a", "", fail).detail == "got 2, expected 3"
    assert judge(clock, "a", "", decline).verdict is Verdict.DECLINED


def test_a_fault_of_the_kit_itself_is_no_outcome() -> None:
    def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judge(FakeClock(), "a", "", broken)


def test_status_is_0_only_when_something_was_played_and_nothing_failed() -> None:
    assert exit_status([outcome(Verdict.PASSED), outcome(Verdict.DECLINED)]) == 0
    assert exit_status([outcome(Verdict.PASSED), outcome(Verdict.FAILED)]) == 1
    assert exit_status([]) == 1
    assert summary([outcome(Verdict.PASSED), outcome(Verdict.FAILED)]) == "1 passed, 1 failed, 0 not done"


def test_junit_xml_counts_and_survives_what_a_peer_said() -> None:
    seen = [outcome(Verdict.PASSED), outcome(Verdict.FAILED, "got '<\x00&>'"), outcome(Verdict.DECLINED, "no")]
    suite = ElementTree.fromstring(junit_xml("conform client", seen))
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "time")] == ["3", "1", "1", "0.750"]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "got '< &>'"


def test_failures_are_bridge_errors_with_their_text() -> None:
    assert str(Failed("got 1, expected 2")) == "got 1, expected 2"

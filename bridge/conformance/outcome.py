"""What a script of the kit found out: outcomes, a table for people, JUnit XML for machines. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from bridge.clock import Clock
from bridge.errors import BridgeError


class Failed(BridgeError):
    """What is tested broke the protocol; the text says got and expected."""


class Declined(BridgeError):
    """What is tested may leave this out, and did."""


class Verdict(enum.Enum):
    PASSED = "ok"
    FAILED = "FAIL"
    DECLINED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one script ended. detail: what was seen; for a failure got and expected."""

    script: str
    about: str
    verdict: Verdict
    detail: str
    seconds: float


def judge(clock: Clock, name: str, about: str, play: Callable[[], str]) -> Outcome:
    """Plays one script. play: returns what it saw; raises Failed or Declined."""
    begin_us = clock.now_us()
    try:
        verdict, detail = Verdict.PASSED, play()
    except Declined as exc:
        verdict, detail = Verdict.DECLINED, str(exc)
    except BridgeError as exc:
        verdict, detail = Verdict.FAILED, str(exc)
    return Outcome(script=name, about=about, verdict=verdict, detail=detail, seconds=(clock.now_us() - begin_us) / 1e6)


def require(condition: bool, text: str) -> None:
    """Raises: Failed: with `text`, unless `condition`."""
    if not condition:
        raise Failed(text)


def row(outcome: Outcome) -> str:
    """One line of the table."""
    line = f"{outcome.verdict.value:4}  {outcome.script:16} {outcome.seconds:5.1f} s  {outcome.about}"
    return line if not outcome.detail else f"{line}: {outcome.detail}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table's last line."""
    counts = [sum(outcome.verdict is verdict for outcome in outcomes) for verdict in Verdict]
    return "{} passed, {} failed, {} not done".format(*counts)


def exit_status(outcomes: Iterable[Outcome]) -> int:
    """1 when a script failed (or none was played), else 0."""
    verdicts = [outcome.verdict for outcome in outcomes]
    return int(not verdicts or Verdict.FAILED in verdicts)


def junit_xml(suite: str, outcomes: Sequence[Outcome]) -> bytes:
    """The outcomes as a JUnit test suite, which CI systems read."""
    root = ElementTree.Element(
        "testsuite",
        name=suite,
        tests=str(len(outcomes)),
        failures=str(sum(outcome.verdict is Verdict.FAILED for outcome in outcomes)),
        skipped=str(sum(outcome.verdict is Verdict.DECLINED for outcome in outcomes)),
        errors="0",
        time=f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(
            root, "testcase", classname=suite, name=outcome.script, time=f"{outcome.seconds:.3f}"
        )
        if outcome.verdict is Verdict.FAILED:
            ElementTree.SubElement(case, "failure", message=_printable(outcome.detail)).text = outcome.about
        elif outcome.verdict is Verdict.DECLINED:
            ElementTree.SubElement(case, "skipped", message=_printable(outcome.detail))
    xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml


def _printable(text: str) -> str:
    """XML 1.0 has no control characters; what a peer sent may."""
    return "".join(char if char.isprintable() else " " for char in text)

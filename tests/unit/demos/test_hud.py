"""The panel of figures, drawn without a window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pygame
import pytest

import bridge
from bridge.client.protocol_core import ClientCore
from bridge.clock import FakeClock
from bridge.protocol.messages import Hello
from demos.hud import Hud, shortened
from demos.session import BridgeSession, Sample
from tests.valid_messages import WELCOME


class Nobody:
    """A client that nothing came to."""

    def __init__(self) -> None:
        self._core = ClientCore(Hello(version_major=1, version_minor=0, client="t"))
        self.counts = self._core.counts

    def send(self, camera: bridge.Camera, action: str = "") -> int:
        return 0

    def receive(self, timeout_s: float = 1.0) -> bridge.Frame:
        raise bridge.ReceiveTimeout("nothing")

    def take_answers(self) -> list[bridge.Answer]:
        return []


@pytest.fixture
def hud() -> Iterator[Hud]:
    pygame.font.init()
    yield Hud()
    pygame.font.quit()


def picture_of(hud: Hud, session: BridgeSession, now_us: int) -> np.ndarray:
    target = pygame.Surface((400, 420))
    hud.draw(target, session, WELCOME, now_us)
    return pygame.surfarray.array3d(target)


def test_the_panel_is_drawn_before_the_first_answer_and_changes_with_answers(hud: Hud) -> None:
    session = BridgeSession(Nobody(), FakeClock(), budget_ms=16.7)
    empty = picture_of(hud, session, 0)
    assert empty.any()
    session.history.append(Sample(at_us=0, latency_ms=9, control_age_ms=80, source=bridge.Source.GENERATED))
    assert np.array_equal(picture_of(hud, session, 50_000), empty)  # not redrawn more often than can be read
    assert not np.array_equal(picture_of(hud, session, 150_000), empty)


def test_the_longest_action_text_is_drawn_at_once(hud: Hud, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    monkeypatch.setattr("demos.hud.Lettering.width_px", lambda self, text: measured.append(len(text)) or 8 * len(text))
    session = BridgeSession(Nobody(), FakeClock(), budget_ms=16.7)
    session.applied.action = "w" * 2048
    picture_of(hud, session, 0)
    assert len(measured) < 100
    assert max(measured) <= 64


def test_a_shortened_text_says_so() -> None:
    assert (shortened("night", 5), shortened("nights", 5)) == ("night", "nigh…")

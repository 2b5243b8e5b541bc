"""What keys and mouse mean, without a window."""

from __future__ import annotations

from collections import defaultdict

import pygame
import pytest

from demos.action_parser import READY_TEXTS
from demos.controls import Controls, View
from demos.world import Intent, WalkConfig


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> Controls:
    """Text input and the mouse's grab need a window: they are left out."""
    monkeypatch.setattr(pygame.key, "start_text_input", lambda: None)
    monkeypatch.setattr(pygame.key, "stop_text_input", lambda: None)
    monkeypatch.setattr(pygame.event, "set_grab", lambda grabbed: None)
    monkeypatch.setattr(pygame.mouse, "set_visible", lambda visible: None)
    return Controls()


def _press(controls: Controls, *keys: int) -> None:
    for key in keys:
        controls.handle(pygame.event.Event(pygame.KEYDOWN, key=key))


def _type(controls: Controls, text: str) -> None:
    for letter in text:
        _press(controls, ord(letter))
        controls.handle(pygame.event.Event(pygame.TEXTINPUT, text=letter))


def _hold(*keys: int) -> defaultdict[int, bool]:
    return defaultdict(bool, dict.fromkeys(keys, True))


def test_keys_walk_and_look(controls: Controls) -> None:
    held = _hold(pygame.K_w, pygame.K_d, pygame.K_LSHIFT, pygame.K_LEFT, pygame.K_DOWN)
    intent = controls.intent(held, WalkConfig())  # type: ignore[arg-type]
    assert intent == Intent(forward=1, right=1, run=True, turn_left=1, look_up=-1)
    both = controls.intent(_hold(pygame.K_w, pygame.K_s), WalkConfig())  # type: ignore[arg-type]
    assert both == Intent()


def test_the_mouse_looks_only_while_grabbed(controls: Controls) -> None:
    motion = pygame.event.Event(pygame.MOUSEMOTION, rel=(20, -10))
    controls.handle(motion)
    assert controls.intent(_hold(), WalkConfig()) == Intent()  # type: ignore[arg-type]
    controls.handle(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1))
    controls.handle(motion)
    controls.handle(motion)
    intent = controls.intent(_hold(), WalkConfig(mouse_deg_per_px=0.5))  # type: ignore[arg-type]
    assert (intent.turn_left_deg, intent.look_up_deg) == (-20.0, 10.0)
    assert controls.intent(_hold(), WalkConfig()) == Intent()  # type: ignore[arg-type]
    controls.handle(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    assert not controls.grabbed


def test_typing_says_and_does_not_walk_or_switch(controls: Controls) -> None:
    _press(controls, pygame.K_t)
    _type(controls, "make it m1x")
    _press(controls, pygame.K_BACKSPACE)
    assert controls.typing == "make it m1"
    assert controls.minimap
    assert controls.intent(_hold(pygame.K_w), WalkConfig()) == Intent()  # type: ignore[arg-type]
    _press(controls, pygame.K_RETURN)
    assert (controls.said, controls.typing, controls.quit) == (["make it m1"], None, False)


def test_escape_cancels_a_text_before_it_quits(controls: Controls) -> None:
    _press(controls, pygame.K_t)
    _type(controls, "run")
    _press(controls, pygame.K_ESCAPE)
    assert (controls.said, controls.typing, controls.quit) == ([], None, False)
    _press(controls, pygame.K_ESCAPE)
    assert controls.quit


def test_nothing_typed_says_nothing(controls: Controls) -> None:
    _press(controls, pygame.K_t)
    _type(controls, "  ")
    _press(controls, pygame.K_RETURN)
    assert controls.said == []


def test_a_text_stays_within_what_the_protocol_takes(controls: Controls) -> None:
    _press(controls, pygame.K_t)
    controls.handle(pygame.event.Event(pygame.TEXTINPUT, text="ü" * 1024))
    controls.handle(pygame.event.Event(pygame.TEXTINPUT, text="x"))
    assert controls.typing == "ü" * 1024


def test_the_top_row_says_ready_texts(controls: Controls) -> None:
    _press(
        controls, *range(pygame.K_1, pygame.K_9 + 1), pygame.K_0, pygame.K_MINUS, pygame.K_EQUALS, pygame.K_BACKSPACE
    )
    assert controls.said == list(READY_TEXTS)


def test_switches(controls: Controls) -> None:
    views = []
    for _ in range(3):
        _press(controls, pygame.K_TAB)
        views.append(controls.view)
    assert views == [View.REFERENCE, View.SPLIT, View.NEURAL]
    figures, minimap = controls.figures, controls.minimap
    _press(controls, pygame.K_F1, pygame.K_m, pygame.K_F2, pygame.K_F12)
    assert (controls.figures, controls.minimap) == (not figures, not minimap)
    assert controls.wants_record_toggle
    assert controls.wants_picture

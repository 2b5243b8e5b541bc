"""What keys and mouse mean: a player's intent, the texts said, and which views are on. Draws nothing."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import pygame

from bridge.protocol.fields import MAX_TEXT_BYTES
from demos.action_parser import READY_TEXTS
from demos.world import Intent, WalkConfig

HELP = (
    "WASD walk · Shift run · arrows or click + mouse look · T say · 1 to Backspace ready texts · "
    "Tab view · M map · F1 figures · F2 record · F12 picture · Esc quit"
)


class View(enum.Enum):
    """What fills the window."""

    NEURAL = "neural"
    REFERENCE = "reference"
    SPLIT = "split"


_NEXT_VIEW = {View.NEURAL: View.REFERENCE, View.REFERENCE: View.SPLIT, View.SPLIT: View.NEURAL}
_TOP_ROW = (*range(pygame.K_1, pygame.K_9 + 1), pygame.K_0, pygame.K_MINUS, pygame.K_EQUALS, pygame.K_BACKSPACE)
_TOP_ROW_TEXTS = dict(zip(_TOP_ROW, READY_TEXTS, strict=True))
_PICTURE_KEYS = (pygame.K_F12, pygame.K_F3)


@dataclass(slots=True, kw_only=True)
class Controls:
    """The state that keys switch. typing: the text being typed, None while nothing is.

    said, wants_picture and wants_record_toggle are for the caller to act on and clear.
    """

    view: View = View.NEURAL
    figures: bool = True
    minimap: bool = True
    typing: str | None = None
    grabbed: bool = False
    quit: bool = False
    said: list[str] = field(default_factory=list)
    wants_picture: bool = False
    wants_record_toggle: bool = False
    _mouse_px: tuple[float, float] = (0.0, 0.0)

    def read(self, walk: WalkConfig) -> Intent:
        """Takes in everything that happened since the last tick."""
        for event in pygame.event.get():
            self.handle(event)
        return self.intent(pygame.key.get_pressed(), walk)

    def intent(self, pressed: Sequence[bool], walk: WalkConfig) -> Intent:
        """What the keys held down and the mouse moved ask for. While a text is typed, letters do not walk."""
        (across, down), self._mouse_px = self._mouse_px, (0.0, 0.0)
        if self.typing is not None:
            return Intent()
        return Intent(
            forward=float(pressed[pygame.K_w]) - float(pressed[pygame.K_s]),
            right=float(pressed[pygame.K_d]) - float(pressed[pygame.K_a]),
            run=bool(pressed[pygame.K_LSHIFT] or pressed[pygame.K_RSHIFT]),
            turn_left=float(pressed[pygame.K_LEFT]) - float(pressed[pygame.K_RIGHT]),
            look_up=float(pressed[pygame.K_UP]) - float(pressed[pygame.K_DOWN]),
            turn_left_deg=-across * walk.mouse_deg_per_px,
            look_up_deg=-down * walk.mouse_deg_per_px,
        )

    def handle(self, event: pygame.event.Event) -> None:
        """Takes in one event."""
        if event.type == pygame.QUIT:
            self.quit = True
        elif event.type == pygame.MOUSEMOTION and self.grabbed:
            self._mouse_px = (self._mouse_px[0] + event.rel[0], self._mouse_px[1] + event.rel[1])
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self._grab(not self.grabbed)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self._grab(False)
        elif event.type == pygame.TEXTINPUT and self.typing is not None:
            typed = self.typing + event.text
            self.typing = typed if len(typed.encode()) <= MAX_TEXT_BYTES else self.typing
        elif event.type == pygame.KEYDOWN:
            if self.typing is None:
                self._key(event.key)
            else:
                self._typing_key(event.key)

    def _key(self, key: int) -> None:
        if key == pygame.K_ESCAPE:
            self.quit = True
        elif key == pygame.K_t:
            self.typing = ""
            pygame.key.start_text_input()
        elif key == pygame.K_TAB:
            self.view = _NEXT_VIEW[self.view]
        elif key == pygame.K_F1:
            self.figures = not self.figures
        elif key == pygame.K_m:
            self.minimap = not self.minimap
        elif key == pygame.K_F2:
            self.wants_record_toggle = True
        elif key in _PICTURE_KEYS:
            self.wants_picture = True
        elif key in _TOP_ROW_TEXTS:
            self.said.append(_TOP_ROW_TEXTS[key])

    def _typing_key(self, key: int) -> None:
        assert self.typing is not None
        if key == pygame.K_BACKSPACE:
            self.typing = self.typing[:-1]
        elif key in (pygame.K_RETURN, pygame.K_KP_ENTER, pygame.K_ESCAPE):
            if key != pygame.K_ESCAPE and self.typing.strip():
                self.said.append(self.typing.strip())
            self.typing = None
            pygame.key.stop_text_input()

    def _grab(self, grabbed: bool) -> None:
        self.grabbed = grabbed
        pygame.event.set_grab(grabbed)
        pygame.mouse.set_visible(not grabbed)  # hidden and grabbed: SDL reports relative motion without end

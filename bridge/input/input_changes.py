"""What a player did since the last chunk was asked for: does it make another worth asking for, and was it a pause?"""

from __future__ import annotations

from bridge.protocol.messages import Control


class InputChanges:
    """Of one session. waits: an event, or another action, is in no chunk that was asked for."""

    def __init__(self) -> None:
        self.waits = False
        self._paused = False
        self._action = ""  # that the newest chunk was asked for with
        self._before = (self.waits, self._paused, self._action)

    def note(self, control: Control, *, paused: bool) -> None:
        """paused: the player was away before this control."""
        self._paused |= paused
        self.waits |= bool(control.events) or control.action != self._action

    def take(self, action: str) -> bool:
        """A chunk is asked for that is told all, and `action`. Returns: whether it comes after a pause."""
        self._before = (self.waits, self._paused, self._action)
        paused, self._action = self._paused, action
        self.waits = self._paused = False
        return paused

    def give_back(self) -> None:
        """That chunk was not begun: all waits as before."""
        self.waits, self._paused, self._action = self._before

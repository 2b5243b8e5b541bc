"""What a session has told of its level: SCENE and RESET, each judged by those before it. Values in our axes, no I/O.

A RESET that restores a saved state brings a blockout that only the state tells. What comes while it is being read waits
here, and is judged by what it told.
"""

from __future__ import annotations

from typing import Final

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import Reset, SceneUpdate
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import ResetAccepted, SceneAccepted
from bridge.session.scene_quota import SceneQuota

MOST_WAITING: Final = 64  # messages; reading a state takes milliseconds, behind one chunk at most


class SceneAdmission:
    """It begins on the server's default map."""

    def __init__(self, offer: ServerCapabilities) -> None:
        self._offer = offer
        self._parts = SceneQuota()
        self._restoring = False
        self._waiting: list[SceneUpdate | Reset] = []

    def receive(self, message: SceneUpdate | Reset) -> list[SceneAccepted | ResetAccepted]:
        """Nothing follows yet from one that waits. Raises: RemoteProtocolError: it is refused; nothing changed."""
        if isinstance(message, Reset):
            self._check_offered(message)
        if self._restoring:
            if len(self._waiting) >= MOST_WAITING:
                text = f"{MOST_WAITING} messages wait for the state that is being restored; send the level as one SCENE"
                raise RemoteProtocolError(ErrorCode.TOO_LARGE, text)
            self._waiting.append(message)
            return []
        if isinstance(message, Reset):
            self._restoring = bool(message.restore)
            return [ResetAccepted(reset=message)]
        self._parts.admit(message)
        return [SceneAccepted(update=message)]

    def restored(self, scene: SceneUpdate | None) -> list[SceneUpdate | Reset]:
        """The state was read, and shows `scene`; or (None) it could not be, and the level is as it was. Returns: what
        came meanwhile, to be received again."""
        self._restoring = False
        if scene is not None:
            self._parts = SceneQuota()
            self._parts.admit(scene)
        waiting, self._waiting = self._waiting, []
        return waiting

    def _check_offered(self, reset: Reset) -> None:
        if reset.pictures:
            self._offer.check("pictures", "pictures", "its model begins with text alone")
        if reset.restore:
            self._offer.check("save", "restore", "start it with --states FOLDER")

"""Checks SCENE and RESET against what the session sent before: part ids, totals, and what a restored state holds.

One message alone cannot show that a part id is unknown or that all meshes together are too large. A RESET that restores
a saved state brings a blockout that only the state knows: messages that arrive while it is being read wait here, and
are checked once it is known. Values in our axes, no I/O.
"""

from __future__ import annotations

from typing import Final

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.fields import MAX_PARTS, MAX_POSITION_M, MAX_SESSION_MESH_BYTES, Vec3
from bridge.protocol.messages import Reset, SceneUpdate
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import ResetAccepted, SceneAccepted


class SceneQuota:
    """The ids of a session's parts and the bytes of their meshes. It begins on the server's default map."""

    def __init__(self) -> None:
        self._mesh_bytes_of_part: dict[int, int] | None = None  # None: the default map

    def admit(self, update: SceneUpdate) -> None:
        """Takes an update in, all of it or nothing. Raises: RemoteProtocolError: why not."""
        known = {} if update.replace else self._mesh_bytes_of_part
        if known is None:
            if update.add or update.move or update.remove:
                text = "SCENE: the default map cannot be changed; send a first blockout with replace = true"
                raise RemoteProtocolError(ErrorCode.UNKNOWN_PART, text)
            return
        gone = frozenset(update.remove)
        parts = {key: size for key, size in known.items() if key not in gone}
        parts.update((part.id, len(part.vertices) + len(part.triangles)) for part in update.add)
        if len(parts) > MAX_PARTS:
            text = f"SCENE: {len(parts)} parts in this session, expected at most {MAX_PARTS}"
            raise RemoteProtocolError(ErrorCode.TOO_MANY_PARTS, text)
        if (mesh_bytes := sum(parts.values())) > MAX_SESSION_MESH_BYTES:
            text = f"SCENE: {mesh_bytes} bytes of meshes in this session, expected at most {MAX_SESSION_MESH_BYTES}"
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, text)
        for moved in update.move:
            if moved.id not in parts:
                raise RemoteProtocolError(ErrorCode.UNKNOWN_PART, f"SCENE: move names part {moved.id}, never added")
            check_reach(moved.position, f"part {moved.id}: position")
        for part in update.add:
            check_reach(part.position, f"part {part.id}: position")
            check_reach(part.size, f"part {part.id}: size")
        self._mesh_bytes_of_part = parts


def check_reach(metres: Vec3, name: str, *, seq: int = -1) -> None:
    """Raises: RemoteProtocolError: a length is beyond what any coordinate may be. seq: the control concerned."""
    if max(map(abs, metres)) > MAX_POSITION_M:
        text = f"{name}: {metres} m, expected at most {MAX_POSITION_M:g} m from the origin"
        raise RemoteProtocolError(ErrorCode.INVALID_FIELD, text, seq=seq)


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

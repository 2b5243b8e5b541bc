"""What a session's scene messages add up to, as far as one message alone cannot show it: ids and totals.

Values in our axes, for session.py. What the parts are is scene_state.py's matter.
"""

from __future__ import annotations

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.fields import MAX_PARTS, MAX_POSITION_M, MAX_SESSION_MESH_BYTES, Vec3
from bridge.protocol.messages import SceneUpdate


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

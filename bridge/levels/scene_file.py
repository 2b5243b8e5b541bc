"""Levels as files: the SCENE messages that hand one over, one after another, each behind its length.

    4 bytes   length of the body, big-endian
    length    the body of a SCENE message, as it travels

Any client can send them as they are: `HLB1`, the byte 0x05, the body. The first has `replace` true.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge.errors import ConfigError, RemoteProtocolError
from bridge.protocol.codec import MAX_BODY_BYTES, decode, encode_checked
from bridge.protocol.fields import MAX_PARTS, MAX_SESSION_MESH_BYTES
from bridge.protocol.messages import PROTOCOL_MAGIC, MessageType, Part, SceneUpdate

_FEW_BYTES: Final = 512  # of a part without its mesh, its names at their longest
_BODY_BYTES: Final = MAX_BODY_BYTES[MessageType.SCENE] - 4096


def scenes_of(parts: Sequence[Part]) -> Iterator[SceneUpdate]:
    """The messages that hand over `parts`: as few as their limit allows.

    Raises: ConfigError: more than a session may have.
    """
    mesh_bytes = sum(len(part.vertices) + len(part.triangles) for part in parts)
    if len(parts) > MAX_PARTS or mesh_bytes > MAX_SESSION_MESH_BYTES:
        raise ConfigError(
            f"level: got {len(parts)} parts and {mesh_bytes / 2**20:.1f} MiB of meshes, expected at most "
            f"{MAX_PARTS} and {MAX_SESSION_MESH_BYTES / 2**20:.0f} MiB; hand over less, or boxes instead of meshes"
        )
    together: list[Part] = []
    room = _BODY_BYTES
    replace = True
    for part in parts:
        needed = _FEW_BYTES + len(part.vertices) + len(part.triangles)
        if needed > room:
            yield SceneUpdate(replace=replace, add=tuple(together))
            together, room, replace = [], _BODY_BYTES, False
        together.append(part)
        room -= needed
    yield SceneUpdate(replace=replace, add=tuple(together))


def write_scenes(path: Path, updates: Iterable[SceneUpdate]) -> int:
    """Returns: bytes written. Raises: LocalProtocolError: a value is out of bounds. OSError: the file cannot be."""
    bodies = [bytes(encode_checked(update)[2]) for update in updates]
    data = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    path.write_bytes(data)
    return len(data)


def read_scenes(path: Path) -> list[SceneUpdate]:
    """Raises: ConfigError: it is no such file. OSError: it cannot be read."""
    data, updates = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length:
            raise ConfigError(f"{path}: a body of {length} bytes, but {len(data) - 4} are left: it is cut short")
        try:
            message = decode([PROTOCOL_MAGIC, bytes([MessageType.SCENE]), data[4 : 4 + length]]).message
        except RemoteProtocolError as exc:
            raise ConfigError(f"{path}: {exc.text}") from exc
        assert isinstance(message, SceneUpdate)
        updates.append(message)
        data = data[4 + length :]
    return updates

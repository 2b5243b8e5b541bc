"""Messages as a client in another language packs them, sound or not, and what a receiver has against them."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest

from bridge.errors import RemoteProtocolError
from bridge.protocol import codec
from bridge.protocol.codec import decode
from bridge.protocol.messages import MessageType

CONTROL: dict[str, Any] = {
    "seq": 9,
    "t_us": 2,
    "position": [0, 1.5, 2],
    "rotation": [0, 0, 0, 1],
    "vertical_fov_deg": 60,
}
TRIANGLE = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
MESH: dict[str, Any] = {
    "id": 1,
    "shape": "mesh",
    "position": [0, 0, 0],
    "vertices": TRIANGLE,
    "triangles": struct.pack("<3I", 0, 1, 2),
}


def parts_of(kind: MessageType, body: object) -> list[codec.Buffer]:
    """A message of `kind`; body: packed already if it is bytes."""
    packed = body if isinstance(body, bytes) else msgpack.packb(body)
    return [b"HLB1", bytes([kind]), packed]


def refusal(parts: list[codec.Buffer]) -> RemoteProtocolError:
    """What a receiver has against them."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode(parts)
    return caught.value


def control(**changed: object) -> list[codec.Buffer]:
    """A sound CONTROL but for what is `changed`."""
    return parts_of(MessageType.CONTROL, {**CONTROL, **changed})


def scene(*parts: dict[str, Any]) -> list[codec.Buffer]:
    """A first blockout of these parts."""
    return parts_of(MessageType.SCENE, {"replace": True, "add": list(parts)})

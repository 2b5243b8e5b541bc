"""Checks what a message's types cannot: unit quaternions, positive extents, valid meshes.

codec.py calls it after types and bounds are checked. What depends on earlier messages is checked in session/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.fields import MAX_POSITION_M, MAX_UNITS_PER_METRE, Quat
from bridge.protocol.messages import (
    Control,
    FrameHeader,
    Message,
    Part,
    PartMove,
    PixelFormat,
    Reset,
    Save,
    SceneUpdate,
    Shape,
)

QUATERNION_TOLERANCE: Final = 1e-2
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def is_name(name: str) -> bool:
    """Whether a saved state may be called so: letters, digits, dots, dashes, underscores; no leading dot."""
    return _NAME.fullmatch(name) is not None


def validate(message: Message) -> Message:
    """The message with its quaternions at length 1.

    Raises: RemoteProtocolError: a value is of the right type and within its bounds, but makes no sense.
    """
    if isinstance(message, Control | FrameHeader):
        rotation = _unit(message.rotation, "rotation")
        if rotation is not message.rotation:
            return msgspec.structs.replace(message, rotation=rotation)
    elif isinstance(message, SceneUpdate):
        return _check_scene(message)
    elif isinstance(message, Reset):
        _check_reset(message)
    elif isinstance(message, Save):
        _check_name(message.name, "name")
    return message


def _unit(q: Quat, name: str) -> Quat:
    """`q` with length 1. A quaternion that is off by more than a rounding is a mistake worth telling."""
    norm = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    error = abs(norm - 1.0)
    if error <= 1e-12:
        return q
    if not error <= QUATERNION_TOLERANCE:
        text = f"{name}: a quaternion of length {norm:.4g}, expected 1 (order x, y, z, w)"
        raise RemoteProtocolError(ErrorCode.BAD_ROTATION, text)
    return (q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm)


def _check_reset(reset: Reset) -> None:
    if reset.restore:
        _check_name(reset.restore, "restore")
        if reset.pictures or reset.seed is not None or reset.prompt is not None:
            text = "RESET: restore stands alone, a saved state has its own seed, prompt and history"
            raise RemoteProtocolError(ErrorCode.INVALID_FIELD, text)
    width, height = reset.picture_width, reset.picture_height
    if reset.pictures and not (width and height):
        text = f"RESET: got pictures of {width} x {height} pixels, expected picture_width and picture_height"
        raise RemoteProtocolError(ErrorCode.INVALID_FIELD, text)
    for index, data in enumerate(reset.pictures):
        if reset.picture_format is PixelFormat.RGB8 and len(data) != 3 * width * height:
            text = f"picture {index}: got {len(data)} bytes, expected {3 * width * height} for {width} x {height}"
            raise RemoteProtocolError(ErrorCode.INVALID_FIELD, text)
        if reset.picture_format is PixelFormat.JPEG and data[:2] != b"\xff\xd8":
            raise RemoteProtocolError(ErrorCode.INVALID_FIELD, f"picture {index}: the data is not a JPEG")


def _check_name(name: str, field: str) -> None:
    if not is_name(name):
        text = f"{field}: got {name!r}, expected letters, digits, dots, dashes and underscores, no dot first"
        raise RemoteProtocolError(ErrorCode.INVALID_FIELD, text)


def _check_scene(update: SceneUpdate) -> SceneUpdate:
    add = tuple(_check_part(part) for part in update.add)
    move = tuple(_moved(move) for move in update.move)
    if len({part.id for part in add}) != len(add):
        raise RemoteProtocolError(ErrorCode.INVALID_FIELD, "SCENE: add names one part id twice")
    _check_meshes([part for part in add if part.shape is Shape.MESH])
    return msgspec.structs.replace(update, add=add, move=move)


def _moved(move: PartMove) -> PartMove:
    rotation = _unit(move.rotation, f"part {move.id}: rotation")
    return move if rotation is move.rotation else msgspec.structs.replace(move, rotation=rotation)


def _check_part(part: Part) -> Part:
    # A plane's thickness is ignored; which axis that is depends on the client's axes, so two extents must be positive.
    needed = 2 if part.shape is Shape.PLANE else 3
    if sum(extent > 0 for extent in part.size) < needed:
        text = f"part {part.id}: size {part.size}, expected extents above 0"
        raise RemoteProtocolError(ErrorCode.INVALID_FIELD, text)
    if part.shape is Shape.MESH:
        for name, data in (("vertices", part.vertices), ("triangles", part.triangles)):
            if not data or len(data) % 12:
                raise _bad_mesh(part, f"{len(data)} bytes of {name}, expected triples of 4 bytes each")
    elif part.vertices or part.triangles:
        raise _bad_mesh(part, f"a {part.shape.value} has no vertices")
    rotation = _unit(part.rotation, f"part {part.id}: rotation")
    return part if rotation is part.rotation else msgspec.structs.replace(part, rotation=rotation)


def _check_meshes(meshes: Sequence[Part]) -> None:
    """Checks all meshes of a SCENE together: numpy's cost a call, over thousands of small ones, is half a second."""
    if not meshes:
        return
    raw = np.frombuffer(b"".join(part.vertices for part in meshes), dtype="<f4").reshape(-1, 3)
    with np.errstate(invalid="ignore"):  # a signalling NaN; it is refused below
        vertices = raw.astype(np.float64)
    triangles = np.frombuffer(b"".join(part.triangles for part in meshes), dtype="<u4").reshape(-1, 3).astype(np.int64)
    vertex_counts = np.array([len(part.vertices) // 12 for part in meshes])  # (P,)
    owner = np.repeat(np.arange(len(meshes)), [len(part.triangles) // 12 for part in meshes])  # (M,)
    reach = MAX_POSITION_M * MAX_UNITS_PER_METRE
    is_near = (np.abs(vertices) <= reach).all(axis=1)  # False for NaN too
    if not is_near.all():
        first = np.repeat(np.arange(len(meshes)), vertex_counts)[is_near.argmin()]
        raise _bad_mesh(meshes[first], "a vertex is not finite or too far away")
    is_known = triangles.max(axis=1) < vertex_counts[owner]
    if not is_known.all():
        wrong = int(is_known.argmin())
        text = f"a triangle names vertex {triangles[wrong].max()} of {vertex_counts[owner[wrong]]}"
        raise _bad_mesh(meshes[owner[wrong]], text)
    first_vertex = np.cumsum(vertex_counts) - vertex_counts
    corners = vertices[triangles + first_vertex[owner, None]]  # (M, 3 corners, 3)
    has_area = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) != 0).any(axis=1)
    areas = np.bincount(owner[has_area], minlength=len(meshes))
    if not areas.all():
        raise _bad_mesh(meshes[int(areas.argmin())], "every triangle is degenerate")


def _bad_mesh(part: Part, text: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_MESH, f"part {part.id}: {text}")

"""Rotations and parts of a blockout: which make no sense and are refused, and which are put right."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from bridge.errors import ErrorCode
from bridge.protocol.codec import decode
from bridge.protocol.messages import Control, SceneUpdate
from tests.packed_messages import MESH, TRIANGLE, control, refusal, scene


@pytest.mark.parametrize("scale", [0.991, 1.009])
def test_slightly_long_quaternions_are_made_unit(scale: float) -> None:
    message = decode(control(rotation=[0, 0.6 * scale, 0, 0.8 * scale])).message
    assert isinstance(message, Control)
    assert message.rotation == pytest.approx((0, 0.6, 0, 0.8), abs=1e-15)


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"triangles": struct.pack("<3I", 0, 1, 3)}, ErrorCode.BAD_MESH, "names vertex 3 of 3"),
        ({"triangles": b""}, ErrorCode.BAD_MESH, "0 bytes of triangles"),
        ({"triangles": b"\0" * 13}, ErrorCode.BAD_MESH, "13 bytes of triangles"),
        ({"vertices": b""}, ErrorCode.BAD_MESH, "0 bytes of vertices"),
        ({"vertices": TRIANGLE[:-1]}, ErrorCode.BAD_MESH, "35 bytes of vertices"),
        ({"vertices": struct.pack("<f", math.nan) + TRIANGLE[4:]}, ErrorCode.BAD_MESH, "not finite"),
        ({"vertices": struct.pack("<f", math.inf) + TRIANGLE[4:]}, ErrorCode.BAD_MESH, "not finite"),
        ({"triangles": struct.pack("<6I", 0, 0, 1, 2, 2, 2)}, ErrorCode.BAD_MESH, "degenerate"),
        ({"vertices": b"\0" * 12 * 65537}, ErrorCode.INVALID_FIELD, "vertices"),
        ({"vertices": "text"}, ErrorCode.INVALID_FIELD, "vertices"),
        ({"shape": "box"}, ErrorCode.BAD_MESH, "a box has no vertices"),
        ({"shape": "torus"}, ErrorCode.INVALID_FIELD, "torus"),
        ({"size": [1, 0, 1]}, ErrorCode.INVALID_FIELD, "size"),
        ({"size": [1, -1, 1]}, ErrorCode.INVALID_FIELD, "size"),
        ({"colour": [0, 0, 1.5]}, ErrorCode.INVALID_FIELD, "colour"),
        ({"rotation": [0, 0, 0, 0.5]}, ErrorCode.BAD_ROTATION, "part 1"),
        ({"id": 2**32}, ErrorCode.INVALID_FIELD, "id"),
    ],
)
def test_unsound_parts_are_refused(changed: dict[str, object], code: ErrorCode, text: str) -> None:
    error = refusal(scene({**MESH, **changed}))
    assert error.code is code
    assert text in error.text


def test_a_sound_mesh_passes() -> None:
    message = decode(scene(MESH)).message
    assert isinstance(message, SceneUpdate)
    assert message.add[0].vertices == TRIANGLE


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"triangles": struct.pack("<6I", 0, 1, 2, 0, 1, 3)}, "part 5: a triangle names vertex 3 of 3"),
        ({"vertices": TRIANGLE[:-4] + struct.pack("<f", math.nan)}, "part 5: a vertex is not finite"),
        ({"triangles": struct.pack("<3I", 2, 2, 2)}, "part 5: every triangle is degenerate"),
    ],
)
def test_among_many_meshes_the_bad_one_is_named(changed: dict[str, Any], text: str) -> None:
    quad = {**MESH, "vertices": TRIANGLE + TRIANGLE, "triangles": struct.pack("<6I", 0, 1, 2, 3, 4, 5)}
    sound = [{**(quad if number % 2 else MESH), "id": number} for number in range(10) if number != 5]
    assert isinstance(decode(scene(*sound)).message, SceneUpdate)
    error = refusal(scene(*sound[:5], {**MESH, "id": 5, **changed}, *sound[5:]))
    assert error.code is ErrorCode.BAD_MESH
    assert text in error.text


def test_a_plane_needs_no_thickness() -> None:
    flat = {"id": 1, "shape": "plane", "position": [0, 0, 0], "size": [5, 0, 5]}
    assert isinstance(decode(scene(flat)).message, SceneUpdate)


def test_one_id_twice_is_refused() -> None:
    assert refusal(scene(MESH, MESH)).code is ErrorCode.INVALID_FIELD

"""Golden vectors are derived by hand: 'one metre right, two up, three forward' and 'turn right by 90 degrees' in each
engine's own numbers, from that engine's own documentation of its axes."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol.axes import client_from_ours, ours_from_client
from bridge.protocol.fields import Quat, Vec3
from bridge.protocol.messages import Axes, Part, PartMove, SceneUpdate, Shape

S = math.sqrt(0.5)
SYSTEMS = [(axes, 100.0 if axes is Axes.UNREAL else 1.0) for axes in Axes]
OURS_POINT = (1.0, 2.0, -3.0)  # one right, two up, three forward
POINT: dict[Axes, Vec3] = {
    Axes.OPENGL: (1.0, 2.0, -3.0),
    Axes.GODOT: (1.0, 2.0, -3.0),
    Axes.OPENCV: (1.0, -2.0, 3.0),
    Axes.UNITY: (1.0, 2.0, 3.0),
    Axes.UNREAL: (300.0, 100.0, 200.0),
}
# Turning right (clockwise seen from above) by 90 degrees. Unity: Euler y = +90. Unreal: yaw = +90 about Z.
# OpenCV: about +Y, which points down, by +90. OpenGL, Godot: about +Y, up, by -90.
TURN_RIGHT: dict[Axes, Quat] = {
    Axes.OPENGL: (0.0, -S, 0.0, S),
    Axes.GODOT: (0.0, -S, 0.0, S),
    Axes.OPENCV: (0.0, S, 0.0, S),
    Axes.UNITY: (0.0, S, 0.0, S),
    Axes.UNREAL: (0.0, 0.0, S, S),
}
# Looking up by 90 degrees. Unity: Euler x = -90. OpenGL: about +X by +90. OpenCV: about +X by +90.
# Unreal: pitch = +90, which FRotator::Quaternion writes as (0, -sin, 0, cos).
LOOK_UP: dict[Axes, Quat] = {
    Axes.OPENGL: (S, 0.0, 0.0, S),
    Axes.GODOT: (S, 0.0, 0.0, S),
    Axes.OPENCV: (S, 0.0, 0.0, S),
    Axes.UNITY: (-S, 0.0, 0.0, S),
    Axes.UNREAL: (0.0, -S, 0.0, S),
}
FORWARD: dict[Axes, Vec3] = {
    Axes.OPENGL: (0.0, 0.0, -1.0),
    Axes.GODOT: (0.0, 0.0, -1.0),
    Axes.OPENCV: (0.0, 0.0, 1.0),
    Axes.UNITY: (0.0, 0.0, 1.0),
    Axes.UNREAL: (1.0, 0.0, 0.0),
}


def rotate(q: Quat, v: Vec3) -> tuple[float, ...]:
    """The formula that every engine uses on its own components, left-handed or right-handed."""
    axis, w = np.array(q[:3]), q[3]
    vector = np.array(v)
    return tuple(vector + 2 * w * np.cross(axis, vector) + 2 * np.cross(axis, np.cross(axis, vector)))


@pytest.mark.parametrize(("axes", "units"), SYSTEMS)
def test_a_point_right_up_and_forward(axes: Axes, units: float) -> None:
    assert ours_from_client(axes, units).position(POINT[axes]) == OURS_POINT
    assert client_from_ours(axes, units).position(OURS_POINT) == POINT[axes]


@pytest.mark.parametrize("golden", [TURN_RIGHT, LOOK_UP], ids=["turn right", "look up"])
@pytest.mark.parametrize(("axes", "units"), SYSTEMS)
def test_turning_right_and_looking_up(axes: Axes, units: float, golden: dict[Axes, Quat]) -> None:
    assert ours_from_client(axes, units).rotation(golden[axes]) == golden[Axes.OPENGL]
    assert client_from_ours(axes, units).rotation(golden[Axes.OPENGL]) == golden[axes]


@pytest.mark.parametrize(("axes", "units"), SYSTEMS)
def test_the_golden_turns_do_what_they_say_in_the_engines_own_numbers(axes: Axes, units: float) -> None:
    right = tuple(a - b for a, b in zip(POINT[axes], without_right(axes), strict=True))
    assert rotate(TURN_RIGHT[axes], FORWARD[axes]) == pytest.approx(tuple(c / units for c in right), abs=1e-12)


def without_right(axes: Axes) -> Vec3:
    """POINT without its metre to the right."""
    x, y, z = POINT[axes]
    return (x, 0.0, z) if axes is Axes.UNREAL else (0.0, y, z)


FINITE = st.floats(-1e6, 1e6)
VECTORS = st.tuples(FINITE, FINITE, FINITE)
QUATS = st.tuples(*[st.floats(-1, 1)] * 4)


@pytest.mark.parametrize("axes", Axes)
@given(p=VECTORS, q=QUATS)
def test_conversion_has_an_exact_inverse(axes: Axes, p: Vec3, q: Quat) -> None:
    there, back = ours_from_client(axes, 1.0), client_from_ours(axes, 1.0)
    assert back.position(there.position(p)) == p
    assert there.position(back.position(p)) == p
    assert back.rotation(there.rotation(q)) == q
    assert there.rotation(back.rotation(q)) == q


@pytest.mark.parametrize("axes", Axes)
@given(p=VECTORS)
def test_centimetres_come_back_within_a_rounding(axes: Axes, p: Vec3) -> None:
    again = client_from_ours(axes, 100.0).position(ours_from_client(axes, 100.0).position(p))
    assert again == pytest.approx(p, rel=1e-15, abs=1e-300)


@pytest.mark.parametrize("axes", Axes)
@given(p=VECTORS, q=QUATS.filter(lambda q: sum(c * c for c in q) > 0.1))
def test_rotating_then_converting_equals_converting_then_rotating(axes: Axes, p: Vec3, q: Quat) -> None:
    norm = math.sqrt(sum(c * c for c in q))
    unit = (q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm)
    there = ours_from_client(axes, 1.0)
    x, y, z = rotate(unit, p)
    assert rotate(there.rotation(unit), there.position(p)) == pytest.approx(there.position((x, y, z)), abs=1e-8)


def test_extents_follow_their_axes() -> None:
    # Unreal: 4 m long (X), 2 m wide (Y), 1 m high (Z) is 2 wide, 1 high, 4 long in ours.
    assert ours_from_client(Axes.UNREAL, 100.0).size((400.0, 200.0, 100.0)) == (2.0, 1.0, 4.0)
    assert client_from_ours(Axes.UNREAL, 100.0).size((2.0, 1.0, 4.0)) == (400.0, 200.0, 100.0)
    assert ours_from_client(Axes.OPENCV, 1.0).size((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def outward(vertices: bytes, triangles: bytes) -> np.ndarray:
    points = np.frombuffer(vertices, "<f4").reshape(-1, 3).astype(float)
    a, b, c = points[np.frombuffer(triangles, "<u4")]
    return np.cross(b - a, c - a)


@pytest.mark.parametrize(("axes", "units"), SYSTEMS)
def test_a_triangle_that_faces_up_still_faces_up(axes: Axes, units: float) -> None:
    ours_part = Part(
        id=1,
        shape=Shape.MESH,
        position=OURS_POINT,
        size=(1.0, 1.0, 1.0),
        vertices=struct.pack("<9f", 0, 0, 0, 0, 0, 1, 1, 0, 0),
        triangles=struct.pack("<3I", 0, 1, 2),
    )
    assert tuple(outward(ours_part.vertices, ours_part.triangles)) == (0, 1, 0)
    theirs = client_from_ours(axes, units).part(ours_part)
    up = {Axes.UNREAL: (0, 0, 1), Axes.OPENCV: (0, -1, 0)}.get(axes, (0, 1, 0))
    assert tuple(outward(theirs.vertices, theirs.triangles)) == up
    assert theirs.position == POINT[axes]
    assert theirs.size == (units, units, units)  # vertices carry no unit, size does
    assert ours_from_client(axes, units).part(theirs) == ours_part


def test_a_scene_is_converted_whole() -> None:
    update = SceneUpdate(
        add=(Part(id=1, shape=Shape.BOX, position=POINT[Axes.UNITY], rotation=TURN_RIGHT[Axes.UNITY]),),
        move=(PartMove(id=1, position=POINT[Axes.UNITY], rotation=LOOK_UP[Axes.UNITY]),),
        remove=(4,),
        prompt="night",
    )
    ours = ours_from_client(Axes.UNITY, 1.0).scene(update)
    assert ours.add[0].position == ours.move[0].position == OURS_POINT
    assert ours.add[0].rotation == TURN_RIGHT[Axes.OPENGL]
    assert ours.move[0].rotation == LOOK_UP[Axes.OPENGL]
    assert (ours.remove, ours.prompt) == ((4,), "night")

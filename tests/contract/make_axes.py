"""Writes tests/contract/axes: what a camera in each engine's own numbers sees, for clients in any language.

    python tests/contract/make_axes.py

One `ENGINE.json` each. A vector says what a programmer writes in that engine (`said`), what then is on the wire
(`sent`), where the camera looks, in words that no convention can turn round (`looks`: its forward and up as metres to
the right, up and forward of where an unturned camera looks), and where a point of the world appears in the picture
(`pixel`: from the left and from the top, 0 to 1, at 5 : 3).

Nothing of bridge/ is used. The words come first, by hand: a heading turns right, an elevation looks up, a lean tips the
head to the right shoulder, and the forward and up of each case are written out from the sines and cosines. The numbers
on the wire come from each engine's documented way to make a rotation, which differs from engine to engine:

- unity: Quaternion.Euler(x, y, z), degrees, "applied in the order z, x, y" (Unity manual); left-handed, so about +Y
  (up) a positive angle turns right, about +X (right) it looks down, about +Z (forward) it leans left.
- unreal: FRotator(Pitch, Yaw, Roll).Quaternion(): the engine's own formula (UnrealMath.cpp) in half angles; Pitch looks
  up, Yaw turns right, Roll leans right ("clockwise" in Rotator.h).
- godot: Node3D.rotation in the default order YXZ; right-handed, Y up, the camera looks along -Z: a positive angle
  about Y turns left, about X looks up, about Z leans left.
- opengl: gluLookAt's side, up and minus forward as the columns of a matrix, and Shepperd's method to a quaternion.
- opencv: x right, y down, z forward; Rodrigues' rotation vectors about those axes: about y turns right, about x looks
  up, about z leans right.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FOLDER = pathlib.Path(__file__).parent / "axes"
WIDTH, HEIGHT = 320, 192
Triple = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


def s(degrees: float) -> float:
    return math.sin(math.radians(degrees))


def c(degrees: float) -> float:
    return math.cos(math.radians(degrees))


@dataclass(frozen=True)
class Case:
    """heading_deg to the right, elevation_deg up, lean_deg to the right; forward and up as (right, up, forward).

    stands: the camera's place, and point: a place in the world, in metres right, up and forward of the origin. pixel:
    where the point is seen, derived in `why`; None where it is behind.
    """

    name: str
    heading_deg: float
    elevation_deg: float
    lean_deg: float
    forward: Triple
    up: Triple
    point: Triple
    pixel: tuple[float, float] | None
    why: str
    stands: Triple = (0.0, 0.0, 0.0)
    vertical_fov_deg: float = 90.0
    horizontal_fov_deg: float | None = None


R5 = 3 / 5  # at 90 degrees and 5 : 3 the picture spans 1 up and 5/3 right at distance 1; half its width is 5/3
A = Case

CASES: tuple[Case, ...] = (
    A("identity", 0, 0, 0, (0, 0, 1), (0, 1, 0), (0, 0, 4), (0.5, 0.5),
      "unturned: a point straight ahead is in the middle"),
    A("identity, a point to the right", 0, 0, 0, (0, 0, 1), (0, 1, 0), (2, 0, 4), (0.5 + R5 * 0.25, 0.5),
      "tan is 2/4; half the picture is 5/3: 0.5 + 0.5 * 0.5 * 3/5"),
    A("identity, a point above", 0, 0, 0, (0, 0, 1), (0, 1, 0), (0, 2, 4), (0.5, 0.25),
      "tan is 2/4; half the picture is 1: 0.5 - 0.5 * 0.5; rows count from the top"),
    A("identity, a point behind", 0, 0, 0, (0, 0, 1), (0, 1, 0), (0, 0, -4), None, "behind the camera"),
    A("right 90", 90, 0, 0, (1, 0, 0), (0, 1, 0), (4, 0, 0), (0.5, 0.5),
      "what was on the right is ahead"),
    A("right 90, what was ahead", 90, 0, 0, (1, 0, 0), (0, 1, 0), (4, 0, 2), (0.5 - R5 * 0.25, 0.5),
      "what was ahead is on the left now: 4 forward, 2 to the left"),
    A("left 90", -90, 0, 0, (-1, 0, 0), (0, 1, 0), (-4, 2, 0), (0.5, 0.25),
      "what was on the left is ahead; above stays above"),
    A("about turn", 180, 0, 0, (0, 0, -1), (0, 1, 0), (2, 0, -4), (0.5 - R5 * 0.25, 0.5),
      "what was to the right is to the left"),
    A("up 90", 0, 90, 0, (0, 1, 0), (0, 0, -1), (0, 4, 2), (0.5, 0.75),
      "looking at the zenith; the picture's top is what was behind, so what was ahead is below"),
    A("down 90", 0, -90, 0, (0, -1, 0), (0, 0, 1), (0, -4, 2), (0.5, 0.25),
      "looking at the feet; the picture's top is what was ahead"),
    A("lean right 90", 0, 0, 90, (0, 0, 1), (1, 0, 0), (2, 0, 4), (0.5, 0.25),
      "the head's top points right: what is on the right is at the picture's top"),
    A("lean left 30", 0, 0, -30, (0, 0, 1), (-s(30), c(30), 0), (0, 2, 4),
      (0.5 + R5 * 0.25 * s(30), 0.5 - 0.25 * c(30)),
      "leaning left turns the picture clockwise: what was above is above and to the right"),
    A("right 45", 45, 0, 0, (s(45), 0, c(45)), (0, 1, 0), (4, 0, 0), (0.5 + R5 * 0.5, 0.5),
      "what was on the right is 45 degrees to the right: tan is 1"),
    A("up 30", 0, 30, 0, (0, s(30), c(30)), (0, c(30), -s(30)), (0, 0, 4), (0.5, 0.5 + 0.5 * s(30) / c(30)),
      "the horizon is 30 degrees below the middle: tan 30"),
    A("right 30, up 20", 30, 20, 0, (s(30) * c(20), s(20), c(30) * c(20)),
      (-s(30) * s(20), c(20), -c(30) * s(20)), (4 * s(30), 0, 4 * c(30)), (0.5, 0.5 + 0.5 * s(20) / c(20)),
      "the horizon in the direction of the heading is 20 degrees below the middle: the elevation is taken after the "
      "turn, about the turned camera's own right"),
    A("left 120, down 40", -120, -40, 0, (-s(120) * c(40), -s(40), c(120) * c(40)),
      (-s(120) * s(40), c(40), c(120) * s(40)), (-4 * s(120), 0, 4 * c(120)), (0.5, 0.5 - 0.5 * s(40) / c(40)),
      "the horizon in the direction of the heading is 40 degrees above the middle"),
    A("right 90, up 45", 90, 45, 0, (c(45), s(45), 0), (-s(45), c(45), 0), (0, 4, 0), (0.5, 0.0),
      "the zenith is 45 degrees above the middle: tan is 1, the picture's upper edge"),
    A("right 90, lean right 90", 90, 0, 90, (1, 0, 0), (0, 0, -1), (4, 2, 0), (0.5 - R5 * 0.25, 0.5),
      "the head's top points to the right of the heading, which is backward; what is above is to the left"),
    A("up 60, lean left 90", 0, 60, -90, (0, s(60), c(60)), (-1, 0, 0), (-2, 4 * s(60), 4 * c(60)), (0.5, 0.25),
      "leaning is about the line of sight: the head's top points left, the left is at the top"),
    A("right 200, down 10, lean right 15", 200, -10, 15, (s(200) * c(10), -s(10), c(200) * c(10)),
      (s(200) * s(10) * c(15) + c(200) * s(15), c(10) * c(15), c(200) * s(10) * c(15) - s(200) * s(15)),
      (4 * s(200) * c(10), -4 * s(10), 4 * c(200) * c(10)), (0.5, 0.5),
      "4 m along the line of sight; up is cos 15 of the unleaned up and sin 15 of the right"),
    A("upside down", 0, 0, 180, (0, 0, 1), (0, -1, 0), (2, 2, 4), (0.5 - R5 * 0.25, 0.75),
      "right is left and above is below"),
    A("3 m to the right", 0, 0, 0, (0, 0, 1), (0, 1, 0), (3, 0, 4), (0.5, 0.5),
      "a camera 3 m to the right has a point 3 m to the right straight ahead", stands=(3, 0, 0)),
    A("2 m up and 1 m forward", 0, 0, 0, (0, 0, 1), (0, 1, 0), (0, 0, 5), (0.5, 0.75),
      "4 m ahead and 2 m below", stands=(0, 2, 1)),
    A("standing aside, right 90", 90, 0, 0, (1, 0, 0), (0, 1, 0), (5, 3, 3), (0.5 + R5 * 0.25, 0.25),
      "from (1, 1, 5): 4 to the right is 4 ahead, 2 back is 2 to the right, 2 above", stands=(1, 1, 5)),
    A("vertical field of view 60", 0, 0, 0, (0, 0, 1), (0, 1, 0), (0, 2, 4), (0.5, 0.5 - 0.25 / (s(30) / c(30))),
      "half the picture's height is tan 30 at distance 1", vertical_fov_deg=60.0),
    A("vertical field of view 120, off centre", 0, 0, 0, (0, 0, 1), (0, 1, 0), (-2, -2, 4),
      (0.5 - R5 * 0.25 / (s(60) / c(60)), 0.5 + 0.25 / (s(60) / c(60))),
      "half the picture's height is tan 60, half its width 5/3 of that", vertical_fov_deg=120.0),
    A("horizontal field of view 90", 0, 0, 0, (0, 0, 1), (0, 1, 0), (4, 2, 4), (1.0, 0.5 - 0.5 * 0.5 * 5 / 3),
      "45 degrees to the right is the edge; half the height is 3/5 of half the width, so the vertical field of view "
      "sent is 2 atan(tan(45) * 3/5)", horizontal_fov_deg=90.0),
    A("horizontal field of view 60, turned", 90, 0, 0, (1, 0, 0), (0, 1, 0), (4, 0, -4 * s(30) / c(30)), (1.0, 0.5),
      "30 degrees to the right of the heading is the edge", horizontal_fov_deg=60.0),
)  # fmt: skip


# -- each engine's way to make a rotation ------------------------------------------------------------------------------


def product(a: Quaternion, b: Quaternion) -> Quaternion:
    """Hamilton's product in components: first b, then a, in left-handed and right-handed systems alike."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def about(axis: int, degrees: float) -> Quaternion:
    """Half-angle form: axis times sin, cos."""
    vector = [0.0, 0.0, 0.0]
    vector[axis] = s(degrees / 2)
    return (vector[0], vector[1], vector[2], c(degrees / 2))


def unity(case: Case) -> tuple[str, Quaternion]:
    x, y, z = -case.elevation_deg, case.heading_deg, -case.lean_deg
    return f"Quaternion.Euler({x:g}, {y:g}, {z:g})", product(about(1, y), product(about(0, x), about(2, z)))


def godot(case: Case) -> tuple[str, Quaternion]:
    x, y, z = case.elevation_deg, -case.heading_deg, -case.lean_deg
    said = f"rotation_degrees = Vector3({x:g}, {y:g}, {z:g}), rotation order YXZ"
    return said, product(about(1, y), product(about(0, x), about(2, z)))


def unreal(case: Case) -> tuple[str, Quaternion]:
    pitch, yaw, roll = case.elevation_deg, case.heading_deg, case.lean_deg
    sp, sy, sr = s(pitch / 2), s(yaw / 2), s(roll / 2)
    cp, cy, cr = c(pitch / 2), c(yaw / 2), c(roll / 2)
    quaternion = (
        cr * sp * sy - sr * cp * cy,
        -cr * sp * cy - sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )
    return f"FRotator({pitch:g}, {yaw:g}, {roll:g}).Quaternion()", quaternion


def opencv(case: Case) -> tuple[str, Quaternion]:
    y, x, z = case.heading_deg, case.elevation_deg, case.lean_deg
    said = f"camera-to-world R = Rodrigues(y {y:g} deg) Rodrigues(x {x:g} deg) Rodrigues(z {z:g} deg)"
    return said, product(about(1, y), product(about(0, x), about(2, z)))


def opengl(case: Case) -> tuple[str, Quaternion]:
    """Columns: side, up, minus forward, in GL's world, where a metre forward is -1 in z."""
    forward, up = (gl(case.forward), gl(case.up))
    side = (
        forward[1] * up[2] - forward[2] * up[1],
        forward[2] * up[0] - forward[0] * up[2],
        forward[0] * up[1] - forward[1] * up[0],
    )
    m = [[side[i], up[i], -forward[i]] for i in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    largest = max(range(4), key=lambda i: m[i][i] if i < 3 else trace)
    if largest == 3:
        q = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], 1 + trace]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q = [0.0, 0.0, 0.0, m[k][j] - m[j][k]]
        q[i], q[j], q[k] = 1 + m[i][i] - m[j][j] - m[k][k], m[j][i] + m[i][j], m[k][i] + m[i][k]
    length = math.sqrt(sum(value * value for value in q))
    said = f"inverse of gluLookAt towards {rounded(forward)}, up {rounded(up)}"
    return said, (q[0] / length, q[1] / length, q[2] / length, q[3] / length)


def rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 4) + 0.0 for value in values)


def gl(place: Triple) -> Triple:
    right, up, forward = place
    return (right, up, -forward)


# Where a place (metres right, up, forward) lies in each engine's coordinates, from the meaning of its axes.
PLACES: dict[str, tuple[Callable[[Case], tuple[str, Quaternion]], Callable[[Triple], Triple], float]] = {
    "opengl": (opengl, gl, 1.0),
    "opencv": (opencv, lambda p: (p[0], -p[1], p[2]), 1.0),
    "unity": (unity, lambda p: p, 1.0),
    "unreal": (unreal, lambda p: (100 * p[2], 100 * p[0], 100 * p[1]), 100.0),
    "godot": (godot, gl, 1.0),
}


def vertical_fov_deg(case: Case) -> float:
    if case.horizontal_fov_deg is None:
        return case.vertical_fov_deg
    return math.degrees(2 * math.atan(math.tan(math.radians(case.horizontal_fov_deg) / 2) * HEIGHT / WIDTH))


def vectors(engine: str) -> dict[str, Any]:
    """The content of ENGINE.json."""
    rotation_of, place, units = PLACES[engine]
    listed = []
    for case in CASES:
        said, rotation = rotation_of(case)
        listed.append(
            {
                "name": case.name,
                "said": said,
                "why": case.why,
                "sent": {
                    "position": [value + 0.0 for value in place(case.stands)],
                    "rotation": [value + 0.0 for value in rotation],
                    "vertical_fov_deg": vertical_fov_deg(case),
                },
                "looks": {"forward": list(case.forward), "up": list(case.up), "stands_m": list(case.stands)},
                "point": [value + 0.0 for value in place(case.point)],
                "pixel": None if case.pixel is None else list(case.pixel),
            }
        )
    return {"axes": engine, "units_per_metre": units, "width": WIDTH, "height": HEIGHT, "vectors": listed}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for engine in PLACES:
        text = json.dumps(vectors(engine), indent=1) + "\n"
        (FOLDER / f"{engine}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""What a level looks like from above: each part's outline, for collisions and for the minimap.

An outline is a convex polygon in the ground plane (x, z metres) with the heights between which it stands. A part that
is turned about an axis other than the vertical gets the outline of its shadow, which is never smaller than the part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.scene.blockout import Blockout, Part, Shape
from model.scene.camera import matrix_from_quaternion

_ROUND_SIDES = 32
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Footprint:
    """A part from above. outline: (N, 2) float64 x, z in metres, convex, counter-clockwise as (x, z) are drawn."""

    part: Part
    outline: NDArray[np.float64]
    low_m: float
    high_m: float


def footprints(blockout: Blockout) -> list[Footprint]:
    """Every part's outline over its whole height, lowest top first (the order in which a map is painted)."""
    found = [_footprint(part, -math.inf, math.inf) for part in blockout.parts.values()]
    return sorted((footprint for footprint in found if footprint is not None), key=lambda f: f.high_m)


def obstacles(blockout: Blockout, *, from_m: float, to_m: float) -> list[Footprint]:
    """What stands between two heights: parts that end below or begin above are no obstacle, planes never are."""
    found = [_footprint(part, from_m, to_m) for part in blockout.parts.values() if part.shape is not Shape.PLANE]
    return [footprint for footprint in found if footprint is not None]


def _footprint(part: Part, from_m: float, to_m: float) -> Footprint | None:
    """The outline of what lies between two heights; None when nothing does."""
    turn = matrix_from_quaternion(np.array(part.rotation))
    points = _points(part) @ turn.T + np.array(part.position)  # (N, 3)
    low_m, high_m = float(points[:, 1].min()), float(points[:, 1].max())
    # A part that only touches the band is not inside it: what ends at step height is a step.
    if high_m <= from_m + 1e-9 or low_m >= to_m - 1e-9:
        return None
    flat = points[:, [0, 2]]
    if part.shape is Shape.SPHERE and math.isfinite(from_m):
        # Spheres are widest in the middle: a tree's crown over one's head must not push one away from the trunk.
        middle_m, half_m = part.position[1], (high_m - low_m) / 2
        nearest_m = min(max(middle_m, from_m), to_m)
        narrow = math.sqrt(max(0.0, 1 - ((nearest_m - middle_m) / half_m) ** 2))
        centre = np.array([part.position[0], part.position[2]])
        flat = centre + (flat - centre) * narrow
    return Footprint(part=part, outline=_convex_hull(flat), low_m=low_m, high_m=high_m)


def _points(part: Part) -> NDArray[np.float64]:
    """Points whose hull is the part, in its own frame, metres: (N, 3)."""
    size = np.array(part.size, dtype=np.float64)
    if part.shape is Shape.MESH:
        assert part.vertices is not None
        return part.vertices.astype(np.float64) * size
    if part.shape in (Shape.BOX, Shape.PLANE):
        return _CORNERS * (size * (1, 0, 1) if part.shape is Shape.PLANE else size)
    angle = np.linspace(0, 2 * np.pi, _ROUND_SIDES, endpoint=False)
    # The polygon goes around the circle, not inside it: nothing may stick out of its outline.
    reach = 0.5 / math.cos(math.pi / _ROUND_SIDES)
    ring = np.stack([reach * np.cos(angle), np.zeros_like(angle), reach * np.sin(angle)], -1)
    poles = np.array([[0, -0.5, 0], [0, 0.5, 0]])
    if part.shape is Shape.CYLINDER:
        return np.concatenate([ring + poles[0], ring + poles[1]]) * size
    return np.concatenate([ring, poles]) * size


def _convex_hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Andrew's monotone chain. points: (N, 2). Returns: (M, 2), counter-clockwise."""
    ordered = sorted({(round(float(x), 9), round(float(y), 9)) for x, y in points})
    lower: list[tuple[float, float]] = []
    upper: list[tuple[float, float]] = []
    for chain, sequence in ((lower, ordered), (upper, list(reversed(ordered)))):
        for point in sequence:
            while len(chain) >= 2 and _cross(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
    return np.array(lower[:-1] + upper[:-1])


def _cross(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def push_out(outline: NDArray[np.float64], x: float, z: float) -> tuple[float, float, float]:
    """The signed distance in metres from a point to a convex outline (negative inside), and the way out (unit x, z)."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.hypot(edge[:, 0], edge[:, 1])
    to_point = np.array([x, z]) - outline
    outward = np.stack([edge[:, 1], -edge[:, 0]], -1) / length[:, None]  # counter-clockwise: outside is on the right
    beside = (outward * to_point).sum(-1)
    if beside.max() <= 0:
        side = int(beside.argmax())
        return float(beside[side]), float(outward[side, 0]), float(outward[side, 1])
    along = np.clip((edge * to_point).sum(-1) / length**2, 0, 1)
    away = to_point - along[:, None] * edge
    distance = np.hypot(away[:, 0], away[:, 1])
    nearest = int(distance.argmin())
    if distance[nearest] < 1e-9:
        return 0.0, float(outward[nearest, 0]), float(outward[nearest, 1])
    way = away[nearest] / distance[nearest]
    return float(distance[nearest]), float(way[0]), float(way[1])

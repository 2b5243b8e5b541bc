"""Boxes, drums, balls, grounds and roofs as Panda3D geometry: what this demo's scenes are built of.

Panda3D's axes: +X right, +Y forward, +Z up, metres. Each has unit size around its origin; scale it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from panda3d.core import Geom, GeomNode, GeomTriangles, GeomVertexData, GeomVertexFormat, GeomVertexWriter, NodePath

Point = tuple[float, float, float]
Face = tuple[Point, ...]
_SIDES = 24


def box() -> NodePath:
    low, high = -0.5, 0.5
    corners = [(x, y, z) for z in (low, high) for x, y in ((low, low), (high, low), (high, high), (low, high))]
    quads = ((3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
    return _node("box", [tuple(corners[i] for i in quad) for quad in quads])


def drum() -> NodePath:
    """A cylinder along Z."""
    rim = [(0.5 * math.cos(a), 0.5 * math.sin(a)) for a in (2 * math.pi * i / _SIDES for i in range(_SIDES))]
    sides: list[Face] = [
        ((*rim[i - 1], -0.5), (*rim[i], -0.5), (*rim[i], 0.5), (*rim[i - 1], 0.5)) for i in range(_SIDES)
    ]
    return _node("drum", [*sides, tuple((x, y, 0.5) for x, y in rim), tuple((x, y, -0.5) for x, y in reversed(rim))])


def ball() -> NodePath:
    rings = _SIDES // 2

    def at(ring: int, side: int) -> Point:
        up, around = math.pi * (ring / rings - 0.5), 2 * math.pi * side / _SIDES
        across = 0.5 * math.cos(up)
        return (across * math.cos(around), across * math.sin(around), 0.5 * math.sin(up))

    return _node(
        "ball",
        [(at(r, s), at(r, s + 1), at(r + 1, s + 1), at(r + 1, s)) for r in range(rings) for s in range(_SIDES)],
    )


def ground() -> NodePath:
    """A square in the XY plane that looks up."""
    return _node("ground", [((-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0))])


def roof() -> NodePath:
    """A gable: its ridge runs along X; it stands on z = 0 and is 1 high."""
    a, b, c, d = (-0.5, -0.5, 0.0), (0.5, -0.5, 0.0), (0.5, 0.5, 0.0), (-0.5, 0.5, 0.0)
    left, right = (-0.5, 0.0, 1.0), (0.5, 0.0, 1.0)
    return _node("roof", [(a, b, right, left), (c, d, left, right), (d, a, left), (b, c, right), (d, c, b, a)])


def _node(name: str, faces: Sequence[Face]) -> NodePath:
    """Faces, counter-clockwise as seen from outside, as one GeomNode with flat normals."""
    data = GeomVertexData(name, GeomVertexFormat.getV3n3(), Geom.UHStatic)
    vertex, normal = GeomVertexWriter(data, "vertex"), GeomVertexWriter(data, "normal")
    triangles = GeomTriangles(Geom.UHStatic)
    count = 0
    for face in faces:
        outwards = _normal(face)
        for point in face:
            vertex.addData3(*point)
            normal.addData3(*outwards)
        for i in range(1, len(face) - 1):
            triangles.addVertices(count, count + i, count + i + 1)
        count += len(face)
    geom = Geom(data)
    geom.addPrimitive(triangles)
    node = GeomNode(name)
    node.addGeom(geom)
    return NodePath(node)


def _normal(face: Face) -> Point:
    """Newell's: right for any planar face, also one whose first edge has no length."""
    x = y = z = 0.0
    for (ax, ay, az), (bx, by, bz) in zip(face, (*face[1:], face[0]), strict=True):
        x += (ay - by) * (az + bz)
        y += (az - bz) * (ax + bx)
        z += (ax - bx) * (ay + by)
    length = math.sqrt(x * x + y * y + z * z) or 1.0
    return (x / length, y / length, z / length)

"""A Panda3D scene as a blockout: what is drawn below a node becomes parts, and those that move tell of it.

Panda3D's world (+X right, +Y forward, +Z up) becomes ours (+X right, +Y up, -Z forward) by a quarter turn about X, for
the world and for an object's own axes alike, so nothing is mirrored.

Tags on a node hold for everything below it: `helios_material` names the material (else plaster), `helios_tint` is
"R G B" in linear 0..1, `helios_shape` is box, sphere, cylinder or plane for geometry that is one; other geometry is
handed over as the mesh that it is. `helios_moves` marks what will move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from panda3d.core import GeomNode, GeomVertexReader, LQuaternionf, LVector3f, NodePath, TransformState

import bridge
from bridge.protocol.fields import Quat, Vec3


def position_from_panda(v: LVector3f) -> Vec3:
    return (float(v.x), float(v.z), -float(v.y))


def rotation_from_panda(q: LQuaternionf) -> Quat:
    """q: Panda3D's order is w, x, y, z (getI, getJ, getK are x, y, z)."""
    return (float(q.getI()), float(q.getK()), -float(q.getJ()), float(q.getR()))


def camera_from_panda(camera: NodePath, world: NodePath) -> bridge.Camera:
    """camera: of a perspective lens; its vertical field of view is taken."""
    return bridge.Camera(
        position=position_from_panda(camera.getPos(world)),
        rotation=_unit(rotation_from_panda(camera.getQuat(world))),
        vertical_fov_deg=float(camera.node().getLens().getVfov()),
    )


@dataclass(slots=True)
class _Moving:
    path: NodePath
    part: bridge.Part
    centre: LVector3f


class SceneBlockout:
    """The parts below `root`. Ids run from 1 in the order of the scene graph."""

    def __init__(self, root: NodePath, world: NodePath) -> None:
        self._world = world
        self._moving: list[_Moving] = []
        self.parts: list[bridge.Part] = []
        for path in _drawn(root):
            part, centre = self._part(path, len(self.parts) + 1)
            self.parts.append(part)
            if path.getNetTag("helios_moves"):
                self._moving.append(_Moving(path, part, centre))

    def moves(self) -> list[bridge.PartMove]:
        """Where parts are now that moved since the last call."""
        moved = []
        for one in self._moving:
            position, rotation = _pose(one.path.getTransform(self._world), one.centre)
            if (position, rotation) != (one.part.position, one.part.rotation):
                one.part = bridge.Part(
                    id=one.part.id, shape=one.part.shape, position=position, rotation=rotation, size=one.part.size
                )
                moved.append(bridge.PartMove(id=one.part.id, position=position, rotation=rotation))
        return moved

    def _part(self, path: NodePath, part_id: int) -> tuple[bridge.Part, LVector3f]:
        at = path.getTransform(self._world)
        shape = path.getNetTag("helios_shape")
        sx, sy, sz = (abs(float(s)) for s in at.getScale())
        material = path.getNetTag("helios_material") or "plaster"
        tint = tuple(map(float, (path.getNetTag("helios_tint") or "1 1 1").split()))
        colour = (tint[0], tint[1], tint[2])
        if shape:
            low, high = path.getTightBounds(path)
            centre, size = LVector3f((low + high) / 2), high - low
            position, rotation = _pose(at, centre)
            extents = (float(size.x) * sx, float(size.z) * sz, float(size.y) * sy)
            vertices, triangles = b"", b""
        else:
            centre = LVector3f(0, 0, 0)
            position, rotation = _pose(at, centre)
            extents = (sx, sz, sy)
            vertices, triangles = _mesh(path.node(), at)
        part = bridge.Part(
            id=part_id, shape=bridge.Shape(shape or "mesh"), position=position, rotation=rotation, size=extents,
            material=material, colour=colour, vertices=vertices, triangles=triangles,
        )  # fmt: skip
        return part, centre


def _drawn(path: NodePath) -> Iterator[NodePath]:
    """What has geometry and is not hidden, in the order of the scene graph."""
    if path.isHidden():
        return
    if isinstance(path.node(), GeomNode):
        yield path
    for child in path.getChildren():
        yield from _drawn(child)


def _pose(at: TransformState, centre: LVector3f) -> tuple[Vec3, Quat]:
    return position_from_panda(at.getMat().xformPoint(centre)), _unit(rotation_from_panda(at.getQuat()))


def _unit(q: Quat) -> Quat:
    """Of length 1 in double precision: Panda3D's are single."""
    x, y, z, w = np.array(q) / np.linalg.norm(q)
    return (float(x), float(y), float(z), float(w))


def _mesh(node: GeomNode, at: TransformState) -> tuple[bytes, bytes]:
    """Vertices in the node's own axes, turned to ours; a negative scale mirrors them here, as sizes are positive."""
    points: list[NDArray[np.float32]] = []
    corners: list[NDArray[np.uint32]] = []
    count = 0
    for geom in node.getGeoms():
        whole = geom.decompose()
        reader = GeomVertexReader(whole.getVertexData(), "vertex")
        rows = []
        while not reader.isAtEnd():
            rows.append(tuple(reader.getData3()))
        points.append(np.array(rows, np.float32).reshape(-1, 3))
        for primitive in whole.getPrimitives():
            indices = np.array(primitive.getVertexList(), np.uint32).reshape(-1, 3)
            corners.append(indices + np.uint32(count))
        count += len(rows)
    sign = np.sign(np.array(at.getScale(), np.float32))
    vertices = np.concatenate(points) * sign  # (N, 3)
    triangles = np.concatenate(corners)  # (M, 3)
    if sign.prod() < 0:
        triangles = triangles[:, (0, 2, 1)]
    ours = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)
    return ours.astype("<f4").tobytes(), np.ascontiguousarray(triangles).astype("<u4").tobytes()

"""Converts between a client's axes and ours: positions, rotations, sizes, parts and cameras.

Ours: right-handed, metres, +X right, +Y up, the camera looks along -Z. Every supported system differs from it by a
permutation of axes with signs and by a unit of length, for the world and for an object's own axes alike. So a
conversion moves numbers and flips signs, rounds only in the division by the unit, and has an exact inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from bridge.protocol.fields import Quat, Vec3
from bridge.protocol.messages import Axes, Control, FrameHeader, Part, PartMove, SceneUpdate

# Row r says which client axis (and sign) is our axis r. Forward is -Z, up is +Y, right is +X in ours.
_OURS_FROM_CLIENT: Final[dict[Axes, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]] = {
    Axes.OPENGL: ((0, 1), (1, 1), (2, 1)),
    Axes.GODOT: ((0, 1), (1, 1), (2, 1)),
    Axes.OPENCV: ((0, 1), (1, -1), (2, -1)),  # +X right, +Y down, +Z forward
    Axes.UNITY: ((0, 1), (1, 1), (2, -1)),  # left-handed: +X right, +Y up, +Z forward
    Axes.UNREAL: ((1, 1), (2, 1), (0, -1)),  # left-handed: +X forward, +Y right, +Z up
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisMap:
    """One direction of a conversion: `to[r] = sign[r] * from[index[r]]`, lengths multiplied by `scale`.

    handedness: +1, or -1 when the map mirrors; rotation axes are pseudovectors and take it as a factor.
    """

    index: tuple[int, int, int]
    sign: tuple[int, int, int]
    handedness: int
    scale: float
    divide: bool

    def position(self, p: Vec3) -> Vec3:
        """A point or a displacement; the length unit changes with it."""
        (i, j, k), (si, sj, sk) = self.index, self.sign
        if self.divide:
            return (si * p[i] / self.scale, sj * p[j] / self.scale, sk * p[k] / self.scale)
        return (si * p[i] * self.scale, sj * p[j] * self.scale, sk * p[k] * self.scale)

    def size(self, s: Vec3) -> Vec3:
        """Extents along an object's own axes."""
        i, j, k = self.index
        if self.divide:
            return (s[i] / self.scale, s[j] / self.scale, s[k] / self.scale)
        return (s[i] * self.scale, s[j] * self.scale, s[k] * self.scale)

    def rotation(self, q: Quat) -> Quat:
        """A quaternion xyzw that turns vectors of one system, written for the other."""
        (i, j, k), (si, sj, sk), h = self.index, self.sign, self.handedness
        return (h * si * q[i], h * sj * q[j], h * sk * q[k], q[3])

    def part(self, part: Part) -> Part:
        """A part with its mesh: vertices change axes but not unit (`size` carries it), windings follow the mirror."""
        vertices, triangles = part.vertices, part.triangles
        if vertices:
            points = np.frombuffer(vertices, dtype="<f4").reshape(-1, 3)  # (N, 3)
            vertices = (points[:, self.index] * np.array(self.sign, dtype="<f4")).astype("<f4").tobytes()
            if self.handedness < 0:
                corners = np.frombuffer(triangles, dtype="<u4").reshape(-1, 3)  # (M, 3)
                triangles = corners[:, (0, 2, 1)].tobytes()
        return msgspec.structs.replace(
            part,
            position=self.position(part.position),
            rotation=self.rotation(part.rotation),
            size=self.size(part.size),
            vertices=vertices,
            triangles=triangles,
        )

    def move(self, move: PartMove) -> PartMove:
        return msgspec.structs.replace(
            move, position=self.position(move.position), rotation=self.rotation(move.rotation)
        )

    def scene(self, update: SceneUpdate) -> SceneUpdate:
        return msgspec.structs.replace(
            update, add=tuple(map(self.part, update.add)), move=tuple(map(self.move, update.move))
        )

    def control(self, control: Control) -> Control:
        return msgspec.structs.replace(
            control, position=self.position(control.position), rotation=self.rotation(control.rotation)
        )

    def frame(self, header: FrameHeader) -> FrameHeader:
        return msgspec.structs.replace(
            header, position=self.position(header.position), rotation=self.rotation(header.rotation)
        )


def ours_from_client(axes: Axes, units_per_metre: float) -> AxisMap:
    """The map from what a client sends to metres in our axes."""
    rows = _OURS_FROM_CLIENT[axes]
    index = (rows[0][0], rows[1][0], rows[2][0])
    sign = (rows[0][1], rows[1][1], rows[2][1])
    return AxisMap(index=index, sign=sign, handedness=_handedness(index, sign), scale=units_per_metre, divide=True)


def client_from_ours(axes: Axes, units_per_metre: float) -> AxisMap:
    """The inverse of `ours_from_client`."""
    there = ours_from_client(axes, units_per_metre)
    back = {source: target for target, source in enumerate(there.index)}
    index = (back[0], back[1], back[2])
    sign = (there.sign[index[0]], there.sign[index[1]], there.sign[index[2]])
    return AxisMap(index=index, sign=sign, handedness=there.handedness, scale=units_per_metre, divide=False)


def _handedness(index: tuple[int, int, int], sign: tuple[int, int, int]) -> int:
    even = index in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    return (1 if even else -1) * sign[0] * sign[1] * sign[2]

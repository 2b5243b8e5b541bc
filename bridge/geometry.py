"""A camera's pose, and the rotation formulas that prediction and reprojection share.

World axes are ours: right-handed, metres, +Y up, a camera looks along its own -Z. Conversions from other axes live in
`axes.py`. The formulas take and return float64 and broadcast over leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pose:
    """Where a camera stands and what it sees.

    position: (3,) float64, metres. rotation: (4,) float64, unit quaternion xyzw, camera-to-world.
    """

    position: Array
    rotation: Array
    vertical_fov_deg: float

    def matrix(self) -> Array:
        """The rotation as (3, 3), columns are the camera's axes in the world.

        Written out in Python floats: for a single pose numpy's small arrays cost ten times as much.
        """
        x, y, z, w = self.rotation.tolist()
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    def same_as(self, other: Pose) -> bool:
        return (
            self.vertical_fov_deg == other.vertical_fov_deg
            and bool(np.array_equal(self.position, other.position))
            and bool(np.array_equal(self.rotation, other.rotation))
        )


def conjugate(quaternion: Array) -> Array:
    """The inverse of a unit quaternion. quaternion: (..., 4)."""
    return np.asarray(quaternion * np.array([-1.0, -1.0, -1.0, 1.0]))


def multiply(left: Array, right: Array) -> Array:
    """The rotation `right` followed by `left`. Both: (..., 4)."""
    lx, ly, lz, lw = np.moveaxis(left, -1, 0)
    rx, ry, rz, rw = np.moveaxis(right, -1, 0)
    return np.stack(
        [
            lw * rx + lx * rw + ly * rz - lz * ry,
            lw * ry - lx * rz + ly * rw + lz * rx,
            lw * rz + lx * ry - ly * rx + lz * rw,
            lw * rw - lx * rx - ly * ry - lz * rz,
        ],
        axis=-1,
    )


def rotated(quaternion: Array, vector: Array) -> Array:
    """A vector (3,) turned by a unit quaternion (4,)."""
    axis, scalar = quaternion[:3], quaternion[3]
    across = 2.0 * np.cross(axis, vector)
    return np.asarray(vector + scalar * across + np.cross(axis, across))


def normalise(quaternion: Array) -> Array:
    """Unit length along the last axis."""
    return np.asarray(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True))


def rotation_vector_from_quaternion(quaternion: Array) -> Array:
    """The logarithm: axis times angle in radians, the short way round. quaternion: (..., 4). Returns: (..., 3)."""
    short_way = np.where(quaternion[..., 3:] < 0.0, -quaternion, quaternion)
    vector, scalar = short_way[..., :3], short_way[..., 3:]
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(length, scalar)
    # Near zero angle / sin(angle / 2) tends to 2; the quotient would be 0 / 0.
    factor = np.where(length > 1e-9, angle / np.maximum(length, 1e-12), 2.0)
    return np.asarray(vector * factor)


def quaternion_from_rotation_vector(vector: Array) -> Array:
    """The exponential. vector: (..., 3), axis times angle in radians. Returns: (..., 4)."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    # np.sinc(x) is sin(pi x) / (pi x), finite at zero: sin(a / 2) / a = sinc(a / 2 pi) / 2.
    return np.concatenate([vector * np.sinc(angle / (2.0 * np.pi)) * 0.5, np.cos(angle * 0.5)], axis=-1)


def slerp(start: Array, end: Array, fraction: Array) -> Array:
    """Turns from `start` (..., 4) to `end` (..., 4) at constant rate. fraction: (...), 0 gives start, 1 gives end."""
    way = rotation_vector_from_quaternion(multiply(end, conjugate(start)))
    return normalise(multiply(quaternion_from_rotation_vector(way * fraction[..., None]), start))


def angle_between_deg(left: Array, right: Array) -> float:
    """The angle between two orientations, 0..180. Both: (4,).

    Uses atan2 of both parts: arccos of the scalar loses everything under 0.02 degrees.
    """
    lx, ly, lz, lw = left.tolist()
    rx, ry, rz, rw = right.tolist()
    scalar = abs(lx * rx + ly * ry + lz * rz + lw * rw)
    vx = lw * rx - lx * rw - ly * rz + lz * ry
    vy = lw * ry + lx * rz - ly * rw - lz * rx
    vz = lw * rz - lx * ry + ly * rx - lz * rw
    return float(np.degrees(2.0 * np.arctan2(np.sqrt(vx * vx + vy * vy + vz * vz), scalar)))

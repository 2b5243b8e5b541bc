"""Pinhole cameras and rays, in world axes: right-handed, metres, +X right, +Y up, the camera looks along -Z.

Numpy and torch run the same code: functions take `xp` (either module) and use only what both spell alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any  # numpy.ndarray or torch.Tensor, whichever module `xp` is


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One view: a pose (camera-to-world) and a window onto a picture.

    `height` x `width` is the whole picture in pixels, `vertical_fov_deg` spans its height. `window` (top, left, rows,
    cols) in pixels selects a part of it (training crops); None is all of it.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    vertical_fov_deg: float
    height: int
    width: int
    window: tuple[int, int, int, int] | None = None

    @property
    def focal_px(self) -> float:
        return self.height / 2 / math.tan(math.radians(self.vertical_fov_deg) / 2)


def matrix_from_quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 4) unit quaternions xyzw -> (..., 3, 3) rotation matrices, columns are the rotated axes."""
    x, y, z, w = np.moveaxis(np.asarray(rotation, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quaternion_from_yaw_pitch(yaw_rad: float, pitch_rad: float) -> NDArray[np.float64]:
    """Yaw turns left about +Y (counter-clockwise from above), then pitch looks up about the camera's +X."""
    cy, sy = math.cos(yaw_rad / 2), math.sin(yaw_rad / 2)
    cp, sp = math.cos(pitch_rad / 2), math.sin(pitch_rad / 2)
    return np.array([cy * sp, sy * cp, -sy * sp, cy * cp])


def pixel_grid(camera: Camera, step_px: float, offset_px: tuple[float, float] = (0.5, 0.5)) -> tuple[Any, Any]:
    """Pixel coordinates (ys, xs) of one ray every `step_px`; `offset_px` is its place in its cell (0 to 1)."""
    top, left, rows, cols = camera.window or (0, 0, camera.height, camera.width)
    ys = top + (np.arange(round(rows / step_px)) + offset_px[0]) * step_px
    xs = left + (np.arange(round(cols / step_px)) + offset_px[1]) * step_px
    return ys, xs


def ray_directions(camera: Camera, step_px: float, offset_px: tuple[float, float] = (0.5, 0.5)) -> NDArray[np.float32]:
    """(h, w, 3) world directions whose component along the view axis is 1: ray parameter t is view-axis depth."""
    ys, xs = pixel_grid(camera, step_px, offset_px)
    right = (xs - camera.width / 2) / camera.focal_px
    up = -(ys - camera.height / 2) / camera.focal_px
    axes = matrix_from_quaternion(camera.rotation)
    directions = right[None, :, None] * axes[:, 0] + up[:, None, None] * axes[:, 1] - axes[:, 2]
    result: NDArray[np.float32] = directions.astype(np.float32)
    return result


def project(xp: ModuleType, camera: Camera, points: Array) -> tuple[Array, Array, Array]:
    """World points (..., 3) -> (x_px, y_px, depth) in the whole picture. Depth <= 0 is behind the camera."""
    axes = matrix_from_quaternion(camera.rotation).astype(np.float32)
    offset = camera.position.astype(np.float32)
    if xp is not np:
        axes, offset = xp.as_tensor(axes, device=points.device), xp.as_tensor(offset, device=points.device)
    local = (points - offset) @ axes
    depth = -local[..., 2]
    safe = xp.where(xp.abs(depth) < 1e-3, xp.ones_like(depth) * 1e-3, depth)
    x_px = camera.width / 2 + camera.focal_px * local[..., 0] / safe
    y_px = camera.height / 2 - camera.focal_px * local[..., 1] / safe
    return x_px, y_px, depth

"""Bends a finished frame to a newer camera.

A backward warp: for each pixel of the new view, where was it in the old one? The map is computed on a coarse grid and
upsampled, because it is smooth wherever the depth is; the pixels are fetched at full size by OpenCV. Without depth
only the rotation (and a change of the field of view) is corrected, which is exact for it. No time, no socket.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.pose import Pose

# The warp is below a millisecond on one core; waking other cores costs as much and disturbs the engine.
cv2.setNumThreads(1)

_NEAREST_M = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpConfig:
    """`grid_px`: spacing of the coarse map. `rounds`: fixed-point rounds for depth, each about halves the error."""

    grid_px: int = 4
    rounds: int = 2


class FrameWarper(Protocol):
    """What bends a frame; see `Warper.warp`."""

    def warp(
        self,
        frame: NDArray[np.uint8],
        *,
        source: Pose,
        target: Pose,
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]: ...


class Warper:
    """Warps frames of one size. Keeps its grid and scratch memory; not for use from two threads at once."""

    def __init__(self, width: int, height: int, config: WarpConfig | None = None) -> None:
        self._config = config or WarpConfig()
        self._width, self._height = width, height
        step = self._config.grid_px
        # One node more on each side than covers the picture, so that bilinear upsampling never meets its border rule.
        self._columns, self._rows = -(-width // step) + 2, -(-height // step) + 2
        x_px = (np.arange(self._columns, dtype=np.float32) - 0.5) * step
        y_px = (np.arange(self._rows, dtype=np.float32) - 0.5) * step
        # Rays per unit of tan(fov / 2) over half the height: x right, y up.
        half = height / 2.0
        self._ray_x = np.ascontiguousarray(
            np.broadcast_to((x_px - width / 2.0) / half, (self._rows, self._columns)), dtype=np.float32
        )
        self._ray_y = np.ascontiguousarray(
            np.broadcast_to(((half - y_px) / half)[:, None], (self._rows, self._columns)), dtype=np.float32
        )

        self._coarse = np.empty((self._rows, self._columns, 2), np.float32)
        self._fine = np.empty((self._rows * step, self._columns * step, 2), np.float32)
        # OpenCV fetches four channels 2.4 times faster than three (640x384: 1.0 against 2.4 ms), conversions included.
        self._source_rgba = np.empty((height, width, 4), np.uint8)
        self._bent_rgba = np.empty((height, width, 4), np.uint8)

    def warp(
        self,
        frame: NDArray[np.uint8],
        *,
        source: Pose,
        target: Pose,
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """The frame as the camera `target` would have seen it.

        frame: (H, W, 3) uint8, shown by `source`. depth: (h, w) float32, any size, metres along the view axis of
        `source`, inf for sky. Returns: a new (H, W, 3) uint8; what `source` did not see repeats the nearest border.
        """
        if source.same_as(target):
            return frame.copy()
        map_x, map_y = self._coarse_map(source, target, depth)
        step = self._config.grid_px
        self._coarse[..., 0] = map_x
        self._coarse[..., 1] = map_y
        size = (self._columns * step, self._rows * step)
        cv2.resize(self._coarse, size, dst=self._fine, interpolation=cv2.INTER_LINEAR)
        fine = self._fine[step : step + self._height, step : step + self._width]
        cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA, dst=self._source_rgba)
        cv2.remap(self._source_rgba, fine, None, cv2.INTER_LINEAR, dst=self._bent_rgba, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.cvtColor(self._bent_rgba, cv2.COLOR_RGBA2RGB), dtype=np.uint8)

    def _coarse_map(
        self, source: Pose, target: Pose, depth: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Source pixel coordinates (pixel centres are whole numbers) of every grid node of the target view.

        Works with inverse depth, so that sky is a plain zero. In the source camera a target ray d at inverse depth w
        meets R d + w t, t being the target camera's place: a homogeneous point, projected by dividing by -z.
        """
        to_source = source.matrix().T
        turn = to_source @ target.matrix()
        target_tan = math.tan(math.radians(target.vertical_fov_deg) / 2.0)
        source_tan = math.tan(math.radians(source.vertical_fov_deg) / 2.0)
        # Plain floats beside float32 arrays: the arrays stay float32, and no scalar is boxed by numpy.
        axes: list[list[float]] = turn.tolist()
        (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = axes
        far_x = self._ray_x * (xx * target_tan) + (self._ray_y * (xy * target_tan) - xz)
        far_y = self._ray_x * (yx * target_tan) + (self._ray_y * (yy * target_tan) - yz)
        ahead = self._ray_x * (-zx * target_tan) + (self._ray_y * (-zy * target_tan) + zz)
        focal_px = self._height / 2.0 / source_tan
        map_x, map_y = self._project(far_x, far_y, ahead, focal_px)
        if depth is None:
            return map_x, map_y
        to_x, to_y, to_z = (to_source @ (target.position - source.position)).tolist()
        near: NDArray[np.float32] = np.reciprocal(np.maximum(depth, np.float32(_NEAREST_M)))
        height, width = depth.shape
        scale_x, scale_y = width / self._width, height / self._height
        centre_x, centre_y = self._width / 2.0 - 0.5, self._height / 2.0 - 0.5
        # The target's view depth of a point seen at source pixel (u, v), per unit of its source depth, is linear in
        # u, v and inverse depth: forward axis of the target . (source ray - inverse depth x way to the target).
        per_u, per_v = -xz / focal_px, yz / focal_px
        constant = zz - per_u * centre_x - per_v * centre_y
        per_inverse = xz * to_x + yz * to_y + zz * to_z
        for _ in range(self._config.rounds):
            # Nearest depth sample: blending near and far would invent a surface between them.
            inverse = cv2.remap(
                near,
                map_x * scale_x + (0.5 * scale_x - 0.5),
                map_y * scale_y + (0.5 * scale_y - 0.5),
                cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_REPLICATE,
            )
            ratio = map_x * per_u + (map_y * per_v + constant) + inverse * per_inverse
            # A point beside or behind the target camera gives no direction: it counts as just in front of it.
            inverse = inverse / np.maximum(ratio, inverse * _NEAREST_M + 1e-6)
            map_x, map_y = self._project(
                far_x + inverse * to_x, far_y + inverse * to_y, ahead - inverse * to_z, focal_px
            )
        return map_x, map_y

    def _project(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        ahead: NDArray[np.float32],
        focal_px: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # Behind the source camera there is no pixel; the clamp sends such rays far outside, where the border is.
        scale = focal_px / np.maximum(ahead, np.float32(1e-3))
        map_x = x * scale + (self._width / 2.0 - 0.5)
        map_y = (self._height / 2.0 - 0.5) - y * scale
        return np.asarray(map_x, np.float32), np.asarray(map_y, np.float32)


def coverage(source: Pose, target: Pose, aspect: float) -> float:
    """The share of the target view that the source view saw, by rotation and field of view alone. 0..1."""
    turn = source.matrix().T @ target.matrix()
    target_tan = np.tan(np.radians(target.vertical_fov_deg) / 2.0)
    source_tan = np.tan(np.radians(source.vertical_fov_deg) / 2.0)
    rays = _COVERAGE_GRID * np.array([target_tan * aspect, target_tan, 1.0])
    seen = rays @ turn.T
    ahead = -seen[:, 2]
    inside = (np.abs(seen[:, 0]) <= ahead * source_tan * aspect) & (np.abs(seen[:, 1]) <= ahead * source_tan)
    return float(np.count_nonzero(inside & (ahead > 0.0))) / len(rays)


def _grid(count: int) -> NDArray[np.float64]:
    across = (np.arange(count) + 0.5) / count * 2.0 - 1.0
    x, y = np.meshgrid(across, across)
    return np.stack([x.ravel(), y.ravel(), np.full(count * count, -1.0)], axis=-1)


_COVERAGE_GRID = _grid(16)

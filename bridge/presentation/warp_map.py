"""Computes where each pixel of a new view was in an older one, on a coarse grid: the map of the late warp.

Geometry only: rays, inverse depth, fixed-point rounds. reprojection.py fetches pixels by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.geometry import Pose

Plane = NDArray[np.float32]

_NEAREST_M = 0.05
_UNRESOLVED_PX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpMap:
    """One value a grid node of the target view. x, y: source pixel coordinates, pixel centres are whole numbers. near:
    inverse view depth from the target, 1/m; 0 where depth is not known. lost: the source did not see this."""

    x: Plane
    y: Plane
    near: Plane
    lost: NDArray[np.bool_]


class WarpGrid:
    """A grid of rays over a picture of `width` x `height` px, a node each `step` px and one more on each side.

    rounds: fixed-point rounds for depth, each about halves the error.
    """

    def __init__(self, width: int, height: int, step: int, rounds: int) -> None:
        self.columns, self.rows = -(-width // step) + 2, -(-height // step) + 2
        self._width, self._height, self._rounds = width, height, rounds
        x_px = (np.arange(self.columns, dtype=np.float32) - 0.5) * step
        y_px = (np.arange(self.rows, dtype=np.float32) - 0.5) * step
        # Rays per unit of tan(fov / 2) over half the height: x right, y up.
        half = height / 2.0
        shape = (self.rows, self.columns)
        self._ray_x = np.ascontiguousarray(np.broadcast_to((x_px - width / 2.0) / half, shape), dtype=np.float32)
        self._ray_y = np.ascontiguousarray(np.broadcast_to(((half - y_px) / half)[:, None], shape), dtype=np.float32)

    def map(self, source: Pose, target: Pose, depth: Plane | None) -> WarpMap:
        """The map from `target`'s nodes into `source`'s picture. depth: (h, w) of `source`, inf for sky.

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
        to_x, to_y, to_z = (to_source @ (target.position - source.position)).tolist()
        way_m = math.sqrt(to_x * to_x + to_y * to_y + to_z * to_z)
        if depth is None:
            return WarpMap(x=map_x, y=map_y, near=np.zeros_like(map_x), lost=self._outside(map_x, map_y))
        near: Plane = np.reciprocal(np.maximum(depth, np.float32(_NEAREST_M)))
        height, width = depth.shape
        scale_x, scale_y = width / self._width, height / self._height
        centre_x, centre_y = self._width / 2.0 - 0.5, self._height / 2.0 - 0.5
        # The target's view depth of a point seen at source pixel (u, v), per unit of its source depth, is linear in
        # u, v and inverse depth: forward axis of the target . (source ray - inverse depth x way to the target).
        per_u, per_v = -xz / focal_px, yz / focal_px
        constant = zz - per_u * centre_x - per_v * centre_y
        per_inverse = xz * to_x + yz * to_y + zz * to_z
        inverse = np.zeros_like(map_x)
        before = inverse
        for _ in range(self._rounds + (way_m > 0.0)):
            before = inverse
            # Nearest depth sample: blending near and far would invent a surface between them.
            sampled = cv2.remap(
                near,
                map_x * scale_x + (0.5 * scale_x - 0.5),
                map_y * scale_y + (0.5 * scale_y - 0.5),
                cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_REPLICATE,
            )
            ratio = map_x * per_u + (map_y * per_v + constant) + sampled * per_inverse
            # A point beside or behind the target camera gives no direction: it counts as just in front of it.
            inverse = np.asarray(sampled / np.maximum(ratio, sampled * _NEAREST_M + 1e-6), np.float32)
            map_x, map_y = self._project(
                far_x + inverse * to_x, far_y + inverse * to_y, ahead - inverse * to_z, focal_px
            )
        # Where rounds do not settle there is no surface that both cameras see: what is there was hidden.
        unresolved = np.abs(inverse - before) * (way_m * focal_px) > _UNRESOLVED_PX
        return WarpMap(x=map_x, y=map_y, near=inverse, lost=self._outside(map_x, map_y) | unresolved)

    def _outside(self, map_x: Plane, map_y: Plane) -> NDArray[np.bool_]:
        """Nodes more than half a pixel outside the source picture."""
        inside = (map_x >= -0.5) & (map_x <= self._width - 0.5) & (map_y >= -0.5) & (map_y <= self._height - 0.5)
        return ~inside

    def _project(self, x: Plane, y: Plane, ahead: Plane, focal_px: float) -> tuple[Plane, Plane]:
        # Behind the source camera there is no pixel; the clamp sends such rays far outside, where the border is.
        scale = focal_px / np.maximum(ahead, np.float32(1e-3))
        map_x = x * scale + (self._width / 2.0 - 0.5)
        map_y = (self._height / 2.0 - 0.5) - y * scale
        return np.asarray(map_x, np.float32), np.asarray(map_y, np.float32)

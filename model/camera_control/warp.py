"""Shows the last view as other cameras would have seen it: by the blockout's depth, or without one by rotation alone.

A backward warp: each pixel of the new view is looked up in the old one. The new view's own depth (cast at the
blockout) says which surface a pixel shows; the old view's depth says whether it saw that surface or one before it.
Numpy, and OpenCV to fetch pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.scene.blockout import PackedParts
from model.scene.camera import Camera, matrix_from_quaternion
from model.scene.raycast import trace

FAR_M = 1e4
"""Where the sky counts as being: far enough that no step of a walker moves it by a pixel."""

_SAME_SURFACE = 0.03
"""Share of its depth by which a point may lie behind what the old view saw there, before it counts as hidden; about
what nearest lookup of depth is wrong by on ground seen at a grazing angle."""

_Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A picture with the camera that saw it. frame: (H, W, 3) uint8 RGB. depth: (H / step, W / step) float32, metres
    along the view axis, inf for sky; None without a blockout."""

    frame: NDArray[np.uint8]
    camera: Camera
    depth: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warped:
    """frame: (H, W, 3) uint8; pixels that were not seen repeat the nearest border. seen: (H, W) bool."""

    frame: NDArray[np.uint8]
    seen: NDArray[np.bool_]


def depth_of(parts: PackedParts, camera: Camera, *, step_px: float = 1.0) -> NDArray[np.float32]:
    """(H / step, W / step) view-axis metres of the blockout, inf for sky."""
    traced = trace(np, parts, camera, step_px=step_px)
    depth: NDArray[np.float32] = np.where(traced.part >= 0, traced.depth, np.inf).astype(np.float32)
    return depth


def warped(view: View, target: Camera, target_depth: NDArray[np.float32] | None) -> Warped:
    """`view` as `target` would have seen it. target_depth: (H, W) of `target`, as `depth_of` gives it; where it or the
    view's own depth is None, everything counts as infinitely far: exact for rotation and zoom, blind to walking."""
    height, width = view.frame.shape[:2]
    if view.depth is None or target_depth is None:
        x, y, ahead = _places(view.camera, target, None)
        unhidden: NDArray[np.bool_] = ahead > 0
    else:
        x, y, ahead = _places(view.camera, target, np.minimum(target_depth, np.float32(FAR_M)))
        there = _depth_at(view.depth, x, y, height, width)
        unhidden = (ahead > 0) & (ahead <= there * np.float32(1 + _SAME_SURFACE))
    seen = unhidden & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    fetched = cv2.remap(view.frame, x - 0.5, y - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Warped(frame=np.asarray(fetched, np.uint8), seen=seen)


def seen_share(seen: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.float32]:
    """(H, W) -> (rows, columns), the share of each cell that was seen."""
    height, width = seen.shape
    cells = seen.reshape(rows, height // rows, columns, width // columns)
    share: NDArray[np.float32] = cells.mean(axis=(1, 3)).astype(np.float32)
    return share


def _places(source: Camera, target: Camera, depth: _Plane | None) -> tuple[_Plane, _Plane, _Plane]:
    """Where `source` has what each pixel of `target` shows: x, y in pixels, and how far ahead of it; (H, W) each.

    depth: of `target`; None is infinitely far, and `ahead` then has no unit. In the source's axes a ray d at depth z is
    R d z + t, and d's parts depend on a column or a row alone: no (H, W, 3) array is made.
    """
    axes = matrix_from_quaternion(source.rotation)
    turn = (axes.T @ matrix_from_quaternion(target.rotation)).astype(np.float32)
    move = (axes.T @ (target.position - source.position)).astype(np.float32)
    right = ((np.arange(target.width) + 0.5 - target.width / 2) / target.focal_px).astype(np.float32)
    up = ((target.height / 2 - np.arange(target.height) - 0.5) / target.focal_px).astype(np.float32)

    def along(axis: int) -> _Plane:
        part: _Plane = turn[axis, 0] * right + (turn[axis, 1] * up - turn[axis, 2])[:, None]
        return part if depth is None else part * depth + move[axis]

    ahead = -along(2)
    scale = np.float32(source.focal_px) / np.where(np.abs(ahead) < 1e-3, np.float32(1e-3), ahead)
    x = np.float32(source.width / 2) + along(0) * scale
    y = np.float32(source.height / 2) - along(1) * scale
    return np.clip(x, -1e6, 1e6), np.clip(y, -1e6, 1e6), ahead


def _depth_at(depth: _Plane, x: _Plane, y: _Plane, height: int, width: int) -> _Plane:
    """The nearest sample of a depth map that covers a picture of height x width px; the sky is `FAR_M` away."""
    rows, columns = depth.shape
    column, row = x * np.float32(columns / width) - 0.5, y * np.float32(rows / height) - 0.5
    finite = np.minimum(depth, np.float32(FAR_M))
    nearest = cv2.remap(finite, column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(nearest, np.float32)

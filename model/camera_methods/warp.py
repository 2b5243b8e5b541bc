"""The last view as other cameras would have seen it: exactly by the blockout's depth, without one by rotation alone.

A backward warp: each pixel of the new view is looked up in the old one. The new view's own depth (cast at the blockout)
says which surface that pixel shows; the old view's depth says whether it saw the same surface or something before it.
Numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.blockout import PackedParts
from model.camera import Camera, project, ray_directions
from model.raycast import trace

FAR_M = 1e4
"""Where the sky counts as being: far enough that no step of a walker moves it by a pixel."""

_SAME_SURFACE = 0.03
"""Share of its depth by which a point may lie behind what the old view saw there, before it counts as hidden; about
what nearest lookup of depth is wrong by on ground seen at a grazing angle."""


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
    blind = view.depth is None or target_depth is None
    depth = np.full((height, width), FAR_M, np.float32)
    if target_depth is not None and not blind:
        depth = np.minimum(target_depth, np.float32(FAR_M))
    origin = view.camera.position if blind else target.position
    points = origin.astype(np.float32) + depth[..., None] * ray_directions(target, 1.0)
    x, y, ahead = project(np, view.camera, points)
    seen = (ahead > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if view.depth is not None and not blind:
        seen &= ahead <= _depth_at(view.depth, x, y, height, width) * (1 + _SAME_SURFACE)
    return Warped(frame=_fetched(view.frame, x, y), seen=seen)


def seen_share(seen: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.float32]:
    """(H, W) -> (rows, columns), the share of each cell that was seen."""
    height, width = seen.shape
    cells = seen.reshape(rows, height // rows, columns, width // columns)
    share: NDArray[np.float32] = cells.mean(axis=(1, 3)).astype(np.float32)
    return share


def _depth_at(
    depth: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32], height: int, width: int
) -> NDArray[np.float32]:
    """The nearest sample of a depth map that covers a picture of height x width px; the sky is `FAR_M` away."""
    rows, columns = depth.shape
    row = np.clip(y * (rows / height), 0, rows - 1).astype(np.intp)
    column = np.clip(x * (columns / width), 0, columns - 1).astype(np.intp)
    nearest: NDArray[np.float32] = np.minimum(depth[row, column], np.float32(FAR_M))
    return nearest


def _fetched(frame: NDArray[np.uint8], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bilinear; x, y in pixels, centres at halves. Outside, the nearest border."""
    height, width = frame.shape[:2]
    x, y = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(np.intp), width - 2), np.minimum(y.astype(np.intp), height - 2)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    pixels = frame.astype(np.float32)
    upper = pixels[top, left] * (1 - right_share) + pixels[top, left + 1] * right_share
    lower = pixels[top + 1, left] * (1 - right_share) + pixels[top + 1, left + 1] * right_share
    fetched: NDArray[np.uint8] = np.round(upper * (1 - low_share) + lower * low_share).astype(np.uint8)
    return fetched

"""The late warp: bends a finished frame to a newer camera.

**Why.** A frame was made for a camera that was predicted some 200 ms ago. By the time it answers a control, the player
has turned. VR headsets correct this by warping the finished picture to the newest pose; here depth is exact, because
it is cast from the blockout, not estimated from the picture.

**How.** The warp runs backward: for each pixel of the new view, where was it in the old one? A rotation alone needs no
depth. For a step to the side the answer depends on the depth at the place looked for, so it is found in a few
fixed-point rounds: guess, look up the depth there, correct. Each round about halves the error. The map is computed on
a coarse grid (warp_map.py) and upsampled, since it is smooth wherever depth is; OpenCV then fetches the pixels at full
size. Without depth only rotation and field of view are corrected, and the header's pose says so.

**Holes.** Some of the new view was hidden in the old one, or outside it. Those places are filled from the picture that
was shown before, bent to the new camera in its turn; what neither saw repeats the nearest border. After a jump of the
camera the picture before shows another place and is forgotten.

**Moving parts.** A part that moved since the frame was made is looked for where it was: the camera is moved backward
by the part's motion, and where the part is nearest in that view its pixels are taken from there. Each such part costs
about a third of the whole warp, so at most a few are moved in one picture.

**When not.** frame_pacing.py decides: a frame that fits goes out as it is; if next to nothing of the new view was ever
seen, the last picture stands still.

No time, no socket. Formulas are standard projective geometry; poses are camera-to-world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.geometry import Array, Pose, conjugate, multiply, normalise, rotated
from bridge.presentation.warp_map import WarpGrid, WarpMap

# The warp is about a millisecond on one core; waking other cores costs as much and disturbs the engine.
cv2.setNumThreads(1)

NO_PART = 2**32 - 1
"""Stands among part ids for pixels that show none (the sky)."""

_MOST_MOVED = 4  # parts put in their new places in one picture: each costs about a third of the whole warp
_LEAST_HOLE = 0.001  # share of the picture under which nothing is filled


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpConfig:
    """`grid_px`: spacing of the coarse map. `rounds`: fixed-point rounds for depth, each about halves the error."""

    grid_px: int = 4
    rounds: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MovedPart:
    """A part's motion since the frame was made: each of its points x is now at `rotation` x + `offset`.

    part: its id. rotation: (4,) unit quaternion xyzw. offset: (3,) metres.
    """

    part: int
    rotation: Array
    offset: Array

    def camera_before(self, camera: Pose) -> Pose:
        """The camera that saw the part, before it moved, as `camera` sees it now."""
        back = conjugate(self.rotation)
        return Pose(
            position=rotated(back, camera.position - self.offset),
            rotation=normalise(multiply(back, camera.rotation)),
            vertical_fov_deg=camera.vertical_fov_deg,
        )


class FrameWarper(Protocol):
    """What bends a frame; see `Warper`."""

    def warp(
        self,
        frame: NDArray[np.uint8],
        *,
        source: Pose,
        target: Pose,
        depth: NDArray[np.float32] | None = None,
        parts: NDArray[np.uint32] | None = None,
        moved: Sequence[MovedPart] = (),
    ) -> NDArray[np.uint8]: ...

    def keep(self, frame: NDArray[np.uint8], pose: Pose) -> None: ...

    def forget(self) -> None: ...


class Warper:
    """Warps frames of one size, and remembers the picture before. Not for use from two threads at once."""

    def __init__(self, width: int, height: int, config: WarpConfig | None = None) -> None:
        self._config = config or WarpConfig()
        self._width, self._height = width, height
        step = self._config.grid_px
        # One node more on each side than covers the picture: bilinear upsampling never meets its border rule.
        self._grid = WarpGrid(width, height, step, self._config.rounds)
        self._coarse = np.empty((self._grid.rows, self._grid.columns, 2), np.float32)
        self._fine = np.empty((self._grid.rows * step, self._grid.columns * step, 2), np.float32)
        # OpenCV fetches four channels 2.4 times faster than three (640x384: 1.0 against 2.4 ms), conversions included.
        self._source_rgba = np.empty((height, width, 4), np.uint8)
        self._bent_rgba = np.empty((height, width, 4), np.uint8)
        self._before_rgba = np.empty((height, width, 4), np.uint8)
        self._before: Pose | None = None

    def warp(
        self,
        frame: NDArray[np.uint8],
        *,
        source: Pose,
        target: Pose,
        depth: NDArray[np.float32] | None = None,
        parts: NDArray[np.uint32] | None = None,
        moved: Sequence[MovedPart] = (),
    ) -> NDArray[np.uint8]:
        """The frame as the camera `target` would have seen it, with the parts that moved where they are now.

        frame: (H, W, 3) uint8, shown by `source`. depth: (h, w) float32, any size, metres along the view axis of
        `source`, inf for sky. parts: (h, w) uint32, the id of the part at each depth, NO_PART for none; moved has no
        effect without it. Returns: a new (H, W, 3) uint8; what neither the frame nor the picture before saw repeats the
        nearest border.
        """
        if source.same_as(target) and not moved:
            self.keep(frame, target)
            return frame.copy()
        found = self._grid.map(source, target, depth)
        if depth is not None and parts is not None:
            for part in [one for one in moved if np.any(parts == one.part)][:_MOST_MOVED]:
                found = self._with_part(found, part, source, target, depth, parts)
        step = self._config.grid_px
        self._coarse[..., 0] = found.x
        self._coarse[..., 1] = found.y
        size = (self._grid.columns * step, self._grid.rows * step)
        cv2.resize(self._coarse, size, dst=self._fine, interpolation=cv2.INTER_LINEAR)
        fine = self._fine[step : step + self._height, step : step + self._width]
        cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA, dst=self._source_rgba)
        cv2.remap(self._source_rgba, fine, None, cv2.INTER_LINEAR, dst=self._bent_rgba, borderMode=cv2.BORDER_REPLICATE)
        self._fill(found.lost, target)
        bent = np.asarray(cv2.cvtColor(self._bent_rgba, cv2.COLOR_RGBA2RGB), dtype=np.uint8)
        self._bent_rgba, self._before_rgba = self._before_rgba, self._bent_rgba
        self._before = target
        return bent

    def keep(self, frame: NDArray[np.uint8], pose: Pose) -> None:
        """Remembers a picture that was shown as it is."""
        cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA, dst=self._before_rgba)
        self._before = pose

    def forget(self) -> None:
        """The camera jumped: the picture before shows another place."""
        self._before = None

    def _with_part(
        self,
        static: WarpMap,
        moved_part: MovedPart,
        source: Pose,
        target: Pose,
        depth: NDArray[np.float32],
        parts: NDArray[np.uint32],
    ) -> WarpMap:
        """The map with one part in its new place, and what it hid in its old one lost."""
        is_part = (parts == moved_part.part).astype(np.uint8)
        part = self._grid.map(source, moved_part.camera_before(target), depth)
        there = self._sampled(is_part, part) & ~part.lost
        was_there = self._sampled(is_part, static)
        shown = there & ((part.near >= static.near) | was_there | static.lost)
        return WarpMap(
            x=np.where(shown, part.x, static.x),
            y=np.where(shown, part.y, static.y),
            near=np.where(shown, part.near, static.near),
            lost=(static.lost | was_there) & ~shown,
        )

    def _sampled(self, mask: NDArray[np.uint8], by: WarpMap) -> NDArray[np.bool_]:
        """A mask of the source, at whatever size, as the map's nodes see it."""
        scale_x, scale_y = mask.shape[1] / self._width, mask.shape[0] / self._height
        found = cv2.remap(
            mask,
            by.x * scale_x + (0.5 * scale_x - 0.5),
            by.y * scale_y + (0.5 * scale_y - 0.5),
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        return np.asarray(np.asarray(found) != 0, np.bool_)

    def _fill(self, lost: NDArray[np.bool_], target: Pose) -> None:
        """Puts what the picture before saw where the frame saw nothing, by rotation alone: it is a tick old."""
        if self._before is None or np.count_nonzero(lost) < _LEAST_HOLE * lost.size:
            return
        found = self._grid.map(self._before, target, None)
        holes = lost & ~found.lost
        rows, columns = np.flatnonzero(holes.any(axis=1)), np.flatnonzero(holes.any(axis=0))
        if not rows.size:
            return
        # Only the box around the holes is fetched: at a border that comes into view it is a narrow strip. Its map has
        # a node more on each side, so that upsampling agrees with the whole.
        step = self._config.grid_px
        top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 2, self._grid.rows)
        left, right = max(columns[0] - 1, 0), min(columns[-1] + 2, self._grid.columns)
        coarse = np.stack([found.x[top:bottom, left:right], found.y[top:bottom, left:right]], axis=-1)
        size = ((right - left) * step, (bottom - top) * step)
        fine = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
        mask = cv2.resize(holes[top:bottom, left:right].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        # From the grid's coordinates, which begin one node outside, to the picture's.
        y0, x0 = max(top * step - step, 0), max(left * step - step, 0)
        y1, x1 = min(bottom * step - step, self._height), min(right * step - step, self._width)
        inner = np.s_[y0 - (top * step - step) : y1 - (top * step - step),
                      x0 - (left * step - step) : x1 - (left * step - step)]  # fmt: skip
        filled = cv2.remap(
            self._before_rgba,
            np.ascontiguousarray(fine[inner]),
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cv2.copyTo(filled, np.ascontiguousarray(mask[inner]), self._bent_rgba[y0:y1, x0:x1])


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


def _unit_grid(count: int) -> NDArray[np.float64]:
    across = (np.arange(count) + 0.5) / count * 2.0 - 1.0
    x, y = np.meshgrid(across, across)
    return np.stack([x.ravel(), y.ravel(), np.full(count * count, -1.0)], axis=-1)


_COVERAGE_GRID = _unit_grid(16)

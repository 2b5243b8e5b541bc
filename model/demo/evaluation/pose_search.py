"""The camera that a picture really shows: the reference pose that best explains it, by direct image alignment.

The reference picture at the wanted pose comes with its depth, so its pixels are points in space. The search moves the
camera until the shown picture's luma, looked up where those points fall, is the reference's: Gauss-Newton on the six
numbers of a small motion and on gain and offset of brightness, coarse to fine, inverse compositional (Baker and
Matthews 2004; Kerl, Sturm and Cremers 2013), with Huber weights against what is painted differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.demo.evaluation.figures import Picture, gradient_energy
from model.scene.camera import Camera

FINEST_ROTATION_DEG, FINEST_POSITION_M = 0.3, 0.05
"""A view in which even a good picture does not pin its camera down to this (a wall of one colour, thick fog) says
nothing about it."""

_PYRAMIDS = ((8, 4, 2, 1), (2, 1))
"""Where the search begins, in fractions of the size: wide, or near the wanted camera; the better end is taken."""

_BLURS_PX = (0.7, 0.7, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 3.0, 3.0)  # one after the other: up to 6 px
_MOST_STEPS = 12
_DONE = 1e-5  # radians and metres: far below what can be seen
_FAR_M = 1e4
_HUBER = 1.345  # in standard deviations: 95 % as sharp as least squares on Gaussian noise
_OUTLIER = 20.0  # grey levels
GOOD_DB = 26.0
"""The PSNR of a picture that is called good when it is asked what a view can tell."""

_SAME_ERROR_PX = 25  # pixels that share one painting error: measured on blobs of 3 px sigma and 5.6 grey levels
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_RIDGE = np.diag([1e-2] * 6 + [1e-6] * 2)
"""A motion that nothing speaks of (a flat wall's) stays at zero; a millionth of what a clear picture says."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseError:
    """How far the shown camera is from the wanted one, and how well the view can tell.

    *_sd_*: one standard deviation that a picture of GOOD_DB would leave. It is the reference's alone: a picture that is
    painted badly is not excused by it.
    """

    rotation_deg: float
    position_m: float
    rotation_sd_deg: float
    position_sd_m: float

    @property
    def is_told(self) -> bool:
        """Whether the view pins its camera down."""
        return self.rotation_sd_deg < FINEST_ROTATION_DEG and self.position_sd_m < FINEST_POSITION_M


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """One linear system: the next small motion (3 metres, 3 radians), and how good the place is that it starts from.

    cost: the mean Huber loss.
    """

    step: _Floats
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One size of the pyramid: N pixels of the reference."""

    focal_px: float
    luma: _Floats  # (N,)
    points: _Floats  # (N, 3) in the wanted camera's axes
    slope: _Floats  # (N, 8) how luma changes with motion (metres, radians), gain and offset
    shown: NDArray[np.float32]


def find_pose_error(shown: Picture, reference: Picture, depth: NDArray[np.floating], camera: Camera) -> PoseError:
    """How far from `camera` `shown` was taken.

    Args:
        shown, reference: (H, W, 3) uint8. The reference is what `camera` should see.
        depth: (H, W) the reference's view-axis depth in metres, inf where it shows the sky.
    """
    deviations = _told_by(_level(shown, reference, depth, camera, 1))
    reference = as_soft_as(shown, reference)
    levels = {factor: _level(shown, reference, depth, camera, factor) for factor in _PYRAMIDS[0]}
    ends = [_descend([levels[factor] for factor in pyramid]) for pyramid in _PYRAMIDS]
    moved, _ = min(ends, key=lambda end: end[1].cost)
    angle = math.acos(float(np.clip((np.trace(moved[:3, :3]) - 1) / 2, -1, 1)))
    return PoseError(
        rotation_deg=math.degrees(angle), position_m=float(np.linalg.norm(moved[:3, :3].T @ moved[:3, 3])),
        rotation_sd_deg=math.degrees(float(np.linalg.norm(deviations[3:]))),
        position_sd_m=float(np.linalg.norm(deviations[:3])),
    )  # fmt: skip


def as_soft_as(shown: Picture, reference: Picture) -> Picture:
    """The reference, blurred until it has no more gradient energy than the shown picture.

    A sharp picture does not align with a soft one: behind a blur of 3 px and blobs of noise the true camera was missed
    by 0.2 degrees (median of 18 views), with this by 0.06.
    """

    def energy(picture: Picture) -> float:  # without the grain of single pixels, which is no sharpness
        smooth: Picture = cv2.GaussianBlur(picture, (0, 0), 1.0)
        return gradient_energy(smooth)

    wanted = energy(shown) * 1.1
    for sigma_px in _BLURS_PX:
        if energy(reference) <= wanted:
            break
        soft: Picture = cv2.GaussianBlur(reference, (0, 0), sigma_px)
        reference = soft
    return reference


def _descend(levels: list[_Level]) -> tuple[_Floats, _Solved]:
    """From the wanted camera through the levels. Returns the transform from the wanted camera's axes to those of the
    camera found, and the system solved there."""
    moved = np.eye(4)
    for level in levels:
        for _ in range(_MOST_STEPS):
            step = _solve(level, moved).step
            moved = moved @ _motion(-step)
            if np.abs(step).max() < _DONE:
                break
    return moved, _solve(levels[-1], moved)


def _told_by(level: _Level) -> _Floats:
    """(6,) one standard deviation of a camera found by a picture of GOOD_DB: metres, radians."""
    noise = (255 * 10 ** (-GOOD_DB / 20)) ** 2 * _SAME_ERROR_PX
    deviations: _Floats = np.sqrt(np.diag(np.linalg.inv(level.slope.T @ level.slope + _RIDGE))[:6] * noise)
    return deviations


def _level(shown: Picture, reference: Picture, depth: NDArray[np.floating], camera: Camera, factor: int) -> _Level:
    luma, luma_shown = (_smaller(picture, factor) for picture in (reference, shown))
    rows, cols = luma.shape
    focal_px = camera.focal_px / factor
    middle = factor // 2
    away = np.minimum(depth[middle::factor, middle::factor], _FAR_M).astype(np.float64)
    x = (np.arange(cols) + 0.5 - cols / 2)[None, :] / focal_px * away
    y = -(np.arange(rows) + 0.5 - rows / 2)[:, None] / focal_px * away
    right, down = np.gradient(luma, axis=1), np.gradient(luma, axis=0)
    along = np.stack([right, -down, (right * x - down * y) / away], -1) * (focal_px / away)[..., None]
    points = np.stack([x, y, -away], -1)
    turn = np.cross(points, along)  # d(w x p) . along = w . (p x along)
    ones = np.ones_like(luma)
    slope = np.concatenate([along, turn, luma[..., None], ones[..., None]], -1)
    inner = (slice(1, -1), slice(1, -1))
    return _Level(
        focal_px=focal_px, luma=luma[inner].ravel(), points=points[inner].reshape(-1, 3),
        slope=slope[inner].reshape(-1, 8), shown=luma_shown.astype(np.float32),
    )  # fmt: skip


def _smaller(picture: Picture, factor: int) -> _Floats:
    """Luma, softened a little (a network's pictures are), at 1/factor of the size."""
    luma = cv2.GaussianBlur(picture.astype(np.float32) @ _LUMA, (0, 0), 1.0)
    if factor > 1:
        luma = cv2.resize(luma, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    result: _Floats = luma.astype(np.float64)
    return result


def _solve(level: _Level, moved: _Floats) -> _Solved:
    """Linearises the difference between the pictures at a camera, and solves for the motion that lessens it most."""
    seen = level.points @ moved[:3, :3].T + moved[:3, 3]
    ahead = np.maximum(-seen[:, 2], 1e-3)
    rows, cols = level.shown.shape
    u = (cols / 2 + level.focal_px * seen[:, 0] / ahead - 0.5).astype(np.float32)
    v = (rows / 2 - level.focal_px * seen[:, 1] / ahead - 0.5).astype(np.float32)
    inside = (u >= 0) & (u <= cols - 1) & (v >= 0) & (v <= rows - 1) & (seen[:, 2] < 0)
    side = 2048  # OpenCV's limit on a map's side is 32767
    padded = -len(u) % side
    maps = [np.pad(m, (0, padded)).reshape(-1, side) for m in (u, v)]
    looked_up = cv2.remap(level.shown, maps[0], maps[1], cv2.INTER_LINEAR).ravel()[: len(u)]
    slope, error = level.slope[inside], (looked_up - level.luma)[inside]
    error = error - np.median(error)
    deviation = max(1.4826 * float(np.median(np.abs(error))), 0.25)
    weights = np.minimum(1.0, _HUBER * deviation / np.maximum(np.abs(error), 1e-9))
    weighted = slope * weights[:, None]
    normal = weighted.T @ slope + _RIDGE
    step = np.linalg.solve(normal, weighted.T @ error)
    # of a fixed width, so that two ends can be compared; what falls outside the picture costs as an outlier
    loss = np.where(np.abs(error) < _OUTLIER, error**2 / 2, _OUTLIER * (np.abs(error) - _OUTLIER / 2))
    cost = float(loss.sum() + (~inside).sum() * _OUTLIER**2) / len(inside)
    return _Solved(step=step[:6], cost=cost)


def _motion(twist: _Floats) -> _Floats:
    """(4, 4) the rigid motion of a small twist (metres, radians)."""
    result = np.eye(4)
    result[:3, :3] = cv2.Rodrigues(twist[3:])[0]
    result[:3, 3] = twist[:3]
    return result

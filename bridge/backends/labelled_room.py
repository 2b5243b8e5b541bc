"""A room for checking axes: six walls, each with its own colour and its name, seen from the middle.

The test picture of `helios-bridge serve --model axes`. A camera with wrong axes shows the wrong wall, or letters
that lean or are mirrored; letters are not symmetric, so a mirrored room cannot look right.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.geometry import Pose

HALF_M = 8.0
_SIDE_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """One wall in our axes (+X right, +Y up, -Z ahead). towards: its middle; right, top: of what is written on it."""

    name: str
    colour: tuple[int, int, int]
    towards: tuple[int, int, int]
    right: tuple[int, int, int]
    top: tuple[int, int, int]


WALLS = (
    Wall(name="FRONT", colour=(40, 90, 200), towards=(0, 0, -1), right=(1, 0, 0), top=(0, 1, 0)),
    Wall(name="RIGHT", colour=(200, 50, 40), towards=(1, 0, 0), right=(0, 0, 1), top=(0, 1, 0)),
    Wall(name="BACK", colour=(210, 180, 40), towards=(0, 0, 1), right=(-1, 0, 0), top=(0, 1, 0)),
    Wall(name="LEFT", colour=(40, 150, 60), towards=(-1, 0, 0), right=(0, 0, -1), top=(0, 1, 0)),
    Wall(name="UP", colour=(225, 235, 245), towards=(0, 1, 0), right=(1, 0, 0), top=(0, 0, 1)),
    Wall(name="DOWN", colour=(70, 60, 60), towards=(0, -1, 0), right=(1, 0, 0), top=(0, 0, -1)),
)


def paint_room(
    position: NDArray[np.float64], rotation: NDArray[np.float64], vertical_fov_deg: float, width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The room as a pinhole camera sees it: pixels (H, W, 3) uint8 and view-axis depth (H, W) in metres."""
    tan = math.tan(math.radians(vertical_fov_deg) / 2.0)
    x = ((np.arange(width) + 0.5) / width * 2.0 - 1.0) * tan * width / height
    y = (1.0 - (np.arange(height) + 0.5) / height * 2.0) * tan
    turn = Pose(position=position, rotation=rotation, vertical_fov_deg=vertical_fov_deg).matrix()
    rays = x[None, :, None] * turn[:, 0] + y[:, None, None] * turn[:, 1] - turn[:, 2]  # (H, W, 3)
    inside = np.clip(position, -0.98 * HALF_M, 0.98 * HALF_M)
    safe = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    distances = (np.copysign(HALF_M, safe) - inside) / safe  # (H, W, 3): to the wall across each axis
    depth = distances.min(axis=-1)
    points = inside + rays * depth[..., None]
    nearest = distances.argmin(axis=-1)
    pixels = np.zeros((height, width, 3), np.uint8)
    for wall, texture in zip(WALLS, _textures(), strict=True):
        axis = int(np.abs(wall.towards).argmax())
        on_wall = (nearest == axis) & (np.sign(rays[..., axis]) == wall.towards[axis])
        across, upwards = points[on_wall] @ np.array(wall.right), points[on_wall] @ np.array(wall.top)
        columns = np.clip((across / HALF_M + 1) * _SIDE_PX / 2, 0, _SIDE_PX - 1).astype(int)
        rows = np.clip((1 - upwards / HALF_M) * _SIDE_PX / 2, 0, _SIDE_PX - 1).astype(int)
        pixels[on_wall] = texture[rows, columns]
    return pixels, depth.astype(np.float32)


def wall_at(pixels: NDArray[np.uint8], column: int, row: int) -> str:
    """The name of the wall whose colour prevails around a pixel. pixels: (H, W, 3) RGB."""
    patch = pixels[max(0, row - 6) : row + 7, max(0, column - 6) : column + 7].reshape(-1, 3).astype(float)
    colours = np.array([wall.colour for wall in WALLS], float)
    votes = np.linalg.norm(patch[:, None] - colours, axis=-1).argmin(axis=1)
    return WALLS[int(np.bincount(votes, minlength=len(WALLS)).argmax())].name


@functools.cache
def _textures() -> tuple[NDArray[np.uint8], ...]:
    return tuple(map(_texture, WALLS))


def _texture(wall: Wall) -> NDArray[np.uint8]:
    """The wall's colour, a frame, and its name."""
    image = np.full((_SIDE_PX, _SIDE_PX, 3), wall.colour, np.uint8)
    # A shade of the wall's own colour: letters must not make `wall_at` take it for another wall.
    shade = 1.6 if wall.name == "DOWN" else 0.7
    ink = tuple(round(shade * value) for value in wall.colour)
    cv2.rectangle(image, (6, 6), (_SIDE_PX - 7, _SIDE_PX - 7), ink, 4)
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 2.6, 8
    (width, height), _ = cv2.getTextSize(wall.name, font, scale, thickness)
    # Above the middle, so that the middle keeps the wall's colour for `wall_at`.
    cv2.putText(image, wall.name, ((_SIDE_PX - width) // 2, _SIDE_PX // 3 + height // 2), font, scale, ink, thickness)
    return image

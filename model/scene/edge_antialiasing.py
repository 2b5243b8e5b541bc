"""Antialiases outlines by geometry, finer than the rays that guide the decoder.

The decoder paints cells of 2x2 pixels, each by the ray through its middle, so that outlines come out as stairs.
Wherever a cell and its neighbour meet different surfaces, every pixel gets four finer rays (rotated grid, as in
multisampling), and is painted anew as the mean of the nearest cells that met the same surfaces. Pixels whose finer
rays all meet their own cell's surface stay as the network painted them. Numpy and OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.scene.blockout import SHAPE_INDEX, PackedParts, Shape
from model.scene.raycast import INTERSECT, RayHits

CELL_PX = 2
SAMPLES_PX = ((0.375, 0.125), (0.125, 0.625), (0.625, 0.875), (0.875, 0.375))
"""(down, right) of a pixel's finer rays, from its upper left corner."""
_AROUND = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))  # itself, sides, corners
_PIXELS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a cell
_FINER = [((row + y) / CELL_PX - 0.5, (column + x) / CELL_PX - 0.5) for row, column in _PIXELS for y, x in SAMPLES_PX]
"""Where a cell's finer rays pass, pixel by pixel, in cells from its middle."""


@dataclass(frozen=True, slots=True)
class Edges:
    """What is painted anew in one frame. pixels: (N,) int64, row-major places. sources: (N, 4) int64, row-major places
    of the cells that each pixel is a mean of."""

    pixels: NDArray[np.int64]
    sources: NDArray[np.int64]


def edges_of(parts: PackedParts, hits: RayHits) -> Edges:
    """Edges of a picture whose cells met `hits`, one ray in the middle of each."""
    surface = (4 * hits.part + hits.facet).astype(np.int32)
    rows, columns = surface.shape
    padded = np.pad(surface, 1, mode="edge")
    differs = np.zeros(surface.shape, dtype=bool)
    for down, right in _AROUND[1:5]:
        differs |= padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns] != surface
    row, column = np.nonzero(differs)
    around = [(np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1)) for down, right in _AROUND]
    places = np.stack([r * columns + c for r, c in around], 1)  # (n, 9)
    near = surface.ravel()[places]
    finer = _finer_surfaces(parts, hits, near >> 2, (row, column))  # (n, 4, 4)
    pixels, sources = [], []
    for index, (down, right) in enumerate(_PIXELS):
        mixed = (finer[:, index] != near[:, :1]).any(1)
        order = _NEAREST[index]
        same = near[mixed][:, None, order] == finer[mixed, index][:, :, None]  # (m, 4, 9)
        sources.append(np.take_along_axis(places[mixed][:, order], same.argmax(2), 1))
        pixels.append((CELL_PX * row[mixed] + down) * (CELL_PX * columns) + CELL_PX * column[mixed] + right)
    return Edges(np.concatenate(pixels), np.concatenate(sources))


def resolve(frame: NDArray[np.uint8], edges: Edges) -> None:
    """Paints the edges of a frame (H, W, 3) anew, in place."""
    if len(edges.pixels):
        height, width = frame.shape[0] // CELL_PX, frame.shape[1] // CELL_PX
        cells = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA).reshape(-1, 3)
        mixed = cells[edges.sources].astype(np.uint16).sum(1)
        frame.reshape(-1, 3)[edges.pixels] = (mixed + 2) // 4


def _nearest_first(down: int, right: int) -> list[int]:
    """Places in _AROUND by their distance from one pixel of the cell, the own cell first."""

    def distance(index: int) -> float:
        cell_down, cell_right = _AROUND[index]
        return (cell_down - (down - 0.5) / 2) ** 2 + (cell_right - (right - 0.5) / 2) ** 2

    return sorted(range(len(_AROUND)), key=distance)


_NEAREST = [_nearest_first(down, right) for down, right in _PIXELS]


def _finer_surfaces(
    parts: PackedParts, hits: RayHits, near: NDArray[np.int32], cells: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.int32]:
    """(n, 4 pixels, 4) what the finer rays of n cells meet, of the parts (n, 9) that were met around each."""
    down, right = (hits.directions[at] - hits.directions[0, 0] for at in ((1, 0), (0, 1)))
    steps = np.array([y * down + x * right for y, x in _FINER], np.float32)  # from the middle of a cell to its rays
    middles = hits.directions[cells]
    cell, part, rank = _pairs(near)
    depth = np.full((len(cell), len(_FINER)), np.inf, np.float32)
    facet = np.zeros(depth.shape, np.int32)
    shapes = parts.shape[part]
    for shape in np.unique(shapes).tolist():
        own = np.nonzero(shapes == shape)[0]
        depth[own], facet[own] = _meet(parts, shape, part[own], hits.origin, middles[cell[own]], steps)
    surface = 4 * part[:, None] + facet
    nearest = np.full((len(near), len(_FINER)), np.inf, np.float32)
    met = np.full(nearest.shape, -4, np.int32)
    for turn in range(int(rank.max(initial=-1)) + 1):  # at most one part of each cell a turn
        own = np.nonzero(rank == turn)[0]
        at, new = cell[own], depth[own]
        closer = new < nearest[at]
        nearest[at] = np.where(closer, new, nearest[at])
        met[at] = np.where(closer, surface[own], met[at])
    return met.reshape(-1, len(_PIXELS), len(SAMPLES_PX))


def _pairs(near: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Every cell with each part that was met in or beside it: cell, part, and which of the cell's parts it is."""
    ordered = np.sort(near, axis=1)
    first = ordered >= 0
    first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return np.nonzero(first)[0], ordered[first], (np.cumsum(first, axis=1) - 1)[first]


def _meet(
    parts: PackedParts, shape: int, part: NDArray[np.int32], origin: NDArray[np.float32],
    middles: NDArray[np.float32], steps: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:  # fmt: skip
    """Depth and facet, as `raycast` numbers them, (n, 16): of n parts of one shape, each along rays of its own,
    middles (n, 3) + steps (16, 3)."""
    to_local = parts.local_from_world[part]  # (n, 3, 3)
    if shape == SHAPE_INDEX[Shape.MESH]:
        assert parts.meshes is not None
        depth, mesh, normal = parts.meshes.cast(origin, middles[:, None] + steps)
        first_mesh = parts.shape.tolist().index(shape)
        depth = np.where(mesh + first_mesh == part[:, None], depth, np.float32(np.inf))
        return depth, _side(np.moveaxis(np.einsum("nij,nrj->inr", to_local, normal), 0, -1))
    local_origin = np.einsum("nij,nj->in", to_local, origin - parts.centre[part])
    local_steps = np.moveaxis(parts.local_from_world @ steps.T, 1, 0)[:, part]  # axes first: contiguous below
    local = np.moveaxis(np.einsum("nij,nj->in", to_local, middles)[:, :, None] + local_steps, 0, -1)
    local_origin = np.moveaxis(local_origin[:, :, None], 0, -1)
    depth = INTERSECT[shape](np, local_origin, local)
    if shape in (SHAPE_INDEX[Shape.SPHERE], SHAPE_INDEX[Shape.PLANE]):
        return depth, np.full(depth.shape, 2 * (shape == SHAPE_INDEX[Shape.SPHERE]), np.int32)
    at = local_origin + np.where(np.isfinite(depth), depth, 0)[..., None] * local
    if shape == SHAPE_INDEX[Shape.CYLINDER]:
        x, y, z = at[..., 0], at[..., 1], at[..., 2]
        return depth, np.where(np.abs(y) > np.sqrt(x * x + z * z), np.int32(0), np.int32(2))
    return depth, _side(at)


def _side(at: NDArray[np.float32]) -> NDArray[np.int32]:
    """Which axis (x 1, y 0, z 2) is longest, of (..., 3)."""
    x, y, z = (np.abs(at[..., axis]) for axis in range(3))
    return np.where((y >= x) & (y >= z), np.int32(0), np.where(x >= z, np.int32(1), np.int32(2)))

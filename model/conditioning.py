"""From camera and blockout to what the demo network is told about every pixel.

For each latent frame one grid of rays, 4x4 a latent pixel, is cast from the camera of its reference frame; what each
ray met becomes `RAY_CHANNELS` plain numbers. How the picture moves inside the latent frame enters as `flow`. A small
learned encoder (the `conditioner` graph) folds both to the denoiser's conditioning channels. The decoder is guided by
the same rays: `lookup` says for each of the four frames where among them its surfaces are found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from model.blockout import MATERIALS, PackedParts
from model.camera import Array, Camera, project, ray_directions
from model.raycast import NEAR_M, RayHits, cast, dot

RAYS_PER_LATENT_PX = 4
LATENT_PX = 8
RAY_STEP_PX = LATENT_PX / RAYS_PER_LATENT_PX
REFERENCE_FRAME = 2
"""Which of a latent frame's four frames the rays are cast for: the middle, so that little is uncovered either way."""

LONGEST_PERIOD_M, OCTAVES = 2.4, 4
RAY_CHANNELS = 1 + 2 + 3 + 3 + len(MATERIALS) + 4 * OCTAVES + 3 + 3
FLOW_CHANNELS = 4
_LAMP, _LAMP_REACH_M, _FAR_M = MATERIALS.index("lamp"), 2.6, 1000.0
_LOOKUP_ROUNDS = 3  # from pixel to surface to pixel again, until parallax within a latent frame is found
_DEPTH_STRIDE = 2  # depth for reprojection: one ray in two of the grid, a value every 4 px


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """rays (1, RAY_CHANNELS, T, 4h, 4w), flow (1, 4, T, h, w), lookup (1, 4, T, 4h, 4w, 2), and depth (4T, 2h, 2w) in
    view-axis metres; all float32.

    part: (4T, 2h, 2w) int64, the packed part at each depth, -1 for the sky.
    """

    rays: NDArray[np.float32]
    flow: NDArray[np.float32]
    lookup: NDArray[np.float32]
    depth: NDArray[np.float32]
    part: NDArray[np.int64]


def condition(parts: PackedParts, cameras: Sequence[Camera]) -> Conditioning:
    """Conditioning for the frames of `cameras` (a multiple of four: four a latent frame)."""
    rays, flows, lookups, surfaces = [], [], [], []
    for first in range(0, len(cameras), 4):
        group = cameras[first : first + 4]
        hits = cast(np, parts, group[REFERENCE_FRAME], step_px=RAY_STEP_PX)
        rays.append(ray_features(np, parts, hits))
        flows.append(flow(np, hits, group))
        lookups.append(lookup(hits, group))
        surfaces += [surface_seen_from(hits, group[REFERENCE_FRAME], camera) for camera in group]
    return Conditioning(
        rays=np.stack(rays, 1)[None],
        flow=np.stack(flows, 1)[None],
        lookup=np.stack(lookups, 1)[None],
        depth=np.stack([depth for depth, _ in surfaces]).astype(np.float32),
        part=np.stack([part for _, part in surfaces]),
    )


def lookup(hits: RayHits, group: Sequence[Camera]) -> NDArray[np.float32]:
    """(4, rows, cols, 2) float32: where each ray of each frame's grid finds its surface among the rays that the
    reference frame has cast: across and down, from -1 at the grid's outer edge to 1 (torch's `grid_sample`, corners
    not aligned).

    A ray's surface is looked for where its direction points, then where the surface found there would be seen, again
    and again. What the reference frame does not see is found beside it.
    """
    reference = group[REFERENCE_FRAME]
    rows, cols = hits.depth.shape
    top, left = reference.window[:2] if reference.window else (0, 0)
    surface = np.where(hits.hit[..., None], hits.position, hits.origin + hits.directions * np.float32(_FAR_M))
    ys, xs = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(cols) + 0.5) / cols, indexing="ij")
    own = np.stack([xs, ys], -1).astype(np.float32)
    found = np.empty((len(group), rows, cols, 2), dtype=np.float32)
    for index, camera in enumerate(group):
        if index == REFERENCE_FRAME:
            found[index] = own
            continue
        directions = ray_directions(camera, RAY_STEP_PX)
        points = reference.position.astype(np.float32) + directions
        for _ in range(_LOOKUP_ROUNDS):
            x, y, _ = project(np, reference, points)
            x, y = (x - left) / RAY_STEP_PX, (y - top) / RAY_STEP_PX
            column = np.clip(x, 0, cols - 1).astype(np.intp)
            row = np.clip(y, 0, rows - 1).astype(np.intp)
            _, _, ahead = project(np, camera, surface[row, column])
            points = camera.position.astype(np.float32) + np.maximum(ahead, NEAR_M)[..., None] * directions
        x, y, _ = project(np, reference, points)
        found[index, ..., 0] = (x - left) / RAY_STEP_PX / cols
        found[index, ..., 1] = (y - top) / RAY_STEP_PX / rows
    placed: NDArray[np.float32] = np.clip(found * 2 - 1, -1.5, 1.5)
    return placed


def surface_seen_from(
    hits: RayHits, reference: Camera, camera: Camera
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(2h, 2w) view-axis depth for `camera` and the part there, from what one at most a latent frame away has cast.

    Exact but for parallax at edges: each pixel takes the surface that the reference sees in its direction, and that
    surface's depth from where `camera` is. That saves nine casts in a chunk of twelve frames.
    """
    directions = ray_directions(camera, RAY_STEP_PX * _DEPTH_STRIDE)
    x, y, ahead = project(np, reference, reference.position.astype(np.float32) + directions)
    rows, cols = hits.depth.shape
    column = np.clip(x / RAY_STEP_PX, 0, cols - 1).astype(np.intp)
    row = np.clip(y / RAY_STEP_PX, 0, rows - 1).astype(np.intp)
    _, _, depth = project(np, camera, hits.position[row, column])
    seen = hits.hit[row, column] & (ahead > 0)
    depth = np.where(seen, np.maximum(depth, NEAR_M), np.inf).astype(np.float32)
    return depth, np.where(seen, hits.part[row, column], -1)


def lamp_glow(xp: ModuleType, parts: PackedParts, hits: RayHits) -> Array:
    """(h, w) how near lamps are to each hit: a sum over lamps of 1 / (1 + (distance / reach)^2)^2."""
    glow = xp.zeros_like(hits.depth)
    for index, material in enumerate(parts.material.tolist()):
        if material == _LAMP:
            offset = hits.position - parts.centre[index]
            falloff = 1 / (1 + dot(offset, offset) / _LAMP_REACH_M**2)
            glow = glow + falloff * falloff
    return xp.where(hits.hit, glow, xp.zeros_like(glow))


def ray_features(xp: ModuleType, parts: PackedParts, hits: RayHits) -> Array:
    """(RAY_CHANNELS, rows, cols): hit, depths, normal, colour, material, sines of surface position, ray, light."""
    one, zero = xp.ones_like(hits.depth), xp.zeros_like(hits.depth)
    seen = xp.where(hits.hit, one, zero)
    depth = xp.where(hits.hit, hits.depth, one)
    lengths = xp.sqrt(dot(hits.directions, hits.directions))
    towards = hits.directions / lengths[..., None]
    channels = [seen, seen / (1 + depth / 4), seen * xp.log(1 + depth) / 4]
    channels += [hits.normal[..., i] for i in range(3)]
    channels += [hits.colour[..., i] for i in range(3)]
    channels += [xp.where(hits.material == index, seen, zero) for index in range(len(MATERIALS))]
    for axis in range(2):
        angle = hits.uv[..., axis] * (2 * math.pi / LONGEST_PERIOD_M)
        sine, cosine = xp.sin(angle), xp.cos(angle)
        for _ in range(OCTAVES):  # double angles: one pair of sines serves all octaves
            channels += [sine, cosine]
            sine, cosine = 2 * sine * cosine, cosine * cosine - sine * sine
    channels += [towards[..., i] for i in range(3)]
    channels.append(lamp_glow(xp, parts, hits))
    channels.append(-dot(hits.normal, towards))
    channels.append(seen * xp.clip(hits.position[..., 1] / 4, -1, 2))
    return xp.stack(channels, 0)


def flow(xp: ModuleType, hits: RayHits, group: Sequence[Camera]) -> Array:
    """(4, h, w): where the surface behind each latent pixel of the reference frame was in the group's first frame and
    will be in its last, in latent pixels, clipped to +-4."""
    centre = slice(RAYS_PER_LATENT_PX // 2, None, RAYS_PER_LATENT_PX)
    depth = hits.depth[centre, centre]
    depth = xp.where(hits.hit[centre, centre], depth, xp.ones_like(depth) * _FAR_M)
    points = hits.origin + depth[..., None] * hits.directions[centre, centre]
    here_x, here_y, _ = project(xp, group[REFERENCE_FRAME], points)
    channels = []
    for camera in (group[0], group[-1]):
        x, y, ahead = project(xp, camera, points)
        visible = ahead > 0.05
        zero = xp.zeros_like(x)
        channels += [
            xp.where(visible, (x - here_x) / LATENT_PX, zero),
            xp.where(visible, (y - here_y) / LATENT_PX, zero),
        ]
    return xp.clip(xp.stack(channels, 0), -4, 4)

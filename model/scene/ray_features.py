"""Turns camera and blockout into what the demo network reads at every pixel.

For each frame a grid of rays, 4x4 a latent pixel, is cast from its camera; what each ray met becomes `RAY_CHANNELS`
plain numbers. All of them guide the decoder. The rays of one frame of a latent frame's four, and how the picture
moves from its first to its last (`flow`), are folded by a small learned encoder (the `conditioner` graph) to the
denoiser's conditioning channels: these are cast at once, the other frames' on first use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from model.deferred import Deferred
from model.scene.blockout import MATERIALS, PackedParts
from model.scene.camera import Array, Camera, project
from model.scene.edge_antialiasing import Edges, edges_of
from model.scene.raycast import RayHits, cast, dot

RAYS_PER_LATENT_PX = 4
LATENT_PX = 8
RAY_STEP_PX = LATENT_PX / RAYS_PER_LATENT_PX
REFERENCE_FRAME = 2
"""Whose rays of a latent frame's four frames the denoiser is told: the middle, so that little differs either way."""

LONGEST_PERIOD_M, OCTAVES = 2.4, 4
MATERIAL_CHANNELS = range(9, 9 + len(MATERIALS))  # after hit, depths, normal and colour
GLOW_CHANNEL = MATERIAL_CHANNELS.stop + 4 * OCTAVES + 3  # after sines and the ray's direction
RAY_CHANNELS = GLOW_CHANNEL + 3
FLOW_CHANNELS = 4
_LAMP, _LAMP_REACH_M, _FAR_M = MATERIALS.index("lamp"), 2.6, 1000.0
_STEEPEST = 0.15  # the least cosine between a ray and a normal that a ray's footprint is told apart at
_BLUR_PX = 1.0  # standard deviation of the pixel's footprint that sines of surface position are averaged over


@dataclass(frozen=True, slots=True, kw_only=True)
class GBuffer:
    """What lies behind every other ray of each frame. depth: (N, 2h, 2w) float32 view-axis metres, inf for the sky;
    part: (N, 2h, 2w) int64, the packed part there, -1 for the sky."""

    depth: NDArray[np.float32]
    part: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """T latent frames of four frames each. What the denoiser is told is there; the rest is made when it is asked for.

    rays: (1, RAY_CHANNELS, T, 4h, 4w) float32, those of the reference frames. flow: (1, 4, T, h, w) float32. guide: of
    each latent frame, by the decoder's name for it: `frame_rays` (1, 4, 1, RAY_CHANNELS, 4h, 4w) float32, each frame's
    rays. surfaces: of all 4T frames. edges: of each.
    """

    rays: NDArray[np.float32]
    flow: NDArray[np.float32]
    guide: tuple[Deferred[dict[str, NDArray[np.float32]]], ...]
    surfaces: Deferred[GBuffer]
    edges: tuple[Deferred[Edges], ...]

    def in_turn(self, *, lead: int = 0) -> list[Deferred[object]]:
        """All that is made later, in the order in which a chunk asks for it. lead: frames whose edges nobody will."""
        wanted: list[Deferred[object]] = [self.surfaces]
        for latent, guide in enumerate(self.guide):
            wanted += [guide, *self.edges[max(lead, 4 * latent) : 4 * latent + 4]]
        return wanted

    def frame_rays(self) -> NDArray[np.float32]:
        """(1, 4, T, RAY_CHANNELS, 4h, 4w): every frame's rays."""
        return np.concatenate([one.get()["frame_rays"] for one in self.guide], axis=2)


def condition(parts: PackedParts, cameras: Sequence[Camera]) -> Conditioning:
    """Conditioning for the frames of `cameras`, four a latent frame. Raises: ValueError: some are missing."""
    if len(cameras) % 4:
        raise ValueError(f"a latent frame has four cameras, got {len(cameras)} for some of them")
    frames = [_Frame(parts, camera) for camera in cameras]
    groups = [frames[first : first + 4] for first in range(0, len(frames), 4)]
    references = [group[REFERENCE_FRAME] for group in groups]
    hits = [frame.hits for frame in frames]
    flows = [flow(np, group[REFERENCE_FRAME].hits.get(), [frame.camera for frame in group]) for group in groups]
    return Conditioning(
        rays=np.stack([frame.told.get() for frame in references], 1)[None],
        flow=np.stack(flows, 1)[None],
        guide=tuple(_guide([frame.told for frame in group]) for group in groups),
        surfaces=Deferred(lambda: _surfaces(hits)),
        edges=tuple(frame.edges for frame in frames),
    )


class _Frame:
    """One frame's rays, cast when somebody asks."""

    def __init__(self, parts: PackedParts, camera: Camera) -> None:
        hits = Deferred(lambda: cast(np, parts, camera, step_px=RAY_STEP_PX))
        self.camera, self.hits = camera, hits
        self.told = Deferred(lambda: ray_features(np, parts, hits.get(), camera.focal_px))
        self.edges = Deferred(lambda: edges_of(parts, hits.get()))


def _guide(told: Sequence[Deferred[NDArray[np.float32]]]) -> Deferred[dict[str, NDArray[np.float32]]]:
    return Deferred(lambda: {"frame_rays": np.stack([frame.get() for frame in told])[None, :, None]})


def _surfaces(hits: Sequence[Deferred[RayHits]]) -> GBuffer:
    depths, parts = zip(*(coarse_surfaces(frame.get()) for frame in hits), strict=True)
    return GBuffer(depth=np.stack(depths), part=np.stack(parts))


def coarse_surfaces(hits: RayHits) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(2h, 2w) view-axis depth, inf for the sky, and the part there: a value for each 2x2 rays, in their middle.

    1 / depth is linear in the picture on a plane, so it is averaged where the four meet one part; elsewhere the lower
    right ray's counts.
    """
    depth, part = hits.depth[1::2, 1::2], hits.part[1::2, 1::2]
    alone = np.zeros(part.shape, dtype=bool)
    nearness = np.zeros(part.shape, dtype=np.float32)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        alone |= hits.part[row::2, column::2] != part
        nearness += 1 / hits.depth[row::2, column::2]
    middle = 4 / np.where(alone | (part < 0), 4, nearness)
    return np.where(alone | (part < 0), depth, middle).astype(np.float32), part


def lamp_glow(xp: ModuleType, parts: PackedParts, hits: RayHits) -> Array:
    """(h, w) how near lamps are to each hit: a sum over lamps of 1 / (1 + (distance / reach)^2)^2."""
    glow = xp.zeros_like(hits.depth)
    for index, material in enumerate(parts.material.tolist()):
        if material == _LAMP:
            offset = hits.position - parts.centre[index]
            falloff = 1 / (1 + dot(offset, offset) / _LAMP_REACH_M**2)
            glow = glow + falloff * falloff
    return xp.where(hits.hit, glow, xp.zeros_like(glow))


def ray_features(xp: ModuleType, parts: PackedParts, hits: RayHits, focal_px: float) -> Array:
    """(RAY_CHANNELS, rows, cols): hit, depths, normal, colour, material, sines of surface position, ray, light.

    A sine is averaged over what its pixel covers of the surface (integrated positional encoding, arXiv 2103.13415): it
    fades where it is too fine to be seen, as textures do.
    """
    one, zero = xp.ones_like(hits.depth), xp.zeros_like(hits.depth)
    seen = xp.where(hits.hit, one, zero)
    depth = xp.where(hits.hit, hits.depth, one)
    lengths = xp.sqrt(dot(hits.directions, hits.directions))
    towards = hits.directions / lengths[..., None]
    facing = -dot(hits.normal, towards)
    channels = [seen, seen / (1 + depth / 4), seen * xp.log(1 + depth) / 4]
    channels += [hits.normal[..., i] for i in range(3)]
    channels += [hits.colour[..., i] for i in range(3)]
    channels += [xp.where(hits.material == index, seen, zero) for index in range(len(MATERIALS))]
    footprint_m = _BLUR_PX * seen * depth / focal_px / xp.clip(facing, _STEEPEST, 1)
    fade = xp.exp(-0.5 * (2 * math.pi / LONGEST_PERIOD_M * footprint_m) ** 2)
    fades = [fade]
    for _ in range(OCTAVES - 1):
        fades.append((fades[-1] * fades[-1]) ** 2)  # twice the frequency: the fourth power
    for axis in range(2):
        angle = hits.uv[..., axis] * (2 * math.pi / LONGEST_PERIOD_M)
        sine, cosine = xp.sin(angle), xp.cos(angle)
        for octave in range(OCTAVES):  # double angles: one pair of sines serves all octaves
            channels += [sine * fades[octave], cosine * fades[octave]]
            sine, cosine = 2 * sine * cosine, cosine * cosine - sine * sine
    channels += [towards[..., i] for i in range(3)]
    channels.append(lamp_glow(xp, parts, hits))
    channels.append(facing)
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

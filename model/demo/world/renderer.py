"""The demo world's reference renderer: what the network learns to paint.

Materials are functions of surface position (`textures`), light and weather of the conditions (`looks`); geometry comes
from `model.blockout`. One code runs on numpy (the game's reference view) and on torch (training data on any device),
for one frame or for all frames of a clip at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.demo.world.looks import Look, look_of
from model.demo.world.textures import SPRAY, albedo, clouds, spray
from model.scene.blockout import MATERIALS, PackedParts
from model.scene.camera import Array, Camera, project
from model.scene.palette import PALETTE
from model.scene.ray_features import lamp_glow
from model.scene.raycast import RayHits, Traced, dot, surfaces, trace

_LAMP, _WATER, _DOOR, _FOUNTAIN = (MATERIALS.index(name) for name in ("lamp", "water", "door", "fountain"))
_LAMP_COLOUR = np.array([2.20, 1.50, 0.75])
_ROTATED_GRID = ((0.125, 0.375), (0.375, 0.875), (0.625, 0.125), (0.875, 0.625))
_CREASE = 0.9  # two neighbouring normals whose cosine is less meet at an edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One frame, or a clip of F frames, as arrays of module `xp`.

    colour: (..., rows, cols, 3) float32 in [0, 1], display-referred. depth: (..., rows, cols) view-axis metres, inf
    where nothing is. motion: (..., rows, cols, 2) float32: by how many pixels, right and down, what a pixel shows will
    have moved in the next frame (in a clip's last frame, and for one frame alone, zeros).
    """

    colour: Array
    depth: Array
    motion: Array


def render(
    xp: ModuleType,
    parts: PackedParts,
    camera: Camera | Sequence[Camera],
    weights: NDArray[np.floating],
    time_s: float | NDArray[np.floating],
    *,
    smooth: bool = True,
    step_px: float = 1.0,
) -> Rendered:
    """Renders one frame, or all frames of a clip.

    Args:
        camera: one camera, or F cameras that differ only in pose; these are rendered in one go (as a GPU likes it).
        weights: (STATE_SIZE,) or (F, STATE_SIZE): how much of each condition's value is in force, each slot
            summing to 1.
        time_s: the world's time, of each frame; rain and snow fall by it.
        smooth: four rays a pixel on a rotated grid wherever a pixel shows an edge; otherwise one ray a pixel.
    """
    first = camera if isinstance(camera, Camera) else camera[0]
    traced = trace(xp, parts, camera, step_px=step_px)
    hits = surfaces(xp, parts, traced)
    look = look_of(weights).to(xp, hits.depth)
    seconds = np.asarray(time_s, dtype=np.float32)[..., None, None]
    time = seconds if xp is np else xp.as_tensor(seconds, device=hits.depth.device)
    focal_px = first.focal_px / step_px
    colour = shade(xp, parts, hits, look, focal_px, time)
    if smooth:
        subs = [trace(xp, parts, camera, step_px=step_px, offset_px=offset) for offset in _ROTATED_GRID]
        edge = _creases(xp, hits.normal)
        for sub in subs:
            edge = edge | (sub.part != hits.part)
        if bool(edge.any()):
            at = xp.nonzero(edge) if xp is np else xp.nonzero(edge, as_tuple=True)
            one_frame = isinstance(camera, Camera)
            of_rays = look if one_frame else look.of_frames(at[0])
            time_of_rays = time if one_frame else time[at[0]][:, 0, 0][None]
            total = 0
            for sub in subs:
                rays = Traced(
                    origin=xp.broadcast_to(sub.origin, sub.directions.shape)[edge][None],
                    directions=sub.directions[edge][None], depth=sub.depth[edge][None], part=sub.part[edge][None],
                    facet=None if sub.facet is None else sub.facet[edge][None],
                )  # fmt: skip
                total = total + shade(xp, parts, surfaces(xp, parts, rays), of_rays, focal_px, time_of_rays)[0]
            colour[edge] = total / len(subs)
    motion = xp.zeros_like(hits.directions[..., :2])
    if not isinstance(camera, Camera):
        for index in range(len(camera) - 1):
            motion[index] = _motion(xp, hits.position[index], hits.hit[index], camera[index], camera[index + 1])
    return Rendered(colour=colour, depth=hits.depth, motion=motion)


def _motion(xp: ModuleType, position: Array, hit: Array, now: Camera, then: Camera) -> Array:
    """(rows, cols, 2) where the surfaces at `position` are seen by `then`, less where by `now`; 0 where none is."""
    x, y, _ = project(xp, now, position)
    next_x, next_y, ahead = project(xp, then, position)
    moved = xp.stack([next_x - x, next_y - y], -1)
    return xp.where((hit & (ahead > 0))[..., None], moved, xp.zeros_like(moved))


def _creases(xp: ModuleType, normal: Array) -> Array:
    """(..., rows, cols): whether the surface bends between a pixel and one beside or below it, marked on both."""
    marked = xp.zeros_like(normal[..., 0]) > 1
    across = dot(normal[..., :, 1:, :], normal[..., :, :-1, :]) < _CREASE
    down = dot(normal[..., 1:, :, :], normal[..., :-1, :, :]) < _CREASE
    marked[..., :, 1:] |= across
    marked[..., :, :-1] |= across
    marked[..., 1:, :] |= down
    marked[..., :-1, :] |= down
    seen = dot(normal, normal) > 0.5  # the sky has no normal, and no crease of its own
    return marked & seen


def shade(xp: ModuleType, parts: PackedParts, hits: RayHits, look: Look, focal_px: float, time_s: Array) -> Array:
    """Colours (..., 3) in [0, 1] for rays that were cast. focal_px: in units of the distance between two rays."""

    def const(values: NDArray[np.floating]) -> Any:
        array = np.asarray(values, dtype=np.float32)
        return array if xp is np else xp.as_tensor(array, device=hits.depth.device)

    def only(material: int) -> Array:
        return xp.where(hits.material == material, xp.ones_like(hits.depth), xp.zeros_like(hits.depth))[..., None]

    directions = hits.directions / xp.sqrt(dot(hits.directions, hits.directions))[..., None]
    surface = albedo(xp, hits, focal_px, const(PALETTE))
    running = only(_FOUNTAIN) * look.fountain
    surface = surface * (1 - running) + spray(xp, hits, focal_px, const(SPRAY)) * running
    up = xp.clip(hits.normal[..., 1], 0, 1)
    white = look.snow * xp.clip(up * 1.6 - 0.4, 0, 1)[..., None] * (1 - running)
    surface = surface * (1 - 0.35 * look.wet) * (1 - white) + const(np.array([0.92, 0.94, 0.98])) * white
    facing = xp.clip((hits.normal * look.sun).sum(-1), 0, 1)[..., None]
    ambient = 0.62 * (look.zenith * (0.5 + 0.5 * hits.normal[..., 1:2]) + look.horizon * 0.42) + 0.03
    grounded = xp.clip(0.72 + 0.28 * hits.position[..., 1:2] / 0.6, 0.72, 1.0)  # contact darkening near the ground
    glow = look.lamps * (0.25 + 0.75 * look.night) * lamp_glow(xp, parts, hits)[..., None] * const(_LAMP_COLOUR)
    lit = surface * (ambient * grounded + facing * look.sun_colour * 0.85 + glow)
    mirror = only(_WATER) * (0.25 + 0.55 * (1 - xp.clip(xp.abs(dot(hits.normal, directions)), 0, 1))[..., None] ** 2)
    lit = lit * (1 - mirror) + look.horizon * mirror
    lit = lit + only(_LAMP) * look.lamps * const(np.array([1.0, 0.80, 0.45])) * (0.35 + 0.5 * look.night)
    opened = only(_DOOR) * look.door
    lit = lit * (1 - opened) + _room(xp, hits, look, const) * opened
    clear = xp.exp(-look.fog_per_m[..., 0] * xp.where(hits.hit, hits.depth, xp.zeros_like(hits.depth)))[..., None]
    ground_fog = look.horizon * 0.9 + look.zenith * 0.1
    sky = _sky(xp, hits, directions, look)
    colour = xp.where(hits.hit[..., None], lit * clear + ground_fog * (1 - clear), sky)
    if float(look.rain.max()) + float(look.snow.max()) > 0.01:
        colour = _falling(xp, colour, directions, look, time_s)
    return xp.clip(colour, 0, 1)


def _room(xp: ModuleType, hits: RayHits, look: Look, const: Any) -> Array:
    """What an open door shows: a room with a warm light at the back. Surface coordinates have their zero in the door's
    middle."""
    u, v = hits.uv[..., 0:1], hits.uv[..., 1:2]
    light = xp.exp(-(1.6 * u * u + 0.9 * (v - 0.1) ** 2))
    return const(np.array([0.10, 0.07, 0.05])) + const(np.array([0.95, 0.66, 0.32])) * light * (0.55 + 0.4 * look.night)


def _sky(xp: ModuleType, hits: RayHits, directions: Array, look: Look) -> Array:
    height = xp.clip(directions[..., 1:2], 0, 1)
    blend = xp.sqrt(height)
    towards = xp.clip((directions * look.sun).sum(-1), 0, 1)[..., None]
    disc = xp.clip((towards - 0.9985) * 1500, 0, 1)
    sunlight = look.sun_colour * (1 - look.overcast)
    clear = look.horizon * (1 - blend) + look.zenith * blend + sunlight * 0.28 * towards**24
    cloud = clouds(xp, hits)[..., None] * xp.clip(height * 4, 0, 1) * (1 - look.overcast) * 0.6
    return clear * (1 - cloud) + (look.horizon * 0.45 + look.sun_colour * 0.5) * cloud + sunlight * disc


def _falling(xp: ModuleType, colour: Array, directions: Array, look: Look, time_s: Array) -> Array:
    """Faint streaks and flakes in columns around the viewer, falling by world time."""
    rain, snow = look.rain[..., 0], look.snow[..., 0]
    azimuth = xp.arctan2(directions[..., 0], -directions[..., 2])
    columns = xp.floor(azimuth * 24)
    phase = xp.sin(columns * 12.9898) * 437.585453
    phase = phase - xp.floor(phase)
    drop = directions[..., 1] * 2.2 + phase * 7 + time_s * (3.0 * rain + 0.5 * snow)
    drop = drop - xp.floor(drop)
    across = azimuth * 24 - columns - 0.5
    streak = xp.clip(1 - xp.abs(across) * 9, 0, 1) * xp.clip(1 - drop * 4, 0, 1) * (0.10 * rain)
    flake = xp.clip(1 - (across * across * 40 + (drop - 0.1) ** 2 * 500), 0, 1) * (0.30 * snow)
    amount = (streak + flake)[..., None]
    return colour * (1 - amount) + amount * 0.9

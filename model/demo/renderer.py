"""The demo world's reference renderer: what the network learns to paint.

Materials are functions of surface position, light and weather are functions of the conditions; geometry comes from
`model.blockout`. One code runs on numpy (the game's reference view) and torch (training data on any device).
Every pattern has a period in 2.4, 1.2, 0.6, 0.3 m: `model.conditioning` gives the network sines of just these.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.blockout import MATERIALS, PackedParts
from model.camera import Array, Camera
from model.conditioning import lamp_glow
from model.demo.conditions import SLOTS
from model.raycast import RayHits, cast

_TIMES, _WEATHERS = len(SLOTS["time"]), len(SLOTS["weather"])
#            sun colour          zenith             horizon            sun direction (to the sun)
_TIME_LOOKS = np.array([
    [1.00, 0.95, 0.82, 0.25, 0.48, 0.86, 0.74, 0.84, 0.93, 0.45, 0.75, 0.48],  # day
    [0.98, 0.52, 0.25, 0.28, 0.24, 0.48, 0.96, 0.56, 0.34, 0.86, 0.30, 0.40],  # dusk
    [0.26, 0.32, 0.52, 0.05, 0.08, 0.20, 0.12, 0.17, 0.32, -0.40, 0.80, 0.45],  # night (the moon)
])  # fmt: skip
#                                sun   overcast fog/m  wet   snow
_WEATHER_LOOKS = np.array([
    [1.00, 0.00, 0.004, 0.0, 0.0],  # clear
    [0.25, 0.85, 0.022, 1.0, 0.0],  # rain
    [0.45, 0.75, 0.018, 0.0, 1.0],  # snow
    [0.30, 0.90, 0.090, 0.2, 0.0],  # fog
])  # fmt: skip
#            base colour        second colour
_PALETTE = np.array([
    [0.82, 0.78, 0.70, 0.74, 0.69, 0.60],  # plaster
    [0.30, 0.52, 0.16, 0.44, 0.64, 0.24],  # grass
    [0.56, 0.55, 0.53, 0.40, 0.40, 0.41],  # stone
    [0.66, 0.29, 0.20, 0.80, 0.74, 0.66],  # brick, mortar
    [0.58, 0.39, 0.22, 0.42, 0.26, 0.13],  # planks
    [0.86, 0.84, 0.78, 0.32, 0.38, 0.46],  # tiles
    [0.12, 0.33, 0.42, 0.30, 0.56, 0.62],  # water
    [0.14, 0.36, 0.12, 0.36, 0.58, 0.20],  # foliage
    [0.52, 0.55, 0.60, 0.34, 0.36, 0.42],  # metal
    [0.95, 0.84, 0.55, 0.70, 0.55, 0.30],  # lamp
    [0.82, 0.71, 0.49, 0.72, 0.60, 0.39],  # sand
    [0.29, 0.33, 0.41, 0.19, 0.22, 0.29],  # slate
    [0.38, 0.28, 0.19, 0.24, 0.17, 0.11],  # bark
    [0.42, 0.25, 0.13, 0.27, 0.15, 0.08],  # door
    [0.60, 0.60, 0.58, 0.46, 0.47, 0.47],  # fountain
])  # fmt: skip
_LAMP = MATERIALS.index("lamp")
_WATER = MATERIALS.index("water")
_LAMP_COLOUR = np.array([1.25, 0.86, 0.42])


def render(
    xp: ModuleType,
    parts: PackedParts,
    camera: Camera,
    weights: NDArray[np.floating],
    time_s: float,
    *,
    samples: int = 1,
    step_px: float = 1.0,
) -> Array:
    """Renders one frame.

    Args:
        weights: (STATE_SIZE,) how much of each condition's value is in force, each slot summing to 1.
        time_s: the world's time; rain and snow fall by it.
        samples: rays a pixel: 1, 2 or 4, on a rotated grid.

    Returns: (rows, cols, 3) float32 in [0, 1], display-referred, of module `xp`.
    """
    grid = {1: [(0.5, 0.5)], 2: [(0.25, 0.25), (0.75, 0.75)]}.get(
        samples, [(0.125, 0.375), (0.375, 0.875), (0.625, 0.125), (0.875, 0.625)]
    )
    frames = [
        shade(xp, parts, cast(xp, parts, camera, step_px=step_px, offset_px=offset), camera, weights, time_s)
        for offset in grid
    ]
    return sum(frames[1:], frames[0]) / len(frames)


def shade(
    xp: ModuleType, parts: PackedParts, hits: RayHits, camera: Camera, weights: NDArray[np.floating], time_s: float
) -> Array:
    """Colours (h, w, 3) in [0, 1] for rays that were cast."""
    w = np.asarray(weights, dtype=np.float64)
    look = w[:_TIMES] @ _TIME_LOOKS
    mixed = w[_TIMES : _TIMES + _WEATHERS] @ _WEATHER_LOOKS
    sun_scale, overcast, fog_per_m, wet, snow = (float(value) for value in mixed)
    lamps_on, night = float(w[_TIMES + _WEATHERS + 1]), float(w[_TIMES - 1])
    sun_colour, zenith, horizon = look[0:3] * sun_scale, look[3:6], look[6:9]
    sun = look[9:12] / np.linalg.norm(look[9:12])
    grey = horizon.mean() * 0.5 + zenith.mean() * 0.4
    zenith = zenith * (1 - overcast) + grey * np.array([0.96, 1.0, 1.06]) * overcast
    horizon = horizon * (1 - overcast) + grey * np.array([1.05, 1.08, 1.12]) * overcast

    def const(values: NDArray[np.floating]) -> Any:
        array = np.asarray(values, dtype=np.float32)
        return array if xp is np else xp.as_tensor(array, device=hits.depth.device)

    directions = hits.directions / xp.sqrt((hits.directions * hits.directions).sum(-1))[..., None]
    sky = _sky(xp, directions, const(zenith), const(horizon), const(sun), const(sun_colour * (1 - overcast)))
    albedo = _albedo(xp, hits, camera, const(_PALETTE))
    up = xp.clip(hits.normal[..., 1], 0, 1)
    white = (snow * xp.clip(up * 1.6 - 0.4, 0, 1))[..., None]
    albedo = albedo * (1 - 0.35 * wet) * (1 - white) + const(np.array([0.92, 0.94, 0.98])) * white
    facing = xp.clip((hits.normal * const(sun)).sum(-1), 0, 1)[..., None]
    ambient = 0.62 * (const(zenith) * (0.5 + 0.5 * hits.normal[..., 1:2]) + const(horizon) * 0.42) + 0.03
    grounded = xp.clip(0.72 + 0.28 * hits.position[..., 1:2] / 0.6, 0.72, 1.0)  # contact darkening near the ground
    glow = (lamps_on * (0.25 + 0.75 * night)) * lamp_glow(xp, parts, hits)[..., None] * const(_LAMP_COLOUR)
    lit = albedo * (ambient * grounded + facing * const(sun_colour) * 0.85 + glow)
    is_water = (hits.material == _WATER)[..., None]
    mirror = 0.25 + 0.55 * (1 - xp.clip(xp.abs((hits.normal * directions).sum(-1)), 0, 1))[..., None] ** 2
    lit = xp.where(is_water, lit * (1 - mirror) + const(horizon) * mirror, lit)
    is_lamp = (hits.material == _LAMP)[..., None]
    lit = xp.where(is_lamp, lit + lamps_on * const(np.array([1.0, 0.80, 0.45])) * (0.35 + 0.5 * night), lit)
    clear = xp.exp(-fog_per_m * xp.where(hits.hit, hits.depth, xp.zeros_like(hits.depth)))[..., None]
    ground_fog = const(horizon * 0.9 + zenith * 0.1)
    colour = xp.where(hits.hit[..., None], lit * clear + ground_fog * (1 - clear), sky)
    if w[_TIMES + 1] + w[_TIMES + 2] > 0.01:
        colour = _falling(xp, colour, directions, float(w[_TIMES + 1]), float(w[_TIMES + 2]), time_s)
    return xp.clip(colour, 0, 1)


def _sky(xp: ModuleType, directions: Array, zenith: Array, horizon: Array, sun: Array, sun_colour: Array) -> Array:
    height = xp.clip(directions[..., 1:2], 0, 1)
    blend = xp.sqrt(height)
    towards = xp.clip((directions * sun).sum(-1), 0, 1)[..., None]
    disc = xp.clip((towards - 0.9985) * 1500, 0, 1)
    return horizon * (1 - blend) + zenith * blend + sun_colour * (0.28 * towards**24 + disc)


def _albedo(xp: ModuleType, hits: RayHits, camera: Camera, palette: Array) -> Array:
    """Textures: a smooth mix of each material's two colours, faded where a pixel covers half a period or more."""
    u, v = hits.uv[..., 0], hits.uv[..., 1]
    slant = xp.clip(xp.abs((hits.normal * hits.directions).sum(-1)), 0.15, 1)
    reach = xp.where(hits.hit, hits.depth, xp.ones_like(hits.depth) * 100)
    footprint = reach / camera.focal_px / slant

    def wave(coordinate: Array, period_m: float, sharpness: float = 1.0) -> Array:
        fade = xp.clip(1.4 - 2.8 * footprint / period_m, 0, 1)
        return xp.clip(sharpness * xp.sin(coordinate * (2 * math.pi / period_m)), -1, 1) * fade

    half_row = xp.where(xp.sin(v * (2 * math.pi / 0.6)) > 0, xp.ones_like(v) * 0.3, xp.zeros_like(v))
    mortar = xp.maximum(
        xp.clip(wave(v + 0.225, 0.3, 2.0) * 2.2 - 1.2, 0, 1),
        xp.clip(wave(u + half_row + 0.45, 0.6, 1.0) * 5.0 - 4.0, 0, 1),
    )
    rough = 0.5 + 0.22 * wave(u, 0.6) * wave(v + 0.1, 0.6) + 0.28 * wave(u + 0.5 * v, 1.2) * wave(v - 0.4 * u, 2.4)
    fine = 0.5 + 0.35 * wave(u + 0.3 * v, 0.3) * wave(v, 0.3) + 0.15 * wave(u, 2.4) * wave(v, 2.4)
    boards = 0.3 + 0.3 * wave(u, 0.6, 3.0) * wave(v, 2.4, 2.0) + 0.4 * xp.clip(wave(u + 0.075, 0.3) * 4 - 3, 0, 1)
    checks = 0.5 + 0.5 * wave(u, 1.2, 5.0) * wave(v, 1.2, 5.0)
    ripples = 0.5 + 0.3 * wave(u + 0.4 * v, 1.2) + 0.2 * wave(v - 0.3 * u, 0.6)
    rings = 0.5 + 0.3 * wave(v, 0.6) + 0.2 * wave(u, 0.3)
    stripes = 0.35 + 0.35 * wave(v, 0.3, 2.0)
    faint = 0.5 + 0.3 * wave(u, 2.4) * wave(v, 1.2)
    blocks = xp.clip(0.35 * rough + xp.maximum(
        xp.clip(wave(v + 0.45, 0.6) * 6 - 5, 0, 1), xp.clip(wave(u + 0.9, 1.2) * 10 - 9, 0, 1)), 0, 1)  # fmt: skip
    patterns = (
        faint,
        fine,
        blocks,
        mortar,
        boards,
        checks,
        ripples,
        rough,
        stripes,
        faint,
        fine,
        stripes,
        rings,
        boards,
        rough,
    )
    mix = xp.zeros_like(u)
    for index, pattern in enumerate(patterns):
        mix = xp.where(hits.material == index, pattern, mix)
    mix = xp.clip(mix, 0, 1)[..., None]
    looks = palette[hits.material]
    return (looks[..., :3] * (1 - mix) + looks[..., 3:] * mix) * hits.colour


def _falling(xp: ModuleType, colour: Array, directions: Array, rain: float, snow: float, time_s: float) -> Array:
    """Faint streaks and flakes in columns around the viewer, falling by world time."""
    azimuth = xp.arctan2(directions[..., 0], -directions[..., 2])
    columns = xp.floor(azimuth * 24)
    phase = xp.sin(columns * 12.9898) * 43758.5453
    phase = phase - xp.floor(phase)
    drop = directions[..., 1] * 2.2 + phase * 7 + time_s * (3.0 * rain + 0.5 * snow)
    drop = drop - xp.floor(drop)
    across = azimuth * 24 - columns - 0.5
    streak = xp.clip(1 - xp.abs(across) * 9, 0, 1) * xp.clip(1 - drop * 4, 0, 1) * (0.16 * rain)
    flake = xp.clip(1 - (across * across * 40 + (drop - 0.1) ** 2 * 500), 0, 1) * (0.45 * snow)
    amount = (streak + flake)[..., None]
    return colour * (1 - amount) + amount * 0.9

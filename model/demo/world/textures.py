"""The demo world's materials: two colours each, mixed by waves along the surface.

Every wave makes a whole number of turns in 2.4 m along u and along v, out of 0, 1, 2, 4, 8: `model.scene.ray_features`
gives the network the sines of just these turns, so that a texture is an easy function of what it is told. A wave fades
out before it is too fine for the pixels that show it; no texture shimmers, and an autoencoder can keep what is left.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from model.scene.blockout import MATERIALS
from model.scene.camera import Array
from model.scene.ray_features import LONGEST_PERIOD_M
from model.scene.raycast import RayHits, dot

_GONE_PX, _FULL_PX = 3.5, 9.5  # the length of a wave on the screen below which it is gone, above which it is whole
SPRAY = np.array([[0.62, 0.78, 0.86], [0.95, 0.98, 1.00]])
"""A fountain's two colours while it runs."""


class Waves:
    """Waves over the surfaces that rays met."""

    def __init__(self, xp: ModuleType, hits: RayHits, focal_px: float) -> None:
        self._xp = xp
        self.u, self.v = (hits.uv[..., axis] * (2 * math.pi / LONGEST_PERIOD_M) for axis in range(2))
        slant = xp.clip(xp.abs(dot(hits.normal, hits.directions)), 0.15, 1)
        footprint_m = xp.where(hits.hit, hits.depth, xp.zeros_like(hits.depth)) / focal_px / slant
        self._longest_px = LONGEST_PERIOD_M / xp.clip(footprint_m, 1e-3, 1e6)

    def wave(self, u_turns: int, v_turns: int, phase: float = 0.0, *, sharpness: float = 1.0) -> Array:
        """-1 to 1; `sharpness` above 1 flattens the tops."""
        xp = self._xp
        length_px = self._longest_px / math.hypot(u_turns, v_turns)
        fade = xp.clip((length_px - _GONE_PX) / (_FULL_PX - _GONE_PX), 0, 1)
        turned = phase + (u_turns * self.u if u_turns else 0.0) + (v_turns * self.v if v_turns else 0.0)
        return xp.clip(sharpness * xp.sin(turned), -1, 1) * fade

    def line(self, u_turns: int, v_turns: int, phase: float, share: float) -> Array:
        """0 to 1: a soft line, `share` of the wave's length wide."""
        return self._xp.clip((self.wave(u_turns, v_turns, phase) - 1) * (0.35 / share) + 1, 0, 1)


def albedo(xp: ModuleType, hits: RayHits, focal_px: float, palette: Array) -> Array:
    """(..., 3) what share of light each surface gives back, by colour; things that are off or shut."""
    waves = Waves(xp, hits, focal_px)
    patterns = _patterns(xp, waves)
    mix = xp.zeros_like(waves.u)
    for index, name in enumerate(MATERIALS):
        mix = xp.where(hits.material == index, patterns[name], mix)
    mix = xp.clip(mix, 0, 1)[..., None]
    looks = palette[hits.material]
    return (looks[..., :3] * (1 - mix) + looks[..., 3:] * mix) * hits.colour


def _patterns(xp: ModuleType, waves: Waves) -> dict[str, Array]:
    wave, line = waves.wave, waves.line
    mottled = 0.5 + 0.25 * wave(1, 1) * wave(-1, 2, 0.7) + 0.25 * wave(2, -1, 1.9) * wave(1, 4, 0.3)
    tufts = (
        0.5 + 0.24 * wave(4, 2, 0.3) * wave(-2, 4, 1.1) + 0.2 * wave(8, 1) * wave(1, 8, 0.7) + 0.2 * wave(1, -1, 2.0)
    )
    leaves = 0.5 + 0.34 * wave(4, 4) * wave(-4, 4, 1.0) + 0.22 * wave(2, -1, 0.4) + 0.12 * wave(8, 4, 2.2)
    other_row = xp.where(xp.sin(4 * waves.v) > 0, xp.ones_like(waves.v), -xp.ones_like(waves.v))
    upright = xp.clip((other_row * wave(4, 0) - 1) * 4 + 1, 0, 1)
    mortar = xp.maximum(line(0, 8, 1.57, 0.2), upright)
    blocks = 0.3 * mottled + xp.maximum(line(0, 4, 1.0, 0.1), line(2, 0, 2.0, 0.05))
    boards = 0.3 + 0.2 * wave(4, 0, sharpness=3.0) * wave(0, 1, sharpness=2.0) + 0.5 * line(8, 0, 0.8, 0.15)
    return {
        "plaster": 0.5 + 0.3 * wave(1, 0) * wave(0, 2) + 0.12 * wave(2, 1, 1.0),
        "grass": tufts,
        "stone": blocks,
        "brick": mortar,
        "planks": boards,
        "tiles": 0.5 + 0.5 * wave(2, 0, sharpness=5.0) * wave(0, 2, sharpness=5.0),
        "water": 0.5 + 0.3 * wave(2, 1) + 0.2 * wave(-1, 4, 0.8),
        "foliage": leaves,
        "metal": 0.35 + 0.35 * wave(0, 8, sharpness=2.0),
        "lamp": 0.5 + 0.3 * wave(1, 0) * wave(0, 2),
        "sand": 0.5 + 0.3 * wave(1, 4, 0.5) + 0.2 * wave(2, -2, 1.3),
        "slate": 0.35 + 0.35 * wave(0, 8, sharpness=2.0) + 0.15 * wave(2, 4),
        "bark": 0.5 + 0.3 * wave(0, 4) + 0.2 * wave(8, 1),
        "door": xp.maximum(boards, line(0, 2, 1.57, 0.12)),
        "fountain": blocks,
    }


def spray(xp: ModuleType, hits: RayHits, focal_px: float, colours: Array) -> Array:
    """(..., 3) the water of a fountain that runs."""
    waves = Waves(xp, hits, focal_px)
    mix = xp.clip(0.55 + 0.25 * waves.wave(8, 1) + 0.3 * waves.wave(2, 4, 0.6), 0, 1)[..., None]
    return colours[0] * (1 - mix) + colours[1] * mix


def clouds(xp: ModuleType, hits: RayHits) -> Array:
    """(...) 0 to 1: how much cloud each ray that met nothing goes through."""
    waves = Waves(xp, hits, 1e6)
    shape = (
        0.5 * waves.wave(1, 1, 0.5) * waves.wave(-1, 2) + 0.35 * waves.wave(2, -1, 1.1) + 0.25 * waves.wave(-2, 4, 0.4)
    )
    return xp.clip(shape * 1.6 - 0.1, 0, 1)

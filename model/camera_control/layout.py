"""The blockout's coarse shading: what takes the place of the pyramid's first stage where a model has no camera input.

Each material has one colour, times its part's, under one sun and the sky, no textures: at a quarter of the latent size
(32 pixels a latent pixel) nothing finer would be left. Numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.pipeline.noise import halved
from model.scene.blockout import PackedParts
from model.scene.camera import Camera
from model.scene.palette import PALETTE
from model.scene.raycast import RayHits, cast

_MATERIAL_COLOURS = ((PALETTE[:, :3] + PALETTE[:, 3:6]) / 2).astype(np.float32)
_SUN = np.array([0.4, 0.8, 0.45], np.float32) / np.float32(np.sqrt(0.4**2 + 0.8**2 + 0.45**2))
_AMBIENT, _SUNLIGHT = 0.55, 0.45
_HORIZON, _ZENITH = np.array([0.75, 0.82, 0.90], np.float32), np.array([0.35, 0.55, 0.85], np.float32)


def coarse_shading(parts: PackedParts, camera: Camera, *, step_px: int = 4) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, one ray every `step_px` pixels, each filling its square."""
    return shaded(cast(np, parts, camera, step_px=step_px), step_px=step_px)


def shaded(hits: RayHits, *, step_px: int) -> NDArray[np.uint8]:
    """`coarse_shading` of rays that are cast already."""
    lit = _AMBIENT + _SUNLIGHT * np.maximum(hits.normal @ _SUN, 0)
    up = hits.directions[..., 1] / np.linalg.norm(hits.directions, axis=-1)
    sky = _HORIZON + (_ZENITH - _HORIZON) * np.clip(up, 0, 1)[..., None]
    colour = np.where(hits.hit[..., None], hits.colour * _MATERIAL_COLOURS[hits.material] * lit[..., None], sky)
    coarse = np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    drawn: NDArray[np.uint8] = coarse.repeat(step_px, axis=0).repeat(step_px, axis=1)
    return drawn


def first_stage(latents: NDArray[np.float32], stages: int) -> NDArray[np.float32]:
    """Latents of full size (1, C, T, h, w) as the first of `stages` makes them: each next one is half as large."""
    for _ in range(stages - 1):
        latents = np.asarray(
            halved(latents) / 2, np.float32
        )  # `halved` keeps noise at unit variance; a picture keeps its mean
    return latents

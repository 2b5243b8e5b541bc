"""Seeded walks through random worlds as chunk requests: what the demo model is calibrated on. Numpy only."""

from __future__ import annotations

import numpy as np

from model.demo.training.clips import FRAME_HEIGHT, FRAME_WIDTH, FRAMES_PER_LATENT, draw_walk
from model.demo.world.level_generator import BlockoutGenerator
from model.pipeline.state import ChunkRequest
from model.scene.camera import Camera
from model.scene.ray_features import condition
from model.spec import ModelSpec

_TEXTS = ("", "heavy rain at night", "snow in the evening")
_FOV_DEG = 65.0


def walk_requests(spec: ModelSpec, *, walks: int, chunks: int, seed: int = 7) -> list[ChunkRequest]:
    """`walks` worlds, `chunks` chunks in each, under different texts; each walk starts with a cut."""
    requests = []
    for walk in range(walks):
        rng = np.random.default_rng([seed, walk])
        generator = BlockoutGenerator(rng)
        parts = generator.draw().pack()
        frames = chunks * spec.chunk_latents * FRAMES_PER_LATENT
        positions, rotations = draw_walk(rng, frames, generator.half_extent_m)
        cameras = [
            Camera(position=p, rotation=r, vertical_fov_deg=_FOV_DEG, height=FRAME_HEIGHT, width=FRAME_WIDTH)
            for p, r in zip(positions, rotations, strict=True)
        ]
        for chunk in range(chunks):
            span = spec.chunk_latents * FRAMES_PER_LATENT
            seen = condition(parts, cameras[chunk * span : (chunk + 1) * span])
            requests.append(
                ChunkRequest(
                    texts=(_TEXTS[walk % len(_TEXTS)],) * spec.chunk_latents, steps=spec.stage_steps,
                    features={"rays": seen.rays, "flow": seen.flow}, cut=chunk == 0,
                )
            )  # fmt: skip
    return requests

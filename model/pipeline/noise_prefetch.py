"""The noise of a chunk's stages, drawn before it is needed where a device is at work meanwhile. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.pipeline.noise import DrawNormal, block_correlated, halved
from model.spec import ModelSpec

_MOST_KEPT = 16  # a few sessions' next stages; one is 2 MB for nine latent frames of 640x384


@dataclass(frozen=True, slots=True)
class NoisePlace:
    """Whose noise it is: a session's seed, its chunk of so many latent frames, and a stage of the pyramid."""

    seed: int
    chunk: int
    stage: int
    frames: int


class ChunkNoise:
    """The noise of one model's chunks. A place's is always the same, drawn ahead or not."""

    def __init__(self, spec: ModelSpec, draw: DrawNormal) -> None:
        self._spec, self._draw = spec, draw
        self._ahead: dict[NoisePlace, NDArray[np.float32]] = {}

    def at(self, place: NoisePlace) -> NDArray[np.float32]:
        """(1, 16, T, h, w) of the stage's size: where stage 0 starts, or what is added on entering a later one."""
        ahead = self._ahead.pop(place, None)
        return self._drawn(place) if ahead is None else ahead

    def draw_ahead(self, places: Iterable[NoisePlace]) -> None:
        """Draws what `at` will be asked for. What nobody asks for is dropped in time."""
        for place in places:
            if place not in self._ahead:
                self._ahead[place] = self._drawn(place)
        while len(self._ahead) > _MOST_KEPT:
            del self._ahead[next(iter(self._ahead))]

    def _drawn(self, place: NoisePlace) -> NDArray[np.float32]:
        spec, stage = self._spec, place.stage
        if stage == 0:
            noise = self._raw(place, spec.latent_height, spec.latent_width)
            for _ in range(spec.stages - 1):
                noise = halved(noise)
            return noise
        _, rows, columns = spec.patch_size
        reduction = 2 ** (spec.stages - 1 - stage)
        height, width = (length // reduction for length in (spec.latent_height, spec.latent_width))
        raw = self._raw(place, height // rows, width // columns, rows * columns)
        return np.asarray(block_correlated(raw, spec.gamma, (rows, columns)), dtype=np.float32)

    def _raw(self, place: NoisePlace, *size: int) -> NDArray[np.float32]:
        shape = (1, self._spec.latent_channels, place.frames, *size)
        return self._draw(seed=place.seed, chunk=place.chunk, stage=place.stage, shape=shape)

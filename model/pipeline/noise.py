"""The noise that a chunk starts from and the noise between its stages, drawn on the host from counters.

Every draw is keyed by (seed, chunk, stage), never by what was drawn before: one seed gives the same latents on every
runner, after a restart, and whichever chunks were left out. `ChunkNoise` draws ahead where a device is at work
meanwhile. Numpy only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.spec import ModelSpec

_CHOLESKY_JITTER = 1e-8  # as in diffusers' HeliosPyramidPipeline.sample_block_noise
_KEY_WORD = 0x48_45_4C_49_4F_53  # "HELIOS": keeps our streams apart from another Philox keyed by the same seed


class Purpose(enum.Enum):
    """What a session that begins with pictures draws for; every draw has a stage number that no pyramid has."""

    PREFIX = 1_000
    HISTORY = 2_000

    @property
    def sample(self) -> int:
        """Of the encoder's distribution."""
        return self.value + 1

    @property
    def level(self) -> int:
        """How strong the noise is; the only uniform draw."""
        return self.value + 2

    @property
    def noise(self) -> int:
        return self.value + 3


class DrawNormal(Protocol):
    """Independent standard normal numbers for one place in one session; a pure function of its arguments.

    Stage 0 is the chunk's starting noise (full latent size), stage s > 0 the raw block noise on entering s.
    """

    def __call__(self, *, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]: ...


class DrawUniform(Protocol):
    """Independent numbers in [0, 1), named as `DrawNormal`'s are."""

    def __call__(self, *, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]: ...


def philox_normal(*, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The draws used outside of tests. seed: 0 .. 2**64 - 1. Returns: `shape` float32."""
    return _generator(seed, chunk, stage).standard_normal(shape, dtype=np.float32)


def philox_uniform(*, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The draws used outside of tests. Returns: `shape` float32."""
    return _generator(seed, chunk, stage).random(shape, dtype=np.float32)


def _generator(seed: int, chunk: int, stage: int) -> np.random.Generator:
    key = np.array([seed, _KEY_WORD], dtype=np.uint64)  # a list would pass large seeds through float64
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, stage, chunk], dtype=np.uint64)))


def halved(noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Noise one pyramid level down: (..., h, w) -> (..., h/2, w/2), still of variance 1.

    Bilinear reduction by two is the mean of 2x2; times two keeps the variance.
    """
    *outer, height, width = noise.shape
    blocks = noise.reshape(*outer, height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean(axis=(-3, -1)) * 2, dtype=np.float32)


def block_correlated(normal: NDArray[np.float32], gamma: float, patch: tuple[int, int]) -> NDArray[np.float32]:
    """Raw draws -> noise correlated inside each patch, covariance (1 + gamma) I - gamma 11^T.

    Args:
        normal: (B, C, T, h/rows, w/columns, rows * columns), one row of draws a patch.

    Returns: (B, C, T, h, w).
    """
    rows, columns = patch
    mixed = normal @ block_cholesky(gamma, rows * columns).T
    batch, channels, frames, high, wide = normal.shape[:5]
    blocks = mixed.reshape(batch, channels, frames, high, wide, rows, columns)
    return blocks.transpose(0, 1, 2, 3, 5, 4, 6).reshape(batch, channels, frames, high * rows, wide * columns)


def block_cholesky(gamma: float, size: int) -> NDArray[np.float32]:
    """The lower factor of the block covariance.

    Worked out in float64: at gamma = 1/3 and 2x2 patches the covariance is singular but for the jitter, which float32
    cannot hold beside 1.0, and whether a float32 factorisation then succeeds depends on the LAPACK in use.
    """
    covariance = np.eye(size) * (1 + gamma + _CHOLESKY_JITTER) - np.full((size, size), gamma)
    return np.linalg.cholesky(covariance).astype(np.float32)


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

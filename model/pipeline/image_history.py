"""Starts a session from an image or a clip: its latents become the history that the first chunk continues.

As in diffusers' `HeliosPyramidPipeline` for image- and video-to-video: latents are drawn from the encoder's
distribution and noised a little, each latent frame at a level of its own. Numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError, RunnerError
from model.pipeline.noise import DrawNormal, DrawUniform, Purpose
from model.runners.base import ModuleRunner
from model.spec import Graph, ModelSpec

NOISE_SIGMA = (0.111, 0.135)
"""How much an image or clip is noised, at least and at most (the reference pipeline's defaults)."""

Latents = NDArray[np.float32]

Encode = Callable[[NDArray[np.uint8]], Latents]
"""A chunk's frames (N, H, W, 3) -> its normalised latents (1, 16, T, h, w), the likeliest ones."""


def encoder_of(spec: ModelSpec, runner: ModuleRunner) -> Encode:
    """What the `encoder` graph makes of frames, without its spread."""
    mean = np.array(spec.latents_mean, np.float32)[:, None, None, None]
    inv_std = np.array(spec.latents_inv_std, np.float32)[:, None, None, None]

    def encode(frames: NDArray[np.uint8]) -> Latents:
        latents = _joined(_encoded(runner, frames, spec.temporal_stride), "mean")
        return np.asarray((latents - mean) * inv_std, np.float32)

    return encode


def _encoded(runner: ModuleRunner, frames: NDArray[np.uint8], stride: int) -> list[dict[str, NDArray[np.generic]]]:
    """What the encoder gives of a clip (N, H, W, 3): at once or, where it comes in two graphs and the runner keeps its
    memory, latent frame by latent frame."""
    if Graph.ENCODER_FIRST not in runner.graphs:
        return [runner.run(Graph.ENCODER, {"frames": frames})]
    first = runner.run(Graph.ENCODER_FIRST, {"frames": frames[:1]})
    later = range(1, len(frames), stride)
    return [first, *(runner.run(Graph.ENCODER, {"frames": frames[at : at + stride]}) for at in later)]


def _joined(parts: list[dict[str, NDArray[np.generic]]], name: str) -> Latents:
    return np.concatenate([np.asarray(part[name], np.float32) for part in parts], axis=2)


@dataclass(frozen=True, slots=True)
class Beginning:
    """prefix: (1, 16, 1, h, w), history: (1, 16, n, h, w), the newest last; both normalised and noised."""

    prefix: Latents
    history: Latents


class PictureReader:
    """Turns pictures into a beginning, for one model on one runner."""

    def __init__(self, spec: ModelSpec, runner: ModuleRunner, normal: DrawNormal, uniform: DrawUniform) -> None:
        self._spec, self._runner = spec, runner
        self._normal, self._uniform = normal, uniform
        self._mean = np.array(spec.latents_mean, dtype=np.float32)[:, None, None, None]
        self._inv_std = np.array(spec.latents_inv_std, dtype=np.float32)[:, None, None, None]

    def read(self, frames: NDArray[np.uint8], seed: int) -> Beginning:
        """frames: (N, H, W, 3) RGB; one is an image, more are a clip of whole chunks, of which the newest count.

        Raises: ModelError: this model cannot begin with pictures, or they do not fit. RunnerError.
        """
        spec = self._spec
        chunk_frames = spec.frames_in(spec.chunk_latents)
        if Graph.ENCODER not in self._runner.graphs:
            raise ModelError(f"{spec.name} begins with text alone: it has no encoder for pictures")
        if frames.shape[1:] != (spec.frame_height, spec.frame_width, 3) or frames.dtype != np.uint8:
            wanted = f"(N, {spec.frame_height}, {spec.frame_width}, 3) uint8"
            raise ModelError(f"pictures must be {wanted}, got {frames.shape} {frames.dtype}")
        if len(frames) != 1 and len(frames) < chunk_frames:
            raise ModelError(
                f"a session begins with one picture or a clip of {chunk_frames} or more, got {len(frames)}"
            )
        first = self._drawn(frames[:1], seed, Purpose.PREFIX, chunk=0)
        prefix = self._noised(first, seed, Purpose.PREFIX, chunk=0)
        if len(frames) == 1:
            still = np.repeat(frames, chunk_frames, axis=0)
            newest = self._drawn(still, seed, Purpose.HISTORY, chunk=0)[:, :, -1:]
            return Beginning(prefix, self._noised(newest, seed, Purpose.HISTORY, chunk=0))
        # No more chunks than the history holds: whatever is older would be dropped.
        chunks = min(len(frames) // chunk_frames, -(-spec.history_latents // spec.chunk_latents))
        newest_frames = frames[len(frames) - chunks * chunk_frames :]
        parts = []
        for chunk in range(chunks):
            part = newest_frames[chunk * chunk_frames : (chunk + 1) * chunk_frames]
            latents = self._drawn(part, seed, Purpose.HISTORY, chunk=chunk)
            parts.append(self._noised(latents, seed, Purpose.HISTORY, chunk=chunk))
        return Beginning(prefix, np.concatenate(parts, axis=2))

    def _drawn(self, frames: NDArray[np.uint8], seed: int, purpose: Purpose, *, chunk: int) -> Latents:
        """Normalised latents, drawn from the encoder's distribution."""
        spec = self._spec
        parts = _encoded(self._runner, frames, spec.temporal_stride)
        mean, std = _joined(parts, "mean"), _joined(parts, "std")
        wanted = (1, spec.latent_channels, 1 + (len(frames) - 1) // spec.temporal_stride, *mean.shape[3:])
        if mean.shape != wanted or std.shape != wanted:
            raise RunnerError(f"encoder must give mean and std of {wanted}, got {mean.shape} and {std.shape}")
        drawn = self._normal(seed=seed, chunk=chunk, stage=purpose.sample, shape=mean.shape)
        return np.asarray((mean + std * drawn - self._mean) * self._inv_std, dtype=np.float32)

    def _noised(self, latents: Latents, seed: int, purpose: Purpose, *, chunk: int) -> Latents:
        low, high = NOISE_SIGMA
        share = self._uniform(seed=seed, chunk=chunk, stage=purpose.level, shape=(latents.shape[2],))
        sigma = np.asarray(share * np.float32(high - low) + np.float32(low), dtype=np.float32)[:, None, None]
        noise = self._normal(seed=seed, chunk=chunk, stage=purpose.noise, shape=latents.shape)
        return np.asarray(sigma * noise + (1 - sigma) * latents, dtype=np.float32)

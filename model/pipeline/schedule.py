"""When and how strongly a chunk is denoised: stage-local timesteps and noise levels (Helios, arXiv 2603.04379).

The numbers equal those of diffusers' `HeliosDMDScheduler`, which the tests compare against. Numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.spec import ModelSpec, TimeShift

FIRST_STAGE_SIGMA = 0.999  # stage-local levels run from here to 0 in every stage
HIGHEST_TIMESTEP = 999


@dataclass(frozen=True, slots=True)
class StageSchedule:
    """The steps of one stage. timesteps: (n,) int64, what the network is told. sigmas: (n,) float64, noise level."""

    timesteps: NDArray[np.int64]
    sigmas: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Upsampling:
    """How a stage's result enters the next: alpha * upsampled + beta * block noise."""

    alpha: float
    beta: float


class Schedule:
    """All of a model's stages; built once."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._start_sigmas, self._stage_timesteps = _stages(spec)

    def stage(self, stage: int, steps: int, *, tokens: int, doubled: bool) -> StageSchedule:
        """The steps of a stage.

        Args:
            steps: as asked for; `doubled` (amplify_first_chunk) makes them twice as many.
            tokens: of the sample before it is upsampled for this stage; only dynamic shifting looks at them.
        """
        spec = self._spec
        points = steps * 2 + 1 if doubled else steps + 1
        highest, lowest = self._stage_timesteps[stage]
        timesteps = np.linspace(highest, lowest, points)[:-1]
        last_sigma = FIRST_STAGE_SIGMA / spec.num_train_timesteps
        sigmas = np.linspace(FIRST_STAGE_SIGMA, last_sigma, points)[:-1]
        if spec.use_dynamic_shifting:
            sigmas = _shifted(sigmas, _mu(spec, tokens), spec.time_shift_type)
            timesteps = lowest + sigmas * (highest - lowest)
        told = timesteps.astype(np.int64)
        # The reference looks the level up again from the truncated timestep; so do we, should two lie closer than one.
        nearest = np.abs(timesteps[None, :] - told[:, None]).argmin(axis=1)
        return StageSchedule(told, sigmas[nearest])

    def upsampling(self, stage: int) -> Upsampling:
        """For entering `stage` (1 and up)."""
        signal = 1 - self._start_sigmas[stage]
        alpha = 1 / (math.sqrt(1 + 1 / self._spec.gamma) * (1 - signal) + signal)
        return Upsampling(alpha, alpha * (1 - signal) / math.sqrt(self._spec.gamma))


def denoised(sample: NDArray[np.float32], flow: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """The clean latents that a predicted flow means: x0 = x - sigma * v."""
    return (sample.astype(np.float64) - sigma * flow.astype(np.float64)).astype(np.float32)


def renoised(clean: NDArray[np.float32], start: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Clean latents at a noise level, the stage's own starting point taken as the noise."""
    mixed: NDArray[np.float64] = (1 - sigma) * clean.astype(np.float64) + sigma * start.astype(np.float64)
    return mixed.astype(np.float32)


def _stages(spec: ModelSpec) -> tuple[list[float], list[tuple[float, float]]]:
    """Each stage's original start sigma, and its first and last timestep of `num_train_timesteps`."""
    count = spec.num_train_timesteps
    sigmas = 1.0 - np.linspace(1, 1 / count, count + 1)
    sigmas = np.flip(spec.shift * sigmas / (1 + (spec.shift - 1) * sigmas))[:-1]
    timesteps = sigmas * count
    original, distances = [], []
    for stage in range(spec.stages):
        first = max(int(spec.stage_range[stage] * count), 0)
        end = min(int(spec.stage_range[stage + 1] * count), count)
        start_sigma = float(sigmas[first])
        end_sigma = float(sigmas[end]) if end < count else 0.0
        original.append(start_sigma)
        if stage:
            signal = 1 - start_sigma
            start_sigma = 1 - signal / (math.sqrt(1 + 1 / spec.gamma) * (1 - signal) + signal)
        distances.append(start_sigma - end_sigma)
    ranges = []
    for stage in range(spec.stages):
        from_ratio = sum(distances[:stage]) / sum(distances)
        last = stage == spec.stages - 1
        to_ratio = math.nextafter(1.0, 0.0) if last else sum(distances[: stage + 1]) / sum(distances)
        highest = min(float(timesteps[int(from_ratio * count)]), HIGHEST_TIMESTEP)
        lowest = float(timesteps[min(int(to_ratio * count), count - 1)])
        grid = np.linspace(highest, lowest, count + 1)
        ranges.append((float(grid[0]), float(grid[-2])))
    return original, ranges


def _mu(spec: ModelSpec, tokens: int) -> float:
    slope = (spec.max_shift - spec.base_shift) / (spec.max_image_seq_len - spec.base_image_seq_len)
    return tokens * slope + spec.base_shift - slope * spec.base_image_seq_len


def _shifted(sigmas: NDArray[np.float64], mu: float, kind: TimeShift) -> NDArray[np.float64]:
    weight = math.exp(mu) if kind is TimeShift.EXPONENTIAL else mu
    return np.asarray(weight / (weight + (1 / sigmas - 1)), dtype=np.float64)

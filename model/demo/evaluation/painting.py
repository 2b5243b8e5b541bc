"""Tours as the network paints them: through the one chunk loop, on any runner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.deferred import Helper
from model.demo.evaluation.tours import Tour
from model.pipeline.state import ChunkRequest, PipelineState
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.base import ModuleRunner
from model.scene.ray_features import condition
from model.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedChunk:
    """frames: (N, H, W, 3) uint8, the tour's from `first` on. seconds: what making them took, casting included.

    state: what the session remembers after it.
    """

    first: int
    frames: NDArray[np.uint8]
    seconds: float
    state: PipelineState


class Painter:
    """Paints tours with one model on one runner."""

    def __init__(self, spec: ModelSpec, runner: ModuleRunner, *, chunk_latents: int) -> None:
        self._spec = spec
        self._rollout = VideoPipeline(spec, runner, clock=time.monotonic)
        self._latents = chunk_latents

    @property
    def chunk_frames(self) -> int:
        return self._spec.frames_in(self._latents)

    def paint(
        self, tour: Tour, *, first: int = 0, afresh: PipelineState | None = None, seed: int = 0
    ) -> Iterator[PaintedChunk]:
        """Chunk by chunk from frame `first` of the tour, where a chunk begins, until its last whole chunk.

        afresh: a session to take over the texts in force from, and nothing else; what it has shown is forgotten.
        """
        state, count = afresh or self._rollout.open(seed), self.chunk_frames
        with closing(Helper("guide")) as helper:
            for start in range(first, len(tour.positions) - count + 1, count):
                began_s = time.monotonic()
                seen = condition(tour.parts, [tour.camera(start + i) for i in range(count)])
                helper.begin(seen.in_turn())  # beside the denoiser, as the service does
                request = ChunkRequest(
                    texts=(tour.text(start),) * self._latents, steps=self._spec.stage_steps,
                    features={"rays": seen.rays, "flow": seen.flow}, guide=seen.guide, edges=seen.edges,
                    cut=afresh is not None and start == first,
                )  # fmt: skip
                result, state = self._rollout.chunk(state, request)
                yield PaintedChunk(
                    first=start, frames=result.frames, seconds=time.monotonic() - began_s, state=state
                )  # fmt: skip

"""What a trained denoiser makes of training clips: latents that its decoder should learn to live with.

Needs the torch extra.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.demo.training.prepared_data import Geometry
from model.pipeline.state import ChunkRequest, PipelineState
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.base import ModuleRunner
from model.spec import Graph, ModelSpec

_CHUNK_LATENTS, _SHARES = (1, 2, 3), (0.5, 0.2, 0.3)


class ClipPainter:
    """Paints whole-frame clips with one model, from an empty history, as a game would see them."""

    def __init__(self, spec: ModelSpec, runner: ModuleRunner) -> None:
        """runner: must not start decoding by itself; nothing is decoded here."""
        self._spec, self._runner = spec, runner
        self._rollout = VideoPipeline(spec, runner, clock=time.monotonic)
        self._mean = np.array(spec.latents_mean, np.float32)[:, None, None, None]
        self._inv_std = np.array(spec.latents_inv_std, np.float32)[:, None, None, None]

    def paint(self, geometry: Geometry, rng: np.random.Generator) -> NDArray[np.float16]:
        """(16, N, h, w) latents of a clip's N latent frames, not normalised; chunks of random lengths."""
        state = self._rollout.open(int(rng.integers(1 << 32)))
        made, first, count = [], 0, geometry.rays.shape[1]
        while first < count:
            length = min(int(rng.choice(_CHUNK_LATENTS, p=_SHARES)), count - first)
            while (geometry.weights[first : first + length] != geometry.weights[first]).any():
                length -= 1  # a chunk shows one set of conditions
            own = slice(first, first + length)
            request = ChunkRequest(
                texts=("",) * length, steps=self._spec.stage_steps,
                features={"rays": geometry.rays[None, :, own].astype(np.float32),
                          "flow": geometry.flow[None, :, own].astype(np.float32)},
            )  # fmt: skip
            begun = self._rollout.begin(self._under(geometry.weights[first][None], state), request)
            made.append(begun.latents)
            state, first = begun.state, first + length
        latents = np.concatenate(made, axis=2)[0]
        raw: NDArray[np.float16] = (latents / self._inv_std + self._mean).astype(np.float16)
        return raw

    def _under(self, conditions: NDArray[np.float32], state: PipelineState) -> PipelineState:
        """The state with other conditions in force, as if texts had asked for them."""
        silent = np.zeros((1, self._spec.text_words), np.int64)
        told = self._runner.run(Graph.TEXT_ENCODER, {"tokens": silent, "state": conditions})
        embeddings = np.asarray(told["embeddings"], np.float32)
        return replace(state, text_state=conditions, text_embeddings=embeddings)

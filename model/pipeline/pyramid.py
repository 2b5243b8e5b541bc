"""The denoising loop: makes a chunk's latents from noise, conditioning, text and history, stage by stage.

video_pipeline.py does what comes before (texts, conditioning) and after (history, decoding). Numpy only.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.pipeline.history import FrameIndices, frame_indices, split_history
from model.pipeline.noise import ChunkNoise, DrawNormal, NoisePlace
from model.pipeline.pending_chunk import Stopwatch
from model.pipeline.schedule import Schedule, denoised, renoised
from model.pipeline.state import ChunkRequest, PipelineState
from model.pipeline.text_conditioning import TextConditioning
from model.runners.base import ModuleRunner, OverlappingRunner, started
from model.spec import Graph, ModelSpec


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """A chunk before its noise.

    state: what it continues, nothing where the request cuts. conditioning: (1, C, T, h, w) float32.
    """

    state: PipelineState
    request: ChunkRequest
    reading: TextConditioning
    conditioning: NDArray[np.float32]


def kind_of(state: PipelineState, request: ChunkRequest) -> Hashable:
    """What chunks have in common that go through the denoiser together. state: before the chunk."""
    continues = state.continues and not request.cut
    return len(request.texts), request.steps, continues, request.first_stage is None


class Pyramid:
    """A model's denoiser on one runner."""

    def __init__(self, spec: ModelSpec, runner: ModuleRunner, draw: DrawNormal) -> None:
        self._spec, self._runner = spec, runner
        self._noise = ChunkNoise(spec, draw)
        self._overlaps = isinstance(runner, OverlappingRunner)
        self._schedule = Schedule(spec)
        denoiser = runner.graphs.get(Graph.DENOISER)
        self.has_view = denoiser is not None and "latents_view" in denoiser.inputs
        """Whether there is room for a view in the history."""
        latents = None if denoiser is None else denoiser.inputs.get("hidden_states")
        self.takes_several = latents is not None and latents.shape[0] is None and not self.has_view
        """Whether the denoiser takes several sessions' latents at once; views have as many tokens as they have."""
        for name, indices in _history_indices(self._indices(new=1)).items():
            runner.bind_constant(Graph.DENOISER, name, indices)

    def denoise(self, chunks: Sequence[PreparedChunk], watch: Stopwatch) -> NDArray[np.float32]:
        """(B, 16, T, h, w) float32 normalised latents of B chunks of one kind (`kind_of`).

        chunks: one, unless the denoiser `takes_several`. watch: gets a lap `stage0` .. `stageN` of each stage that ran.

        Raises: RunnerError: the denoiser failed.
        """
        spec = self._spec
        _, rows, columns = spec.patch_size
        state, request = chunks[0].state, chunks[0].request
        fixed = self._context([chunk.state for chunk in chunks], len(request.texts))
        fixed |= {"encoder_hidden_states": np.concatenate([chunk.reading.embeddings for chunk in chunks])}
        if self.has_view:
            fixed |= self._view(request)
        for array in fixed.values():
            array.flags.writeable = False  # so that a runner need not take them anew for every step
        conditioning = np.concatenate([chunk.conditioning for chunk in chunks])
        doubled = spec.amplify_first_chunk and not state.continues
        first_stages = [chunk.request.first_stage for chunk in chunks]
        given = [first_stage for first_stage in first_stages if first_stage is not None]
        sample = np.concatenate(given) if given else self._noise_of(chunks, stage=0)
        for stage, steps in enumerate(request.steps):
            if stage == 0 and given:
                continue
            # The reference counts the tokens that come in: past stage 0, those of the stage before.
            tokens = sample[0, 0].size // (rows * columns)
            if steps == 0:  # latents of the stage before, as they are: half as sharp, and nothing to run
                sample = _enlarged(sample)
                continue
            plan = self._schedule.stage(stage, steps, tokens=tokens, doubled=doubled)
            start = sample = self._enter(stage, sample, chunks) if stage else sample
            pooled = _pooled(conditioning, spec.latent_height // sample.shape[3])
            for step, (timestep, sigma) in enumerate(zip(plan.timesteps, plan.sigmas, strict=True)):
                inputs = {
                    **fixed,
                    "hidden_states": np.concatenate([sample, pooled], axis=1),
                    "timestep": timestep[None],
                }
                flowing = started(self._runner, Graph.DENOISER, inputs)
                if self._overlaps and step == 0:
                    self._noise.draw_ahead(_next_places(chunks, stage))
                flow = flowing.result()["sample"]
                sample = denoised(sample, _float32(flow), float(sigma))
                if step + 1 < len(plan.sigmas):
                    sample = renoised(sample, start, float(plan.sigmas[step + 1]))
            watch.lap(f"stage{stage}")
        return sample

    def _indices(self, *, new: int) -> FrameIndices:
        return frame_indices(self._spec.history_sizes, prefix=self._spec.keep_prefix, new=new)

    def _context(self, states: Sequence[PipelineState], new: int) -> dict[str, NDArray[np.generic]]:
        """The denoiser's inputs that stay the same through a chunk: histories, and the new frames' places in time."""
        latents = np.concatenate(
            [np.concatenate([state.history_latents, state.history_conditioning], axis=1) for state in states]
        )
        latents.flags.writeable = False
        prefix = None
        if self._spec.keep_prefix:
            prefix = np.concatenate(
                [np.concatenate([state.prefix_latent, state.prefix_conditioning], axis=1) for state in states]
            )
        history = split_history(latents, self._spec.history_sizes, prefix)
        return {
            "latents_history_long": history.long,
            "latents_history_mid": history.mid,
            "latents_history_short": history.short,
            "indices_hidden_states": self._indices(new=new).new.copy(),
        }

    def _view(self, request: ChunkRequest) -> dict[str, NDArray[np.generic]]:
        """The view in history, at the new frames' own places in time; no tokens of it where there is none."""
        spec, frames = self._spec, len(request.texts)
        shape = (1, spec.denoiser_channels, frames, spec.latent_height, spec.latent_width)
        latents = np.zeros(shape, np.float32)
        tokens = np.zeros(0, np.int64)
        if request.view is not None:
            latents[:, : spec.latent_channels] = request.view.latents
            tokens = request.view.tokens.copy()
        return {"latents_view": latents, "indices_view": self._indices(new=frames).new.copy(), "tokens_view": tokens}

    def _noise_of(self, chunks: Sequence[PreparedChunk], *, stage: int) -> NDArray[np.float32]:
        """(B, 16, T, h, w) of the stage's size."""
        return np.concatenate([self._noise.at(_place(chunk, stage)) for chunk in chunks])

    def _enter(self, stage: int, sample: NDArray[np.float32], chunks: Sequence[PreparedChunk]) -> NDArray[np.float32]:
        """A stage's result, twice as large and noised in blocks: where the next stage starts."""
        weights = self._schedule.upsampling(stage)
        return _float32(weights.alpha * _enlarged(sample) + weights.beta * self._noise_of(chunks, stage=stage))


def _place(chunk: PreparedChunk, stage: int, *, later: int = 0) -> NoisePlace:
    """later: by how many chunks."""
    state = chunk.state
    return NoisePlace(state.seed, state.chunk_index + later, stage, len(chunk.request.texts))


def _next_places(chunks: Sequence[PreparedChunk], stage: int) -> list[NoisePlace]:
    """Whose noise is needed after a stage: the next one's, or the first one's of chunks that go on as these do."""
    request = chunks[0].request
    if any(request.steps[stage + 1 : stage + 2]):
        return [_place(chunk, stage + 1) for chunk in chunks]
    first = 0 if request.first_stage is None else 1
    return [_place(chunk, first, later=1) for chunk in chunks]


def _history_indices(indices: FrameIndices) -> dict[str, NDArray[np.int64]]:
    return {
        "indices_latents_history_long": indices.long,
        "indices_latents_history_mid": indices.mid,
        "indices_latents_history_short": indices.short,
    }


def _pooled(conditioning: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean over factor x factor latent pixels."""
    *outer, height, width = conditioning.shape
    blocks = conditioning.reshape(*outer, height // factor, factor, width // factor, factor)
    return _float32(blocks.mean(axis=(-3, -1)))


def _enlarged(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """Twice as high and wide, each latent pixel four times."""
    return sample.repeat(2, axis=3).repeat(2, axis=4)


def _float32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(array, dtype=np.float32)

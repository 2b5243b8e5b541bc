"""The chunk loop: text, conditioning, denoising (pyramid.py), history, decoding.

Drives any `ModuleRunner` and is a pure step over an explicit state: the same state, request and seed give the same
frames up to the runner's rounding. Numpy only; no camera, no blockout, no clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.pipeline.frame_decoder import Decoder, NextMemory
from model.pipeline.history import appended
from model.pipeline.image_history import PictureReader
from model.pipeline.noise import DrawNormal, DrawUniform, philox_normal, philox_uniform
from model.pipeline.pending_chunk import PendingChunk, Stopwatch
from model.pipeline.pyramid import PreparedChunk, Pyramid, kind_of
from model.pipeline.state import ChunkRequest, ChunkResult, PipelineState
from model.pipeline.text_conditioning import TextConditioning, TextReader, Tokenize
from model.runners.base import ModuleRunner
from model.spec import Graph, ModelSpec


class VideoPipeline:
    """One model on one runner, for any number of sessions, each in its own `PipelineState`."""

    def __init__(
        self,
        spec: ModelSpec,
        runner: ModuleRunner,
        *,
        clock: Callable[[], float],
        tokenize: Tokenize | None = None,
        draw: DrawNormal = philox_normal,
        draw_uniform: DrawUniform = philox_uniform,
        text_runner: ModuleRunner | None = None,
        blend_chunks: int = 1,
    ) -> None:
        """clock: seconds that only grow. tokenize: None takes the spec's word-hash tokeniser.

        text_runner: has the text encoder, and may be used on a thread of its own: then `prefetch_prompt` encodes a text
        before a chunk needs it. None takes `runner`. blend_chunks: over how many chunks a new prompt is blended in, 1
        being at once; a text encoder with a state blends nothing.
        """
        self._spec, self._runner, self._clock = spec, runner, clock
        self._texts = TextReader(
            spec, text_runner or runner, tokenize=tokenize, blend_chunks=blend_chunks, beside=text_runner is not None
        )
        self._decoder = Decoder(spec, runner)
        self.has_tiny_decoder = Graph.TINY_DECODER in runner.graphs
        self._tiny_decoder = Decoder(spec, runner, tiny=True) if self.has_tiny_decoder else None
        self._pictures = PictureReader(spec, runner, draw, draw_uniform)
        conditioner = runner.graphs.get(Graph.CONDITIONER)
        self._conditioner_hears = conditioner is not None and "text" in conditioner.inputs
        self._pyramid = Pyramid(spec, runner, draw)
        self.denoises_batches = self._pyramid.takes_several
        """Whether several sessions' chunks are denoised at once."""

    def open(self, seed: int, text: str = "", pictures: NDArray[np.uint8] | None = None) -> PipelineState:
        """A new session's state: nothing shown, `text` in force. seed: 0 .. 2**64 - 1.

        pictures: (N, H, W, 3) RGB that the video continues: one is an image, a whole chunk of frames or more a clip.

        Raises: ModelError: the pictures do not fit the model. RunnerError: a graph failed.
        """
        spec = self._spec
        size = (spec.latent_height, spec.latent_width)
        reading = self._texts.open(text)
        history = np.zeros((1, spec.latent_channels, spec.history_latents, *size), np.float32)
        prefix = np.zeros((1, spec.latent_channels, 1, *size), np.float32)
        if pictures is not None:
            beginning = self._pictures.read(pictures, seed)
            history, prefix = appended(history, beginning.history), beginning.prefix
        return PipelineState(
            history_latents=history,
            history_conditioning=np.zeros((1, spec.conditioning_channels, spec.history_latents, *size), np.float32),
            prefix_latent=prefix,
            prefix_conditioning=np.zeros((1, spec.conditioning_channels, 1, *size), np.float32),
            text_state=reading.text_state,
            text_embeddings=self._texts.kept(reading),
            mix=reading.mix,
            memory=self._decoder.fresh_memory(),
            seed=seed,
            chunk_index=0,
            continues=False,
            prefixed=pictures is not None,
        )

    def prefetch_prompt(self, text: str) -> None:
        """A chunk will soon be told `text`: encodes it beside what runs now, if there is a runner for that.

        May be called from any thread.
        """
        self._texts.prefetch_prompt(text)

    def close(self) -> None:
        """Ends the thread that encodes texts; the runners are the caller's."""
        self._texts.close()

    def chunk(self, state: PipelineState, request: ChunkRequest) -> tuple[ChunkResult, PipelineState]:
        """Makes the chunk after `state`. Neither argument is changed.

        Raises: ModelError: the request does not fit the model. RunnerError: a graph failed.
        """
        begun = self.begin(state, request)
        return begun.result(), begun.state

    def begin(self, state: PipelineState, request: ChunkRequest) -> PendingChunk:
        """As `chunk`, but returns when the latents are made and decoding has begun.

        The state after it can be continued at once: on a runner that overlaps, a chunk is then decoded while the next
        is denoised.
        """
        (begun,) = self.begin_batch([(state, request)])
        return begun

    def begin_batch(self, asked: Sequence[tuple[PipelineState, ChunkRequest]]) -> list[PendingChunk]:
        """Chunks of several sessions: as `begin` for each, but denoised at once where the denoiser can and they agree
        in length, steps and how they start; then each one's stage_ms tells of all of them.

        Raises: ModelError, RunnerError: as `begin`; none is given back then.
        """
        for _, request in asked:
            self._check(request)
        alike: dict[Hashable, list[int]] = {}
        for index, (state, request) in enumerate(asked):
            alike.setdefault(kind_of(state, request) if self.denoises_batches else index, []).append(index)
        begun: dict[int, PendingChunk] = {}
        for indices in alike.values():
            watch = Stopwatch(self._clock)
            chunks = [self._prepared(*asked[index], watch) for index in indices]
            latents = self._pyramid.denoise(chunks, watch)
            for row, (index, chunk) in enumerate(zip(indices, chunks, strict=True)):
                begun[index] = self._decoded(chunk, latents[row : row + 1], watch.split())
        return [begun[index] for index in range(len(asked))]

    def _prepared(self, state: PipelineState, request: ChunkRequest, watch: Stopwatch) -> PreparedChunk:
        """What stands before the noise: text and conditioning."""
        if request.cut:
            state = state.after_cut(self._decoder.fresh_memory())
        reading = self._texts.read(request.texts, state)
        watch.lap("text")
        conditioning = self._conditioning(request, reading)
        watch.lap("conditioning")
        return PreparedChunk(state, request, reading, conditioning)

    def _decoded(self, chunk: PreparedChunk, latents: NDArray[np.float32], watch: Stopwatch) -> PendingChunk:
        """Hands latents (1, 16, T, h, w) to the decoder."""
        state, request, reading, conditioning = chunk.state, chunk.request, chunk.reading, chunk.conditioning
        decoder = self._decoder if self._tiny_decoder is None or not request.tiny_decoder else self._tiny_decoder
        decoding = decoder.begin(latents, request.guide, state.memory, request.edges)
        after = PipelineState(
            history_latents=appended(state.history_latents, latents),
            history_conditioning=appended(state.history_conditioning, conditioning),
            prefix_latent=state.prefix_latent if state.prefixed else latents[:, :, :1],
            prefix_conditioning=state.prefix_conditioning if state.prefixed else conditioning[:, :, :1],
            text_state=reading.text_state,
            text_embeddings=self._texts.kept(reading),
            mix=reading.mix,
            memory=NextMemory(decoding),
            seed=state.seed,
            chunk_index=state.chunk_index + 1,
            continues=True,
            prefixed=True,
        )
        return PendingChunk(state, after, latents, conditioning, decoding, watch)

    def _check(self, request: ChunkRequest) -> None:
        spec = self._spec
        if not 1 <= len(request.texts) <= spec.max_chunk_latents:
            raise ModelError(f"a chunk has 1..{spec.max_chunk_latents} latent frames, got {len(request.texts)} texts")
        made = [steps > 0 for steps in request.steps]
        if len(made) != spec.stages or min(request.steps) < 0 or not made[0] or made != sorted(made, reverse=True):
            raise ModelError(
                f"steps must be {spec.stages} positive numbers, the last ones may be 0, got {request.steps}"
            )
        given = (request.features is not None) + (request.conditioning is not None)
        if given != (spec.conditioning_channels > 0):
            wanted = "features or conditioning, one of both" if spec.conditioning_channels else "no conditioning"
            raise ModelError(f"{spec.name} takes {wanted}, got {given} of them")
        if len(request.guide) not in (0, len(request.texts)):
            raise ModelError(f"a guide is of {len(request.texts)} latent frames, or of none, got {len(request.guide)}")
        if request.tiny_decoder and not self.has_tiny_decoder:
            raise ModelError(f"{spec.name} has no tiny decoder beside its own, got a chunk for it")
        if request.view is not None and not self._pyramid.has_view:
            raise ModelError(f"the denoiser of {spec.name} has no room for a view in its history, got one")
        frames, shrink = len(request.texts), 2 ** (spec.stages - 1)
        small = (1, spec.latent_channels, frames, spec.latent_height // shrink, spec.latent_width // shrink)
        if request.first_stage is not None and request.first_stage.shape != small:
            raise ModelError(f"first_stage must be {small}, got {request.first_stage.shape}")

    def _conditioning(self, request: ChunkRequest, reading: TextConditioning) -> NDArray[np.float32]:
        """(1, C, T, h, w); C is 0 for a model without. A conditioner that has an input `text` hears the text too."""
        spec = self._spec
        wanted = (1, spec.conditioning_channels, len(request.texts), spec.latent_height, spec.latent_width)
        if not spec.conditioning_channels:
            return np.zeros(wanted, np.float32)
        conditioning = request.conditioning
        if request.features is not None:
            told = {"text": reading.embeddings} if self._conditioner_hears else {}
            made = self._runner.run(Graph.CONDITIONER, {**request.features, **told})["conditioning"]
            conditioning = np.asarray(made, dtype=np.float32)
        assert conditioning is not None
        if conditioning.shape != wanted:
            raise ModelError(f"conditioning must be {wanted}, got {conditioning.shape}")
        return conditioning

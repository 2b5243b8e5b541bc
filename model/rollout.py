"""The chunk loop: text, conditioning, pyramid of denoising stages, history, decoding. There is no other.

It drives any `ModuleRunner` and is a pure step over an explicit state: the same state, request and seed give the same
frames up to the runner's rounding. Numpy only; no camera, no blockout, no clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.begun import BegunChunk, Stopwatch
from model.decoding import Decoder, NextMemory
from model.errors import ModelError
from model.history import FrameIndices, appended, frame_indices, split_history
from model.noise import DrawNormal, block_correlated, halved, philox_normal
from model.runners.base import Arrays, ModuleRunner
from model.schedule import Schedule, denoised, renoised
from model.spec import Graph, ModelSpec
from model.state import ChunkRequest, ChunkResult, RolloutState
from model.text import WordHashTokenizer

Tokenize = Callable[[str], Arrays]
"""A text -> the text encoder's inputs by name, all but `state`."""


class Rollout:
    """One model on one runner, for any number of sessions, each in its own `RolloutState`."""

    def __init__(
        self,
        spec: ModelSpec,
        runner: ModuleRunner,
        *,
        clock: Callable[[], float],
        tokenize: Tokenize | None = None,
        draw: DrawNormal = philox_normal,
    ) -> None:
        """clock: seconds that only grow. tokenize: None takes the spec's word-hash tokeniser."""
        self._spec, self._runner, self._clock, self._draw = spec, runner, clock, draw
        self._tokenize = tokenize or _word_hash(spec)
        self._schedule = Schedule(spec)
        self._decoder = Decoder(spec, runner)
        for name, indices in _history_indices(self._indices(new=1)).items():
            runner.bind_constant(Graph.DENOISER, name, indices)

    def open(self, seed: int, text: str = "") -> RolloutState:
        """A new session's state: nothing seen, nothing shown, `text` in force. seed: 0 .. 2**64 - 1."""
        spec = self._spec
        size = (spec.latent_height, spec.latent_width)
        before = np.array([spec.initial_text_state], dtype=np.float32)
        text_state, embeddings = self._encode(text, before)
        return RolloutState(
            history_latents=np.zeros((1, spec.latent_channels, spec.history_latents, *size), np.float32),
            history_conditioning=np.zeros((1, spec.conditioning_channels, spec.history_latents, *size), np.float32),
            prefix_latent=np.zeros((1, spec.latent_channels, 1, *size), np.float32),
            prefix_conditioning=np.zeros((1, spec.conditioning_channels, 1, *size), np.float32),
            text_state=text_state,
            text_embeddings=embeddings,
            text=text,
            memory=self._decoder.fresh_memory(),
            seed=seed,
            chunk_index=0,
            continues=False,
        )

    def chunk(self, state: RolloutState, request: ChunkRequest) -> tuple[ChunkResult, RolloutState]:
        """Makes the chunk after `state`. Neither argument is changed.

        Raises: ModelError: the request does not fit the model. RunnerError: a graph failed.
        """
        begun = self.begin(state, request)
        return begun.result(), begun.state

    def begin(self, state: RolloutState, request: ChunkRequest) -> BegunChunk:
        """As `chunk`, but returns when the latents are made and decoding has begun.

        The state after it can be continued at once: on a runner that overlaps, a chunk is then decoded while the next
        is denoised.
        """
        self._check(request)
        watch = Stopwatch(self._clock)
        if request.cut:
            state = state.after_cut(self._decoder.fresh_memory())
        text_state, embeddings, text = self._read(request.texts, state)
        watch.lap("text")
        conditioning = self._conditioning(request)
        watch.lap("conditioning")
        latents = self._denoise(state, request, conditioning, embeddings, watch)
        decoding = self._decoder.begin(latents, state.memory)
        after = RolloutState(
            history_latents=appended(state.history_latents, latents),
            history_conditioning=appended(state.history_conditioning, conditioning),
            prefix_latent=state.prefix_latent if state.continues else latents[:, :, :1],
            prefix_conditioning=state.prefix_conditioning if state.continues else conditioning[:, :, :1],
            text_state=text_state,
            text_embeddings=embeddings,
            text=text,
            memory=NextMemory(decoding),
            seed=state.seed,
            chunk_index=state.chunk_index + 1,
            continues=True,
        )
        return BegunChunk(after, latents, decoding, watch)

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

    def _read(
        self, texts: tuple[str, ...], state: RolloutState
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
        """Takes in every new text in turn.

        Cross-attention has one text for the whole chunk: the newest latent frame's. A model whose text encoder has a
        state still reads the texts before it, so that nothing said is lost.
        """
        text_state, embeddings, text = state.text_state, state.text_embeddings, state.text
        for newer in texts:
            if newer != text:
                text_state, embeddings = self._encode(newer, text_state)
                text = newer
        return text_state, embeddings, text

    def _encode(self, text: str, text_state: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        inputs = dict(self._tokenize(text))
        if self._spec.text_state_size:
            inputs["state"] = text_state
        outputs = self._runner.run(Graph.TEXT_ENCODER, inputs)
        return _float32(outputs.get("next_state", text_state)), _float32(outputs["embeddings"])

    def _conditioning(self, request: ChunkRequest) -> NDArray[np.float32]:
        """(1, C, T, h, w); C is 0 for a model without."""
        spec = self._spec
        wanted = (1, spec.conditioning_channels, len(request.texts), spec.latent_height, spec.latent_width)
        if not spec.conditioning_channels:
            return np.zeros(wanted, np.float32)
        conditioning = request.conditioning
        if request.features is not None:
            conditioning = _float32(self._runner.run(Graph.CONDITIONER, request.features)["conditioning"])
        assert conditioning is not None
        if conditioning.shape != wanted:
            raise ModelError(f"conditioning must be {wanted}, got {conditioning.shape}")
        return conditioning

    def _denoise(
        self,
        state: RolloutState,
        request: ChunkRequest,
        conditioning: NDArray[np.float32],
        embeddings: NDArray[np.float32],
        watch: Stopwatch,
    ) -> NDArray[np.float32]:
        """The pyramid: (1, 16, T, h, w) normalised latents out of noise, conditioning and history."""
        spec = self._spec
        _, rows, columns = spec.patch_size
        fixed = self._context(state, len(request.texts)) | {"encoder_hidden_states": embeddings}
        doubled = spec.amplify_first_chunk and not state.continues
        sample = self._start_noise(state, len(request.texts))
        for stage, steps in enumerate(request.steps):
            # The reference counts the tokens that come in: past stage 0, those of the stage before.
            tokens = sample[0, 0].size // (rows * columns)
            if steps == 0:  # latents of the stage before, as they are: half as sharp, and nothing to run
                sample = _enlarged(sample)
                continue
            plan = self._schedule.stage(stage, steps, tokens=tokens, doubled=doubled)
            start = sample = self._enter(stage, sample, state) if stage else sample
            pooled = _pooled(conditioning, spec.latent_height // sample.shape[3])
            for step, (timestep, sigma) in enumerate(zip(plan.timesteps, plan.sigmas, strict=True)):
                flow = self._runner.run(
                    Graph.DENOISER,
                    {
                        **fixed,
                        "hidden_states": np.concatenate([sample, pooled], axis=1),
                        "timestep": timestep[None],
                    },
                )["sample"]
                sample = denoised(sample, _float32(flow), float(sigma))
                if step + 1 < len(plan.sigmas):
                    sample = renoised(sample, start, float(plan.sigmas[step + 1]))
            watch.lap(f"stage{stage}")
        return sample

    def _indices(self, *, new: int) -> FrameIndices:
        return frame_indices(self._spec.history_sizes, prefix=self._spec.keep_prefix, new=new)

    def _context(self, state: RolloutState, new: int) -> dict[str, NDArray[np.generic]]:
        """The denoiser's inputs that stay the same through a chunk: history, and the new frames' places in time."""
        latents = np.concatenate([state.history_latents, state.history_conditioning], axis=1)
        prefix = None
        if self._spec.keep_prefix:
            prefix = np.concatenate([state.prefix_latent, state.prefix_conditioning], axis=1)
        history = split_history(latents, self._spec.history_sizes, prefix)
        return {
            "latents_history_long": history.long,
            "latents_history_mid": history.mid,
            "latents_history_short": history.short,
            "indices_hidden_states": self._indices(new=new).new,
        }

    def _start_noise(self, state: RolloutState, frames: int) -> NDArray[np.float32]:
        spec = self._spec
        shape = (1, spec.latent_channels, frames, spec.latent_height, spec.latent_width)
        noise = self._draw(seed=state.seed, chunk=state.chunk_index, stage=0, shape=shape)
        for _ in range(spec.stages - 1):
            noise = halved(noise)
        return noise

    def _enter(self, stage: int, sample: NDArray[np.float32], state: RolloutState) -> NDArray[np.float32]:
        """A stage's result, twice as large and noised in blocks: where the next stage starts."""
        _, rows, columns = self._spec.patch_size
        upsampled = _enlarged(sample)
        batch, channels, frames, height, width = upsampled.shape
        shape = (batch, channels, frames, height // rows, width // columns, rows * columns)
        raw = self._draw(seed=state.seed, chunk=state.chunk_index, stage=stage, shape=shape)
        weights = self._schedule.upsampling(stage)
        noise = block_correlated(raw, self._spec.gamma, (rows, columns))
        return _float32(weights.alpha * upsampled + weights.beta * noise)


def _word_hash(spec: ModelSpec) -> Tokenize:
    if not spec.text_vocabulary:
        raise ModelError(f"{spec.name} has no word-hash tokeniser; pass `tokenize`")
    tokenizer = WordHashTokenizer(vocabulary=spec.text_vocabulary, tokens=spec.text_words)
    return lambda text: {"tokens": tokenizer(text)}


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

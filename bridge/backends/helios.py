"""The engine for models of Helios's kind: runs `model.pipeline.video_pipeline` on the session's blockout and texts.

Converts wire values to the model's values and the model's errors to ours. camera.py, helios.py and scene.py prepare
conditioning, decoding_step.py is a chunk at the decoder, quality_levels.py lists what can be left out, loading.py
finds files and runtime. The loop and everything that knows the network are in `model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.backends.camera import CameraConditioner, CameraConditioning, view_arrays
from bridge.backends.decoding_step import DecodingStep
from bridge.backends.loading import ModelOptions, load_model
from bridge.backends.picture_decoding import frames_from_pictures
from bridge.backends.quality_levels import TINY_DECODER, rungs_of, takes_tiny_decoder
from bridge.backends.scene import SceneCache
from bridge.clock import Clock, MonotonicClock
from bridge.engine.interface import (
    BegunStep,
    ControlWindow,
    EngineInfo,
    FrameChunk,
    Plan,
    SessionStart,
    State,
    StepRequest,
)
from bridge.errors import EngineError, EngineIncompatible, StepFailed
from bridge.protocol.messages import SceneUpdate
from model.camera_control.clause import with_clause
from model.camera_control.method import AUTO, CameraMethod, choose
from model.errors import ModelError
from model.pipeline.history import HistoryView
from model.pipeline.loaded_model import LoadedModel
from model.pipeline.pending_chunk import PendingChunk
from model.pipeline.state import ChunkRequest, PipelineState
from model.runners.base import OverlappingRunner
from model.scene.camera import Camera
from model.scene.maps import DEFAULT_MAP, load_map
from model.spec import Graph, ModelSpec

MOST_TOGETHER = 4  # sessions whose chunks are denoised at once; what that is worth is measured as it is done


class HeliosEngine:
    """One model on one runner. See `Engine` for the contract."""

    def __init__(
        self,
        loaded: LoadedModel,
        chunk_latents: tuple[int, ...],
        *,
        blend_chunks: int = 1,
        camera: str = AUTO,
        threads: int = 1,
    ) -> None:
        """chunk_latents: the chunk lengths on offer. blend_chunks: over how many a new prompt comes in. camera: how a
        pose reaches the pixels, one of `camera_methods.method.CHOICES`. threads: that cast and bend frames
        (`channels` casts with one, and another beside the network).

        Raises: EngineIncompatible: the model and these settings do not go together.
        """
        spec = loaded.spec
        self._spec: ModelSpec = spec
        self._loaded = loaded
        lengths = sorted(set(chunk_latents))
        if not lengths or not 1 <= lengths[0] <= lengths[-1] <= spec.max_chunk_latents:
            raise EngineIncompatible(f"chunks have 1 to {spec.max_chunk_latents} latent frames, got {chunk_latents}")
        self._clock: Clock = MonotonicClock()
        try:
            self._method = choose(camera, spec, loaded.runner.graphs, view_on_request=loaded.view_on_request)
            self._rollout = loaded.rollout(lambda: self._clock.now_us() / 1e6, blend_chunks=blend_chunks)
        except ModelError as exc:
            raise EngineIncompatible(f"model {spec.name}: {exc}") from exc
        self._default = load_map(DEFAULT_MAP)
        self._worlds = SceneCache(self._default.blockout)
        self._latents_of = {spec.frames_in(latents): latents for latents in lengths}
        self._telling = CameraConditioner(self._method, spec, loaded.runner, threads=threads)
        self._overlaps = isinstance(loaded.runner, OverlappingRunner) and not self._telling.bends
        self._info = EngineInfo(
            model=spec.name,
            runner=loaded.runner_name,
            frame_width=spec.frame_width,
            frame_height=spec.frame_height,
            frames_per_chunk=tuple(self._latents_of),
            depth_width=spec.frame_width // 4,
            depth_height=spec.frame_height // 4,
            camera_method=self._method,
            default_map=DEFAULT_MAP,
            rungs=rungs_of(spec.stage_steps, tiny_decoder=self._rollout.has_tiny_decoder),
            takes_pictures=_takes_pictures(loaded),
            max_batch=MOST_TOGETHER if self._rollout.denoises_batches else 1,
        )

    def warm_up(self) -> None:
        """Makes the longest chunk once, for nobody: a runtime's first run allocates, and is twice as slow.

        A runner that overlaps sets itself up for each shape it meets, so there it is a chunk of every length: none
        shall be met first while somebody plays. What the slowest took, its session's opening included, `info` tells.

        Raises: EngineIncompatible: that chunk has numbers that are not finite.
        """
        lengths = self._info.frames_per_chunk
        if not isinstance(self._loaded.runner, OverlappingRunner):
            lengths = lengths[-1:]
        self._info = replace(self._info, chunk_us=max(map(self._warm_up_length, lengths)))

    def _warm_up_length(self, frames: int) -> int:
        """Returns: what its chunk took, in us."""
        still = ControlWindow(
            positions=np.tile(np.array(self._default.spawn_position), (frames, 1)),
            rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
            vertical_fov_deg=np.full(frames, 60.0),
            actions=("",) * frames,
            scene_updates=(),
            cut=False,
            newest_control_t_us=0,
        )
        plan = Plan(frames=frames, steps=self._spec.stage_steps, rung="warm-up")
        began_us = self._clock.now_us()
        _, state = self.step(self.open(SessionStart(seed=0, prompt="", scene=None)), still, plan)
        took_us = self._clock.now_us() - began_us
        made = PipelineState.from_arrays(state)
        if not all(np.isfinite(latents).all() for latents in (made.history_latents, *made.memory.values())):
            raise EngineIncompatible(
                f"model {self._spec.name}: the first chunk came out with numbers that are not finite: its weights are "
                f"broken, or {self._loaded.runner_name} is not precise enough for them"
            )
        if self._method is CameraMethod.WARP_HISTORY and isinstance(self._loaded.runner, OverlappingRunner):
            self._warm_up_views(made, frames)
        if self._rollout.has_tiny_decoder:
            self.step(self.open(SessionStart(seed=0, prompt="", scene=None)), still, replace(plan, rung=TINY_DECODER))
        return took_us

    def _warm_up_views(self, state: PipelineState, frames: int) -> None:
        """For each number of tokens of the view before."""
        spec, latents = self._spec, self._latents_of[frames]
        blank = np.zeros((1, spec.latent_channels, latents, spec.latent_height, spec.latent_width), np.float32)
        for count in self._telling.token_counts(frames):
            view = HistoryView(blank, np.arange(count, dtype=np.int64))
            request = ChunkRequest(texts=("",) * latents, steps=spec.stage_steps, view=view)
            self._rollout.chunk(state, request)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def open(self, start: SessionStart) -> State:
        world = self._worlds.open(start.scene)
        pictures = None
        if start.pictures is not None:
            pictures = frames_from_pictures(start.pictures, self._spec.frame_width, self._spec.frame_height)
        try:
            state = self._rollout.open(start.seed, start.prompt, pictures)
        except ModelError as exc:
            raise EngineError(f"the session cannot be opened: {exc}") from exc
        view = {} if pictures is None or not self._telling.bends else view_arrays(pictures[-1], None)
        return state.to_arrays() | world.to_arrays() | prompt_arrays(start.prompt) | view

    def scene_of(self, state: State) -> SceneUpdate:
        scene = self._worlds.scene_of(state)
        try:
            seed, prompt = PipelineState.from_arrays(state).seed, stored_prompt(state)
        except (KeyError, ValueError, ModelError) as exc:
            raise EngineError(f"this state is not one of {self._spec.name}: {exc}") from exc
        return msgspec.structs.replace(scene, seed=seed, prompt=prompt)

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        begun = self.begin(state, window, plan)
        return begun.finish()

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> BegunStep:
        """As `step`, but returns when the chunk's latents are made: its frames come one latent frame after another."""
        (begun,) = self.begin_batch([StepRequest(state=state, window=window, plan=plan)])
        return begun

    def begin_batch(self, asked: Sequence[StepRequest]) -> list[BegunStep]:
        """As `begin` for each; on a runner that can, their latents are made at once."""
        prepared = [self._prepared(each.state, each.window, each.plan) for each in asked]
        try:
            begun = self._rollout.begin_batch([(each.state, each.request) for each in prepared])
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be made: {exc}") from exc
        return [self._begun(each, chunk) for each, chunk in zip(prepared, begun, strict=True)]

    def _prepared(self, state: State, window: ControlWindow, plan: Plan) -> _Prepared:
        """Raises: StepFailed: this chunk cannot be made."""
        if plan.frames not in self._latents_of or plan.frames != len(window.positions):
            raise StepFailed(
                f"plan: got {plan.frames} frames and {len(window.positions)} cameras, "
                f"expected one of {self._info.frames_per_chunk} and as many cameras"
            )
        before = self._worlds.of(state)
        world = self._worlds.updated(before, window.scene_updates)
        prompt = prompt_in_force(state, window)
        cameras = self._cameras(window)
        try:
            said = self._telling.said(state, before, world, cameras, cut=window.cut)
            request = replace(
                said.request,
                texts=chunk_texts(self._spec, window, prompt, self._latents_of[plan.frames], said.clause),
                steps=plan.steps,
                cut=window.cut,
                tiny_decoder=takes_tiny_decoder(self._info.rungs, plan.rung),
            )
            rollout_state = PipelineState.from_arrays(state)
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be made: {exc}") from exc
        seeds = [update.seed for update in window.scene_updates if update.seed is not None]
        return _Prepared(
            state=replace(rollout_state, seed=seeds[-1]) if seeds else rollout_state,
            request=request,
            extra=world.to_arrays() | prompt_arrays(prompt),
            said=said,
            cameras=cameras,
        )

    def _begun(self, of: _Prepared, begun: PendingChunk) -> DecodingStep:
        seen_from = of.cameras if self._telling.bends else None
        return DecodingStep(self._spec, begun, of.extra, of.request.texts, of.said, seen_from, overlaps=self._overlaps)

    def prefetch_prompt(self, state: State, prompt: str | None, action: str) -> None:
        """A chunk of this session will soon be told `action`, under a new prompt or (None) the one in its state.

        May be called from any thread. Where the prompt tells of the camera, what it will be told is not known yet.
        """
        if self._spec.text_state_size == 0 and self._method is not CameraMethod.PROMPT:
            self._rollout.prefetch_prompt(told(stored_prompt(state) if prompt is None else prompt, action))

    def close(self) -> None:
        self._rollout.close()
        self._telling.close()
        self._loaded.close()

    def _cameras(self, window: ControlWindow) -> list[Camera]:
        return [
            Camera(
                position=position,
                rotation=rotation,
                vertical_fov_deg=float(fov),
                height=self._spec.frame_height,
                width=self._spec.frame_width,
            )
            for position, rotation, fov in zip(window.positions, window.rotations, window.vertical_fov_deg, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A chunk before its latents. extra: what the state after it holds beside the rollout's."""

    state: PipelineState
    request: ChunkRequest
    extra: State
    said: CameraConditioning
    cameras: Sequence[Camera]


def create(*, blend_chunks: int = 1, **settings: Any) -> HeliosEngine:
    """The engine process's factory. settings: the fields of `ModelOptions`; blend_chunks is `HeliosEngine`'s.

    Raises: EngineUnavailable, EngineIncompatible, ConfigError: the model cannot be had as asked.
    """
    options = ModelOptions(**settings)
    try:
        loaded, chunk_latents = load_model(options)
    except ModelError as exc:
        named = "" if options.model in str(exc) else f" {options.model}"
        raise EngineIncompatible(f"model{named}: {exc}") from exc
    engine = HeliosEngine(
        loaded, chunk_latents, blend_chunks=blend_chunks, camera=options.camera, threads=options.threads
    )
    engine.warm_up()
    return engine


def _takes_pictures(loaded: LoadedModel) -> bool:
    """Whether there is an encoder that takes an image as well as a clip."""
    graphs = loaded.runner.graphs
    encoder = graphs.get(Graph.ENCODER)
    return encoder is not None and (Graph.ENCODER_FIRST in graphs or encoder.inputs["frames"].shape[0] is None)


_PROMPT = "prompt_utf8"


def chunk_texts(spec: ModelSpec, window: ControlWindow, prompt: str, latents: int, clause: str) -> tuple[str, ...]:
    """One text a latent frame: what its newest frame is told.

    prompt: in force. latents: of the chunk. clause: of the camera, "" for none; only an encoder without a state hears
    it.
    """
    last = [spec.frames_in(count + 1) - 1 for count in range(latents)]
    texts = [window.actions[index] for index in last]
    if spec.text_state_size == 0:
        return tuple(with_clause(told(prompt, text), clause) if clause else told(prompt, text) for text in texts)
    if any(update.prompt is not None for update in window.scene_updates):
        texts[0] = prompt
    return tuple(texts)


def told(prompt: str, action: str) -> str:
    """What a text encoder without a state is told: how the world looks, then what happens."""
    return ". ".join(part for part in (prompt.strip().rstrip("."), action.strip()) if part)


def prompt_in_force(state: State, window: ControlWindow) -> str:
    """The newest of the window's scene updates, else the state's."""
    prompts = [update.prompt for update in window.scene_updates if update.prompt is not None]
    return prompts[-1] if prompts else stored_prompt(state)


def stored_prompt(state: State) -> str:
    """The prompt in a state that holds `prompt_arrays`."""
    return state[_PROMPT].tobytes().decode()


def prompt_arrays(prompt: str) -> dict[str, NDArray[np.generic]]:
    """What a state holds of the prompt in force."""
    return {_PROMPT: np.frombuffer(prompt.encode(), dtype=np.uint8)}

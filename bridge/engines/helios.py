"""The engine of every Helios-shaped model: the chunk loop of `model.rollout` over the session's blockout and texts.

Here wire values become the model's (cameras, texts, pictures) and the model's errors ours. The loop itself, and all
that knows the network, is in model/; where a model's files and runtime come from is loading.py's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.engine import (
    After,
    BegunStep,
    ControlWindow,
    EngineInfo,
    FrameChunk,
    FrameRun,
    Plan,
    Rung,
    SessionStart,
    State,
    StepAsked,
)
from bridge.engines.camera import CameraTelling, Said, view_arrays
from bridge.engines.loading import ModelOptions, load_model
from bridge.engines.worlds import Worlds
from bridge.errors import EngineError, EngineIncompatible, StepFailed
from bridge.pictures import frames_from_pictures
from model.begun import BegunChunk
from model.camera import Camera
from model.camera_methods.clause import with_clause
from model.camera_methods.method import AUTO, CameraMethod, choose
from model.errors import ModelError
from model.history import HistoryView
from model.loaded import LoadedModel
from model.maps import DEFAULT_MAP, load_map
from model.runners.base import OverlappingRunner
from model.spec import Graph, ModelSpec
from model.state import ChunkRequest, RolloutState

_PROMPT = "prompt_utf8"
TINY_DECODER = "tiny-decoder"
MOST_TOGETHER = 4  # sessions whose chunks are denoised at once; what that is worth is measured as it is done
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


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
        (`channels` casts with one).

        Raises: EngineIncompatible: the model and these settings do not go together.
        """
        spec = loaded.spec
        self._spec: ModelSpec = spec
        self._loaded = loaded
        lengths = sorted(set(chunk_latents))
        if not lengths or not 1 <= lengths[0] <= lengths[-1] <= spec.max_chunk_latents:
            raise EngineIncompatible(f"chunks have 1 to {spec.max_chunk_latents} latent frames, got {chunk_latents}")
        clock = MonotonicClock()
        try:
            self._method = choose(camera, spec, loaded.runner.graphs)
            self._rollout = loaded.rollout(lambda: clock.now_us() / 1e6, blend_chunks=blend_chunks)
        except ModelError as exc:
            raise EngineIncompatible(f"model {spec.name}: {exc}") from exc
        self._default = load_map(DEFAULT_MAP)
        self._worlds = Worlds(self._default.blockout)
        self._latents_of = {spec.frames_in(latents): latents for latents in lengths}
        self._telling = CameraTelling(self._method, spec, loaded.runner, threads=threads)
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
            most_together=MOST_TOGETHER if self._rollout.denoises_together else 1,
        )

    def warm_up(self) -> None:
        """Makes the longest chunk once, for nobody: a runtime's first run allocates, and is twice as slow.

        A runner with static graphs makes one for each shape it meets, so there it is a chunk of every length: none
        shall be made while somebody plays.
        """
        lengths = self._info.frames_per_chunk
        for frames in lengths if isinstance(self._loaded.runner, OverlappingRunner) else lengths[-1:]:
            self._warm_up_length(frames)

    def _warm_up_length(self, frames: int) -> None:
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
        _, state = self.step(self.open(SessionStart(seed=0, prompt="", scene=None)), still, plan)
        if self._method is CameraMethod.WARP_HISTORY and isinstance(self._loaded.runner, OverlappingRunner):
            self._warm_up_views(RolloutState.from_arrays(state), frames)
        if self._rollout.has_tiny_decoder:
            self.step(self.open(SessionStart(seed=0, prompt="", scene=None)), still, replace(plan, rung=TINY_DECODER))

    def _warm_up_views(self, state: RolloutState, frames: int) -> None:
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
        return state.to_arrays() | world.to_arrays() | _prompt_array(start.prompt) | view

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        begun = self.begin(state, window, plan)
        return begun.finish()

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> BegunStep:
        """As `step`, but returns when the chunk's latents are made: its frames come one latent frame after another."""
        (begun,) = self.begin_together([StepAsked(state=state, window=window, plan=plan)])
        return begun

    def begin_together(self, asked: Sequence[StepAsked]) -> list[BegunStep]:
        """As `begin` for each; on a runner that can, their latents are made at once."""
        prepared = [self._prepared(each.state, each.window, each.plan) for each in asked]
        try:
            begun = self._rollout.begin_together([(each.state, each.request) for each in prepared])
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
        prompt = _prompt_of(state, window)
        cameras = self._cameras(window)
        try:
            said = self._telling.said(state, before, world, cameras, cut=window.cut)
            texts = self._texts(window, prompt, self._latents_of[plan.frames], said.clause)
            request = replace(
                said.request,
                texts=texts,
                steps=plan.steps,
                cut=window.cut,
                tiny_decoder=self._takes_tiny_decoder(plan),
            )
            rollout_state = RolloutState.from_arrays(state)
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be made: {exc}") from exc
        seeds = [update.seed for update in window.scene_updates if update.seed is not None]
        return _Prepared(
            state=replace(rollout_state, seed=seeds[-1]) if seeds else rollout_state,
            request=request,
            extra=world.to_arrays() | _prompt_array(prompt),
            said=said,
            cameras=cameras,
        )

    def _begun(self, of: _Prepared, begun: BegunChunk) -> _Begun:
        seen_from = of.cameras if self._telling.bends else None
        return _Begun(self._spec, begun, of.extra, of.request.texts, of.said, seen_from, overlaps=self._overlaps)

    def hear(self, state: State, prompt: str | None, action: str) -> None:
        """A chunk of this session will soon be told `action`, under a new prompt or (None) the one in its state.

        May be called from any thread. Where the prompt tells of the camera, what it will be told is not known yet.
        """
        if self._spec.text_state_size == 0 and self._method is not CameraMethod.PROMPT:
            self._rollout.hear(_told(_stored_prompt(state) if prompt is None else prompt, action))

    def close(self) -> None:
        self._rollout.close()
        self._telling.close()
        self._loaded.close()

    def _takes_tiny_decoder(self, plan: Plan) -> bool:
        """On its rung and all below it."""
        names = [rung.name for rung in self._info.rungs]
        return plan.rung in names[names.index(TINY_DECODER) :] if TINY_DECODER in names else False

    def _texts(self, window: ControlWindow, prompt: str, latents: int, clause: str) -> tuple[str, ...]:
        """One text a latent frame: what its newest frame is told. clause: of the camera.

        A text encoder with a state reads a new prompt once, before what is done; one without is told both each time.
        """
        last = [self._spec.frames_in(count + 1) - 1 for count in range(latents)]
        texts = [window.actions[index] for index in last]
        if self._spec.text_state_size == 0:
            return tuple(with_clause(_told(prompt, text), clause) if clause else _told(prompt, text) for text in texts)
        if any(update.prompt is not None for update in window.scene_updates):
            texts[0] = prompt
        return tuple(texts)

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

    state: RolloutState
    request: ChunkRequest
    extra: State
    said: Said
    cameras: Sequence[Camera]


class _Begun:
    """A chunk of one session on its way through the decoder; see `BegunStep`."""

    def __init__(
        self,
        spec: ModelSpec,
        begun: BegunChunk,
        extra: State,
        texts: tuple[str, ...],
        said: Said,
        seen_from: Sequence[Camera] | None,
        *,
        overlaps: bool,
    ) -> None:
        """extra: what the state after it holds beside the rollout's. seen_from: the frames' cameras, where the state
        holds its newest frame as well. overlaps: the runner decodes beside what it is asked next, and nothing else
        waits for the frames."""
        self._spec, self._begun, self._texts = spec, begun, texts
        self._extra, self._seen_from = extra, seen_from
        self._overlaps = overlaps and not begun.state.memory
        self.depth, self.parts = said.depth, said.parts
        self.actions = (texts[-1],) * spec.frames_in(len(texts))

    def after(self) -> After | None:
        if not self._overlaps:
            return None
        earlier = {
            frames: {**self._begun.state_after(latents).to_arrays(), **self._extra}
            for latents, frames in self._boundaries()
        }
        state = {**self._begun.state.to_arrays(), **self._extra}
        return After(state=state, earlier=earlier, stage_ms=self._begun.stage_ms)

    def runs(self) -> Iterator[FrameRun]:
        first = 0
        try:
            for frames in self._begun.pieces():
                yield FrameRun(first=first, frames=frames)
                first += len(frames)
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be decoded: {exc}") from exc

    def finish(self) -> tuple[FrameChunk, State]:
        try:
            result = self._begun.result()
            after = self._state(self._begun.state, result.frames, len(result.frames))
            earlier = {
                frames: self._state(self._begun.state_after(latents), result.frames, frames)
                for latents, frames in self._boundaries()
            }
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be decoded: {exc}") from exc
        chunk = FrameChunk(
            frames=result.frames,
            depth=self.depth,
            actions=self.actions,
            stage_ms=result.stage_ms,
            earlier=earlier,
            parts=self.parts,
        )
        return chunk, after

    def _boundaries(self) -> list[tuple[int, int]]:
        """Where the rest could be made anew, in latent frames and in frames."""
        return [(latents, self._spec.frames_in(latents)) for latents in range(1, len(self._texts))]

    def _state(self, rollout: RolloutState, frames: NDArray[np.uint8], shown: int) -> State:
        """The session's state after the first `shown` frames."""
        view = {} if self._seen_from is None else view_arrays(frames[shown - 1], self._seen_from[shown - 1])
        return {**rollout.to_arrays(), **self._extra, **view}


def rungs_of(stage_steps: tuple[int, ...], *, tiny_decoder: bool = False) -> tuple[Rung, ...]:
    """What a model can leave out, best first: steps beyond one a stage, its own decoder where there is a tiny one, then
    the pyramid's last stage, then the next.

    The shares of stages are CPU time of the demo's chunk of one latent frame: 78, 60 and 46 ms, for 0.9 and 2.2 dB on
    its tour. The decoder's is half of a chunk of Helios-14B in FP8 on an H100, by the estimates at hand.
    """
    stages = len(stage_steps)
    one_each = (1,) * stages
    dearer = sum(stage_steps) / stages
    rungs = [Rung(name="full", steps=stage_steps)]
    if dearer > 1:
        rungs.append(Rung(name=f"{_NUMBERS.get(stages, stages)}-steps", steps=one_each, cost_share=1 / dearer))
    decoded = 0.5 if tiny_decoder else 1.0
    if tiny_decoder:
        rungs.append(Rung(name=TINY_DECODER, steps=one_each, cost_share=decoded / dearer))
    if stages > 1:
        rungs.append(Rung(name="half-latents", steps=(*one_each[:-1], 0), cost_share=0.77 * decoded / dearer))
    if stages > 2:
        rungs.append(Rung(name="quarter-latents", steps=(*one_each[:-2], 0, 0), cost_share=0.6 * decoded / dearer))
    return tuple(rungs)


def create(*, blend_chunks: int = 1, **settings: Any) -> HeliosEngine:
    """The engine process's factory. settings: the fields of `ModelOptions`; blend_chunks is `HeliosEngine`'s.

    Raises: EngineUnavailable, EngineIncompatible, ConfigError: the model cannot be had as asked.
    """
    options = ModelOptions(**settings)
    try:
        loaded, chunk_latents = load_model(options)
    except ModelError as exc:
        raise EngineIncompatible(f"model {options.model}: {exc}") from exc
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


def _told(prompt: str, action: str) -> str:
    """What a text encoder without a state is told: how the world looks, then what happens."""
    return ". ".join(part for part in (prompt.strip().rstrip("."), action.strip()) if part)


def _prompt_of(state: State, window: ControlWindow) -> str:
    """The prompt in force: the newest of the window's scene updates, else the state's."""
    prompts = [update.prompt for update in window.scene_updates if update.prompt is not None]
    return prompts[-1] if prompts else _stored_prompt(state)


def _stored_prompt(state: State) -> str:
    return state[_PROMPT].tobytes().decode()


def _prompt_array(prompt: str) -> dict[str, NDArray[np.generic]]:
    return {_PROMPT: np.frombuffer(prompt.encode(), dtype=np.uint8)}

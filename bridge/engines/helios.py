"""The engine of every Helios-shaped model: the chunk loop of `model.rollout` over the session's blockout and texts.

Here wire values become the model's (cameras, texts, pictures) and the model's errors ours. The loop itself, and all
that knows the network, is in model/; where a model's files and runtime come from is loading.py's matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.engine import BegunStep, ControlWindow, EngineInfo, FrameChunk, FrameRun, Plan, Rung, SessionStart, State
from bridge.engines.loading import ModelOptions, load_model
from bridge.engines.worlds import World, Worlds
from bridge.errors import EngineError, EngineIncompatible, StepFailed
from bridge.pictures import frames_from_pictures
from model.begun import BegunChunk
from model.camera import Camera
from model.conditioning import Conditioning, condition
from model.errors import ModelError
from model.loaded import LoadedModel
from model.maps import DEFAULT_MAP, load_map
from model.spec import Graph, ModelSpec
from model.state import ChunkRequest, RolloutState

_PROMPT = "prompt_utf8"
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


class HeliosEngine:
    """One model on one runner. See `Engine` for the contract."""

    def __init__(self, loaded: LoadedModel, chunk_latents: tuple[int, ...], *, blend_chunks: int = 1) -> None:
        """chunk_latents: the chunk lengths on offer. blend_chunks: over how many a new prompt comes in.

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
            self._rollout = loaded.rollout(lambda: clock.now_us() / 1e6, blend_chunks=blend_chunks)
        except ModelError as exc:
            raise EngineIncompatible(f"model {spec.name}: {exc}") from exc
        self._default = load_map(DEFAULT_MAP)
        self._worlds = Worlds(self._default.blockout)
        self._latents_of = {spec.frames_in(latents): latents for latents in lengths}
        # Without conditioning channels nothing tells the network where the camera is.
        self._steered = spec.conditioning_channels > 0
        self._info = EngineInfo(
            model=spec.name,
            runner=loaded.runner_name,
            frame_width=spec.frame_width,
            frame_height=spec.frame_height,
            frames_per_chunk=tuple(self._latents_of),
            depth_width=spec.frame_width // 4,
            depth_height=spec.frame_height // 4,
            camera_method="channels" if self._steered else "none",
            default_map=DEFAULT_MAP,
            rungs=rungs_of(spec.stage_steps),
            takes_pictures=_takes_pictures(loaded),
        )

    def warm_up(self) -> None:
        """Makes the longest chunk once, for nobody: a runtime's first run allocates, and is twice as slow."""
        frames = self._info.frames_per_chunk[-1]
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
        self.step(self.open(SessionStart(seed=0, prompt="", scene=None)), still, plan)

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
        return state.to_arrays() | world.to_arrays() | _prompt_array(start.prompt)

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        begun = self.begin(state, window, plan)
        return begun.finish()

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> BegunStep:
        """As `step`, but returns when the chunk's latents are made: its frames come one latent frame after another."""
        if plan.frames not in self._latents_of or plan.frames != len(window.positions):
            raise StepFailed(
                f"plan: got {plan.frames} frames and {len(window.positions)} cameras, "
                f"expected one of {self._info.frames_per_chunk} and as many cameras"
            )
        world = self._worlds.updated(self._worlds.of(state), window.scene_updates)
        prompt = _prompt_of(state, window)
        texts = self._texts(window, prompt, self._latents_of[plan.frames])
        seen = condition(world.packed, self._cameras(window)) if self._steered else None
        features: dict[str, NDArray[np.generic]] | None = None
        guide: dict[str, NDArray[np.generic]] = {}
        if seen is not None:
            features = {"rays": seen.rays, "flow": seen.flow}
            guide = {"rays": seen.rays, "lookup": seen.lookup}
        request = ChunkRequest(texts=texts, steps=plan.steps, features=features, guide=guide, cut=window.cut)
        try:
            before = RolloutState.from_arrays(state)
            seeds = [update.seed for update in window.scene_updates if update.seed is not None]
            begun = self._rollout.begin(replace(before, seed=seeds[-1]) if seeds else before, request)
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be made: {exc}") from exc
        return _Begun(self._spec, begun, world, prompt, texts, seen)

    def hear(self, state: State, prompt: str | None, action: str) -> None:
        """A chunk of this session will soon be told `action`, under a new prompt or (None) the one in its state.

        May be called from any thread.
        """
        if self._spec.text_state_size == 0:
            self._rollout.hear(_told(_stored_prompt(state) if prompt is None else prompt, action))

    def close(self) -> None:
        self._rollout.close()
        self._loaded.close()

    def _texts(self, window: ControlWindow, prompt: str, latents: int) -> tuple[str, ...]:
        """One text a latent frame: what its newest frame is told.

        A text encoder with a state reads a new prompt once, before what is done; one without is told both each time.
        """
        last = [self._spec.frames_in(count + 1) - 1 for count in range(latents)]
        texts = [window.actions[index] for index in last]
        if self._spec.text_state_size == 0:
            return tuple(_told(prompt, text) for text in texts)
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


class _Begun:
    """A chunk of one session on its way through the decoder; see `BegunStep`."""

    def __init__(
        self,
        spec: ModelSpec,
        begun: BegunChunk,
        world: World,
        prompt: str,
        texts: tuple[str, ...],
        seen: Conditioning | None,
    ) -> None:
        self._spec, self._begun, self._texts, self._seen = spec, begun, texts, seen
        self._world = world
        self._extra = world.to_arrays() | _prompt_array(prompt)
        self.depth = None if seen is None else seen.depth
        self.parts = None if seen is None else world.ids[seen.part]
        self.actions = (texts[-1],) * spec.frames_in(len(texts))

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
            after: State = self._begun.state.to_arrays() | self._extra
            earlier = {
                self._spec.frames_in(latents): self._begun.state_after(latents).to_arrays() | self._extra
                # Where the camera reaches no pixel, making the rest anew would show nothing else.
                for latents in range(1, len(self._texts) if self._seen is not None else 1)
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


def rungs_of(stage_steps: tuple[int, ...]) -> tuple[Rung, ...]:
    """What a model can leave out, best first: steps beyond one a stage, then the pyramid's last stage, then the next.

    The shares are CPU time of the demo's chunk of one latent frame: 78, 60 and 46 ms, for 0.9 and 2.2 dB on its tour.
    """
    stages = len(stage_steps)
    one_each = (1,) * stages
    dearer = sum(stage_steps) / stages
    rungs = [Rung(name="full", steps=stage_steps)]
    if dearer > 1:
        rungs.append(Rung(name=f"{_NUMBERS.get(stages, stages)}-steps", steps=one_each, cost_share=1 / dearer))
    if stages > 1:
        rungs.append(Rung(name="half-latents", steps=(*one_each[:-1], 0), cost_share=0.77 / dearer))
    if stages > 2:
        rungs.append(Rung(name="quarter-latents", steps=(*one_each[:-2], 0, 0), cost_share=0.6 / dearer))
    return tuple(rungs)


def create(*, blend_chunks: int = 1, **settings: Any) -> HeliosEngine:
    """The engine process's factory. settings: the fields of `ModelOptions`; the rest is `HeliosEngine`'s.

    Raises: EngineUnavailable, EngineIncompatible, ConfigError: the model cannot be had as asked.
    """
    options = ModelOptions(**settings)
    try:
        loaded, chunk_latents = load_model(options)
    except ModelError as exc:
        raise EngineIncompatible(f"model {options.model}: {exc}") from exc
    engine = HeliosEngine(loaded, chunk_latents, blend_chunks=blend_chunks)
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

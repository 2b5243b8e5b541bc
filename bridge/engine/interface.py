"""The `Engine` protocol, and the values that cross it. Names no model, no socket and no clock.

An engine is a pure step function over an explicit state of plain arrays. If its process crashes, another one gets
the last state and continues the session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bridge.protocol.messages import PixelFormat, SceneUpdate

State = Mapping[str, NDArray[np.generic]]
"""An engine's whole memory of one session: named host arrays, safe to pickle, never changed in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One level of the quality ladder: denoising `steps` per pyramid stage, under a name that headers tell. Stages with
    0 steps, the last ones, are left out: their latents are those of the stage before, enlarged.

    cost_share: a chunk's cost in terms of the first rung's, a guess that stands until one has been made.
    """

    name: str
    steps: tuple[int, ...]
    cost_share: float = 1.0


FULL = Rung(name="full", steps=(1, 1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine can do. Fills WELCOME and sizes the chunk pool.

    Attributes:
        frames_per_chunk: every chunk length, in frames, that a `Plan` may ask for, ascending.
        camera_method: "channels", "warp-history", "layout", "prompt" or "none": how a pose reaches the pixels.
        rungs: the quality levels that it can make, best first, each cheaper than the one before.
        takes_pictures: a session can begin with an image or a clip.
        max_batch: of how many sessions it can make chunks of one plan at once; more than one for a `BatchingEngine`.
        chunk_us: what the slowest chunk of its warm-up took, 0 where it made none. Measured, and left out when two
            infos are compared.
    """

    model: str
    runner: str
    frame_width: int
    frame_height: int
    frames_per_chunk: tuple[int, ...]
    depth_width: int
    depth_height: int
    camera_method: str
    default_map: str
    rungs: tuple[Rung, ...] = (FULL,)
    takes_pictures: bool = False
    max_batch: int = 1
    chunk_us: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """An image (one) or a clip (several, oldest first), as a client sent them: `width` by `height` pixels each."""

    data: tuple[bytes, ...]
    pixel_format: PixelFormat
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStart:
    """What a session begins with.

    Attributes:
        scene: None for the engine's default map (named in `EngineInfo`).
        pictures: what its video continues.
        restore: a file written by state_file.py, whose state is taken instead of a new one.
    """

    seed: int
    prompt: str
    scene: SceneUpdate | None
    pictures: Pictures | None = None
    restore: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlWindow:
    """One camera and one action per output frame of the chunk to make, in our axes, predicted where need be.

    positions: (N, 3) float64, metres. rotations: (N, 4) float64, unit quaternions xyzw, camera-to-world.
    vertical_fov_deg: (N,) float64. actions: N texts. scene_updates are applied before the first frame.
    `cut` is True when the camera jumped (teleport): history no longer shows this place.
    `newest_control_t_us` is the arrival time, on the server's clock, of the newest control that shaped this window.
    """

    positions: NDArray[np.float64]
    rotations: NDArray[np.float64]
    vertical_fov_deg: NDArray[np.float64]
    actions: tuple[str, ...]
    scene_updates: tuple[SceneUpdate, ...]
    cut: bool
    newest_control_t_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to make a chunk: `frames` of it, and denoising steps per pyramid stage. `rung` names the quality level."""

    frames: int
    steps: tuple[int, ...]
    rung: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChunk:
    """The frames of one engine step.

    frames: (N, H, W, 3) uint8 RGB. depth: (N, h, w) float32 distance along the view axis in metres (inf for sky),
    or None when nothing is known of the geometry. stage_ms: named timings of the step. earlier: the states after the
    first n frames, by n: where the rest of the chunk can be thrown away and made anew. parts: (N, h, w) uint32, the
    blockout's part at each depth and `reproject.NO_PART` for none; None when that is not known.
    """

    frames: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    actions: tuple[str, ...]
    stage_ms: Mapping[str, float]
    earlier: Mapping[int, State] = field(default_factory=dict)
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRun:
    """Some consecutive frames of a chunk: (n, H, W, 3) uint8 RGB, of which the first is the chunk's frame `first`."""

    first: int
    frames: NDArray[np.uint8]


class BegunStep(Protocol):
    """A chunk whose frames are still being made, a few at a time. `depth`, `parts` and `actions` are known already, and
    are those of its `FrameChunk`.

    Raises (all methods): StepFailed: the rest cannot be made.
    """

    @property
    def depth(self) -> NDArray[np.float32] | None: ...

    @property
    def parts(self) -> NDArray[np.uint32] | None: ...

    @property
    def actions(self) -> tuple[str, ...]: ...

    def runs(self) -> Iterator[FrameRun]:
        """Every frame once, in order, as soon as it is there."""
        ...

    def finish(self) -> tuple[FrameChunk, State]:
        """Waits for the whole chunk, and the state after it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StateAfter:
    """What a chunk leaves: the state after it, and `earlier` and (so far) `stage_ms` as in its `FrameChunk`."""

    state: State
    earlier: Mapping[int, State]
    stage_ms: Mapping[str, float]


@runtime_checkable
class OverlappingStep(BegunStep, Protocol):
    """A begun step that may leave the engine free for the next chunk while its frames are still on their way."""

    def after(self) -> StateAfter | None:
        """What is known of it before its frames are: then `runs` may be read on another thread than the one that calls
        the engine. None where it rests on them. Never waits."""
        ...


class Engine(Protocol):
    """Makes frames. One instance serves many sessions, one call at a time, in one process.

    Raises (all methods): EngineError and its children, never a foreign exception.
    """

    @property
    def info(self) -> EngineInfo: ...

    def open(self, start: SessionStart) -> State:
        """The state of a new session. Raises: EngineError: the scene cannot be shown (a mesh without embreex)."""
        ...

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        """Makes `plan.frames` frames that continue `state`; returns them and the state after them."""
        ...

    def scene_of(self, state: State) -> SceneUpdate:
        """Prompt, seed and (with `replace`) every part that `state` shows; without `replace` it is the default map. A
        session that restores a saved state goes on from it. Raises: EngineError: nothing that this engine wrote."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that hands out a chunk's first frames before its last are made."""

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> BegunStep:
        """As `step`, a run of frames at a time. The next chunk may be begun before this one's frames are taken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepRequest:
    """What `Engine.step` is asked, for one of several sessions."""

    state: State
    window: ControlWindow
    plan: Plan


@runtime_checkable
class BatchingEngine(Engine, Protocol):
    """An engine that makes chunks of several sessions at once."""

    def begin_batch(self, asked: Sequence[StepRequest]) -> list[BegunStep]:
        """As `StreamingEngine.begin` for each, in this order; all have the same plan.

        Raises: StepFailed: one of them cannot be made, and none was begun.
        """
        ...


@runtime_checkable
class PromptPrefetchingEngine(Engine, Protocol):
    """An engine that can get ready for a text before a chunk is told it."""

    def prefetch_prompt(self, state: State, prompt: str | None, action: str) -> None:
        """A chunk of this session will soon be told `action`, under a new prompt or (None) the one in its state.
        Returns at once; may be called from any thread."""
        ...

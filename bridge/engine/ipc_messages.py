"""What the engine process and its supervisor say to each other: commands one way, reports the other. Plain values.

Frames travel through the shared chunk pool; these go over the pipe, with small results and each session's newest state.
The supervisor hands most reports on to the service as they are, and adds views of the pool to an `ArrivingChunk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.engine.chunk_pool import PoolLayout
from bridge.engine.interface import ControlWindow, EngineInfo, Plan, SessionStart, State
from bridge.errors import ConfigError, EngineError
from bridge.protocol.messages import SceneUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Chunks go into this ring from now on."""

    layout: PoolLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open a session. Its id `engine_session` stands in every later message and is never used twice."""

    engine_session: int
    start: SessionStart


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Continue a session of an earlier process."""

    engine_session: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Make a chunk and write it into `slot`.

    Attributes:
        slot: A slot of the chunk pool. The supervisor chooses it; the service leaves it at -1.
        keep: Continue after this many frames of the session's newest chunk, one of its `StepResult.cuts`; None
            continues after the whole chunk.
    """

    engine_session: int
    window: ControlWindow
    plan: Plan
    slot: int = -1
    keep: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """Execute `Step`s of one plan for several sessions at once; each gets its own reports."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchPrompt:
    """A chunk of this session will soon read `action` and `prompt` (None: the one in its state). No report follows."""

    engine_session: int
    prompt: str | None
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Write a session's state to a file."""

    engine_session: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    engine_session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End cleanly."""


Command = Attach | Open | Adopt | Step | StepBatch | PrefetchPrompt | Save | Forget | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    info: EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """The engine cannot be made here; trying again would not help."""

    error: EngineError | ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """A session was opened.

    Attributes:
        scene: For a session restored from a file, everything its state shows; else None.
    """

    engine_session: int
    state: State
    scene: SceneUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRefused:
    """The engine cannot open this session, or processes keep ending over it. It is forgotten."""

    engine_session: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSaved:
    """The answer to `Save`.

    Attributes:
        text: Why saving failed; empty if it succeeded.
    """

    engine_session: int
    path: Path
    size_bytes: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepResult:
    """What a finished step leaves beside its frames.

    Attributes:
        state: The session's state after the chunk.
        stage_ms: Milliseconds spent in each stage.
        cuts: Frame counts after which the next `Step` may continue (`Step.keep`), ascending.
    """

    state: State
    stage_ms: Mapping[str, float]
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrivingChunk:
    """The first `frames_ready` of a chunk's `frame_count` frames lie in the slot that `Step` named.

    A chunk is reported several times as its frames arrive. Exactly one report carries a `result`; with it the engine is
    free for the next step. If frames are missing then, they are reported later, beside the next chunk, again without a
    result. If `ChunkFailed` or the process's end comes before the result, the whole chunk is lost; if the process ends
    after it, the missing frames are.

    Attributes:
        with_depth: Whether the slot holds depth.
        actions: One for each of the `frame_count` frames.
        parts: (N, h, w) uint32, the part at each depth. Sent with the result and with the first frames, else None.
        result: None while the engine is still stepping, and for frames that arrive after the result.
        frames: (N, H, W, 3) uint8, all `frame_count` frames, a view of the slot, valid until it is released. None over
            the pipe; the supervisor fills it in.
        depth: (N, h, w) float32, likewise; None also when the engine makes none.
    """

    engine_session: int
    slot: int
    frame_count: int
    frames_ready: int
    with_depth: bool
    actions: tuple[str, ...]
    parts: NDArray[np.uint32] | None = None
    result: StepResult | None = None
    frames: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None

    @property
    def missing(self) -> int:
        """The number of frames, the last ones, that are still to come."""
        return self.frame_count - self.frames_ready


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailed:
    """The engine refused `Step`; the session is as it was before."""

    engine_session: int
    slot: int
    text: str


Report = Ready | Unusable | SessionOpened | SessionRefused | StateSaved | ArrivingChunk | ChunkFailed

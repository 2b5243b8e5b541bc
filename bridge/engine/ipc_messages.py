"""What the engine process and its supervisor say to each other: commands one way, reports the other. Plain values.

Frames travel through the shared ring; these go over the pipe, with small results and each session's newest state.
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
    """Begin a world. `engine_session` names it in every later word; it is never used twice."""

    engine_session: int
    start: SessionStart


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Go on with a world of an earlier process."""

    engine_session: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Make a chunk and put it into `slot`.

    keep: go on after so many frames of the world's newest chunk, one of the `cuts` that `Made` told; None: after all.
    """

    engine_session: int
    window: ControlWindow
    plan: Plan
    slot: int
    keep: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """Obey several `Step`s of one plan at once, each a world's; each gets its own answers."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchPrompt:
    """A chunk of this world will soon be told `action`, under a new prompt or (None) the one it has. No answer."""

    engine_session: int
    prompt: str | None
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Write a world's state to a file."""

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
class Began:
    """scene: of a world that was restored, all that its state shows; None for one that was opened."""

    engine_session: int
    state: State
    scene: SceneUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`Open` was refused by the engine."""

    engine_session: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A chunk of `frames` frames lies in the slot that `Step` named. cuts: what the next `Step` may keep of it.

    missing: how many of them, the last ones, do not yet; the engine is free all the same, and `Growing` tells of them.
    """

    engine_session: int
    slot: int
    frames: int
    with_depth: bool
    actions: tuple[str, ...]
    stage_ms: Mapping[str, float]
    state: State
    missing: int = 0
    cuts: tuple[int, ...] = ()
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveDone:
    """`Save` was obeyed; text: why not, "" when it was."""

    engine_session: int
    path: Path
    size_bytes: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """Of a chunk of `frames` frames the first `made` lie in the slot that `Step` named. `Made` or `Failed` follows, or
    has come already."""

    engine_session: int
    slot: int
    frames: int
    made: int
    with_depth: bool
    actions: tuple[str, ...]
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """`Step` was refused by the engine; the world is as before it."""

    engine_session: int
    slot: int
    text: str


Report = Ready | Unusable | Began | Refused | SaveDone | Growing | Made | Failed

"""What the engine process's supervisor tells the server: plain values, made by supervisor.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import EngineInfo
from bridge.errors import ConfigError, EngineError
from bridge.protocol.messages import SceneUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUp:
    """A process is ready; worlds of an earlier one go on in it."""

    info: EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDown:
    """The process is gone and will be replaced; what it was doing is lost."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGivenUp:
    """No engine process can be had."""

    error: EngineError | ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOpened:
    """scene: of a world that was restored, all that its state shows; None for one that was opened."""

    engine_session: int
    scene: SceneUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldRefused:
    """The engine cannot show this world, or keeps dying over it; it is forgotten."""

    engine_session: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSaved:
    """What became of `save`. text: why it failed, "" when it did not."""

    engine_session: int
    path: Path
    size_bytes: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkMade:
    """`frames` (N, H, W, 3) and `depth` (N, h, w) are views of ring slot `slot`, valid until it is released. missing:
    how many of the frames, the last ones, are still to come: ChunkGrowing tells of them, beside the next chunk.

    cuts: after how many of its frames the world can go on instead of after all. parts: (N, h, w) uint32, the part at
    each depth.
    """

    engine_session: int
    slot: int
    frames: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    actions: tuple[str, ...]
    stage_ms: Mapping[str, float]
    missing: int = 0
    cuts: tuple[int, ...] = ()
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkGrowing:
    """The first `made` frames of a chunk are there. `frames` and `depth` are those of `ChunkMade`. If that has not come
    yet it follows, and the slot is not to be released before; or ChunkFailed or EngineDown follows, and they are gone.
    parts: only with the first frames."""

    engine_session: int
    slot: int
    made: int
    frames: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    actions: tuple[str, ...]
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailed:
    engine_session: int
    text: str


EngineEvent = (
    EngineUp
    | EngineDown
    | EngineGivenUp
    | WorldOpened
    | WorldRefused
    | WorldSaved
    | ChunkGrowing
    | ChunkMade
    | ChunkFailed
)

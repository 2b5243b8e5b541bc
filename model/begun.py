"""A chunk between its latents and its frames: what a rollout hands out while the decoder is at work. Numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError
from model.runners.base import Pending
from model.state import ChunkResult, RolloutState

NEXT = "next_"
"""What a decoder's outputs that continue its memory are called, before the memory's name."""


@dataclass(slots=True)
class Stopwatch:
    """Laps in milliseconds, by name."""

    clock: Callable[[], float]
    laps: dict[str, float] = field(default_factory=dict)
    _since_s: float = 0.0

    def __post_init__(self) -> None:
        self._since_s = self.clock()

    def lap(self, name: str) -> None:
        now_s = self.clock()
        self.laps[name] = (now_s - self._since_s) * 1e3
        self._since_s = now_s


class BegunChunk:
    """A chunk whose latents are made and whose frames may still be being decoded."""

    def __init__(
        self,
        state: RolloutState,
        latents: NDArray[np.float32],
        decoding: Pending,
        frames_shape: tuple[int, ...],
        watch: Stopwatch,
    ) -> None:
        self.state = state
        """After the chunk; the decoder's memory in it is waited for when it is read."""
        self.latents = latents
        self._decoding, self._frames_shape, self._watch = decoding, frames_shape, watch
        self._result: ChunkResult | None = None

    def ready(self) -> bool:
        """Whether `result` would return at once."""
        return self._decoding.ready()

    def result(self) -> ChunkResult:
        """Waits for the frames; `decode` in stage_ms runs until this returns. Raises: RunnerError."""
        if self._result is not None:
            return self._result
        frames = self._decoding.result()["frames"]
        if frames.dtype != np.uint8 or frames.shape != self._frames_shape:
            raise RunnerError(
                f"decoder must give uint8 frames of {self._frames_shape}, got {frames.dtype} {frames.shape}"
            )
        self._watch.lap("decode")
        self._result = ChunkResult(frames=frames.view(np.uint8), latents=self.latents, stage_ms=self._watch.laps)
        return self._result


class NextMemory(Mapping[str, NDArray[np.generic]]):
    """The decoder's memory after a chunk, read from its outputs when somebody asks."""

    def __init__(self, names: tuple[str, ...], decoding: Pending) -> None:
        self._names, self._decoding = names, decoding

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._names:
            raise KeyError(name)
        return self._decoding.result()[NEXT + name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

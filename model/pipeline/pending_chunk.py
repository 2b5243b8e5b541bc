"""A chunk whose latents are made and whose frames are still being decoded. Numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from model.pipeline.frame_decoder import Decoding
from model.pipeline.history import appended
from model.pipeline.state import ChunkResult, PipelineState


@dataclass(slots=True)
class Stopwatch:
    """Laps in milliseconds, by name; those of one name add up."""

    clock: Callable[[], float]
    laps: dict[str, float] = field(default_factory=dict)
    _since_s: float = 0.0

    def __post_init__(self) -> None:
        self._since_s = self._since_s or self.clock()

    def split(self) -> Stopwatch:
        """One that goes on by itself."""
        return Stopwatch(self.clock, dict(self.laps), self._since_s)

    def lap(self, name: str) -> None:
        now_s = self.clock()
        self.laps[name] = self.laps.get(name, 0.0) + (now_s - self._since_s) * 1e3
        self._since_s = now_s


class PendingChunk:
    """A chunk whose latents are made and whose frames may still be being decoded."""

    def __init__(
        self,
        before: PipelineState,
        state: PipelineState,
        latents: NDArray[np.float32],
        conditioning: NDArray[np.float32],
        decoding: Decoding,
        watch: Stopwatch,
    ) -> None:
        self._before, self._conditioning = before, conditioning
        self.state = state
        """After the chunk; the decoder's memory in it is waited for when it is read."""
        self.latents = latents
        self._decoding, self._watch = decoding, watch
        self._result: ChunkResult | None = None

    @property
    def stage_ms(self) -> dict[str, float]:
        """As in its result, so far."""
        return dict(self._watch.laps)

    def ready(self) -> bool:
        """Whether `result` would return at once."""
        return self._decoding.ready()

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """The frames (N, H, W, 3) of each latent frame in turn, as soon as they are made. Raises: RunnerError."""
        return iter(self._decoding)

    def state_after(self, latents: int) -> PipelineState:
        """The state inside the chunk, after its first `latents` latent frames (1 and up): the rest can be made anew
        from it. What its texts changed stays. Raises: RunnerError."""
        before, made = self._before, self.latents[:, :, :latents]
        return replace(
            self.state,
            history_latents=appended(before.history_latents, made),
            history_conditioning=appended(before.history_conditioning, self._conditioning[:, :, :latents]),
            memory=self._decoding.memory_after(latents),
        )

    def result(self) -> ChunkResult:
        """Waits for the frames; `decode` in stage_ms runs until this returns. Raises: RunnerError."""
        if self._result is None:
            pieces = list(self._decoding)
            frames = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            self._watch.lap("decode")
            self._result = ChunkResult(frames=frames, latents=self.latents, stage_ms=self._watch.laps)
        return self._result

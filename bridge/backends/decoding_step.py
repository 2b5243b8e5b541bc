"""A step whose latents are made and whose frames are still being decoded.

Wraps the pipeline's pending chunk for the engine: hands out its frames in runs, and adds to every state what the
engine keeps beside the pipeline's. helios.py makes the latents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.backends.camera import CameraConditioning, view_arrays
from bridge.engine.interface import FrameChunk, FrameRun, State, StateAfter
from bridge.errors import StepFailed
from model.errors import ModelError
from model.pipeline.pending_chunk import PendingChunk
from model.pipeline.state import PipelineState
from model.scene.camera import Camera
from model.spec import ModelSpec


class DecodingStep:
    """A chunk of one session on its way through the decoder; see `OverlappingStep`."""

    def __init__(
        self,
        spec: ModelSpec,
        begun: PendingChunk,
        extra: State,
        texts: tuple[str, ...],
        said: CameraConditioning,
        seen_from: Sequence[Camera] | None,
        *,
        overlaps: bool,
    ) -> None:
        """extra: what the state after it holds beside the rollout's. texts: what each latent frame was told. seen_from:
        the frames' cameras, where the state holds its newest frame as well. overlaps: the runner decodes beside what it
        is asked next, and nothing else waits for the frames."""
        self._spec, self._begun, self._texts = spec, begun, texts
        self._extra, self._seen_from = extra, seen_from
        self._overlaps = overlaps and not begun.state.memory
        behind = None if said.behind is None else said.behind.get()
        self.depth = None if behind is None else behind.depth
        self.parts = None if behind is None else behind.parts
        self.actions = (texts[-1],) * spec.frames_in(len(texts))

    def after(self) -> StateAfter | None:
        if not self._overlaps:
            return None
        earlier = {
            frames: {**self._begun.state_after(latents).to_arrays(), **self._extra}
            for latents, frames in self._boundaries()
        }
        state = {**self._begun.state.to_arrays(), **self._extra}
        return StateAfter(state=state, earlier=earlier, stage_ms=self._begun.stage_ms)

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

    def _state(self, rollout: PipelineState, frames: NDArray[np.uint8], shown: int) -> State:
        """The session's state after the first `shown` frames."""
        view = {} if self._seen_from is None else view_arrays(frames[shown - 1], self._seen_from[shown - 1])
        return {**rollout.to_arrays(), **self._extra, **view}

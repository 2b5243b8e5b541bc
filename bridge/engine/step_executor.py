"""Executes a `Step` in the engine's process: makes a chunk, writes its frames to the pool, reports them as they come.

Handles batches of several sessions, and chunks whose frames arrive beside the next chunk.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.engine.chunk_pool import ChunkPool
from bridge.engine.interface import (
    BatchingEngine,
    BegunStep,
    Engine,
    FrameChunk,
    OverlappingStep,
    State,
    StateAfter,
    StepRequest,
    StreamingEngine,
)
from bridge.engine.ipc_messages import ArrivingChunk, ChunkFailed, Report, Step, StepResult
from bridge.errors import EngineError, StepFailed

_log = logging.getLogger(__name__)


def make_chunk(
    engine: Engine,
    states: dict[int, State],
    earlier: dict[int, Mapping[int, State]],
    ring: ChunkPool,
    step: Step,
    report: Callable[[Report], None] = lambda _: None,
    handing_out: FrameStreamer | None = None,
) -> ArrivingChunk | ChunkFailed | None:
    """Executes a `Step`. states: each session's newest; earlier: those inside its newest chunk. Both are updated.

    report: is told of frames that are made before the chunk is, by an engine that hands them out. handing_out: takes
    over a chunk whose frames come beside the next one, and tells of it; then this returns None.
    """
    try:
        before = _state_before(states, earlier, step)
        if isinstance(engine, StreamingEngine):
            begun = engine.begin(before, step.window, step.plan)
            if handing_out is not None and isinstance(begun, OverlappingStep) and (after := begun.after()) is not None:
                states[step.engine_session], earlier[step.engine_session] = after.state, after.earlier
                handing_out.take(step, begun, after)
                return None
            for _ in _stream(begun, ring, step, report):
                pass
            chunk, state = begun.finish()
        else:
            chunk, state = engine.step(before, step.window, step.plan)
            ring.write(step.slot, chunk)
    except EngineError as exc:
        return ChunkFailed(engine_session=step.engine_session, slot=step.slot, text=str(exc))
    return _made(states, earlier, step, chunk, state)


def make_batch(
    engine: Engine,
    states: dict[int, State],
    earlier: dict[int, Mapping[int, State]],
    ring: ChunkPool,
    steps: Sequence[Step],
    report: Callable[[Report], None],
) -> None:
    """Obeys several `Step`s at once, or in turn where they cannot be begun so: one that fails shall fail alone.

    Their frames are handed out in turns, a run of each.
    """
    try:
        if not isinstance(engine, BatchingEngine):
            raise StepFailed("this engine makes one chunk at a time")
        asked = [
            StepRequest(state=_state_before(states, earlier, step), window=step.window, plan=step.plan)
            for step in steps
        ]
        begun = engine.begin_batch(asked)
    except EngineError:
        for step in steps:
            made = make_chunk(engine, states, earlier, ring, step, report)
            assert made is not None, "nobody else hands it out"
            report(made)
        return
    streams: list[Iterator[int] | None] = [
        _stream(one, ring, step, report) for one, step in zip(begun, steps, strict=True)
    ]
    while any(stream is not None for stream in streams):
        for index, (one, step) in enumerate(zip(begun, steps, strict=True)):
            stream = streams[index]
            if stream is None:
                continue
            try:
                if next(stream, None) is None:
                    streams[index] = None
                    report(_made(states, earlier, step, *one.finish()))
            except EngineError as exc:
                streams[index] = None
                report(ChunkFailed(engine_session=step.engine_session, slot=step.slot, text=str(exc)))


def _state_before(states: Mapping[int, State], earlier: Mapping[int, Mapping[int, State]], step: Step) -> State:
    """What `step` continues. Raises: StepFailed: it is not there."""
    if step.keep is None:
        return states[step.engine_session]
    known = earlier.get(step.engine_session, {}).get(step.keep)
    if known is None:
        raise StepFailed(f"cannot go on after {step.keep} frames: this process did not make the chunk they are of")
    return known


def _made(
    states: dict[int, State], earlier: dict[int, Mapping[int, State]], step: Step, chunk: FrameChunk, state: State
) -> ArrivingChunk:
    states[step.engine_session] = state
    earlier[step.engine_session] = chunk.earlier
    return ArrivingChunk(
        engine_session=step.engine_session,
        slot=step.slot,
        frame_count=len(chunk.frames),
        frames_ready=len(chunk.frames),
        with_depth=chunk.depth is not None,
        actions=chunk.actions,
        parts=chunk.parts,
        result=StepResult(state=state, stage_ms=chunk.stage_ms, cuts=tuple(sorted(chunk.earlier))),
    )


def _stream(begun: BegunStep, ring: ChunkPool, step: Step, report: Callable[[Report], None]) -> Iterator[int]:
    """Writes a chunk's frames as they come, and tells of all but the last, which come with the result. Yields: as
    `_written`."""
    parts = begun.parts
    for made in _written(begun, ring, step):
        if made < step.plan.frames:
            report(_growing(begun, step, made, parts))
        parts = None
        yield made


def _written(begun: BegunStep, ring: ChunkPool, step: Step) -> Iterator[int]:
    """Writes a chunk's frames as they come. Yields: how many lie in the ring by then."""
    ring.write_depth(step.slot, begun.depth, frames=step.plan.frames)
    for run in begun.runs():
        ring.write_run(step.slot, run)
        yield run.first + len(run.frames)


def _growing(
    begun: BegunStep,
    step: Step,
    made: int,
    parts: NDArray[np.uint32] | None = None,
    result: StepResult | None = None,
) -> ArrivingChunk:
    return ArrivingChunk(
        engine_session=step.engine_session,
        slot=step.slot,
        frame_count=step.plan.frames,
        frames_ready=made,
        with_depth=begun.depth is not None,
        actions=begun.actions,
        parts=parts,
        result=result,
    )


class FrameStreamer:
    """Writes chunks whose frames come beside the next chunk, one chunk after the other, on a thread of its own.

    A chunk's result is told with its first frames: from then on the engine is free for the next, and the frames that
    follow are told without one. By then its session has gone on, and what cannot be decoded cannot be made
    anew from here: the process ends, and another takes its place.
    """

    def __init__(self, ring: ChunkPool, report: Callable[[Report], None]) -> None:
        self._ring, self._report = ring, report
        self._chunks: queue.SimpleQueue[tuple[Step, BegunStep, StateAfter] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="handing-out", daemon=True)
        self._thread.start()

    def take(self, step: Step, begun: BegunStep, after: StateAfter) -> None:
        """Returns at once."""
        self._chunks.put((step, begun, after))

    def finish(self, patience_s: float = 0.5) -> None:
        """Waits shortly for the chunks that were taken: whoever closes the engine closes it under nobody's hands."""
        self._chunks.put(None)
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (taken := self._chunks.get()) is not None:
            step, begun, after = taken
            try:
                self._hand_out(step, begun, after)
            except EngineError as exc:
                _log.error("engine.decode_failed error=%s", exc)
                os._exit(1)
            except BrokenPipeError:
                return  # the server is gone; the commands' thread sees to the end
            except Exception:
                # The thread's top: without it the process would live on, and its chunk's frames would never come.
                _log.exception("engine.decode_crashed world=%d", step.engine_session)
                os._exit(1)
            del taken, step, begun, after  # a chunk holds what its runner lent it, and the next may be long in coming

    def _hand_out(self, step: Step, begun: BegunStep, after: StateAfter) -> None:
        told = False
        for made in _written(begun, self._ring, step):
            if told:
                self._report(_growing(begun, step, made))
                continue
            told = True
            result = StepResult(state=after.state, stage_ms=after.stage_ms, cuts=tuple(sorted(after.earlier)))
            self._report(_growing(begun, step, made, begun.parts, result))

"""A world in an engine process, without the process; and steps whose frames come four at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine.chunk_pool import ChunkPool
from bridge.engine.interface import ControlWindow, FrameChunk, FrameRun, Plan, SessionStart, State
from bridge.engine.ipc_messages import ArrivingChunk, ChunkFailed, Step
from bridge.engine.step_executor import make_chunk
from bridge.errors import StepFailed

FRAMES = 9
PLAN = Plan(frames=FRAMES, steps=(1, 1, 1), rung="full")
WINDOW = ControlWindow(
    positions=np.zeros((FRAMES, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (FRAMES, 1)),
    vertical_fov_deg=np.full(FRAMES, 60.0), actions=("",) * FRAMES, scene_updates=(), cut=False, newest_control_t_us=0,
)  # fmt: skip
CONFIG = SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,))


class Process:
    """What a worker keeps, and one world in it."""

    def __init__(self, ring: ChunkPool) -> None:
        self.engine = SyntheticEngine(CONFIG)
        self.ring = ring
        self.states: dict[int, State] = {0: self.engine.open(SessionStart(seed=0, prompt="", scene=None))}
        self.earlier: dict[int, Mapping[int, State]] = {}

    def step(self, *, keep: int | None = None) -> ArrivingChunk | ChunkFailed:
        step = Step(engine_session=0, window=WINDOW, plan=PLAN, slot=0, keep=keep)
        made = make_chunk(self.engine, self.states, self.earlier, self.ring, step)
        assert made is not None
        return made


@contextmanager
def one_world() -> Iterator[Process]:
    """Its ring has one slot."""
    ring = ChunkPool.create(SyntheticEngine(CONFIG).info, 1)
    try:
        yield Process(ring)
    finally:
        ring.close()


class Begun:
    """A step that is made already. fails_at: the frame at which its frames stop coming, -1 for none."""

    def __init__(self, chunk: FrameChunk, state: State) -> None:
        self.chunk, self.state = chunk, state
        self.depth, self.parts, self.actions = chunk.depth, chunk.parts, chunk.actions
        self.fails_at = -1

    def runs(self) -> Iterator[FrameRun]:
        for first in range(0, FRAMES, 4):
            if first == self.fails_at:
                raise StepFailed("no more")
            yield FrameRun(first=first, frames=self.chunk.frames[first : first + 4])

    def finish(self) -> tuple[FrameChunk, State]:
        return self.chunk, self.state

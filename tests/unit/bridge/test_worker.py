"""The engine process's step: where a world goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from bridge.engine import ControlWindow, Plan, SessionStart, State
from bridge.engines.synthetic import SyntheticConfig, SyntheticEngine
from bridge.frames import SharedFrameRing
from bridge.worker import Failed, Made, Step, make_chunk

FRAMES = 9
PLAN = Plan(frames=FRAMES, steps=(1, 1, 1), rung="full")
WINDOW = ControlWindow(
    positions=np.zeros((FRAMES, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (FRAMES, 1)),
    vertical_fov_deg=np.full(FRAMES, 60.0), actions=("",) * FRAMES, scene_updates=(), cut=False, newest_control_t_us=0,
)  # fmt: skip


class Process:
    """What a worker keeps, and one world in it."""

    def __init__(self, ring: SharedFrameRing) -> None:
        self.engine = SyntheticEngine(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,)))
        self.ring = ring
        self.states: dict[int, State] = {0: self.engine.open(SessionStart(seed=0, prompt="", scene=None))}
        self.earlier: dict[int, Mapping[int, State]] = {}

    def step(self, *, keep: int | None = None) -> Made | Failed:
        step = Step(world=0, window=WINDOW, plan=PLAN, slot=0, keep=keep)
        return make_chunk(self.engine, self.states, self.earlier, self.ring, step)


@pytest.fixture
def process() -> Iterator[Process]:
    engine = SyntheticEngine(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,)))
    ring = SharedFrameRing.create(engine.info, 1)
    yield Process(ring)
    ring.close()


def test_a_chunk_tells_where_it_can_be_cut_and_the_next_goes_on_from_there(process: Process) -> None:
    made = process.step()
    assert isinstance(made, Made)
    assert made.cuts == (4, 8)
    marker: State = {"seed": np.array(0), "chunks": np.array(41)}
    process.earlier[0] = {4: marker}
    again = process.step(keep=4)
    assert isinstance(again, Made)
    assert int(again.state["chunks"]) == 42
    assert int(process.states[0]["chunks"]) == 42


def test_a_cut_inside_a_chunk_that_this_process_did_not_make_fails_and_changes_nothing(process: Process) -> None:
    process.step()
    process.earlier.clear()
    failed = process.step(keep=4)
    assert isinstance(failed, Failed)
    assert "4 frames" in failed.text
    assert int(process.states[0]["chunks"]) == 1
    assert isinstance(process.step(), Made)

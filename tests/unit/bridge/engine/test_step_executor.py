"""The engine process's step: where a world goes on from, and how its frames are told of; for one world and several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine.chunk_pool import ChunkPool
from bridge.engine.interface import BegunStep, ControlWindow, FrameChunk, Plan, SessionStart, State, StepRequest
from bridge.engine.ipc_messages import ArrivingChunk, ChunkFailed, Report, Step
from bridge.engine.step_executor import make_batch, make_chunk
from bridge.errors import StepFailed
from tests.stepped_world import CONFIG, FRAMES, PLAN, WINDOW, Begun, Process, one_world


@pytest.fixture
def process() -> Iterator[Process]:
    with one_world() as made:
        yield made


def test_a_chunk_tells_where_it_can_be_cut_and_the_next_goes_on_from_there(process: Process) -> None:
    made = process.step()
    assert isinstance(made, ArrivingChunk)
    assert made.result is not None
    assert made.result.cuts == (4, 8)
    marker: State = {**process.states[0], "chunks": np.array(41)}
    process.earlier[0] = {4: marker}
    again = process.step(keep=4)
    assert isinstance(again, ArrivingChunk)
    assert again.result is not None
    assert int(again.result.state["chunks"]) == 42
    assert int(process.states[0]["chunks"]) == 42


def test_a_cut_inside_a_chunk_that_this_process_did_not_make_fails_and_changes_nothing(process: Process) -> None:
    process.step()
    process.earlier.clear()
    failed = process.step(keep=4)
    assert isinstance(failed, ChunkFailed)
    assert "4 frames" in failed.text
    assert int(process.states[0]["chunks"]) == 1
    assert isinstance(process.step(), ArrivingChunk)


class StreamingEngine(SyntheticEngine):
    """Hands its frames out four at a time, and looks at what is in the ring by then."""

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> Begun:
        return Begun(*self.step(state, window, plan))


def test_frames_are_told_of_as_they_lie_in_the_ring(process: Process) -> None:
    engine = StreamingEngine(CONFIG)
    told: list[tuple[int, bool]] = []

    def report(word: object) -> None:
        assert isinstance(word, ArrivingChunk)
        assert word.result is None
        frames, depth = process.ring.view(0, FRAMES, with_depth=True)
        assert depth is not None
        wanted = engine.step(process.states[0], WINDOW, PLAN)[0]
        np.testing.assert_array_equal(frames[: word.frames_ready], wanted.frames[: word.frames_ready])
        np.testing.assert_array_equal(depth, wanted.depth)
        told.append((word.frames_ready, word.frame_count == FRAMES and word.with_depth))

    step = Step(engine_session=0, window=WINDOW, plan=PLAN, slot=0)
    made = make_chunk(engine, process.states, process.earlier, process.ring, step, report)
    assert isinstance(made, ArrivingChunk)
    assert made.result is not None
    assert told == [(4, True), (8, True)]
    assert made.frame_count == made.frames_ready == FRAMES
    assert int(process.states[0]["chunks"]) == 1


def test_a_chunk_that_fails_half_way_leaves_its_world_as_it_was(process: Process) -> None:
    class Failing(StreamingEngine):
        def begin(self, state: State, window: ControlWindow, plan: Plan) -> Begun:
            begun = super().begin(state, window, plan)
            begun.fails_at = 4
            return begun

    engine = Failing(CONFIG)
    step = Step(engine_session=0, window=WINDOW, plan=PLAN, slot=0)
    told: list[object] = []
    failed = make_chunk(engine, process.states, process.earlier, process.ring, step, told.append)
    assert isinstance(failed, ChunkFailed)
    assert len(told) == 1
    assert int(process.states[0]["chunks"]) == 0


class Batching(SyntheticEngine):
    """Hands the chunks of several worlds out four frames at a time; `fails`: the seed of the world whose cannot be."""

    fails = -1

    def begin_batch(self, asked: Sequence[StepRequest]) -> list[BegunStep]:
        if any(int(each.state["seed"]) == self.fails for each in asked):
            raise StepFailed("one of them cannot be made")
        return [Begun(*self.step(each.state, each.window, each.plan)) for each in asked]

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        if int(state["seed"]) == self.fails:
            raise StepFailed("this one cannot be made")
        return super().step(state, window, plan)


@pytest.fixture
def pair() -> Iterator[Process]:
    """Two worlds, and slots for both."""
    engine = Batching(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,), max_batch=2))
    ring = ChunkPool.create(engine.info, 2)
    process = Process(ring)
    process.engine = engine
    process.states = {
        engine_session: engine.open(SessionStart(seed=engine_session, prompt="", scene=None))
        for engine_session in (0, 1)
    }
    yield process
    ring.close()


def together(process: Process) -> list[Report]:
    told: list[Report] = []
    steps = [
        Step(engine_session=engine_session, window=WINDOW, plan=PLAN, slot=engine_session) for engine_session in (0, 1)
    ]
    make_batch(process.engine, process.states, process.earlier, process.ring, steps, told.append)
    return told


def test_chunks_of_several_worlds_are_made_at_once_and_handed_out_in_turns(pair: Process) -> None:
    wanted = [pair.engine.step(pair.states[engine_session], WINDOW, PLAN)[0].frames for engine_session in (0, 1)]
    told = together(pair)
    chunks = [word for word in told if isinstance(word, ArrivingChunk)]
    assert len(chunks) == len(told)
    assert [(chunk.result is not None, chunk.engine_session) for chunk in chunks] == [
        (False, 0), (False, 1), (False, 0), (False, 1), (True, 0), (True, 1),
    ]  # fmt: skip
    for engine_session in (0, 1):
        frames, _ = pair.ring.view(engine_session, FRAMES, with_depth=False)
        np.testing.assert_array_equal(frames, wanted[engine_session])
        assert int(pair.states[engine_session]["chunks"]) == 1
        assert set(pair.earlier[engine_session]) == {4, 8}


def test_of_chunks_made_at_once_one_that_fails_fails_alone(pair: Process) -> None:
    assert isinstance(pair.engine, Batching)
    pair.engine.fails = 1
    made, failed = together(pair)
    assert isinstance(made, ArrivingChunk)
    assert isinstance(failed, ChunkFailed)
    assert (made.engine_session, failed.engine_session) == (0, 1)
    assert [int(pair.states[engine_session]["chunks"]) for engine_session in (0, 1)] == [1, 0]


def test_an_engine_that_makes_one_chunk_at_a_time_makes_several_in_turn(pair: Process) -> None:
    class Plain:
        def __init__(self, engine: SyntheticEngine) -> None:
            self.info, self.open, self.step, self.close = engine.info, engine.open, engine.step, engine.close

    pair.engine = Plain(pair.engine)  # type: ignore[assignment]
    told = together(pair)
    assert [type(word) for word in told] == [ArrivingChunk] * 2
    assert all(isinstance(word, ArrivingChunk) and word.result is not None for word in told)

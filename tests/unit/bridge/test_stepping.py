"""The engine process's step: where a world goes on from."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection

import numpy as np
import pytest

from bridge import worker
from bridge.chunk_ring import SharedFrameRing
from bridge.engine import (
    After,
    BegunStep,
    ControlWindow,
    FrameChunk,
    FrameRun,
    Plan,
    SessionStart,
    State,
    StepAsked,
)
from bridge.engine_words import Adopt, Attach, Command, Failed, Growing, Made, Report, Step, Stop
from bridge.engines.synthetic import SyntheticConfig, SyntheticEngine
from bridge.errors import StepFailed
from bridge.stepping import HandingOut, make_chunk, make_together

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
        made = make_chunk(self.engine, self.states, self.earlier, self.ring, step)
        assert made is not None
        return made


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


class StreamingEngine(SyntheticEngine):
    """Hands its frames out four at a time, and looks at what is in the ring by then."""

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> Begun:
        return Begun(*self.step(state, window, plan))


class Begun:
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


def test_frames_are_told_of_as_they_lie_in_the_ring(process: Process) -> None:
    engine = StreamingEngine(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,)))
    told: list[tuple[int, bool]] = []

    def report(word: object) -> None:
        assert isinstance(word, Growing)
        frames, depth = process.ring.view(0, FRAMES, with_depth=True)
        assert depth is not None
        wanted = engine.step(process.states[0], WINDOW, PLAN)[0]
        np.testing.assert_array_equal(frames[: word.made], wanted.frames[: word.made])
        np.testing.assert_array_equal(depth, wanted.depth)
        told.append((word.made, word.frames == FRAMES and word.with_depth))

    step = Step(world=0, window=WINDOW, plan=PLAN, slot=0)
    made = make_chunk(engine, process.states, process.earlier, process.ring, step, report)
    assert isinstance(made, Made)
    assert told == [(4, True), (8, True)]
    assert made.frames == FRAMES
    assert int(process.states[0]["chunks"]) == 1


def test_a_chunk_that_fails_half_way_leaves_its_world_as_it_was(process: Process) -> None:
    class Failing(StreamingEngine):
        def begin(self, state: State, window: ControlWindow, plan: Plan) -> Begun:
            begun = super().begin(state, window, plan)
            begun.fails_at = 4
            return begun

    engine = Failing(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,)))
    step = Step(world=0, window=WINDOW, plan=PLAN, slot=0)
    told: list[object] = []
    failed = make_chunk(engine, process.states, process.earlier, process.ring, step, told.append)
    assert isinstance(failed, Failed)
    assert len(told) == 1
    assert int(process.states[0]["chunks"]) == 0


class OverlappingEngine(SyntheticEngine):
    """Its frames come when a test lets them; what is after a chunk is known before."""

    def __init__(self, config: SyntheticConfig) -> None:
        super().__init__(config)
        self.may_decode = threading.Semaphore(0)

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> OverlappingBegun:
        return OverlappingBegun(self, *self.step(state, window, plan))


class OverlappingBegun(Begun):
    def __init__(self, engine: OverlappingEngine, chunk: FrameChunk, state: State) -> None:
        super().__init__(chunk, state)
        self.engine = engine

    def after(self) -> After:
        return After(state=self.state, earlier=self.chunk.earlier, stage_ms={"paint": 1.0})

    def runs(self) -> Iterator[FrameRun]:
        for run in super().runs():
            assert self.engine.may_decode.acquire(timeout=10)
            yield run


def test_the_next_chunk_is_begun_while_the_frames_of_the_one_before_come() -> None:
    engine = OverlappingEngine(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,)))
    ring = SharedFrameRing.create(engine.info, 2)
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    states: dict[int, State] = {0: engine.open(SessionStart(seed=0, prompt="", scene=None))}
    earlier: dict[int, Mapping[int, State]] = {}
    handing_out = HandingOut(ring, told.put)
    wanted = []
    for slot in (0, 1):  # the second is begun before any frame of the first is there
        wanted.append(engine.step(states[0], WINDOW, PLAN)[0].frames)
        step = Step(world=0, window=WINDOW, plan=PLAN, slot=slot)
        assert make_chunk(engine, states, earlier, ring, step, told.put, handing_out) is None
    assert int(states[0]["chunks"]) == 2
    assert told.empty()
    for slot in (0, 1):
        counts = []
        for _ in range(3):
            engine.may_decode.release()
            word = told.get(timeout=10)
            assert isinstance(word, Growing if counts else Made)
            assert word.slot == slot
            counts.append(word.frames - word.missing if isinstance(word, Made) else word.made)
            if isinstance(word, Made):
                assert (word.cuts, int(word.state["chunks"])) == ((4, 8), slot + 1)
            frames, _ = ring.view(slot, FRAMES, with_depth=True)
            np.testing.assert_array_equal(frames[: counts[-1]], wanted[slot][: counts[-1]])
        assert counts == [4, 8, 9]
    ring.close()


def test_the_engine_is_not_closed_under_a_chunk_that_is_handed_out(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    class Slow(Begun):
        def runs(self) -> Iterator[FrameRun]:
            for run in super().runs():
                time.sleep(0.02)
                happened.append("decoded")
                yield run

        def after(self) -> After:
            return After(state=self.state, earlier={}, stage_ms={})

    class Overlapping(SyntheticEngine):
        def begin(self, state: State, window: ControlWindow, plan: Plan) -> Slow:
            return Slow(*self.step(state, window, plan))

        def close(self) -> None:
            happened.append("closed")

    def create() -> Overlapping:
        return Overlapping(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,)))

    step = Step(world=0, window=WINDOW, plan=PLAN, slot=0)
    words = (Attach(layout=process.ring.layout), Adopt(world=0, state=process.states[0]), step, Stop())

    def read(connection: Connection, commands: queue.SimpleQueue[Command], heard: object) -> None:
        for word in words:
            commands.put(word)

    monkeypatch.setattr(worker, "load_factory", lambda _: create)
    monkeypatch.setattr(worker, "_read_commands", read)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = multiprocessing.Pipe()
    worker.run(theirs, "", {})
    ours.close()
    assert happened == ["decoded"] * 3 + ["closed"]


@pytest.mark.parametrize("error", [StepFailed("no more"), RuntimeError("a bug"), MemoryError()])
def test_a_chunk_that_cannot_be_handed_out_ends_the_process(
    process: Process, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    monkeypatch.setattr(os, "_exit", ended.put)

    class Broken(Begun):
        def runs(self) -> Iterator[FrameRun]:
            yield from list(super().runs())[:1]
            raise error

        def after(self) -> After:
            return After(state=self.state, earlier={}, stage_ms={})

    begun = Broken(*process.engine.step(process.states[0], WINDOW, PLAN))
    told: list[Report] = []
    handing_out = HandingOut(process.ring, told.append)
    handing_out.take(Step(world=0, window=WINDOW, plan=PLAN, slot=0), begun, begun.after())
    assert ended.get(timeout=5) == 1
    assert [type(word) for word in told] == [Made]


class Batching(SyntheticEngine):
    """Hands the chunks of several worlds out four frames at a time; `fails`: the seed of the world whose cannot be."""

    fails = -1

    def begin_together(self, asked: Sequence[StepAsked]) -> list[BegunStep]:
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
    engine = Batching(SyntheticConfig(width=16, height=8, frames_per_chunk=(FRAMES,), most_together=2))
    ring = SharedFrameRing.create(engine.info, 2)
    process = Process(ring)
    process.engine = engine
    process.states = {world: engine.open(SessionStart(seed=world, prompt="", scene=None)) for world in (0, 1)}
    yield process
    ring.close()


def together(process: Process) -> list[Report]:
    told: list[Report] = []
    steps = [Step(world=world, window=WINDOW, plan=PLAN, slot=world) for world in (0, 1)]
    make_together(process.engine, process.states, process.earlier, process.ring, steps, told.append)
    return told


def test_chunks_of_several_worlds_are_made_at_once_and_handed_out_in_turns(pair: Process) -> None:
    wanted = [pair.engine.step(pair.states[world], WINDOW, PLAN)[0].frames for world in (0, 1)]
    told = together(pair)
    assert [(type(word).__name__, getattr(word, "world", -1)) for word in told] == [
        ("Growing", 0), ("Growing", 1), ("Growing", 0), ("Growing", 1), ("Made", 0), ("Made", 1),
    ]  # fmt: skip
    for world in (0, 1):
        frames, _ = pair.ring.view(world, FRAMES, with_depth=False)
        np.testing.assert_array_equal(frames, wanted[world])
        assert int(pair.states[world]["chunks"]) == 1
        assert set(pair.earlier[world]) == {4, 8}


def test_of_chunks_made_at_once_one_that_fails_fails_alone(pair: Process) -> None:
    assert isinstance(pair.engine, Batching)
    pair.engine.fails = 1
    made, failed = together(pair)
    assert isinstance(made, Made)
    assert isinstance(failed, Failed)
    assert (made.world, failed.world) == (0, 1)
    assert [int(pair.states[world]["chunks"]) for world in (0, 1)] == [1, 0]


def test_an_engine_that_makes_one_chunk_at_a_time_makes_several_in_turn(pair: Process) -> None:
    class Plain:
        def __init__(self, engine: SyntheticEngine) -> None:
            self.info, self.open, self.step, self.close = engine.info, engine.open, engine.step, engine.close

    pair.engine = Plain(pair.engine)  # type: ignore[assignment]
    assert [type(word) for word in together(pair)] == [Made, Made]

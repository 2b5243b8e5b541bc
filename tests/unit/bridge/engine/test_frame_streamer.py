"""A chunk's frames on a thread of their own, while the engine makes the next."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection

import numpy as np
import pytest

from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine import worker
from bridge.engine.chunk_pool import ChunkPool
from bridge.engine.interface import ControlWindow, FrameChunk, FrameRun, Plan, SessionStart, State, StateAfter
from bridge.engine.ipc_messages import Adopt, ArrivingChunk, Attach, Command, Report, Step, Stop
from bridge.engine.step_executor import FrameStreamer, make_chunk
from bridge.errors import StepFailed
from tests.stepped_world import CONFIG, FRAMES, PLAN, WINDOW, Begun, Process, one_world


@pytest.fixture
def process() -> Iterator[Process]:
    with one_world() as made:
        yield made


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

    def after(self) -> StateAfter:
        return StateAfter(state=self.state, earlier=self.chunk.earlier, stage_ms={"paint": 1.0})

    def runs(self) -> Iterator[FrameRun]:
        for run in super().runs():
            assert self.engine.may_decode.acquire(timeout=10)
            yield run


def test_the_next_chunk_is_begun_while_the_frames_of_the_one_before_come() -> None:
    engine = OverlappingEngine(CONFIG)
    ring = ChunkPool.create(engine.info, 2)
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    states: dict[int, State] = {0: engine.open(SessionStart(seed=0, prompt="", scene=None))}
    earlier: dict[int, Mapping[int, State]] = {}
    handing_out = FrameStreamer(ring, told.put)
    wanted = []
    for slot in (0, 1):  # the second is begun before any frame of the first is there
        wanted.append(engine.step(states[0], WINDOW, PLAN)[0].frames)
        step = Step(engine_session=0, window=WINDOW, plan=PLAN, slot=slot)
        assert make_chunk(engine, states, earlier, ring, step, told.put, handing_out) is None
    assert int(states[0]["chunks"]) == 2
    assert told.empty()
    for slot in (0, 1):
        counts = []
        for _ in range(3):
            engine.may_decode.release()
            word = told.get(timeout=10)
            assert isinstance(word, ArrivingChunk)
            assert (word.result is None) == bool(counts)
            assert (word.slot, word.frame_count) == (slot, FRAMES)
            counts.append(word.frames_ready)
            if word.result is not None:
                assert (word.result.cuts, int(word.result.state["chunks"])) == ((4, 8), slot + 1)
            frames, _ = ring.view(slot, FRAMES, with_depth=True)
            np.testing.assert_array_equal(frames[: counts[-1]], wanted[slot][: counts[-1]])
        assert counts == [4, 8, 9]
    ring.close()


def test_the_engine_is_not_closed_under_a_chunk_that_is_handed_out(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    stopping = threading.Event()

    class Slow(Begun):
        """Decodes nothing before the process is on its way to close the engine."""

        def runs(self) -> Iterator[FrameRun]:
            assert stopping.wait(5)
            for run in super().runs():
                happened.append("decoded")
                yield run

        def after(self) -> StateAfter:
            return StateAfter(state=self.state, earlier={}, stage_ms={})

    class Overlapping(SyntheticEngine):
        def begin(self, state: State, window: ControlWindow, plan: Plan) -> Slow:
            return Slow(*self.step(state, window, plan))

        def close(self) -> None:
            happened.append("closed")

    def create() -> Overlapping:
        return Overlapping(CONFIG)

    finish = FrameStreamer.finish

    def stop(handing_out: FrameStreamer) -> None:
        stopping.set()
        finish(handing_out)

    step = Step(engine_session=0, window=WINDOW, plan=PLAN, slot=0)
    words = (Attach(layout=process.ring.layout), Adopt(engine_session=0, state=process.states[0]), step, Stop())

    def read(connection: Connection, commands: queue.SimpleQueue[Command], heard: object) -> None:
        for word in words:
            commands.put(word)

    monkeypatch.setattr(worker, "load_factory", lambda _: create)
    monkeypatch.setattr(worker, "_read_commands", read)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(FrameStreamer, "finish", stop)
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

        def after(self) -> StateAfter:
            return StateAfter(state=self.state, earlier={}, stage_ms={})

    begun = Broken(*process.engine.step(process.states[0], WINDOW, PLAN))
    told: list[Report] = []
    handing_out = FrameStreamer(process.ring, told.append)
    handing_out.take(Step(engine_session=0, window=WINDOW, plan=PLAN, slot=0), begun, begun.after())
    assert ended.get(timeout=5) == 1
    (word,) = told
    assert isinstance(word, ArrivingChunk)
    assert word.result is not None

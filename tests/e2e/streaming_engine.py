"""The test pattern, handed out four frames at a time with a wait after each, as by a slow decoder."""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep

from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine.interface import BegunStep, ControlWindow, FrameChunk, FrameRun, Plan, State, StateAfter

WAIT_S = 0.4


class Begun:
    def __init__(self, chunk: FrameChunk, state: State) -> None:
        self.chunk, self.state = chunk, state
        self.depth, self.parts, self.actions = chunk.depth, chunk.parts, chunk.actions

    def runs(self) -> Iterator[FrameRun]:
        for first in range(0, len(self.chunk.frames), 4):
            yield FrameRun(first=first, frames=self.chunk.frames[first : first + 4])
            sleep(WAIT_S)

    def finish(self) -> tuple[FrameChunk, State]:
        return self.chunk, self.state


class StreamingEngine(SyntheticEngine):
    def begin(self, state: State, window: ControlWindow, plan: Plan) -> BegunStep:
        return Begun(*self.step(state, window, plan))


def create(**settings: object) -> StreamingEngine:
    """The factory that the engine process calls."""
    return StreamingEngine(SyntheticConfig(**settings))  # type: ignore[arg-type]  # a test's values


BESIDE = "begun beside the frames of another"


class OverlappingBegun(Begun):
    """Counts itself among the engine's while its frames are on their way; nothing after it waits for them."""

    def __init__(self, engine: OverlappingEngine, chunk: FrameChunk, state: State) -> None:
        super().__init__(chunk, state)
        if engine.on_their_way:
            self.actions = (BESIDE,) * len(chunk.frames)
        self._engine, self._state = engine, state
        engine.on_their_way += 1

    def after(self) -> StateAfter:
        return StateAfter(state=self._state, earlier=self.chunk.earlier, stage_ms=self.chunk.stage_ms)

    def runs(self) -> Iterator[FrameRun]:
        yield from super().runs()
        self._engine.on_their_way -= 1


class OverlappingEngine(SyntheticEngine):
    on_their_way = 0

    def begin(self, state: State, window: ControlWindow, plan: Plan) -> BegunStep:
        return OverlappingBegun(self, *self.step(state, window, plan))


def create_overlapping(**settings: object) -> OverlappingEngine:
    return OverlappingEngine(SyntheticConfig(**settings))  # type: ignore[arg-type]  # a test's values

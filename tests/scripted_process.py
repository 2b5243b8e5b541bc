"""An engine process that says what a test tells it to, under a supervisor: no process, no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from bridge.clock import FakeClock
from bridge.engine import process as engine_process
from bridge.engine.interface import ControlWindow, EngineInfo, Plan, SessionStart
from bridge.engine.ipc_messages import ArrivingChunk, Command, Open, Ready, Report, SessionOpened, Step, StepResult
from bridge.engine.pipe import Ended, EngineConfig, Inbox, Wake
from bridge.engine.supervisor import EngineSupervisor, EngineUp

INFO = EngineInfo(
    model="t", runner="t", frame_width=4, frame_height=2, frames_per_chunk=(2,), depth_width=2, depth_height=1,
    camera_method="none", default_map="t",
)  # fmt: skip
START = SessionStart(seed=0, prompt="", scene=None)
STATE = {"n": np.array(1)}
PLAN = Plan(frames=2, steps=(1,), rung="full")
WINDOW = ControlWindow(
    positions=np.zeros((2, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (2, 1)), vertical_fov_deg=np.full(2, 60.0),
    actions=("", ""), scene_updates=(), cut=False, newest_control_t_us=0,
)  # fmt: skip


class Process:
    """Stands for `EnginePipe`: keeps what it is sent, says what a test tells it to."""

    newest: Process

    def __init__(self, config: EngineConfig, inbox: Inbox, wake: Wake) -> None:
        self.inbox = inbox
        self.sent: list[Command] = []
        self.killed = False
        self.process = SimpleNamespace(pid=1)
        Process.newest = self

    def send(self, command: Command) -> None:
        self.sent.append(command)

    def say(self, word: Report | Ended) -> None:
        self.inbox.put((self, word))  # type: ignore[arg-type]

    def kill(self) -> None:
        self.killed = True

    def finish(self, patience_s: float) -> None:
        pass

    def opened(self) -> list[int]:
        return [command.engine_session for command in self.sent if isinstance(command, Open)]


@contextmanager
def supervised(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineSupervisor]:
    """A supervisor of a process that is ready; two deaths over a session are enough, and there are two slots."""
    monkeypatch.setattr(engine_process, "EnginePipe", Process)
    made = EngineSupervisor(EngineConfig(slots=2, world_attempts=2, first_backoff_us=1000), FakeClock())
    Process.newest.say(Ready(info=INFO))
    assert made.poll() == [EngineUp(info=INFO)]
    try:
        yield made
    finally:
        made.stop()


def clock_of(supervisor: EngineSupervisor) -> FakeClock:
    clock = supervisor._process._clock
    assert isinstance(clock, FakeClock)
    return clock


def revive(supervisor: EngineSupervisor) -> None:
    clock_of(supervisor).advance_us(10_000_000)
    supervisor.poll()
    Process.newest.say(Ready(info=INFO))
    assert supervisor.poll() == [EngineUp(info=INFO)]


def made(engine_session: int, slot: int) -> ArrivingChunk:
    return ArrivingChunk(
        engine_session=engine_session,
        slot=slot,
        frame_count=2,
        frames_ready=1,
        with_depth=False,
        actions=("", ""),
        result=StepResult(state=STATE, stage_ms={}),
    )


def whole(engine_session: int, slot: int) -> ArrivingChunk:
    return ArrivingChunk(
        engine_session=engine_session, slot=slot, frame_count=2, frames_ready=2, with_depth=False, actions=("", "")
    )


def stepped(supervisor: EngineSupervisor, engine_session: int) -> int:
    """The slot of a step that began."""
    assert supervisor.step(engine_session, WINDOW, PLAN)
    step = Process.newest.sent[-1]
    assert isinstance(step, Step)
    return step.slot


def begun(supervisor: EngineSupervisor) -> int:
    engine_session = supervisor.open(START)
    Process.newest.say(SessionOpened(engine_session=engine_session, state=STATE))
    supervisor.poll()
    return engine_session

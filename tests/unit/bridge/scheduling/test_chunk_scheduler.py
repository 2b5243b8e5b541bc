"""What the engine's next chunk is: who remembers what happened, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.clock import FakeClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, Rung
from bridge.engine.ipc_messages import ArrivingChunk, StepResult
from bridge.errors import ConfigError
from bridge.protocol.messages import Control, Event
from bridge.scheduling.chunk_scheduler import REPROJECT, ChunkScheduler, ChunkSchedulerConfig
from bridge.scheduling.edf import ScheduledChunk
from bridge.scheduling.in_flight_chunk import ChunkResult
from bridge.scheduling.start_margin import UnderrunCause
from bridge.service.render_session import RenderSession
from bridge.session.events import ControlAccepted

MS = 1000
RUNGS = (Rung(name="full", steps=(1, 1, 1)), Rung(name="half", steps=(1, 1, 0), cost_share=0.5))
INFO = EngineInfo(
    model="t", runner="t", frame_width=8, frame_height=4, frames_per_chunk=(4, 8), depth_width=8, depth_height=4,
    camera_method="none", default_map="t", rungs=RUNGS,
)  # fmt: skip


class Room:
    """A conductor, players who want frames, and a clock."""

    def __init__(self, *, quality: str = "auto", render_sessions: int = 1) -> None:
        self.clock = FakeClock(10_000 * MS)
        self.scheduler = ChunkScheduler(ChunkSchedulerConfig(fps=25.0, quality=quality), INFO, self.clock.now_us())
        self.render_sessions = {name: self._render_session() for name in "abc"[:render_sessions]}

    def control(self, name: str, *events: Event) -> None:
        now_us = self.clock.now_us()
        control = Control(
            seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0, events=events
        )
        accepted = ControlAccepted(control=control, received_us=now_us, deadline_us=now_us + 16 * MS)
        self.render_sessions[name].take_control(accepted)

    def _render_session(self) -> RenderSession:
        render_session = RenderSession(config=ServeConfig(fps=25.0), info=INFO, clock=self.clock)
        render_session.opened = True
        now_us = self.clock.now_us()
        control = Control(seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0)
        render_session.take_control(ControlAccepted(control=control, received_us=now_us, deadline_us=now_us + 16 * MS))
        return render_session

    def next_start(self) -> ScheduledChunk:
        start = self.scheduler.next_start(self.clock.now_us(), self.render_sessions)
        assert start is not None
        return start

    def chunk(self, cost_ms: float) -> ScheduledChunk:
        """Makes the next chunk, and what follows from it."""
        start = self.next_start()
        self.clock.sleep_until_us(start.at_us)
        in_flight = self.render_sessions[start.session].start_chunk(self.clock.now_us(), start)
        self.scheduler.begun(self.clock.now_us(), in_flight)
        self.clock.advance_us(round(cost_ms * MS))
        self.render_sessions[start.session].lose_engine()
        self.scheduler.made(self.clock.now_us(), in_flight, ChunkResult(useful=True, lead_us=round(cost_ms * MS)))
        return start


def test_nobody_wants_frames() -> None:
    assert Room().scheduler.next_start(0, {}) is None


def test_a_name_that_is_no_rung_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="got 'best', expected auto, full, half, reproject"):
        Room(quality="best")


@pytest.mark.parametrize(("quality", "steps"), [("full", (1, 1, 1)), ("half", (1, 1, 0))])
def test_a_pinned_quality_is_kept_however_slow(quality: str, steps: tuple[int, ...]) -> None:
    room = Room(quality=quality)
    for _ in range(20):
        start = room.chunk(3000)
    assert (start.plan.rung, start.plan.steps) == (quality, steps)


def test_a_slow_engine_goes_down_a_rung_and_a_fast_one_does_not() -> None:
    slow, fast = Room(), Room()
    assert {slow.chunk(2000).plan.rung for _ in range(10)} == {"full", "half"}
    assert {fast.chunk(100).plan.rung for _ in range(10)} == {"full"}


def test_on_reprojection_alone_a_chunk_is_made_now_and_then_to_find_out() -> None:
    room = Room(quality=REPROJECT)
    room.chunk(100)
    assert room.next_start().at_us - room.clock.now_us() >= 14_000 * MS


def test_another_session_is_let_in_when_what_chunks_cost_leaves_room_for_it() -> None:
    room = Room(render_sessions=1)
    assert room.scheduler.refusal(room.clock.now_us(), 3) is None  # nothing is known yet
    for _ in range(5):
        room.chunk(500)  # 8 frames: 16 a second, twice that on the cheaper rung
    now_us = room.clock.now_us()
    assert room.scheduler.refusal(now_us, 0) is None
    assert room.scheduler.refusal(now_us, 1) is None
    refusal = room.scheduler.refusal(now_us, 20)
    assert refusal is not None
    assert "20 sessions" in refusal


def test_a_gap_is_blamed_on_what_kept_the_engine() -> None:
    room = Room(render_sessions=2)
    first = room.chunk(100)
    late = ScheduledChunk(session=first.session, at_us=0, display_us=0, frame_us=1, plan=first.plan, late_us=5 * MS)
    in_time = ScheduledChunk(session=first.session, at_us=0, display_us=0, frame_us=1, plan=first.plan)
    assert room.scheduler.cause(in_time) is UnderrunCause.OVERRUN
    assert room.scheduler.cause(late) is UnderrunCause.TOO_SLOW
    other = "b" if first.session == "a" else "a"
    crowded = ScheduledChunk(session=other, at_us=0, display_us=0, frame_us=1, plan=first.plan, late_us=5 * MS)
    assert room.scheduler.cause(crowded) is UnderrunCause.CROWDED
    room.clock.advance_us(1)
    room.scheduler.replaced(room.clock.now_us())
    assert room.scheduler.cause(late) is UnderrunCause.ENGINE


def test_what_a_cut_throws_away_is_spent_when_its_chunk_begins() -> None:
    room = Room()
    for _ in range(3):
        room.chunk(20)
    start = room.next_start()
    room.clock.sleep_until_us(start.at_us)
    render_session, frames = room.render_sessions["a"], start.plan.frames
    in_flight = render_session.start_chunk(room.clock.now_us(), start)
    room.scheduler.begun(room.clock.now_us(), in_flight)
    room.clock.advance_us(20 * MS)
    made = ArrivingChunk(
        engine_session=0, slot=0, frame_count=frames, frames_ready=frames, frames=np.zeros((frames, 4, 8, 3), np.uint8),
        with_depth=False, actions=("",) * frames,
        result=StepResult(state={}, stage_ms={}, cuts=tuple(range(1, frames))),
    )  # fmt: skip
    room.scheduler.made(room.clock.now_us(), in_flight, render_session.finish_chunk(made, room.clock.now_us()))
    room.clock.sleep_until_us(in_flight.start.display_us + 10 * MS)
    room.control("a", Event(kind="bang"))
    cut = room.next_start()
    assert cut.cut_us is not None
    assert cut.waste_us > 0
    in_flight = render_session.start_chunk(room.clock.now_us(), cut)
    render_session.cancel_chunk()  # no slot was free
    assert room.scheduler.wasted_us("a") == 0
    assert room.next_start() == cut
    room.scheduler.begun(room.clock.now_us(), render_session.start_chunk(room.clock.now_us(), cut))
    assert room.scheduler.wasted_us("a") == cut.waste_us


def test_engine_time_whose_frames_nobody_saw_is_counted() -> None:
    room = Room()
    start = room.next_start()
    in_flight = room.render_sessions["a"].start_chunk(room.clock.now_us(), start)
    room.scheduler.begun(room.clock.now_us(), in_flight)
    room.clock.advance_us(70 * MS)
    room.scheduler.made(room.clock.now_us(), in_flight, ChunkResult(useful=False, lead_us=70 * MS))
    assert room.scheduler.wasted_us("a") == 70 * MS

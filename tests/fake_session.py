"""One player on a fake clock, and what a server would do with it: no socket, no engine process."""

from __future__ import annotations

from typing import Any

import numpy as np

from bridge.clock import FakeClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, Plan
from bridge.engine.ipc_messages import ArrivingChunk, StepResult
from bridge.protocol.messages import Control, FrameHeader, PixelFormat
from bridge.scheduling.edf import ScheduledChunk
from bridge.scheduling.in_flight_chunk import InFlightChunk
from bridge.service.render_session import RenderSession
from bridge.session.events import ControlAccepted

INFO = EngineInfo(
    model="t", runner="t", frame_width=32, frame_height=24, frames_per_chunk=(3,), depth_width=8, depth_height=6,
    camera_method="channels", default_map="t",
)  # fmt: skip
PLAN = Plan(frames=3, steps=(1, 2, 3), rung="full")
MS = 1000


class Game:
    """A player, a clock, and what a server would do with them."""

    def __init__(self, info: EngineInfo = INFO) -> None:
        self.clock = FakeClock(1_000_000)
        self.render_session = RenderSession(config=ServeConfig(fps=25.0), info=info, clock=self.clock)
        self.seq = -1

    def control(self, *, x: float = 0.0, rotation: tuple[float, ...] = (0, 0, 0, 1), **more: Any) -> ControlAccepted:
        self.seq += 1
        now_us = self.clock.now_us()
        control = Control(
            seq=self.seq, t_us=now_us, position=(x, 0, 0), rotation=rotation, vertical_fov_deg=60.0, **more
        )  # type: ignore[arg-type]
        return ControlAccepted(control=control, received_us=now_us, deadline_us=now_us + 16 * MS)

    def tick(self, **control: Any) -> FrameHeader:
        accepted = self.control(**control)
        self.render_session.take_control(accepted)
        header, pixels = self.render_session.answer(accepted, PixelFormat.RGB8)
        assert len(pixels) == 32 * 24 * 3
        self.pixels = np.frombuffer(pixels, np.uint8).reshape(24, 32, 3)
        return header

    def chunk(self, *, value: int = 50, slot: int = 0, depth: bool = True) -> bool:
        """A chunk made in no time, due from now on."""
        in_flight = self.ask()
        made = ArrivingChunk(
            engine_session=0, slot=slot, frame_count=3, frames_ready=3,
            frames=np.full((3, 24, 32, 3), value, np.uint8), with_depth=depth,
            depth=np.full((3, 6, 8), 4.0, np.float32) if depth else None, actions=in_flight.window.actions,
            result=StepResult(state={}, stage_ms={"denoise": 5.0}, cuts=(1, 2)),
        )  # fmt: skip
        return self.render_session.finish_chunk(made, self.clock.now_us()).useful

    def ask(self, *, at_us: int | None = None, cut_us: int | None = None) -> InFlightChunk:
        """For a chunk whose first frame is due at `at_us`, else now."""
        now_us = self.clock.now_us()
        display_us = now_us if at_us is None else at_us
        start = ScheduledChunk(
            session="a", at_us=now_us, display_us=display_us, frame_us=40 * MS, plan=PLAN, cut_us=cut_us
        )
        return self.render_session.start_chunk(now_us, start)

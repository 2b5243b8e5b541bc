"""`helios-bridge bench inprocess`: what a control costs in this process, part by part, without a socket or a model.

The service's core is measured as it serves: "receive" decodes the bytes and takes the control in, "answer" picks a
frame and writes its header, "encode" makes the message, "schedule" decides about the next chunk and starts it when it
is due. Bending pixels is measured beside them, at the demo's size and a large model's.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bridge.backends.synthetic import render_room
from bridge.bench.simulation.loop import NoPixels
from bridge.bench.transport_servers import NoEngine
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, SessionStart
from bridge.engine.ipc_messages import ArrivingChunk, SessionOpened, Step, StepResult
from bridge.engine.supervisor import EngineEvent
from bridge.geometry import Pose, quaternion_from_rotation_vector
from bridge.machine import cpu_name
from bridge.presentation.reprojection import Warper
from bridge.protocol.codec import Buffer, encode
from bridge.protocol.messages import VERSION_MAJOR, VERSION_MINOR, Control, Hello
from bridge.service.core import ServiceCore
from bridge.service.render_session import RenderSession
from bridge.session.events import Send
from bridge.session.registry import Outgoing

_WARM_UP, _CONTROLS = 200, 3000
_FPS, _TICK_US = 24.0, 16_667
_PEER = b"bench"
PARTS = ("receive", "answer", "encode", "schedule")


def bench_inprocess(report: Path | None) -> int:
    """Prints a row a part and one for all, and what bending a frame costs. Returns: the exit status."""
    rows = {name: _percentiles(values) for name, values in measure().items()}
    sizes = ((320, 192), (640, 384))
    warps = {f"{width}x{height}": _percentiles(measure_warp(width, height)) for width, height in sizes}
    print(f"{_CONTROLS} controls after {_WARM_UP}, ms; cpu: {cpu_name()}")
    for name, row in rows.items():
        print(f"{name:16} p50 {row['p50']:7.4f}  p95 {row['p95']:7.4f}  p99 {row['p99']:7.4f}")
    for name, row in warps.items():
        print(f"{'bend ' + name:16} p50 {row['p50']:7.4f}  p95 {row['p95']:7.4f}  p99 {row['p99']:7.4f}")
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        body = {"cpu": cpu_name(), "controls": _CONTROLS, "parts_ms": rows, "bend_ms": warps}
        report.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    return 0


def measure(controls: int = _CONTROLS, warm_up: int = _WARM_UP) -> dict[str, list[float]]:
    """Milliseconds of every part of every control, and of all together under "total"."""
    service = _Service()
    taken: dict[str, list[float]] = {name: [] for name in (*PARTS, "total")}
    for tick in range(warm_up + controls):
        laps = service.answer(tick)
        if tick >= warm_up:
            for name, milliseconds in zip(PARTS, laps, strict=True):
                taken[name].append(milliseconds)
            taken["total"].append(sum(laps))
    return taken


def measure_warp(width: int, height: int, frames: int = 400) -> list[float]:
    """Milliseconds to bend a frame of this size to a camera that turns and walks, with depth."""
    clock = MonotonicClock()
    source = _pose(0)
    frame, _ = render_room(source.position, source.rotation, source.vertical_fov_deg, width, height)
    _, depth = render_room(source.position, source.rotation, source.vertical_fov_deg, width // 4, height // 4)
    warper, taken = Warper(width, height), []
    for tick in range(frames + 20):
        target = _pose(1 + tick % 12)
        began_us = clock.now_us()
        warper.warp(frame, source=source, target=target, depth=depth)
        taken.append((clock.now_us() - began_us) / 1e3)
    return taken[20:]


class _Service:
    """The service's core around one session whose frames are always there."""

    def __init__(self) -> None:
        clock = self._clock = MonotonicClock()
        config = ServeConfig(fps=_FPS, max_sessions=1, max_credit=8)
        info = EngineInfo(
            model="bench", runner="none", frame_width=16, frame_height=8, frames_per_chunk=(4, 8, 12),
            depth_width=4, depth_height=2, camera_method="none", default_map="none",
        )  # fmt: skip
        self._engine = _InstantEngine(info)
        self._core = ServiceCore(
            config, info, self._engine, clock,
            new_render_session=lambda hello: RenderSession(config=config, info=info, clock=clock, warper=NoPixels()),
        )  # fmt: skip
        hello = Hello(version_major=VERSION_MAJOR, version_minor=VERSION_MINOR, client="bench", credit=8)
        self._exhaust(self._core.receive(_PEER, encode(hello)))

    def answer(self, tick: int) -> list[float]:
        """Milliseconds of each of `PARTS` for one control."""
        clock, core = self._clock, self._core
        parts = _control_bytes(tick)
        times_us = [clock.now_us()]
        self._exhaust(core.receive(_PEER, parts))
        times_us.append(clock.now_us())
        (sent,) = core.answer_controls()
        times_us.append(clock.now_us())
        assert isinstance(sent.output, Send)
        encode(sent.output.message, sent.output.pixels)
        times_us.append(clock.now_us())
        core.start_chunks()
        times_us.append(clock.now_us())
        for event in self._engine.take_events():
            self._exhaust(core.on_engine_event(event))
        return [(after - before) / 1e3 for before, after in itertools.pairwise(times_us)]

    @staticmethod
    def _exhaust(outgoing: Iterable[Outgoing]) -> None:
        for _ in outgoing:
            pass


class _InstantEngine(NoEngine):
    """Makes each chunk at once, of black frames."""

    def __init__(self, info: EngineInfo) -> None:
        super().__init__()
        self._info = info
        self._events: list[EngineEvent] = []

    @property
    def idle(self) -> bool:
        return not self._events

    def take_events(self) -> list[EngineEvent]:
        events, self._events = self._events, []
        return events

    def open(self, start: SessionStart) -> int:
        engine_session = super().open(start)
        self._events.append(SessionOpened(engine_session=engine_session, state={}))
        return engine_session

    def step_batch(self, steps: Sequence[Step]) -> int:
        (step,) = steps
        frames = np.zeros((step.plan.frames, self._info.frame_height, self._info.frame_width, 3), np.uint8)
        self._events.append(
            ArrivingChunk(
                engine_session=step.engine_session,
                slot=0,
                frame_count=len(frames),
                frames_ready=len(frames),
                frames=frames,
                with_depth=False,
                actions=step.window.actions,
                result=StepResult(state={}, stage_ms={"denoise": 1.0, "decode": 1.0}),
            )
        )
        return 1


def _control_bytes(tick: int) -> list[Buffer]:
    """A player who walks and turns, as its client sends it; every frame before this control has been read."""
    x, y, z, w = (float(v) for v in _pose(tick).rotation)
    control = Control(
        seq=tick, t_us=tick * _TICK_US, position=(0.0, 1.6, -0.002 * tick), rotation=(x, y, z, w),
        vertical_fov_deg=60.0, action="walk through the gate", frame_received_seq=tick - 1,
    )  # fmt: skip
    return encode(control)


def _pose(tick: int) -> Pose:
    return Pose(
        position=np.array([0.0, 1.6, -0.01 * tick]),
        rotation=quaternion_from_rotation_vector(np.array([0.0, 0.004 * tick, 0.0])),
        vertical_fov_deg=60.0,
    )


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p95, p99 = (round(float(v), 4) for v in np.percentile(values, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99}

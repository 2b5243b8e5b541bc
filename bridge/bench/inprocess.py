"""`helios-bridge bench inprocess`: what a control costs in this process, part by part, without a socket or a model.

The parts are those that serve: bytes are decoded, session, timeline and player take the control, the conductor is asked
what the engine shall do, pacing decides, the header is written. Bending pixels is measured beside them, at the demo's
size and a large model's.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from bridge.backends.synthetic import render_room
from bridge.bench.simulation.loop import NoPixels
from bridge.cli.doctor import cpu_name
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo
from bridge.engine.ipc_messages import ArrivingChunk, StepResult
from bridge.geometry import Pose, quaternion_from_rotation_vector
from bridge.presentation.reprojection import Warper
from bridge.protocol.codec import Buffer, decode, encode
from bridge.protocol.messages import VERSION_MAJOR, VERSION_MINOR, Control, Hello, PixelFormat
from bridge.scheduling.chunk_scheduler import ChunkScheduler, ChunkSchedulerConfig
from bridge.scheduling.edf import ScheduledChunk
from bridge.service.render_session import RenderSession
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import ControlAccepted, Send
from bridge.session.registry import SessionRegistry

_WARM_UP, _CONTROLS = 200, 3000
_FPS, _TICK_US = 24.0, 16_667
_CHUNK_US = 80_000
_PEER = b"bench"
PARTS = ("decode", "session", "timeline", "schedule", "answer", "encode")


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
    """The server's parts around one session whose frames are always there."""

    def __init__(self) -> None:
        self._clock = MonotonicClock()
        config = ServeConfig(fps=_FPS, max_sessions=1, max_credit=8)
        info = EngineInfo(
            model="bench", runner="none", frame_width=16, frame_height=8, frames_per_chunk=(4, 8, 12),
            depth_width=4, depth_height=2, camera_method="none", default_map="none",
        )  # fmt: skip
        offer = ServerCapabilities(
            server="bench", model="bench", runner="none", camera_method="none", default_map="none",
            frame_width=info.frame_width, frame_height=info.frame_height, fps=_FPS,
            frames_per_chunk=info.frames_per_chunk,
        )  # fmt: skip
        self._registry = SessionRegistry(offer=offer, config=config)
        self._render_session = RenderSession(config=config, info=info, clock=self._clock, warper=NoPixels())
        self._render_session.opened = True
        self._scheduler = ChunkScheduler(ChunkSchedulerConfig(fps=_FPS), info, self._clock.now_us())
        hello = Hello(version_major=VERSION_MAJOR, version_minor=VERSION_MINOR, client="bench", credit=8)
        self._registry.receive(_PEER, hello, self._clock.now_us())
        (self._session,) = self._registry
        self._info = info

    def answer(self, tick: int) -> list[float]:
        """Milliseconds of each of `PARTS` for one control."""
        clock, render_session = self._clock, self._render_session
        parts = _control_bytes(tick)
        render_sessions = {self._session.session_id: render_session}
        times_us = [clock.now_us()]
        message = decode(parts).message
        times_us.append(clock.now_us())
        addressed = self._registry.receive(_PEER, message, clock.now_us())
        (accepted,) = (each.output for each in addressed if isinstance(each.output, ControlAccepted))
        times_us.append(clock.now_us())
        render_session.push(accepted)
        times_us.append(clock.now_us())
        start = self._scheduler.next_start(clock.now_us(), render_sessions)
        times_us.append(clock.now_us())
        header, pixels = render_session.answer(accepted, PixelFormat.RGB8)
        (sent,) = self._session.answer(header, pixels)
        times_us.append(clock.now_us())
        assert isinstance(sent, Send)
        encode(sent.message, sent.pixels)
        times_us.append(clock.now_us())
        if start is not None and start.at_us <= clock.now_us():
            self._make(start)
        return [(after - before) / 1e3 for before, after in itertools.pairwise(times_us)]

    def _make(self, start: ScheduledChunk) -> None:
        """The chunk that the engine would make, at no cost."""
        now_us = self._clock.now_us()
        self._render_session.store.evict(now_us)
        asked = self._render_session.ask(now_us, start)
        pixels = np.zeros((asked.plan.frames, self._info.frame_height, self._info.frame_width, 3), np.uint8)
        made = ArrivingChunk(
            engine_session=0, slot=0, frame_count=asked.plan.frames, frames_ready=asked.plan.frames, frames=pixels,
            with_depth=False, actions=asked.window.actions,
            result=StepResult(state={}, stage_ms={"denoise": 1.0, "decode": 1.0}),
        )  # fmt: skip
        self._scheduler.begun(now_us, asked)
        self._scheduler.made(now_us + _CHUNK_US, asked, self._render_session.deliver(made, now_us))


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

"""The engine process dies, hangs and comes back; the game goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge import Camera, Frame, Source
from bridge.backends.synthetic import CRASH_ACTION, FAIL_ACTION, HANG_ACTION, render_room
from bridge.clock import MonotonicClock
from bridge.engine.interface import ControlWindow, Plan, SessionStart
from bridge.engine.ipc_messages import ArrivingChunk, SessionOpened
from bridge.engine.pipe import EngineConfig
from bridge.engine.supervisor import EngineDown, EngineEvent, EngineSupervisor, EngineUp
from bridge.transport.sockets import Poller

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")

HERE = Camera(position=(0.0, 0.0, 0.0))
SEED = 31


def shows_seed(frame: Frame, seed: int) -> bool:
    header = frame.header
    truth, _ = render_room(
        np.array(header.position), np.array(header.rotation), header.vertical_fov_deg, header.width, header.height,
        phase=seed % 97 * 0.1,
    )  # fmt: skip
    return bool(np.abs(truth.astype(int) - frame.pixels).mean() < 2)


def test_sigkill_mid_chunk_leaves_the_session_alive_and_its_world_goes_on(
    start_service: Any, play: Callable[..., list[Frame]], engine_pid: Callable[[], int | None]
) -> None:
    service = start_service(engine={"cost_ms": 120.0})  # of 208 ms that a chunk plays: most moments are mid-chunk
    with service.client() as client:
        client.reset(seed=SEED)
        frames = play(client, lambda frame: frame.header.chunk >= 2 and frame.source is Source.GENERATED)
        last = frames[-1].header.chunk
        victim = engine_pid()
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        frames = play(client, lambda frame: frame.header.chunk > last + 2 and frame.source is Source.GENERATED)
        assert client.counts.unanswered == 0
        stats = client.stats()
        assert engine_pid() not in (None, victim)
    assert stats.engine_restarts == 1
    assert stats.answered == stats.controls
    assert {frame.source for frame in frames} <= {Source.GENERATED, Source.REPROJECTED}
    assert all(shows_seed(frame, SEED) for frame in frames), "the world changed"


def test_a_hung_step_is_ended_and_everyone_else_goes_on(
    start_service: Any, play: Callable[..., list[Frame]], engine_pid: Callable[[], int | None]
) -> None:
    service = start_service(engine={"misbehave": True}, patience={"step_timeout_us": 400_000})
    with service.client() as client, service.client() as other:
        play(client, lambda frame: frame.header.chunk >= 0)
        victim = engine_pid()
        play(client, lambda frame: engine_pid() not in (None, victim), action=HANG_ACTION)
        newest = client.step(HERE).header.chunk
        play(client, lambda frame: frame.header.chunk > newest)
        play(other, lambda frame: frame.header.chunk >= 0)
        assert client.counts.unanswered == 0
        assert client.stats().engine_restarts >= 1


def test_a_session_that_always_kills_the_engine_is_shut_out_alone(
    start_service: Any, play: Callable[..., list[Frame]]
) -> None:
    service = start_service(engine={"misbehave": True}, patience={"first_backoff_us": 10_000, "world_attempts": 2})
    with service.client() as victim, service.client() as killer:
        play(killer, lambda frame: frame.header.chunk >= 0)
        play(killer, lambda frame: len(killer.errors) > 0, action=CRASH_ACTION)
        assert "ended 2 times" in killer.errors[-1].text
        restarts = victim.stats().engine_restarts
        play(victim, lambda frame: frame.header.chunk >= 2)
        assert killer.step(HERE, CRASH_ACTION).source is Source.HELD
        assert victim.stats().engine_restarts <= restarts + 1
        killer.reset()
        play(killer, lambda frame: frame.source is Source.GENERATED)


def test_a_chunk_the_engine_refuses_is_told_and_tried_again(
    start_service: Any, play: Callable[..., list[Frame]]
) -> None:
    with start_service(engine={"misbehave": True}).client() as client:
        play(client, lambda frame: frame.header.chunk >= 0)
        play(client, lambda frame: len(client.errors) > 0, action=FAIL_ACTION)
        assert client.errors[-1].code.value == "engine_failed"
        newest = client.step(HERE).header.chunk
        play(client, lambda frame: frame.header.chunk > newest)
        assert client.stats().engine_restarts == 0


def wait_for(supervisor: EngineSupervisor, kind: type[EngineEvent]) -> Any:
    poller = Poller()
    poller.watch(supervisor.fileno())
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        for event in supervisor.poll():
            if isinstance(event, kind):
                return event
        poller.wait(10_000)
    raise AssertionError(f"no {kind.__name__}")


def test_a_fresh_process_goes_on_from_the_newest_state(engine_pid: Callable[[], int | None]) -> None:
    settings = {"width": 32, "height": 16, "frames_per_chunk": (2,)}
    supervisor = EngineSupervisor(EngineConfig(settings=settings, first_backoff_us=1000), MonotonicClock())
    try:
        wait_for(supervisor, EngineUp)
        world = supervisor.open(SessionStart(seed=1, prompt="", scene=None))
        wait_for(supervisor, SessionOpened)
        window = ControlWindow(
            positions=np.zeros((2, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (2, 1)),
            vertical_fov_deg=np.full(2, 60.0), actions=("", ""), scene_updates=(), cut=False, newest_control_t_us=0,
        )  # fmt: skip
        numbers = []
        for attempt in range(4):
            if attempt == 2:
                pid = engine_pid()
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                wait_for(supervisor, EngineDown)
                wait_for(supervisor, EngineUp)
            assert supervisor.step(world, window, Plan(frames=2, steps=(1,), rung="full"))
            made: ArrivingChunk = wait_for(supervisor, ArrivingChunk)
            assert made.result is not None
            assert made.frames is not None
            numbers.append(int(made.frames[0, 0, 0, 0]))  # the synthetic engine counts there
            slot = made.slot
            del made
            supervisor.release(slot)
        assert numbers == [0, 1, 2, 3]
    finally:
        supervisor.stop()


_SERVE = """
import signal
from bridge.config import ServeConfig
from bridge.engine.pipe import EngineConfig
from bridge.service.server import Server

if __name__ == "__main__":
    server = Server(ServeConfig(bind="tcp://127.0.0.1:*"), EngineConfig(factory="tests.e2e.loading_engine:create"))
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.run()
"""


def test_a_service_that_is_stopped_while_it_loads_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    (tmp_path / "serve.py").write_text(_SERVE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    serve = subprocess.Popen(
        [sys.executable, tmp_path / "serve.py"], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert serve.stderr is not None
    assert "loading for ever" in serve.stderr.read(20)
    serve.terminate()
    _, said = serve.communicate(timeout=15)
    assert serve.returncode == 0
    assert "leaked" not in said

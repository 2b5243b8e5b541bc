"""An engine without a model: a test pattern in a large room, for tests and for clients under development.

Every point of the room has its own colour, so a wrong camera, a wrong warp or a stale frame is visible. The cost of
a chunk is settable, and action texts can make the engine fail. Numpy only; cameras are honoured exactly.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.backends.labelled_room import paint_room
from bridge.clock import MonotonicClock
from bridge.engine.interface import (
    BegunStep,
    ControlWindow,
    EngineInfo,
    FrameChunk,
    FrameRun,
    Plan,
    SessionStart,
    State,
    StepRequest,
)
from bridge.errors import EngineError, EngineUnavailable, StepFailed
from bridge.geometry import Pose
from bridge.input.scene_state import SceneState
from bridge.protocol.messages import SceneUpdate, Shape

ROOM_HALF_M = np.array([20.0, 6.0, 20.0])
"""The room is a box around the origin; its walls are what the pattern is painted on."""

CRASH_ACTION = "synthetic: crash"
HANG_ACTION = "synthetic: hang"
FAIL_ACTION = "synthetic: fail"

_SCENE = "scene_msgpack"
_decode_scene = msgspec.msgpack.Decoder(SceneUpdate).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """`cost_ms` is what a chunk takes at least; it can be cut each `cut_frames`. Chunks of up to `max_batch`
    sessions are made at once, each beyond the first for `beside_share` of the cost. `misbehave` lets action texts
    crash, hang or fail the engine. room: "waves", whose every point has its own colour, or "labelled", whose walls say
    their directions.
    """

    width: int = 320
    height: int = 192
    frames_per_chunk: tuple[int, ...] = (5, 9)
    cost_ms: float = 0.0
    cut_frames: int = 4
    max_batch: int = 1
    beside_share: float = 0.3
    misbehave: bool = False
    unavailable: str = ""
    room: str = "waves"


class SyntheticEngine:
    """Paints the room. Its state counts the chunks made, so that tests see whether a world goes on."""

    def __init__(self, config: SyntheticConfig | None = None) -> None:
        """Raises: EngineUnavailable: the config says so, as a model with something missing would."""
        self._config = config or SyntheticConfig()
        if self._config.unavailable:
            raise EngineUnavailable(self._config.unavailable)
        self._clock = MonotonicClock()
        self._info = EngineInfo(
            model="synthetic",
            runner="numpy",
            frame_width=self._config.width,
            frame_height=self._config.height,
            frames_per_chunk=tuple(sorted(self._config.frames_per_chunk)),
            depth_width=self._config.width // 4,
            depth_height=self._config.height // 4,
            camera_method="channels",
            default_map="room",
            max_batch=self._config.max_batch,
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def open(self, start: SessionStart) -> State:
        if start.scene is not None:
            _check_scene(start.scene)
        blockout = SceneState(seed=start.seed, prompt=start.prompt)
        if start.scene is not None:
            blockout.apply(start.scene)
        return {"seed": np.array(start.seed, np.int64), "chunks": np.array(0, np.int64), _SCENE: _scene_array(blockout)}

    def scene_of(self, state: State) -> SceneUpdate:
        try:
            return _decode_scene(state[_SCENE].tobytes())
        except (KeyError, msgspec.DecodeError) as exc:
            raise EngineError("this state does not tell its blockout") from exc

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        return self._step(state, window, plan, cost_ms=self._config.cost_ms)

    def begin_batch(self, asked: Sequence[StepRequest]) -> list[BegunStep]:
        """As `step` for each, all of them there when this returns."""
        beside_ms = self._config.beside_share * self._config.cost_ms
        costs_ms = [self._config.cost_ms] + [beside_ms] * (len(asked) - 1)
        return [
            _Finished(*self._step(each.state, each.window, each.plan, cost_ms=cost_ms))
            for each, cost_ms in zip(asked, costs_ms, strict=True)
        ]

    def close(self) -> None:
        """Holds nothing."""

    def _step(self, state: State, window: ControlWindow, plan: Plan, *, cost_ms: float) -> tuple[FrameChunk, State]:
        begin_us = self._clock.now_us()
        if plan.frames not in self._info.frames_per_chunk or plan.frames != len(window.positions):
            raise StepFailed(
                f"plan: got {plan.frames} frames and {len(window.positions)} cameras, "
                f"expected one of {self._info.frames_per_chunk} and as many cameras"
            )
        if self._config.misbehave:
            _misbehave(window.actions)
        for update in window.scene_updates:
            _check_scene(update)
        views = [self._paint(window, index, seed=int(state["seed"])) for index in range(plan.frames)]
        for pixels, _ in views:
            # The corner pixel counts chunks, so that a test sees from outside whether the world went on.
            pixels[0, 0] = int(state["chunks"]) % 256
        painted_us = self._clock.now_us()
        self._clock.sleep_until_us(begin_us + round(cost_ms * 1000))
        end_us = self._clock.now_us()
        after: Mapping[str, NDArray[np.generic]] = {
            "seed": state["seed"],
            "chunks": np.array(int(state["chunks"]) + 1, np.int64),
            _SCENE: self._scene_after(state, window.scene_updates),
        }
        chunk = FrameChunk(
            frames=np.stack([pixels for pixels, _ in views]),
            depth=np.stack([depth for _, depth in views]),
            actions=window.actions,
            stage_ms={"paint": (painted_us - begin_us) / 1e3, "wait": (end_us - painted_us) / 1e3},
            # This world is the same wherever it is cut.
            earlier={frames: after for frames in range(self._config.cut_frames, plan.frames, self._config.cut_frames)},
        )
        return chunk, after

    def _scene_after(self, state: State, updates: Sequence[SceneUpdate]) -> NDArray[np.generic]:
        if not updates:
            return state[_SCENE]
        blockout = SceneState.of(self.scene_of(state))
        for update in updates:
            blockout.apply(update)
        return _scene_array(blockout)

    def _paint(self, window: ControlWindow, index: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """One view: pixels (H, W, 3) and depth (H/4, W/4)."""
        position, rotation = window.positions[index], window.rotations[index]
        fov_deg = float(window.vertical_fov_deg[index])
        if self._config.room == "labelled":
            pixels, _ = paint_room(position, rotation, fov_deg, self._config.width, self._config.height)
            _, depth = paint_room(position, rotation, fov_deg, self._info.depth_width, self._info.depth_height)
            return pixels, depth
        pixels, _ = render_room(
            position, rotation, fov_deg, self._config.width, self._config.height, phase=seed % 97 * 0.1
        )
        _, depth = render_room(position, rotation, fov_deg, self._info.depth_width, self._info.depth_height)
        return pixels, depth


class _Finished:
    """A chunk that is there; see `BegunStep`."""

    def __init__(self, chunk: FrameChunk, state: State) -> None:
        self._chunk, self._state = chunk, state
        self.depth, self.parts, self.actions = chunk.depth, chunk.parts, chunk.actions

    def runs(self) -> Iterator[FrameRun]:
        yield FrameRun(first=0, frames=self._chunk.frames)

    def finish(self) -> tuple[FrameChunk, State]:
        return self._chunk, self._state


def render_room(
    position: NDArray[np.float64],
    rotation: NDArray[np.float64],
    vertical_fov_deg: float,
    width: int,
    height: int,
    *,
    phase: float = 0.0,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The room as a pinhole camera sees it: pixels (H, W, 3) uint8 and view-axis depth (H, W) in metres."""
    tan = math.tan(math.radians(vertical_fov_deg) / 2.0)
    x = ((np.arange(width) + 0.5) / width * 2.0 - 1.0) * tan * width / height
    y = (1.0 - (np.arange(height) + 0.5) / height * 2.0) * tan
    turn = Pose(position=position, rotation=rotation, vertical_fov_deg=vertical_fov_deg).matrix().astype(np.float32)
    across, up, back = turn[:, 0], turn[:, 1], turn[:, 2]
    rays = x[None, :, None].astype(np.float32) * across + y[:, None, None].astype(np.float32) * up - back  # (H, W, 3)
    inside = np.clip(position, -0.98 * ROOM_HALF_M, 0.98 * ROOM_HALF_M).astype(np.float32)
    wall = np.copysign(ROOM_HALF_M.astype(np.float32), rays) - inside
    # Rays have unit length along the view axis, so the distance to the nearest wall along them is the view depth.
    depth = (wall / np.where(np.abs(rays) < 1e-6, np.copysign(np.float32(1e-6), rays), rays)).min(axis=-1)
    points = inside + rays * depth[..., None]
    # Waves of 1.5 to 4 m: fine enough that a pixel's shift shows, coarse enough not to alias at 20 m.
    waves = np.sin(points * np.array([1.6, 2.9, 2.1], np.float32) + np.float32(phase))
    mixed = waves @ np.array([[0.5, 0.2, 0.3], [0.2, 0.6, 0.2], [0.3, 0.2, 0.5]], np.float32)
    pixels = (127.5 + 120.0 * mixed).astype(np.uint8)
    return pixels, depth.astype(np.float32)


def _scene_array(blockout: SceneState) -> NDArray[np.generic]:
    return np.frombuffer(msgspec.msgpack.encode(blockout.whole()), np.uint8)


def _check_scene(update: SceneUpdate) -> None:
    if any(part.shape is Shape.MESH for part in update.add):
        raise EngineError(
            "scene: got a mesh, but this engine knows primitives only; use model 'demo' with the mesh extra"
        )


def _misbehave(actions: tuple[str, ...]) -> None:
    if CRASH_ACTION in actions:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    if HANG_ACTION in actions:
        threading.Event().wait()
    if FAIL_ACTION in actions:
        raise StepFailed("asked to fail by the action text")


def create(**settings: object) -> SyntheticEngine:
    """The factory that a worker calls by name: the settings are those of `SyntheticConfig`."""
    return SyntheticEngine(SyntheticConfig(**settings))  # type: ignore[arg-type]  # a config file's values

"""One session's controls on the server's clock: what the player did, and windows into the near future.

A chunk is made before the moments it shows, so a window reaches past the newest control: motion_prediction.py
extrapolates the camera. `InputChanges` notes whether anything happened that no chunk shows yet. No message type,
socket or clock: callers bring times. Single-threaded.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge import geometry as rotations
from bridge.engine.interface import ControlWindow
from bridge.geometry import Pose
from bridge.input.motion_prediction import MotionLimits, PredictionConfig, extrapolated
from bridge.protocol.fields import MAX_TEXT_BYTES
from bridge.protocol.messages import Control, SceneUpdate


class InputChanges:
    """Of one session. waits: an event, or another action, is in no chunk that was asked for."""

    def __init__(self) -> None:
        self.waits = False
        self._paused = False
        self._action = ""  # that the newest chunk was asked for with
        self._before = (self.waits, self._paused, self._action)

    def note(self, control: Control, *, paused: bool) -> None:
        """paused: the player was away before this control."""
        self._paused |= paused
        self.waits |= bool(control.events) or control.action != self._action

    def take(self, action: str) -> bool:
        """A chunk is asked for that is told all, and `action`. Returns: whether it comes after a pause."""
        self._before = (self.waits, self._paused, self._action)
        paused, self._action = self._paused, action
        self.waits = self._paused = False
        return paused

    def give_back(self) -> None:
        """That chunk was not begun: all waits as before."""
        self.waits, self._paused, self._action = self._before


Array = NDArray[np.float64]

_MOST_EVENTS = 64  # that wait for a chunk; more make no text that a model could follow


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedControl:
    """One camera and action, and the moment they hold for.

    time_us: when the player was there, on the server's clock. arrival_us: when the server learned of it.
    cut: the camera jumped here; nothing may be interpolated or extrapolated across.
    """

    time_us: int
    arrival_us: int
    pose: Pose
    action: str
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineConfig:
    """How far the past is kept, and what counts as a jump.

    A step both longer than `jump_m` and faster than `jump_m_per_s` counts as a teleport even when the client forgot to
    say so.
    """

    keep_us: int = 2_000_000
    jump_m: float = 5.0
    jump_m_per_s: float = 200.0


class ClientClock:
    """Maps a client's own time stamps to the server's clock, without the jitter of the way between.

    The fastest message of the last seconds took the shortest way; every other message's delay over that one is jitter,
    and would otherwise be read as a change of speed. The result lies within `max_age_us` before the arrival, so a
    client's nonsense moves nothing but its own prediction, and never runs backwards.
    """

    def __init__(self, *, window_us: int = 2_000_000, max_age_us: int = 250_000) -> None:
        self._window_us = window_us
        self._max_age_us = max_age_us
        self._offsets: deque[tuple[int, int]] = deque()  # (arrival, offset), offsets rising: a sliding minimum
        self._last_us = -(2**62)

    def server_time_us(self, *, arrival_us: int, client_us: int) -> int:
        offset = arrival_us - client_us
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((arrival_us, offset))
        while self._offsets[0][0] < arrival_us - self._window_us:
            self._offsets.popleft()
        mapped_us = min(client_us + self._offsets[0][1], arrival_us)
        self._last_us = max(mapped_us, arrival_us - self._max_age_us, self._last_us)
        return self._last_us


class ControlTimeline:
    """One session's controls. Camera and action are state (the latest wins); scene updates and events are kept."""

    def __init__(
        self,
        config: TimelineConfig | None = None,
        *,
        prediction: PredictionConfig | None = None,
        limits: MotionLimits | None = None,
    ) -> None:
        self._config = config or TimelineConfig()
        self._prediction = prediction or PredictionConfig()
        self._limits = limits or MotionLimits()
        self._controls: deque[TimedControl] = deque()
        self._scene_updates: list[SceneUpdate] = []
        self._events: list[str] = []
        self._events_taken: list[str] = []
        self._cut_pending = False
        self._epoch = 0

    @property
    def newest(self) -> TimedControl | None:
        return self._controls[-1] if self._controls else None

    @property
    def epoch(self) -> int:
        """How often the camera has jumped; frames of an older epoch show another place."""
        return self._epoch

    def push(self, control: TimedControl, events: tuple[str, ...] = ()) -> bool:
        """Adds the newest control and says whether it is a cut. One for the same moment replaces the older one."""
        self._events = [*self._events, *events][-_MOST_EVENTS:]
        newest = self.newest
        cut = control.cut or (newest is not None and self._is_jump(newest, control))
        if newest is not None and control.time_us <= newest.time_us:
            self._controls.pop()
            control = dataclasses.replace(control, time_us=newest.time_us, cut=cut or newest.cut)
        elif cut != control.cut:
            control = dataclasses.replace(control, cut=cut)
        if cut:
            # What lies before a jump says nothing about after it, and no later window starts before it.
            self._controls.clear()
            self._cut_pending = True
            self._epoch += 1
        self._controls.append(control)
        oldest_us = control.time_us - self._config.keep_us
        while self._controls[0].time_us < oldest_us:
            self._controls.popleft()
        return cut

    @property
    def scenes_waiting(self) -> int:
        return len(self._scene_updates)

    def push_scene(self, update: SceneUpdate) -> None:
        self._scene_updates.append(update)

    def drop_scenes(self) -> None:
        """Forgets the scene updates that wait: the world is begun anew from their sum."""
        self._scene_updates.clear()

    def take_window(self, *, start_us: int, frames: int, fps: float) -> ControlWindow:
        """The cameras and actions of `frames` frames from `start_us` on, and everything that waits to be applied.

        Scene updates, events and the cut are handed out once; `give_back` returns those of a chunk that was never
        made. Raises: ValueError: no control was pushed yet.
        """
        if not self._controls:
            raise ValueError("take_window: got no control yet, expected at least one push before")
        times_us = np.asarray(start_us + np.arange(frames) * (1e6 / fps), np.float64)
        positions, quaternions, fov_deg, indices = self._poses_at(times_us)
        known = list(self._controls)
        events = "; ".join(self._events)
        actions = tuple(_joined(known[index].action, events) for index in indices)
        window = ControlWindow(
            positions=positions,
            rotations=quaternions,
            vertical_fov_deg=fov_deg,
            actions=actions,
            scene_updates=tuple(self._scene_updates),
            cut=self._cut_pending,
            newest_control_t_us=known[-1].arrival_us,
        )
        self._scene_updates.clear()
        self._events_taken, self._events = self._events, []
        self._cut_pending = False
        return window

    def give_back(self, window: ControlWindow) -> None:
        """Puts what the newest window would have applied in front of what has come since."""
        self._scene_updates[:0] = window.scene_updates
        self._events = [*self._events_taken, *self._events][-_MOST_EVENTS:]
        self._events_taken = []
        self.give_back_cut(window)

    def give_back_cut(self, window: ControlWindow) -> None:
        """The next window begins with the cut that the newest one had, if it had one: no chunk has shown it."""
        self._cut_pending |= window.cut

    def _is_jump(self, before: TimedControl, after: TimedControl) -> bool:
        distance_m = float(np.linalg.norm(after.pose.position - before.pose.position))
        if distance_m <= self._config.jump_m:
            return False
        seconds = max(after.time_us - before.time_us, 1) * 1e-6
        return distance_m / seconds > self._config.jump_m_per_s

    def _poses_at(self, times_us: Array) -> tuple[Array, Array, Array, list[int]]:
        """Positions (N, 3), rotations (N, 4), fields of view (N,) and the control in force, at each moment."""
        known = list(self._controls)
        known_us = np.array([control.time_us for control in known], np.float64)
        positions = np.array([control.pose.position for control in known], np.float64)
        quaternions = np.array([control.pose.rotation for control in known], np.float64)
        fov_deg = np.array([control.pose.vertical_fov_deg for control in known], np.float64)

        before = np.clip(np.searchsorted(known_us, times_us, side="right") - 1, 0, None)
        after = np.minimum(before + 1, len(known) - 1)
        span_us = np.maximum(known_us[after] - known_us[before], 1.0)
        fraction = np.clip((times_us - known_us[before]) / span_us, 0.0, 1.0)
        fraction[after == before] = 0.0

        out_positions = positions[before] + (positions[after] - positions[before]) * fraction[:, None]
        out_quaternions = rotations.slerp(quaternions[before], quaternions[after], fraction)
        out_fov_deg = fov_deg[before] + (fov_deg[after] - fov_deg[before]) * fraction

        shift, turn = extrapolated(self._prediction, self._limits, known_us, positions, quaternions, times_us)
        out_positions += shift
        turned = rotations.multiply(rotations.quaternion_from_rotation_vector(turn), out_quaternions)
        return out_positions, rotations.normalise(turned), out_fov_deg, [int(index) for index in before]


def _joined(action: str, events: str) -> str:
    """What the model is told: at most as long as a FRAME's header can tell it back."""
    text = "; ".join(filter(None, (action, events)))
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")

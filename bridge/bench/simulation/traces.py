"""Generates traces from a seed: a player's path, the network's delays, the engine's slowness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import Pose, quaternion_from_rotation_vector

TICK_HZ = 60.0
TICK_US = round(1e6 / TICK_HZ)
_ONE_WAY_US = 300  # a socket on one machine, measured


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """What chunks cost: `longest_us` for the longest of `frames_per_chunk`; of it `fixed_share` whatever the length,
    and `decode_share` at the end, in which frames come a latent frame at a time.

    The fixed share is an assumption about the large model (history, text and launch overhead do not grow with the
    chunk); the shipped one's is 0.14, measured. overlaps: the engine is free for the next chunk when a chunk's first
    frames are there, as torch on CUDA is. Up to `max_batch` sessions' chunks can be made at once; each beyond
    the first costs `beside_share` of it. The decoder's is what FP8 (340 ms of denoising) and the full decoder
    come to on an H100, by the estimates at hand; the shipped model's is 0.55 to 0.65, measured; 0 is an engine whose
    frames all come at once.
    """

    fps: float = 24.0
    frames_per_chunk: tuple[int, ...] = (1, 5, 9, 13, 17, 21, 25, 29, 33)
    longest_us: int = 700_000
    fixed_share: float = 0.2
    decode_share: float = 0.5
    overlaps: bool = False
    max_batch: int = 1
    beside_share: float = 1.0

    def cost_us(self, frames: int, together: int = 1) -> float:
        grows = (frames + 3) / (self.frames_per_chunk[-1] + 3)  # by latent frames: the first holds one frame, not four
        alone_us = self.longest_us * (self.fixed_share + (1 - self.fixed_share) * grows)
        return alone_us * (1 + (together - 1) * self.beside_share)

    def pieces(self, frames: int) -> list[tuple[int, float]]:
        """(frames that are there, share of the cost that they took) as a chunk is decoded; all of both at the end."""
        latents = (frames + 3) // 4
        done = [(min(frames, 1 + 4 * index), (index + 1) / latents) for index in range(latents)]
        return [(made, 1 - self.decode_share * (1 - share)) for made, share in done]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One control: when the client sends it, how long it is under way, and how long its answer will be."""

    sent_us: int
    up_us: int
    down_us: int
    pose: Pose
    action: str
    teleport: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """`slowness` multiplies what a chunk costs; it is given the moment of the chunk's start in microseconds. tick_us:
    from control to control, and how long an answer is useful."""

    name: str
    about: str
    controls: tuple[Sent, ...]
    slowness: Callable[[int], float]
    tick_us: int = TICK_US

    @property
    def end_us(self) -> int:
        return self.controls[-1].sent_us


def make(name: str, *, seconds: float = 60.0, seed: int = 0, tick_hz: float = TICK_HZ) -> Trace:
    """The trace called `name`. Raises: KeyError: there is none."""
    about, delays, slowness = _RECIPES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    tick_us = round(1e6 / tick_hz)
    times_us = np.arange(round(seconds * tick_hz)) * tick_us
    up_us, down_us, kept = delays(rng, times_us)
    poses = walk(rng, len(times_us), tick_us)
    controls = tuple(
        Sent(
            sent_us=int(times_us[i]),
            up_us=int(up_us[i]),
            down_us=int(down_us[i]),
            pose=poses[i],
            action=_ACTIONS[int(times_us[i] // 7_000_000) % len(_ACTIONS)],
        )
        for i in np.flatnonzero(kept)
    )
    return Trace(name=name, about=about, controls=controls, slowness=slowness(rng, seconds), tick_us=tick_us)


def with_teleports(trace: Trace, *, every: int) -> Trace:
    """The same, with the camera jumping at every `every`-th control."""
    controls = tuple(replace(sent, teleport=number % every == 0) for number, sent in enumerate(trace.controls))
    return replace(trace, controls=controls)


def walk(rng: np.random.Generator, ticks: int, tick_us: int = TICK_US) -> list[Pose]:
    """A player's camera: walks and stops in 0.3 s and more, looks around in flicks of up to 250 degrees a second."""
    dt_s = tick_us * 1e-6
    yaw_deg = turn = wanted_turn = 0.0
    place, velocity, wanted = np.zeros(2), np.zeros(2), np.zeros(2)
    next_turn_s = next_walk_s = 0.0
    poses = []
    for tick in range(ticks):
        now_s = tick * dt_s
        if now_s >= next_turn_s:
            next_turn_s = now_s + 0.15 + rng.exponential(0.7)
            wanted_turn = float(np.clip(rng.normal() * 110, -250, 250)) if rng.random() < 0.4 else 0.0
        if now_s >= next_walk_s:
            next_walk_s = now_s + 0.3 + rng.exponential(1.2)
            heading = rng.uniform(0, 2 * np.pi)
            speed = 2.2 if rng.random() < 0.7 else 0.0
            wanted = speed * np.array([np.cos(heading), np.sin(heading)])
        turn += (wanted_turn - turn) * dt_s / 0.06  # people take about this long to speed up a turn, twice to walk
        velocity += (wanted - velocity) * dt_s / 0.12
        yaw_deg += turn * dt_s
        place = place + velocity * dt_s
        yaw = quaternion_from_rotation_vector(np.array([0.0, np.radians(yaw_deg), 0.0]))
        poses.append(Pose(position=np.array([place[0], 1.6, place[1]]), rotation=yaw, vertical_fov_deg=60.0))
    return poses


Array = NDArray[np.float64]
_Delays = Callable[[np.random.Generator, NDArray[np.int64]], tuple[Array, Array, NDArray[np.bool_]]]
_Slowness = Callable[[np.random.Generator, float], Callable[[int], float]]


def _steady_way(rng: np.random.Generator, times_us: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.bool_]]:
    count = len(times_us)
    return np.full(count, float(_ONE_WAY_US)), np.full(count, float(_ONE_WAY_US)), np.ones(count, np.bool_)


def _jittery_way(rng: np.random.Generator, times_us: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Wireless: a few milliseconds with a tail; order is kept, as TCP does."""
    up_us = _ONE_WAY_US + rng.exponential(5_000, len(times_us))
    down_us = _ONE_WAY_US + rng.exponential(5_000, len(times_us))
    return _in_order(times_us, up_us), down_us, np.ones(len(times_us), np.bool_)


def _bursty_way(rng: np.random.Generator, times_us: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Every two seconds or so nothing gets through for 60 to 180 ms, then all at once."""
    up_us = np.full(len(times_us), float(_ONE_WAY_US))
    at_us = 0.0
    while (at_us := at_us + rng.exponential(2_000_000)) < times_us[-1]:
        until_us = at_us + rng.uniform(60_000, 180_000)
        held = (times_us >= at_us) & (times_us < until_us)
        up_us[held] = until_us - times_us[held] + _ONE_WAY_US
    return _in_order(times_us, up_us), np.full(len(times_us), float(_ONE_WAY_US)), np.ones(len(times_us), np.bool_)


def _stalled_way(rng: np.random.Generator, times_us: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The game itself stops once, for two seconds (a loading screen)."""
    up_us, down_us, kept = _steady_way(rng, times_us)
    middle_us = times_us[-1] // 2
    kept[(times_us > middle_us) & (times_us < middle_us + 2_000_000)] = False
    return up_us, down_us, kept


def _in_order(times_us: NDArray[np.int64], up_us: Array) -> Array:
    return np.maximum.accumulate(times_us + up_us) - times_us


def _constant(factor: float) -> _Slowness:
    return lambda rng, seconds: lambda at_us: factor


def _jittery_engine(rng: np.random.Generator, seconds: float) -> Callable[[int], float]:
    draws = np.exp(rng.normal(0.0, 0.18, 4096))
    return lambda at_us: float(draws[at_us // 7_919 % 4096])


def _bursty_engine(rng: np.random.Generator, seconds: float) -> Callable[[int], float]:
    """For 0.4 s in every four the machine has something else to do and is 1.8 times as slow."""
    phase_us = int(rng.integers(4_000_000))
    return lambda at_us: 1.8 if (at_us + phase_us) % 4_000_000 < 400_000 else 1.0


def _stalling_engine(rng: np.random.Generator, seconds: float) -> Callable[[int], float]:
    """Every 15 s the first chunk begun takes about two seconds longer: a process replaced, memory reclaimed."""
    return lambda at_us: 5.0 if at_us % 15_000_000 > 14_600_000 else 1.0


_ACTIONS = ("make it day", "make it night", "let it rain", "clear sky")
_RECIPES: Mapping[str, tuple[str, _Delays, _Slowness]] = {
    "steady": ("everything takes as long as always", _steady_way, _constant(1.0)),
    "jittery": ("delays of 5 ms with a tail both ways, costs spread by 18 %", _jittery_way, _jittery_engine),
    "bursty": ("up to 180 ms of controls arrive at once; the engine is slow at times", _bursty_way, _bursty_engine),
    "stalled": ("the engine hangs for seconds, the game stops once", _stalled_way, _stalling_engine),
    "twice-too-slow": ("a chunk takes twice as long as it plays", _steady_way, _constant(2 * 1.375 / 0.7)),
    "ten-times-too-slow": ("a chunk takes ten times as long as it plays", _steady_way, _constant(10 * 1.375 / 0.7)),
}  # fmt: skip
NAMES = tuple(_RECIPES)

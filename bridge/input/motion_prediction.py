"""Extrapolates a camera: constant velocity and turn rate, damped, and clamped by the limits that the client declares.

Formulas over arrays. `PredictionErrors` measures at display time how wrong they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge import geometry as rotations
from bridge.protocol.messages import Stats
from bridge.rolling_stats import RollingWindow

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLimits:
    """The fastest that a player's camera moves and turns; a client may declare its own."""

    speed_m_per_s: float = 60.0
    turn_rate_deg_per_s: float = 540.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionConfig:
    """How boldly the future is guessed.

    Velocity and turn rate are fitted over `fit_us` and die away with their damping times: people stop and turn back
    sooner than a straight line does. Both times are the best of 0.2 to 8 s on the demo's tour and on random walks with
    stops and flicks, at horizons of 0.1 to 0.7 s. Nothing is extrapolated further than `longest_ahead_us`.
    """

    fit_us: int = 80_000
    longest_gap_us: int = 500_000
    damping_us: int = 2_500_000
    turn_damping_us: int = 1_500_000
    longest_ahead_us: int = 1_000_000
    max_turn_deg: float = 90.0


def extrapolated(
    config: PredictionConfig,
    limits: MotionLimits,
    known_us: Array,
    positions: Array,
    quaternions: Array,
    times_us: Array,
) -> tuple[Array, Array]:
    """How far a player will have moved and turned since the newest known moment, at `times_us`.

    known_us: (K,) ascending, positions (K, 3), quaternions (K, 4). times_us: (N,). Returns: shifts (N, 3) in metres and
    rotation vectors (N, 3) in radians, world axes; zeros for moments that are not in the future.
    """
    ahead_s = np.clip(times_us - known_us[-1], 0.0, config.longest_ahead_us) * 1e-6
    velocity, turn_rate = _fit(config, limits, known_us, positions, quaternions)
    damping_s, turn_damping_s = config.damping_us * 1e-6, config.turn_damping_us * 1e-6
    shift = velocity * (damping_s * -np.expm1(-ahead_s / damping_s))[:, None]
    turn = turn_rate * (turn_damping_s * -np.expm1(-ahead_s / turn_damping_s))[:, None]
    return shift, _clamp_length(turn, np.radians(config.max_turn_deg))


def _fit(
    config: PredictionConfig, limits: MotionLimits, known_us: Array, positions: Array, quaternions: Array
) -> tuple[Array, Array]:
    """Velocity in m/s (3,) and turn rate in rad/s (3,) in world axes at the newest control.

    A least-squares line through the newest control: it lies on the path exactly, so the prediction starts where
    the player is, and the older ones only vote on the slope.
    """
    still = np.zeros(3)
    recent = known_us >= known_us[-1] - config.fit_us
    if np.count_nonzero(recent) < 2:
        # A client slower than fit_us: its two newest controls are all there is.
        if len(known_us) < 2 or known_us[-1] - known_us[-2] > config.longest_gap_us:
            return still, still
        recent[-2:] = True
    ago_s = (known_us[recent] - known_us[-1]) * 1e-6
    weight = float(ago_s @ ago_s)
    moved = positions[recent] - positions[-1]
    turned = rotations.rotation_vector_from_quaternion(
        rotations.multiply(quaternions[recent], rotations.conjugate(quaternions[-1]))
    )
    velocity = ago_s @ moved / weight
    turn_rate = ago_s @ turned / weight
    return (
        _clamp_length(velocity, limits.speed_m_per_s),
        _clamp_length(turn_rate, np.radians(limits.turn_rate_deg_per_s)),
    )


def _clamp_length(vectors: Array, longest: float) -> Array:
    """Shortens vectors (..., 3) to `longest`, keeping their direction."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors * np.minimum(1.0, longest / np.maximum(length, 1e-12)))


class PredictionErrors:
    """How far predicted cameras were from the player's at the moment they were shown."""

    def __init__(self) -> None:
        self.angle_deg = RollingWindow()
        self.distance_m = RollingWindow()
        self.newest = (0.0, 0.0)

    def add(self, now_us: int, *, angle_deg: float, distance_m: float) -> None:
        self.newest = (angle_deg, distance_m)
        self.angle_deg.add(now_us, angle_deg)
        self.distance_m.add(now_us, distance_m)

    def fill(self, stats: Stats, now_us: int) -> Stats:
        """`stats` with these errors' percentiles; zeros where none was measured."""
        angle_deg = self.angle_deg.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        distance_m = self.distance_m.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        return msgspec.structs.replace(
            stats,
            prediction_deg_p50=angle_deg[0],
            prediction_deg_p95=angle_deg[1],
            prediction_m_p50=distance_m[0],
            prediction_m_p95=distance_m[1],
        )

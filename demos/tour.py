"""The scripted tour, a pure function of time: walking, turning on the spot, strafing past pillars, and action texts.

Keyframes are joined by monotone cubics (Fritsch and Carlson 1980): between two keyframes nothing overshoots, so what
stands still in two of them stands still, and the path keeps to the boxes that its keyframes span. The path closes, so
that a tour may be of any length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demos.world import EYE_HEIGHT_M, Viewpoint, World

# seconds, x, z (metres), yaw (degrees left of -Z), pitch (degrees up)
_KEYFRAMES = np.array([
    [0.0, 0.0, 5.5, 0, 0],  # the spawn: tower ahead, fountain to the right, trees to the left
    [0.8, 0.0, 5.5, 0, 0],
    [3.6, -1.7, 0.6, -4, 1],  # past the ball in the middle
    [5.6, -1.5, -4.0, -14, 5],  # towards the tower
    [6.1, -1.5, -4.1, -16, 6],
    [8.8, -1.5, -4.1, -164, 0],  # a turn on the spot, over the house and the fountain
    [9.2, -1.5, -4.0, -167, 0],
    [13.4, -2.0, 5.6, -180, 0],  # back towards the arcade
    [14.0, -2.0, 6.2, -180, 1],
    [17.4, 5.8, 6.2, -180, 1],  # strafing past its pillars
    [18.0, 6.0, 6.5, -182, 0],
    [20.0, 6.0, 10.0, -258, 0],  # between two of them
    [20.6, 5.6, 10.2, -270, 0],
    [24.4, -2.6, 10.2, -270, 0],  # along the arcade
    [25.0, -3.0, 10.2, -275, 0],
    [27.0, -3.0, 10.2, -360, 2],  # a turn: the garden through the pillars
    [27.4, -3.0, 10.0, -360, 2],
    [29.6, -3.4, 5.4, -352, 0],
    [32.2, -4.8, 0.4, -325, 0],  # the trees to the left
    [34.6, -5.0, -5.4, -330, 3],
    [36.6, -3.4, -6.4, -400, 4],
    [40.2, 4.2, -5.0, -440, 0],  # past the tower's steps
    [40.8, 4.5, -4.6, -450, 0],
    [44.4, 4.5, 3.6, -450, 1],  # strafing past the fountain
    [45.0, 4.4, 4.4, -450, 1],
    [47.4, 1.6, 5.8, -368, 0],
    [48.8, 0.0, 5.5, -360, 0],  # home again
])  # fmt: skip
LOOP_S = float(_KEYFRAMES[-1, 0])

_TEXTS = (
    (0.0, "make it day"),
    (1.5, "open the door"),
    (3.0, "let it be dusk"),
    (6.0, "turn on the lamps"),
    (8.0, "start the fountain"),
    (9.5, "make it night"),
    (14.0, "let it rain"),
    (18.0, "stop the rain and make it day"),
    (22.0, "let it snow"),
    (27.0, "clear sky"),
    (30.5, "bring thick fog"),
    (35.0, "clear sky"),
    (38.0, "make it night"),
    (40.0, "stop the fountain"),
    (41.5, "start the fountain"),
    (42.5, "make it day"),
    (45.0, "turn off the lamps"),
    (46.5, "stop the fountain and close the door"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TourPoint:
    """One instant of the tour. `action` is the newest text given, as a control carries it."""

    view: Viewpoint
    action: str


def _slopes(times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Monotone slopes at the keyframes of a closed path: (N,) and (N, D) give (N, D)."""
    gap = np.diff(times)[:, None]
    rate = np.diff(values, axis=0) / gap
    before, after = np.concatenate([rate[-1:], rate]), np.concatenate([rate, rate[:1]])
    gap_before, gap_after = np.concatenate([gap[-1:], gap]), np.concatenate([gap, gap[:1]])
    weight_before, weight_after = gap_before + 2 * gap_after, 2 * gap_before + gap_after
    same_way = before * after > 0
    safe_before, safe_after = np.where(same_way, before, 1.0), np.where(same_way, after, 1.0)
    mean = (weight_before + weight_after) / (weight_after / safe_before + weight_before / safe_after)
    return np.where(same_way, mean, 0.0)


_TIMES, _VALUES = _KEYFRAMES[:, 0], _KEYFRAMES[:, 1:]
_SLOPES = _slopes(_TIMES, _VALUES)
_TURN_A_LOOP_DEG = float(_VALUES[-1, 2] - _VALUES[0, 2])


def tour(time_s: float) -> TourPoint:
    """Where the tour is at `time_s` >= 0."""
    loops, at_s = divmod(time_s, LOOP_S)
    left = min(int(np.searchsorted(_TIMES, at_s, side="right")) - 1, len(_TIMES) - 2)
    gap_s = _TIMES[left + 1] - _TIMES[left]
    u = (at_s - _TIMES[left]) / gap_s
    x, z, yaw_deg, pitch_deg = (
        (1 + 2 * u) * (1 - u) ** 2 * _VALUES[left]
        + u * (1 - u) ** 2 * gap_s * _SLOPES[left]
        + u * u * (3 - 2 * u) * _VALUES[left + 1]
        + u * u * (u - 1) * gap_s * _SLOPES[left + 1]
    ).tolist()
    view = Viewpoint(
        position=(x, EYE_HEIGHT_M, z),
        yaw_rad=math.radians(yaw_deg + loops * _TURN_A_LOOP_DEG),
        pitch_rad=math.radians(pitch_deg),
    )
    return TourPoint(view=view, action=[text for from_s, text in _TEXTS if from_s <= at_s][-1])


def follow(world: World, time_s: float, dt_s: float) -> None:
    """Moves the player to where the tour is, and says its texts."""
    point = tour(time_s)
    world.place(point.view, dt_s)
    if point.action != world.action:
        world.say(point.action)

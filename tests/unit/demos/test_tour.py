"""The scripted tour: free of collisions, smooth, and made of what it says it is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from demos.action_parser import understand
from demos.tour import LOOP_S, tour
from demos.world import BODY_RADIUS_M, EYE_HEIGHT_M, World

STEP_S = 1 / 30


@pytest.fixture(scope="module")
def path() -> NDArray[np.float64]:
    """(N, 4) x, z, yaw and pitch in degrees, along one loop and a bit."""
    views = [tour(time_s).view for time_s in np.arange(0, LOOP_S + 2, STEP_S)]
    return np.array([[v.position[0], v.position[2], math.degrees(v.yaw_rad), math.degrees(v.pitch_rad)] for v in views])


def _speeds(path: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Metres a second ahead, metres a second to the right, degrees a second to the left."""
    velocity = np.diff(path[:, :2], axis=0) / STEP_S
    yaw = np.radians(path[:-1, 2])
    ahead = -velocity[:, 0] * np.sin(yaw) - velocity[:, 1] * np.cos(yaw)
    right = velocity[:, 0] * np.cos(yaw) - velocity[:, 1] * np.sin(yaw)
    return ahead, right, np.diff(path[:, 2]) / STEP_S


def test_is_free_of_collisions(path: NDArray[np.float64]) -> None:
    ground = World.load().ground
    assert min(ground.clearance_m(x, z) for x, z in path[::3, :2]) > BODY_RADIUS_M + 0.1


def test_is_smooth(path: NDArray[np.float64]) -> None:
    ahead, right, turn = _speeds(path)
    assert np.hypot(ahead, right).max() < 3.5
    assert np.abs(turn).max() < 100
    assert np.abs(np.diff(path[:, :2], n=2, axis=0)).max() / STEP_S**2 < 8
    assert np.abs(np.diff(path[:, 2], n=2)).max() / STEP_S**2 < 250


def test_walks_turns_on_the_spot_and_strafes_within_its_first_twenty_seconds(path: NDArray[np.float64]) -> None:
    ahead, right, turn = (speed[: round(20 / STEP_S)] for speed in _speeds(path))
    assert (STEP_S * (ahead > 1.0)).sum() > 4
    assert (STEP_S * ((np.abs(turn) > 30) & (np.hypot(ahead, right) < 0.1))).sum() > 1.5
    assert (STEP_S * ((np.abs(right) > 1.0) & (np.abs(ahead) < 0.3))).sum() > 2


def test_closes_and_goes_on(path: NDArray[np.float64]) -> None:
    first, again = tour(1.3).view, tour(1.3 + 3 * LOOP_S).view
    assert again.position == pytest.approx(first.position)
    assert np.allclose(np.abs(np.dot(first.rotation, again.rotation)), 1.0)
    before, after = tour(LOOP_S - 1e-6).view, tour(LOOP_S + 1e-6).view
    assert after.yaw_rad == pytest.approx(before.yaw_rad, abs=1e-4)
    assert first.position[1] == EYE_HEIGHT_M


def test_says_something_new_every_few_seconds() -> None:
    times = np.arange(0, LOOP_S, 0.1)
    texts = [tour(float(time_s)).action for time_s in times]
    changes = [float(times[i]) for i in range(1, len(texts)) if texts[i] != texts[i - 1]]
    assert np.diff([0.0, *changes, LOOP_S]).max() <= 6
    assert all(understand(text) for text in set(texts))

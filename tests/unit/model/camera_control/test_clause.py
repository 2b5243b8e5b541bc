"""Motion in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.camera_control.clause import motion_clause, with_clause
from model.scene.camera import quaternion_from_yaw_pitch


def clause(move: tuple[float, float, float], yaw: float = 0.0, pitch: float = 0.0, heading: float = 0.0) -> str:
    """After one second of `move` metres and turns in degrees; heading: where the camera looked before, degrees."""
    before = quaternion_from_yaw_pitch(math.radians(heading), 0.0)
    after = quaternion_from_yaw_pitch(math.radians(heading + yaw), math.radians(pitch))
    return motion_clause(np.array([(0.0, 0.0, 0.0), move]), np.array([before, after]), 1.0)


@pytest.mark.parametrize(
    ("move", "yaw", "pitch", "said"),
    [
        ((0, 0, 0), 0, 0, "The camera stands still."),
        ((0, 0, -2), 0, 0, "The camera moves forward."),
        ((0, 0, 0.5), 0, 0, "The camera moves backward slowly."),
        ((5, 0, 0), 0, 0, "The camera moves right fast."),
        ((0, 1.5, 0), 0, -30, "The camera rises and tilts down."),
        ((0, 0, -2), 45, 0, "The camera moves forward and pans left."),
        ((-2, 0, -2), -45, 0, "The camera moves forward, moves left and pans right."),
    ],
)
def test_says_what_the_camera_does(move: tuple[float, float, float], yaw: float, pitch: float, said: str) -> None:
    assert clause(move, yaw, pitch) == said


def test_directions_are_the_cameras_own() -> None:
    assert clause((-2, 0, 0), heading=90) == "The camera moves forward."


def test_is_added_after_the_text() -> None:
    assert with_clause("", "The camera rises.") == "The camera rises."
    assert with_clause("a garden ", "The camera rises.") == "a garden. The camera rises."
    assert with_clause("Rain!", "The camera rises.") == "Rain! The camera rises."

"""The camera search, on pictures whose true camera is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.demo.evaluation.pose_search import find_pose_error
from model.demo.world.conditions import Conditions
from model.demo.world.renderer import render
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.maps import load_map

GARDEN = load_map().blockout.pack()
HERE = np.array([0.0, 1.6, 5.5])


def seen(position=(0.0, 0.0, 0.0), yaw_deg=0.0, pitch_deg=0.0):
    camera = Camera(position=HERE + position, rotation=quaternion_from_yaw_pitch(*np.radians([yaw_deg, pitch_deg])),
                    vertical_fov_deg=65, height=96, width=160)  # fmt: skip
    out = render(np, GARDEN, camera, Conditions().vector(), 0.0)
    return np.round(out.colour * 255).astype(np.uint8), out.depth, camera


REFERENCE, DEPTH, CAMERA = seen()


def test_the_wanted_camera_is_found_where_it_is():
    found = find_pose_error(REFERENCE, REFERENCE, DEPTH, CAMERA)
    assert (found.rotation_deg, found.position_m) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert found.is_told


@pytest.mark.parametrize(
    ("move_m", "yaw_deg", "pitch_deg"),
    [((0.05, 0, 0), 0.0, 0.0), ((0, 0, -0.15), 0.0, 0.0), ((0, 0, 0), 0.3, 0.0), ((0.08, -0.03, 0.1), -1.0, 0.5)],
)
def test_an_offset_is_found(move_m, yaw_deg, pitch_deg):
    shown, _, _ = seen(move_m, yaw_deg, pitch_deg)
    found = find_pose_error(shown, REFERENCE, DEPTH, CAMERA)
    assert found.rotation_deg == pytest.approx(np.hypot(yaw_deg, pitch_deg), abs=0.06)
    assert found.position_m == pytest.approx(np.linalg.norm(move_m), abs=0.02)


def test_soft_noisy_and_darker_pictures_are_found_too():
    shown, _, _ = seen((0.1, 0.0, 0.0), 0.5)
    blurred = cv2.GaussianBlur(shown, (0, 0), 1.5) * 0.9
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 4, shown.shape), 0, 255).astype(np.uint8)
    found = find_pose_error(noisy, REFERENCE, DEPTH, CAMERA)
    assert found.rotation_deg == pytest.approx(0.5, abs=0.2)  # a quarter of a pixel of this small picture
    assert found.position_m == pytest.approx(0.1, abs=0.04)


def test_a_picture_of_nothing_tells_nothing():
    grey = np.full_like(REFERENCE, 128)
    assert not find_pose_error(grey, grey, DEPTH, CAMERA).is_told

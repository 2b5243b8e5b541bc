"""What the network is told: channels, flow and depth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from model.blockout import MATERIALS, Blockout, Part, Shape
from model.camera import Camera, quaternion_from_yaw_pitch
from model.conditioning import RAY_CHANNELS, RAY_STEP_PX, REFERENCE_FRAME, condition, lamp_glow, lookup, ray_features
from model.raycast import cast

WALL = Part(id=1, shape=Shape.BOX, position=(0, 0, -10.5), size=(60, 60, 1), material="tiles", colour=(0.5, 0.6, 0.7))
LAMP = Part(id=2, shape=Shape.SPHERE, position=(0, 0, -9), size=(0.5, 0.5, 0.5), material="lamp")


def camera(yaw_rad: float = 0.0, x: float = 0.0) -> Camera:
    return Camera(position=np.array([x, 0.0, 0.0]), rotation=quaternion_from_yaw_pitch(yaw_rad, 0.0),
                  vertical_fov_deg=60, height=64, width=96)  # fmt: skip


def test_shapes_and_finiteness_with_sky():
    seen = condition(Blockout().add([LAMP]).pack(), [camera()] * 8)
    assert seen.rays.shape == (1, RAY_CHANNELS, 2, 32, 48)
    assert seen.flow.shape == (1, 4, 2, 8, 12)
    assert seen.depth.shape == (8, 16, 24)
    assert np.isfinite(seen.rays).all()
    assert np.isinf(seen.depth).any()


def test_still_camera_has_no_flow():
    assert np.abs(condition(Blockout().add([WALL]).pack(), [camera()] * 4).flow).max() < 1e-3


def test_flow_of_a_turn_is_the_angle_in_latent_pixels():
    # turning left moves the picture right: focal length 55.4 px, 0.01 rad a frame, two frames before the reference
    cameras = [camera(yaw_rad=0.01 * i) for i in range(4)]
    flow = condition(Blockout().add([WALL]).pack(), cameras).flow[0, :, 0, 4, 6]
    px = 32 / math.tan(math.radians(30)) / 8
    assert flow[0] == pytest.approx(-0.02 * px, rel=0.05)
    assert flow[2] == pytest.approx(0.01 * px, rel=0.05)
    assert abs(flow[1]) < 0.01


def test_flow_of_a_step_aside_is_focal_over_depth():
    cameras = [camera(x=0.1 * i) for i in range(4)]
    flow = condition(Blockout().add([WALL]).pack(), cameras).flow[0, :, 0, 4, 6]
    px = 32 / math.tan(math.radians(30)) / 8
    assert flow[0] == pytest.approx(0.2 / 10 * px, rel=0.05)


def test_each_frame_has_its_own_depth():
    cameras = [replace(camera(), position=np.array([0.0, 0.0, -0.5 * i])) for i in range(4)]
    depth = condition(Blockout().add([WALL]).pack(), cameras).depth
    np.testing.assert_allclose(depth[:, 8, 12], [10.0, 9.5, 9.0, 8.5], rtol=1e-4)


def test_channels_name_material_and_place():
    hits = cast(np, Blockout().add([WALL]).pack(), camera(), step_px=2)
    features = ray_features(np, Blockout().add([WALL]).pack(), hits)
    material = features[9 : 9 + len(MATERIALS), 16, 24]
    assert material.argmax() == MATERIALS.index("tiles")
    assert material.sum() == 1
    np.testing.assert_allclose(features[3:6, 16, 24], (0, 0, 1), atol=1e-5)
    np.testing.assert_allclose(features[6:9, 16, 24], WALL.colour, atol=1e-5)
    # the sines of the last octave really have a period of 0.3 m
    u = hits.uv[16, 24, 0]
    last_sine = features[9 + len(MATERIALS) + 6, 16, 24]
    assert last_sine == pytest.approx(math.sin(2 * math.pi * u / 0.3), abs=1e-3)


def test_glow_falls_with_distance():
    parts = Blockout().add([WALL, LAMP]).pack()
    hits = cast(np, parts, camera(), step_px=2)
    glow = lamp_glow(np, parts, hits)
    assert glow[16, 23] > glow[16, 40] > glow[1, 1] > 0


def carried(field: np.ndarray, lookup: np.ndarray) -> np.ndarray:
    """Each ray's nearest value of a reference frame's grid."""
    rows, cols = field.shape
    column = np.clip((lookup[..., 0] + 1) / 2 * cols, 0, cols - 1).astype(int)
    row = np.clip((lookup[..., 1] + 1) / 2 * rows, 0, rows - 1).astype(int)
    return field[row, column]


def test_lookup_finds_each_frame_s_surfaces():
    """A post before a wall, passed at arm's length: parallax moves it much and the wall little."""
    post = Part(id=3, shape=Shape.CYLINDER, position=(0, 0, -3), size=(0.6, 9, 0.6), material="stone")
    parts = Blockout().add([WALL, post]).pack()
    cameras = [camera(x=0.08 * i, yaw_rad=0.02 * i) for i in range(4)]
    reference = cast(np, parts, cameras[REFERENCE_FRAME], step_px=RAY_STEP_PX)
    found = lookup(reference, cameras)
    for index, one in enumerate(cameras):
        truth = cast(np, parts, one, step_px=RAY_STEP_PX)
        agreed = carried(reference.part, found[index]) == truth.part
        assert agreed.mean() > (0.999 if index == REFERENCE_FRAME else 0.9)  # what a post uncovers was not seen
        offset = carried(reference.position[..., 0], found[index]) - truth.position[..., 0]
        assert np.median(np.abs(offset[agreed])) < 0.18  # half of what lies between two rays on the wall


def test_lookup_of_a_turn_finds_the_sky():
    found = lookup(cast(np, Blockout().pack(), camera(), step_px=RAY_STEP_PX), [camera(yaw_rad=0.05)] + [camera()] * 3)
    shift_px = (found[1, 16, 24, 0] - found[0, 16, 24, 0]) / 2 * 96
    assert shift_px == pytest.approx(0.05 * 32 / math.tan(math.radians(30)), rel=0.1)

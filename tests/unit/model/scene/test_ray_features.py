"""What the network is told: channels, flow and depth."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from model.scene.blockout import MATERIALS, Blockout, PackedParts, Part, Shape
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.ray_features import (
    RAY_CHANNELS,
    REFERENCE_FRAME,
    coarse_surfaces,
    condition,
    lamp_glow,
    ray_features,
)
from model.scene.raycast import RayHits, cast

WALL = Part(id=1, shape=Shape.BOX, position=(0, 0, -10.5), size=(60, 60, 1), material="tiles", colour=(0.5, 0.6, 0.7))
LAMP = Part(id=2, shape=Shape.SPHERE, position=(0, 0, -9), size=(0.5, 0.5, 0.5), material="lamp")


def camera(yaw_rad: float = 0.0, x: float = 0.0) -> Camera:
    return Camera(position=np.array([x, 0.0, 0.0]), rotation=quaternion_from_yaw_pitch(yaw_rad, 0.0),
                  vertical_fov_deg=60, height=64, width=96)  # fmt: skip


def test_shapes_and_finiteness_with_sky():
    seen = condition(Blockout().add([LAMP]).pack(), [camera()] * 8)
    assert seen.frame_rays().shape == (1, 4, 2, RAY_CHANNELS, 32, 48)
    assert seen.rays.shape == (1, RAY_CHANNELS, 2, 32, 48)
    assert seen.flow.shape == (1, 4, 2, 8, 12)
    assert seen.surfaces.get().depth.shape == (8, 16, 24)
    assert np.isfinite(seen.frame_rays()).all()
    assert np.isinf(seen.surfaces.get().depth).any()


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
    depth = condition(Blockout().add([WALL]).pack(), cameras).surfaces.get().depth
    np.testing.assert_allclose(depth[:, 8, 12], [10.0, 9.5, 9.0, 8.5], rtol=1e-4)


def test_every_frame_has_rays_of_its_own_and_the_denoiser_those_of_one():
    """A post before a wall, passed at arm's length: no frame's grid shows it where another's does."""
    post = Part(id=3, shape=Shape.CYLINDER, position=(0, 0, -3), size=(0.6, 9, 0.6), material="stone")
    parts = Blockout().add([WALL, post]).pack()
    cameras = [camera(x=0.15 * i) for i in range(8)]
    seen = condition(parts, cameras)
    stone = 9 + MATERIALS.index("stone")
    for index, one in enumerate(cameras):
        hits = cast(np, parts, one, step_px=2)
        own = seen.frame_rays()[0, index % 4, index // 4]
        np.testing.assert_array_equal(own, ray_features(np, parts, hits, one.focal_px))
        assert own[stone].sum() > 0
        depth, part = coarse_surfaces(hits)
        np.testing.assert_array_equal(seen.surfaces.get().depth[index], depth)
        np.testing.assert_array_equal(seen.surfaces.get().part[index], part)
    assert (seen.frame_rays()[0, 0, 0, stone] != seen.frame_rays()[0, 1, 0, stone]).any()
    np.testing.assert_array_equal(seen.rays[0, :, 1], seen.frame_rays()[0, REFERENCE_FRAME, 1])


def test_coarse_depth_is_that_of_a_cell_s_middle():
    """On a floor, where depth runs fast to the horizon: as if a ray had been cast there."""
    floor = Part(id=4, shape=Shape.PLANE, position=(0, -1.6, 0), size=(400, 1, 400), material="grass")
    parts = Blockout().add([floor, LAMP]).pack()
    depth, part = coarse_surfaces(cast(np, parts, camera(), step_px=2))
    truth = cast(np, parts, camera(), step_px=4)
    assert depth.shape == truth.depth.shape
    same = (part == truth.part) & (part >= 0)
    assert same.mean() > 0.3
    inside = same & np.isin(part, [0, 1])
    error = np.abs(depth[inside] / truth.depth[inside] - 1)
    assert np.quantile(error, 0.9) < 2e-3
    assert (np.isinf(depth) == (part < 0)).all()


def told_of(at: Camera) -> tuple[np.ndarray, np.ndarray]:
    """What rays met, and what the network is told of it."""
    parts = Blockout().add([WALL]).pack()
    hits = cast(np, parts, at, step_px=2)
    return hits.uv, ray_features(np, parts, hits, at.focal_px)


def test_channels_name_material_and_place():
    _, features = told_of(camera())
    material = features[9 : 9 + len(MATERIALS), 16, 24]
    assert material.argmax() == MATERIALS.index("tiles")
    assert material.sum() == 1
    np.testing.assert_allclose(features[3:6, 16, 24], (0, 0, 1), atol=1e-5)
    np.testing.assert_allclose(features[6:9, 16, 24], WALL.colour, atol=1e-5)


def test_sines_double_their_frequency_and_fade_with_the_footprint_of_a_pixel():
    near = replace(camera(), position=np.array([0.0, 0.0, -9.0]))  # a metre before the wall: 1.8 cm a pixel
    uv, features = told_of(near)
    sines = features[9 + len(MATERIALS) :: 2][:4, 16, 24]
    for octave, sine in enumerate(sines):
        turns = 2**octave / 2.4
        fade = math.exp(-0.5 * (2 * math.pi * turns / near.focal_px) ** 2)
        assert sine == pytest.approx(fade * math.sin(2 * math.pi * turns * uv[16, 24, 0]), abs=2e-3)
    far = replace(camera(), position=np.array([0.0, 0.0, 60.0]))  # 70 m before it: 1.3 m a pixel
    _, features = told_of(far)
    assert np.abs(features[9 + len(MATERIALS) + 2 : 9 + len(MATERIALS) + 8, 12:20, 20:28]).max() < 1e-3


def test_glow_falls_with_distance():
    parts = Blockout().add([WALL, LAMP]).pack()
    hits = cast(np, parts, camera(), step_px=2)
    glow = lamp_glow(np, parts, hits)
    assert glow[16, 23] > glow[16, 40] > glow[1, 1] > 0


def test_what_the_denoiser_is_not_told_is_cast_when_a_chunk_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two latent frames: two rays' worth at once; then, in the order of `in_turn`, each frame once."""
    cast_at: list[float] = []

    def counted(xp: ModuleType, parts: PackedParts, one: Camera, *, step_px: float) -> RayHits:
        cast_at.append(float(one.position[0]))
        return cast(xp, parts, one, step_px=step_px)

    monkeypatch.setattr("model.scene.ray_features.cast", counted)
    seen = condition(Blockout().add([WALL]).pack(), [camera(x=0.1 * i) for i in range(8)])
    np.testing.assert_allclose(cast_at, [0.2, 0.6])
    wanted = seen.in_turn()
    assert wanted == [seen.surfaces, seen.guide[0], *seen.edges[:4], seen.guide[1], *seen.edges[4:]]
    assert seen.in_turn(lead=3)[2:4] == [seen.edges[3], seen.guide[1]]
    for value in wanted:
        value.get()
    np.testing.assert_allclose(sorted(cast_at), 0.1 * np.arange(8), atol=1e-9)


def test_a_latent_frame_needs_its_four_cameras() -> None:
    with pytest.raises(ValueError, match="got 7"):
        condition(Blockout().add([WALL]).pack(), [camera()] * 7)

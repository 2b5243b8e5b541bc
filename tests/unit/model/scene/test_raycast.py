"""Ray casting against cases worked out by hand, and numpy against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.demo.world.level_generator import BlockoutGenerator
from model.scene.blockout import MATERIALS, Blockout, Part, Shape
from model.scene.camera import Camera, project, quaternion_from_yaw_pitch, ray_directions
from model.scene.raycast import RayHits, cast

LEVEL = quaternion_from_yaw_pitch(0.0, 0.0)


def look(position=(0.0, 0.0, 0.0), rotation=LEVEL, size=(3, 3), fov=90.0, window=None) -> Camera:
    return Camera(
        position=np.array(position, dtype=float), rotation=np.array(rotation, dtype=float), vertical_fov_deg=fov,
        height=size[0], width=size[1], window=window,
    )  # fmt: skip


def shoot(part: Part, camera: Camera | None = None) -> RayHits:
    return cast(np, Blockout().add([part]).pack(), camera or look(), step_px=1)


def a_part(shape: Shape, position, size, **more) -> Part:
    return Part(id=1, shape=shape, position=position, size=size, **more)


def test_box_ahead_is_met_at_its_near_face():
    hits = shoot(a_part(Shape.BOX, (0, 0, -5), (2, 2, 2), material="brick", colour=(0.5, 0.25, 1.0)))
    assert hits.depth[1, 1] == pytest.approx(4.0)
    np.testing.assert_allclose(hits.normal[1, 1], (0, 0, 1), atol=1e-6)
    np.testing.assert_allclose(hits.position[1, 1], (0, 0, -4), atol=1e-6)
    assert hits.material[1, 1] == MATERIALS.index("brick")
    np.testing.assert_allclose(hits.colour[1, 1], (0.5, 0.25, 1.0))


def test_depth_is_along_the_view_axis_not_along_the_ray():
    # a wall across the whole view: every ray, however slanted, has the wall's view-axis depth
    hits = shoot(a_part(Shape.BOX, (0, 0, -10.5), (100, 100, 1)))
    np.testing.assert_allclose(hits.depth, 10.0, rtol=1e-5)


def test_turned_box_shows_its_edge():
    # turned by 45 degrees, a 2 m box shows an edge at sqrt(2) from its centre
    turned = quaternion_from_yaw_pitch(math.pi / 4, 0.0)
    hits = shoot(a_part(Shape.BOX, (0, 0, -5), (2, 2, 2), rotation=tuple(turned)), look(size=(1, 1)))
    assert hits.depth[0, 0] == pytest.approx(5 - math.sqrt(2), abs=1e-5)


def test_sphere_and_ellipsoid():
    assert shoot(a_part(Shape.SPHERE, (0, 0, -5), (2, 2, 2))).depth[1, 1] == pytest.approx(4.0)
    flat = shoot(a_part(Shape.SPHERE, (0, 0, -5), (2, 2, 1)))
    assert flat.depth[1, 1] == pytest.approx(4.5)
    np.testing.assert_allclose(flat.normal[1, 1], (0, 0, 1), atol=1e-6)


def test_ray_past_the_sphere_misses():
    # 90 degrees over 3 px: the outer rays go 33.7 degrees off, past a 1 m sphere at 5 m
    hits = shoot(a_part(Shape.SPHERE, (0, 0, -5), (2, 2, 2)))
    assert not hits.hit[1, 0]
    assert math.isinf(hits.depth[1, 0])
    assert hits.part[1, 0] == -1


def test_cylinder_side_and_cap():
    side = shoot(a_part(Shape.CYLINDER, (0, 0, -5), (2, 4, 2)))
    assert side.depth[1, 1] == pytest.approx(4.0)
    np.testing.assert_allclose(side.normal[1, 1], (0, 0, 1), atol=1e-6)
    down = quaternion_from_yaw_pitch(0.0, -math.pi / 2)
    cap = shoot(a_part(Shape.CYLINDER, (0, -5, 0), (2, 4, 2)), look(rotation=down))
    assert cap.depth[1, 1] == pytest.approx(3.0, abs=1e-5)
    np.testing.assert_allclose(cap.normal[1, 1], (0, 1, 0), atol=1e-5)


def test_plane_is_seen_from_both_sides_and_ends():
    down, up = quaternion_from_yaw_pitch(0.0, -math.pi / 2), quaternion_from_yaw_pitch(0.0, math.pi / 2)
    plane = a_part(Shape.PLANE, (0, -2, 0), (1, 0, 1))
    from_above = shoot(plane, look(rotation=down))
    assert from_above.depth[1, 1] == pytest.approx(2.0, abs=1e-5)
    assert from_above.hit.sum() == 1  # the neighbours land 1.33 m out, past its half metre
    from_below = shoot(plane, look(position=(0, -4, 0), rotation=up))
    np.testing.assert_allclose(from_below.normal[1, 1], (0, -1, 0), atol=1e-5)


def test_nearer_part_wins_and_a_part_behind_is_not_seen():
    scene = Blockout().add([
        a_part(Shape.BOX, (0, 0, -8), (2, 2, 2)),
        Part(id=2, shape=Shape.SPHERE, position=(0, 0, -4), size=(1, 1, 1)),
        Part(id=3, shape=Shape.BOX, position=(0, 0, 4), size=(1, 1, 1)),
    ])  # fmt: skip
    hits = cast(np, scene.pack(), look(), step_px=1)
    assert hits.part[1, 1] == 1
    assert hits.depth[1, 1] == pytest.approx(3.5)


def test_surface_coordinates_are_metres():
    # straight ahead the box's face shows u = x, v = y
    hits = shoot(a_part(Shape.BOX, (0, 0, -3), (8, 8, 2)))
    np.testing.assert_allclose(hits.uv[0, 2], hits.position[0, 2][:2], atol=1e-5)


def test_camera_inside_a_box_sees_past_it():
    hits = shoot(a_part(Shape.BOX, (0, 0, 0), (2, 2, 2)))
    assert not hits.hit.any()


def test_nothing_at_all_is_sky():
    hits = cast(np, Blockout().pack(), look(), step_px=1)
    assert not hits.hit.any()
    assert hits.normal.shape == (3, 3, 3)


def test_window_is_a_crop_of_the_whole_picture():
    parts = BlockoutGenerator(np.random.default_rng(1)).draw().pack()
    whole = cast(np, parts, look((0, 1.6, 3), size=(64, 96), fov=65), step_px=2)
    part = cast(np, parts, look((0, 1.6, 3), size=(64, 96), fov=65, window=(16, 32, 32, 48)), step_px=2)
    np.testing.assert_allclose(part.depth, whole.depth[8:24, 16:40], rtol=1e-5)


def test_tiles_miss_nothing():
    """Culling by bounding boxes gives what casting at every part gives."""
    rng = np.random.default_rng(4)
    for _ in range(6):
        parts = BlockoutGenerator(rng).draw().pack()
        rotation = quaternion_from_yaw_pitch(rng.uniform(0, 6.28), rng.uniform(-0.5, 0.5))
        camera = look(rng.uniform(-4, 4, 3) + np.array([0, 4.2, 0]), rotation, size=(24, 40), fov=70)
        hits = cast(np, parts, camera, step_px=1)
        directions = ray_directions(camera, 1)
        for y, x in rng.integers((0, 0), (24, 40), (40, 2)):
            alone = Camera(position=camera.position, rotation=camera.rotation, vertical_fov_deg=70, height=24,
                           width=40, window=(int(y), int(x), 1, 1))  # fmt: skip
            np.testing.assert_allclose(cast(np, parts, alone, step_px=1).depth[0, 0], hits.depth[y, x], rtol=1e-4)
        assert directions.shape == (24, 40, 3)


def test_projection_undoes_casting():
    camera = look((1, 2, 3), quaternion_from_yaw_pitch(0.7, -0.2), size=(24, 40), fov=60)
    parts = BlockoutGenerator(np.random.default_rng(2)).draw().pack()
    hits = cast(np, parts, camera, step_px=1)
    x, y, depth = project(np, camera, hits.position)
    rows, cols = np.nonzero(hits.hit)
    np.testing.assert_allclose(x[rows, cols], cols + 0.5, atol=1e-2)
    np.testing.assert_allclose(y[rows, cols], rows + 0.5, atol=1e-2)
    np.testing.assert_allclose(depth[rows, cols], hits.depth[rows, cols], rtol=1e-4)


@pytest.mark.torch
def test_torch_casts_what_numpy_casts():
    torch = pytest.importorskip("torch")
    parts = BlockoutGenerator(np.random.default_rng(5)).draw().pack()
    camera = look((0, 1.6, 4), size=(24, 40), fov=65)
    ours, theirs = cast(np, parts, camera, step_px=1), cast(torch, parts.to_torch(torch, "cpu"), camera, step_px=1)
    np.testing.assert_allclose(ours.depth, theirs.depth.numpy(), rtol=1e-4)
    for name in ("position", "normal", "uv", "colour"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name).numpy(), atol=2e-3)
    np.testing.assert_array_equal(ours.material, theirs.material.numpy())


def camera(position: tuple[float, float, float], pitch: float = 0.0, size: int = 41) -> Camera:
    return Camera(position=np.array(position), rotation=quaternion_from_yaw_pitch(0.0, pitch), vertical_fov_deg=60.0,
                  height=size, width=size)  # fmt: skip


@pytest.mark.parametrize("shape", [Shape.BOX, Shape.CYLINDER, Shape.PLANE, Shape.SPHERE])
@pytest.mark.parametrize(("distance_m", "seen"), [(0.04, False), (0.06, True)])
def test_nothing_nearer_than_the_near_plane_is_met(shape: Shape, distance_m: float, seen: bool) -> None:
    top = 0.0 if shape is Shape.PLANE else 0.5
    part = Part(id=1, shape=shape, position=(0.0, -top - distance_m, 0.0), size=(1.0, 1.0, 1.0))
    hits = cast(np, Blockout().add([part]).pack(), camera((0.0, 0.0, 0.0), -math.pi / 2), step_px=1)
    assert bool(hits.hit[20, 20]) is seen


def test_a_cylinder_seen_from_above_is_its_cap() -> None:
    part = Part(id=1, shape=Shape.CYLINDER, position=(0.0, 0.0, 0.0), size=(2.0, 2.0, 2.0))
    hits = cast(np, Blockout().add([part]).pack(), camera((0.0, 4.0, 0.0), -math.pi / 2, size=200), step_px=1)
    across = 3.0 * hits.directions[..., (0, 2)]  # where each ray meets the plane of the cap
    distance_m = np.linalg.norm(across, axis=-1)
    np.testing.assert_array_equal(
        hits.hit[np.abs(distance_m - 1) > 1e-3], (distance_m < 1)[np.abs(distance_m - 1) > 1e-3]
    )

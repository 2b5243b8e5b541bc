"""The reference renderer and the random worlds that the demo model learns from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from model.demo.evaluation.tours import draw_tour
from model.demo.training import clips as data
from model.demo.training.clips import FRAME_HEIGHT, FRAME_WIDTH, Clip, draw_clip, draw_conditions, draw_walk
from model.demo.world.conditions import SLOTS, Conditions
from model.demo.world.level_generator import BlockoutGenerator
from model.demo.world.renderer import render
from model.scene.blockout import MATERIALS, Blockout, Part, Shape
from model.scene.camera import Camera, project, quaternion_from_yaw_pitch
from model.scene.maps import load_map, map_names
from model.scene.ray_features import lamp_glow
from model.scene.raycast import cast, trace, trace_dense

GARDEN = load_map().blockout.pack()


def view(conditions: Conditions, *, yaw_rad: float = 0.0, time_s: float = 0.0, smooth: bool = False) -> np.ndarray:
    camera = Camera(position=np.array([0.0, 1.6, 5.5]), rotation=quaternion_from_yaw_pitch(yaw_rad, 0.0),
                    vertical_fov_deg=65, height=48, width=80)  # fmt: skip
    return render(np, GARDEN, camera, conditions.vector(), time_s, smooth=smooth).colour


def test_colours_are_in_range_in_every_condition():
    for time in SLOTS["time"]:
        for weather in SLOTS["weather"]:
            picture = view(Conditions(time=time, weather=weather, lamps="on"))
            assert picture.dtype == np.float32
            assert picture.shape == (48, 80, 3)
            assert 0 <= picture.min() <= picture.max() <= 1


def test_conditions_are_told_apart():
    day = view(Conditions())
    assert view(Conditions(time="night")).mean() < 0.5 * day.mean()
    dusk = view(Conditions(time="dusk"))
    assert dusk[:8, :, 0].mean() > dusk[:8, :, 2].mean() * 0.8 > day[:8, :, 0].mean() * 0.5
    assert view(Conditions(weather="fog")).std() < 0.6 * day.std()
    snow = view(Conditions(weather="snow"))
    assert snow[36:].std() < 0.5 * day[36:].std()  # the chequered ground lies under snow
    lit, dark = view(Conditions(time="night", lamps="on")), view(Conditions(time="night"))
    assert lit.max() > dark.max() + 0.2


def test_looking_another_way_shows_something_else():
    assert np.abs(view(Conditions()) - view(Conditions(), yaw_rad=np.pi / 2)).mean() > 0.05


def test_more_samples_smooth_edges():
    rough, smooth = view(Conditions()), view(Conditions(), smooth=True)
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(rough, axis=1)).mean()


def test_rain_falls_and_stones_do_not():
    rain = Conditions(weather="rain")
    assert np.abs(view(rain) - view(rain, time_s=0.1)).max() > 0.02
    np.testing.assert_array_equal(view(Conditions()), view(Conditions(), time_s=0.1))


def test_random_worlds_hold_every_shape_and_material():
    rng = np.random.default_rng(0)
    parts = [part for _ in range(60) for part in BlockoutGenerator(rng).draw().parts.values()]
    assert {part.shape for part in parts} == set(Shape) - {Shape.MESH}
    assert {part.material for part in parts} == set(MATERIALS)


def test_the_same_number_draws_the_same_clip(tmp_path):
    first, again = (draw_clip(np.random.default_rng(7), latents=1, rows=32, cols=48) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.frames.shape == (4, 32, 48, 3)
    first.save(tmp_path / "clip.npz")
    loaded = Clip.load(tmp_path / "clip.npz")
    np.testing.assert_array_equal(loaded.frames, first.frames)
    np.testing.assert_array_equal(loaded.parts.centre, first.parts.centre)
    assert loaded.window == first.window


@pytest.mark.parametrize("xp", [np, torch])
def test_a_picture_without_an_edge_is_rendered(xp):
    ground = (
        Blockout().add([Part(id=1, shape=Shape.PLANE, position=(0, 0, 0), size=(99, 0, 99), material="grass")]).pack()
    )
    down = Camera(position=np.array([0.0, 1.6, 0.0]), rotation=quaternion_from_yaw_pitch(0.0, -1.5),
                  vertical_fov_deg=40, height=8, width=8)  # fmt: skip
    parts = ground if xp is np else ground.to_torch(torch, "cpu")
    colour = np.asarray(render(xp, parts, down, Conditions().vector(), 0.0).colour)
    assert colour.shape == (8, 8, 3)
    assert (colour[..., 1] > colour[..., 2]).all()  # grass all over


def test_a_walk_may_begin_before_a_thing_that_an_action_changes():
    def seen_at_first(before: float, monkeypatch) -> float:
        monkeypatch.setattr(data, "BEFORE_THINGS", before)
        monkeypatch.setattr(data, "film", lambda walk, device: None)
        shown = 0
        for seed in range(40):
            clip = draw_clip(np.random.default_rng(seed), latents=1, rows=192, cols=320)
            material = cast(np, clip.parts, clip.camera(0), step_px=8).material
            shown += sum((material == MATERIALS.index(name)).mean() > 0.005 for name in ("door", "fountain", "lamp"))
        return shown / 40

    with pytest.MonkeyPatch.context() as monkeypatch:
        assert seen_at_first(1.0, monkeypatch) > 2 * seen_at_first(0.0, monkeypatch)


def test_what_stands_before_a_walk_is_one_of_the_kinds_that_there_are():
    walls = [Part(id=n, shape=Shape.BOX, position=(n, 0, 0), size=(1, 1, 1), material="brick") for n in range(5)]
    doors = [Part(id=5 + n, shape=Shape.BOX, position=(9, n, 0), size=(1, 1, 1), material="door") for n in range(9)]
    jet = Part(id=20, shape=Shape.BOX, position=(-9, 0, 0), size=(1, 1, 1), material="fountain")
    rng = np.random.default_rng(0)
    assert data.draw_thing(rng, Blockout().add(walls).pack()) is None
    drawn = [data.draw_thing(rng, Blockout().add([*walls, *doors, jet]).pack())[0] for _ in range(60)]
    assert set(drawn) == {9.0, -9.0}
    assert 15 < drawn.count(-9.0) < 45


def test_walks_stay_inside_and_are_unit_rotations():
    positions, rotations = draw_walk(np.random.default_rng(3), 96, 8.0)
    assert np.abs(positions[:, [0, 2]]).max() <= 7.3 + 1e-9
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=1), 1.0)
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.3


def test_random_worlds_are_as_lamplit_as_any_map():
    """Where lamps stand alone in training, a row of them stays dark in play."""

    def light(parts, camera) -> float:
        return float(lamp_glow(np, parts, cast(np, parts, camera, step_px=8)).mean())

    trained = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        generator = BlockoutGenerator(rng)
        parts = generator.draw().pack()
        position, rotation = (path[0] for path in draw_walk(rng, 1, generator.half_extent_m))
        trained.append(light(parts, Camera(position=position, rotation=rotation, vertical_fov_deg=65.0,
                                           height=FRAME_HEIGHT, width=FRAME_WIDTH)))  # fmt: skip
    tours = [draw_tour(load_map(name), frames=240, seed=0, multiple=12) for name in map_names()]
    shown = [light(tour.parts, tour.camera(at)) for tour in tours for at in range(0, 240, 40)]
    assert np.quantile(trained, 0.9) > max(shown)
    assert np.median(trained) > 0.5 * np.median(shown)


def test_conditions_change_in_some_clips_only():
    rng = np.random.default_rng(1)
    drawn = [draw_conditions(rng, 8) for _ in range(60)]
    changing = sum(bool((rows != rows[0]).any()) for rows in drawn)
    assert 5 < changing < 30
    assert all(rows.sum(1) == pytest.approx(len(SLOTS)) for rows in drawn)


@pytest.mark.parametrize("name", map_names())
def test_a_map_is_a_place_to_walk_in(name: str):
    """Every part's material is known, the spawn is in the open, and there is all that can be acted on."""
    level = load_map(name)
    materials = {part.material for part in level.blockout.parts.values()}
    assert materials <= set(MATERIALS)
    assert {"lamp", "door", "fountain"} <= materials
    camera = Camera(position=np.array(level.spawn_position), vertical_fov_deg=65, height=48, width=80,
                    rotation=quaternion_from_yaw_pitch(np.radians(level.spawn_yaw_deg), 0.0))  # fmt: skip
    assert np.median(cast(np, level.blockout.pack(), camera, step_px=4).depth) > 1.2
    assert np.abs(np.array(level.spawn_position)[[0, 2]]).max() < level.half_extent_m


def test_things_change_in_place():
    """An open door, a running fountain and a lit lamp change their own pixels, and few others."""
    garden = GARDEN
    camera = Camera(position=np.array([2.0, 1.6, -2.0]), rotation=quaternion_from_yaw_pitch(0.4, 0.0),
                    vertical_fov_deg=65, height=96, width=160)  # fmt: skip
    hits = cast(np, garden, camera, step_px=1)
    before = render(np, garden, camera, Conditions().vector(), 0.0).colour
    after = render(np, garden, camera, Conditions(door="open").vector(), 0.0).colour
    changed = np.abs(after - before).max(-1) > 0.02
    doors = hits.material == MATERIALS.index("door")
    assert doors.any()
    assert changed[doors].mean() > 0.9
    assert not changed[~cv2.dilate(doors.astype(np.uint8), np.ones((3, 3))).astype(bool)].any()


def clip_of_cameras(count: int) -> list[Camera]:
    return [
        Camera(position=np.array([0.05 * i, 1.6, 5.5]), rotation=quaternion_from_yaw_pitch(0.02 * i, 0.0),
               vertical_fov_deg=65, height=48, width=80)
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("xp", [np, torch])
def test_a_clip_at_once_is_its_frames_one_by_one(xp):
    parts = GARDEN if xp is np else GARDEN.to_torch(torch, "cpu")
    cameras = clip_of_cameras(3)
    weights = np.stack([c.vector() for c in (Conditions(), Conditions(weather="rain"), Conditions(time="night"))])
    times = np.array([0.0, 0.5, 1.0])
    together = render(xp, parts, cameras, weights, times)
    for i, camera in enumerate(cameras):
        alone = render(np, GARDEN, camera, weights[i], times[i])
        colour, depth = np.asarray(together.colour[i]), np.asarray(together.depth[i])
        assert (np.abs(colour - alone.colour).max(-1) > 1e-3).mean() < 2e-3  # rounding moves a ray across an edge
        assert (~np.isclose(depth, alone.depth, atol=1e-3)).mean() < 2e-3


def test_all_rays_at_all_parts_meet_what_tiles_meet():
    parts = GARDEN.to_torch(torch, "cpu")
    cameras = clip_of_cameras(2)
    dense = trace_dense(torch, parts, cameras, step_px=2, offset_px=(0.5, 0.5))
    for i, camera in enumerate(cameras):
        tiles = trace(np, GARDEN, camera, step_px=2)
        assert (np.asarray(dense.part[i]) != tiles.part).mean() < 2e-3


def test_motion_is_where_a_surface_goes():
    cameras = clip_of_cameras(2)
    seen = render(np, GARDEN, cameras, np.stack([Conditions().vector()] * 2), np.zeros(2))
    row, col = 40, 40  # the ground in front
    moved_x, moved_y = seen.motion[0, row, col]
    point = cast(np, GARDEN, cameras[0], step_px=1).position[row, col]
    x, y, _ = project(np, cameras[1], point)
    assert (x, y) == pytest.approx((col + 0.5 + moved_x, row + 0.5 + moved_y), abs=1e-3)
    assert abs(moved_x) > 0.1
    assert not seen.motion[1].any()


def test_torch_draws_the_clip_that_numpy_draws():
    """The device "cpu:0" goes the way of a GPU: all frames at once."""
    ours, theirs = (
        draw_clip(np.random.default_rng(11), latents=1, rows=32, cols=48, device=device) for device in ("cpu", "cpu:0")
    )
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    difference = np.abs(ours.frames.astype(int) - theirs.frames.astype(int)).max(-1)
    assert (difference > 2).mean() < 0.01

"""The reference renderer and the random worlds that the demo model learns from."""

from __future__ import annotations

import numpy as np
import pytest

from model.blockout import MATERIALS, Shape
from model.camera import Camera, quaternion_from_yaw_pitch
from model.demo.blockouts import BlockoutGenerator
from model.demo.conditions import SLOTS, Conditions
from model.demo.data import Clip, draw_clip, draw_conditions, draw_walk
from model.demo.renderer import render
from model.maps import load_map

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


def test_walks_stay_inside_and_are_unit_rotations():
    positions, rotations = draw_walk(np.random.default_rng(3), 96, 8.0)
    assert np.abs(positions[:, [0, 2]]).max() <= 7.3 + 1e-9
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=1), 1.0)
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.3


def test_conditions_change_in_some_clips_only():
    rng = np.random.default_rng(1)
    drawn = [draw_conditions(rng, 8) for _ in range(60)]
    changing = sum(bool((rows != rows[0]).any()) for rows in drawn)
    assert 5 < changing < 30
    assert all(rows.sum(1) == pytest.approx(len(SLOTS)) for rows in drawn)

"""Tours of maps: over free ground, at a walker's speed, with texts whose effect is in view."""

from __future__ import annotations

import numpy as np
import pytest

from model.demo.evaluation.tours import draw_tour
from model.demo.world.conditions import Conditions
from model.scene.blockout import MATERIALS
from model.scene.maps import load_map
from model.scene.raycast import cast

CHUNK = 12
HALL = load_map("hall")
TOUR = draw_tour(HALL, frames=40 * CHUNK, seed=0, multiple=CHUNK)


def test_the_same_seed_draws_the_same_tour_and_another_another():
    again, other = (draw_tour(HALL, frames=40 * CHUNK, seed=seed, multiple=CHUNK) for seed in (0, 1))
    np.testing.assert_array_equal(again.positions, TOUR.positions)
    np.testing.assert_array_equal(again.rotations, TOUR.rotations)
    assert again.changes == TOUR.changes
    assert np.abs(other.positions - TOUR.positions).max() > 0.5


def test_a_walker_neither_jumps_nor_leaves_nor_walks_through_things():
    steps = np.linalg.norm(np.diff(TOUR.positions, axis=0), axis=1)
    assert steps.max() * 24 < 3.0
    assert steps.sum() > 10
    assert np.abs(TOUR.positions[:, [0, 2]]).max() < HALL.half_extent_m
    np.testing.assert_allclose(np.linalg.norm(TOUR.rotations, axis=1), 1.0)
    turning = 2 * np.arccos(np.clip(np.abs((TOUR.rotations[1:] * TOUR.rotations[:-1]).sum(1)), 0, 1))
    assert np.degrees(turning).max() * 24 < 120
    for frame in range(0, len(TOUR.positions), 48):
        nearest = float(cast(np, TOUR.parts, TOUR.camera(frame), step_px=16).depth.min())
        assert nearest > 0.25


def test_texts_come_where_chunks_begin_and_are_in_force_from_there():
    assert len(TOUR.changes) >= 5
    now = Conditions()
    for change in TOUR.changes:
        assert change.frame % CHUNK == 0
        assert TOUR.conditions(change.frame - 1) == now
        now = now.replace(change.slot, change.value)
        assert TOUR.conditions(change.frame) == now
        assert TOUR.text(change.frame) == change.text
    assert TOUR.text(0) == ""


def test_a_thing_is_told_to_change_only_in_view():
    materials = {"lamps": "lamp", "door": "door", "fountain": "fountain"}
    told = [change for change in TOUR.changes if change.slot in materials]
    assert told
    for change in told:
        seen = cast(np, TOUR.parts, TOUR.camera(change.frame), step_px=4).material
        assert (seen == MATERIALS.index(materials[change.slot])).any()


@pytest.mark.parametrize("name", ["garden", "harbour"])
def test_every_map_can_be_walked(name):
    tour = draw_tour(load_map(name), frames=96, seed=0, multiple=CHUNK)
    assert np.ptp(tour.positions[:, [0, 2]], axis=0).max() > 1.0

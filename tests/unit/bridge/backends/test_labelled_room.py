"""The room that tells directions."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.backends.labelled_room import HALF_M, WALLS, _texture, paint_room, wall_at
from bridge.geometry import quaternion_from_rotation_vector

MIDDLE = np.zeros(3)


def turned(*vector: float) -> np.ndarray:
    return quaternion_from_rotation_vector(np.radians(np.array(vector)))


@pytest.mark.parametrize(
    ("rotation", "name"),
    [
        (turned(0, 0, 0), "FRONT"),
        (turned(0, -90, 0), "RIGHT"),
        (turned(0, 180, 0), "BACK"),
        (turned(0, 90, 0), "LEFT"),
        (turned(90, 0, 0), "UP"),
        (turned(-90, 0, 0), "DOWN"),
    ],
)
def test_each_wall_stands_where_its_name_says(rotation: np.ndarray, name: str) -> None:
    pixels, depth = paint_room(MIDDLE, rotation, 60.0, 80, 48)
    assert wall_at(pixels, 40, 24) == name
    assert depth[24, 40] == pytest.approx(HALF_M)


def test_depth_is_that_of_the_nearest_wall() -> None:
    _, depth = paint_room(np.array([0.0, 0.0, -3.0]), turned(0, 0, 0), 60.0, 80, 48)
    assert depth[24, 40] == pytest.approx(HALF_M - 3.0)


@pytest.mark.parametrize(
    ("rotation", "name"),
    [
        (turned(0, 0, 0), "FRONT"),
        (turned(0, -90, 0), "RIGHT"),
        (turned(0, 180, 0), "BACK"),
        (turned(0, 90, 0), "LEFT"),
        (turned(90, 0, 0), "UP"),
        (turned(-90, 0, 0), "DOWN"),
    ],
)
def test_letters_are_upright_and_not_mirrored(rotation: np.ndarray, name: str) -> None:
    """At 90 degrees from the middle a wall fills the picture: it must be the wall as it was written."""
    written = WALLS[[wall.name for wall in WALLS].index(name)]
    sampled = np.floor((np.arange(73) + 0.5) / 73 * 512).astype(int)  # 73 does not divide 512: no ray meets an edge
    texture = _texture(written)[np.ix_(sampled, sampled)].astype(int)
    seen = paint_room(MIDDLE, rotation, 90.0, 73, 73)[0].astype(int)
    differs = [np.abs(seen - other).mean() for other in (texture, texture[:, ::-1], texture[::-1])]
    assert 3 * differs[0] < min(differs[1:])


def test_every_wall_has_a_colour_of_its_own() -> None:
    for wall in WALLS:
        patch = np.full((20, 20, 3), wall.colour, np.uint8)
        assert wall_at(patch, 10, 10) == wall.name

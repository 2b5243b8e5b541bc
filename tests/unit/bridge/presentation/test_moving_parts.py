"""Parts that moved since a frame was made."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.geometry import quaternion_from_rotation_vector, rotated
from bridge.input.scene_state import SceneState
from bridge.presentation.moving_parts import MovingParts
from bridge.protocol.messages import Part, PartMove, SceneUpdate, Shape

STILL = (0.0, 0.0, 0.0, 1.0)


class Scene:
    """A blockout of one box at (1, 0, 0), and its motion."""

    def __init__(self) -> None:
        self.blockout = SceneState(seed=0, prompt="")
        self.moving_parts = MovingParts()
        self.update(SceneUpdate(replace=True, add=(Part(id=5, shape=Shape.BOX, position=(1.0, 0.0, 0.0)),)))

    def update(self, update: SceneUpdate) -> None:
        self.moving_parts.note(update, self.blockout)
        self.blockout.apply(update)

    def move(self, x: float, rotation: tuple[float, float, float, float] = STILL) -> None:
        self.update(SceneUpdate(move=(PartMove(id=5, position=(x, 0.0, 0.0), rotation=rotation),)))


def test_a_part_moves_from_where_the_frame_has_it_to_where_it_is() -> None:
    scene = Scene()
    before_any = scene.moving_parts.places
    scene.move(1.5)
    frame = scene.moving_parts.places
    assert scene.moving_parts.since(frame) == []
    scene.move(1.75)
    (moved,) = scene.moving_parts.since(frame)
    assert (moved.part, moved.offset.tolist()) == (5, [0.25, 0.0, 0.0])
    (from_the_first,) = scene.moving_parts.since(before_any)
    assert from_the_first.offset.tolist() == [0.75, 0.0, 0.0]
    scene.move(1.5)
    assert scene.moving_parts.since(frame) == []


def test_a_turning_part_carries_its_points_with_it() -> None:
    scene = Scene()
    frame = scene.moving_parts.places
    x, y, z, w = quaternion_from_rotation_vector(np.radians([0.0, 90.0, 0.0])).tolist()
    scene.move(1.0, (x, y, z, w))
    (moved,) = scene.moving_parts.since(frame)
    corner = np.array([1.5, 0.0, 0.0])  # half a metre along the part's own x, which now points to -z
    assert rotated(moved.rotation, corner) + moved.offset == pytest.approx([1.0, 0.0, -0.5])


def test_parts_that_are_gone_or_replaced_do_not_move() -> None:
    for update in (
        SceneUpdate(remove=(5,)),
        SceneUpdate(add=(Part(id=5, shape=Shape.SPHERE, position=(9.0, 0.0, 0.0)),)),
        SceneUpdate(replace=True),
    ):
        scene = Scene()
        frame = scene.moving_parts.places
        scene.move(3.0)
        scene.update(update)
        assert scene.moving_parts.since(frame) == []

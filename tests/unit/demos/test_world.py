"""The game's truth: walking, walls, steps, words."""

from __future__ import annotations

import math

import pytest

from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import SceneUpdate
from demos.collision import push_out
from demos.world import BODY_RADIUS_M, EYE_HEIGHT_M, Ground, Intent, ReferenceRenderer, Viewpoint, World
from model.scene.blockout import Blockout, Part, Shape

TICK_S = 1 / 60


def _world(*parts: Part, x: float = 0.0, z: float = 0.0, yaw_deg: float = 0.0) -> World:
    world = World.load()
    world.ground = Ground(Blockout().add(parts), half_extent_m=20.0)
    world.view = Viewpoint(position=(x, EYE_HEIGHT_M, z), yaw_rad=math.radians(yaw_deg), pitch_rad=0.0)
    return world


def _box(x: float, y: float, z: float, size: tuple[float, float, float]) -> Part:
    return Part(id=1, shape=Shape.BOX, position=(x, y, z), size=size)


def _play(world: World, intent: Intent, seconds: float) -> tuple[float, float]:
    for _ in range(round(seconds / TICK_S)):
        world.step(intent, TICK_S)
    assert world.view.position[1] == EYE_HEIGHT_M
    return world.view.position[0], world.view.position[2]


def test_walks_where_it_looks() -> None:
    assert _play(_world(), Intent(forward=1), 2.0) == pytest.approx((0.0, -6.0), abs=0.4)
    assert _play(_world(yaw_deg=90), Intent(forward=1), 2.0) == pytest.approx((-6.0, 0.0), abs=0.4)
    assert _play(_world(), Intent(right=1), 2.0) == pytest.approx((6.0, 0.0), abs=0.4)


def test_runs_faster_and_a_diagonal_is_not() -> None:
    assert math.hypot(*_play(_world(), Intent(forward=1, run=True), 2.0)) == pytest.approx(10.0, abs=0.7)
    assert math.hypot(*_play(_world(), Intent(forward=1, right=1), 2.0)) == pytest.approx(6.0, abs=0.4)


def test_turning_left_is_positive_and_pitch_is_limited() -> None:
    world = _world()
    _play(world, Intent(turn_left=1, look_up=1), 3.0)
    assert math.degrees(world.view.yaw_rad) == pytest.approx(300, abs=1)
    assert math.degrees(world.view.pitch_rad) == pytest.approx(60)


def test_a_wall_stops_at_the_bodys_radius() -> None:
    world = _world(_box(0, 1.5, -3, (10, 3, 0.5)))
    assert _play(world, Intent(forward=1, run=True), 3.0) == pytest.approx((0.0, -3 + 0.25 + BODY_RADIUS_M), abs=1e-3)


def test_slides_along_a_wall() -> None:
    x, z = _play(_world(_box(0, 1.5, -3, (30, 3, 0.5)), yaw_deg=-45), Intent(forward=1), 4.0)
    assert z == pytest.approx(-3 + 0.25 + BODY_RADIUS_M, abs=1e-3)
    assert x > 6.0


def test_nothing_is_stepped_through_however_long_the_tick() -> None:
    world = _world(Part(id=1, shape=Shape.CYLINDER, position=(0, 1, -2), size=(0.16, 2, 0.16)))
    world.step(Intent(forward=1, run=True), 0.25)
    for _ in range(20):
        world.step(Intent(forward=1, run=True), 0.25)
        x, _, z = world.view.position
        assert math.hypot(x, z + 2) >= BODY_RADIUS_M + 0.08 - 1e-3


@pytest.mark.parametrize(
    ("part", "blocks"),
    [
        (_box(0, 0.175, -3, (4, 0.35, 1)), False),  # a step
        (_box(0, 0.2, -3, (4, 0.4, 1)), True),  # too high for one
        (_box(0, 2.3, -3, (4, 0.8, 1)), False),  # overhead
        (_box(0, 1.9, -3, (4, 0.4, 1)), True),  # at the forehead
        (Part(id=1, shape=Shape.PLANE, position=(0, 0.8, -3), size=(4, 0, 1)), False),
        (Part(id=1, shape=Shape.SPHERE, position=(0, 1.2, -3), size=(1, 1, 1)), True),
    ],
)
def test_what_is_in_the_way(part: Part, blocks: bool) -> None:
    _, z = _play(_world(part), Intent(forward=1), 2.0)
    assert (z > -3) is blocks


def test_a_sphere_overhead_is_as_wide_as_it_is_at_the_head() -> None:
    crown = Part(id=1, shape=Shape.SPHERE, position=(0, 2.8, 0), size=(4, 4, 4))
    reach_m = -Ground(Blockout().add([crown]), 20.0).clearance_m(0.0, 0.0)
    assert reach_m == pytest.approx(2 * math.sqrt(1 - (1.0 / 2.0) ** 2), rel=0.01)  # cut at 1.8 m


def test_a_turned_box_has_a_turned_outline() -> None:
    half_turn = math.radians(45) / 2
    rotation = (0.0, math.sin(half_turn), 0.0, math.cos(half_turn))
    part = Part(id=1, shape=Shape.BOX, position=(0, 1, 0), size=(2, 2, 2), rotation=rotation)
    ground = Ground(Blockout().add([part]), 20.0)
    assert ground.clearance_m(2.0, 0.0) == pytest.approx(2 - math.sqrt(2))
    assert ground.clearance_m(1.0, 1.0) == pytest.approx(math.sqrt(2) - 1)


def test_the_way_out_of_an_outline_is_the_shortest() -> None:
    outline = Ground(Blockout().add([_box(0, 1, 0, (4, 2, 2))]), 20.0).obstacles[0].outline
    assert push_out(outline, 0.0, 0.9) == pytest.approx((-0.1, 0.0, 1.0))
    assert push_out(outline, 3.0, 2.0) == pytest.approx((math.sqrt(2), math.sqrt(0.5), math.sqrt(0.5)))


def test_the_maps_edge_holds() -> None:
    world = _world()
    world.ground = Ground(Blockout(), half_extent_m=1.0)
    assert _play(world, Intent(forward=1), 2.0) == pytest.approx((0.0, -1.0))


def test_between_two_things_too_close_one_does_not_go() -> None:
    pillars = [
        Part(id=number, shape=Shape.CYLINDER, position=(x, 1, -2), size=(0.4, 2, 0.4))
        for number, x in enumerate((-0.5, 0.5))
    ]
    _, z = _play(_world(*pillars), Intent(forward=1), 3.0)
    assert z > -2


def test_the_garden_lets_a_player_start_and_keeps_him_in() -> None:
    world = World.load()
    assert world.ground.clearance_m(world.view.position[0], world.view.position[2]) > BODY_RADIUS_M
    for turn in range(8):
        world.step(Intent(forward=1, run=True, turn_left_deg=45.0 * (turn > 0)), 0.0)
        _play(world, Intent(forward=1, run=True), 0.5)
        assert max(abs(world.view.position[0]), abs(world.view.position[2])) < 11.7 - BODY_RADIUS_M + 1e-6


def test_words_change_the_world_and_unknown_words_do_not() -> None:
    world = World.load()
    world.say("let it rain")
    world.say("dance on the table")
    assert (world.action, world.conditions.weather) == ("dance on the table", "rain")


def test_the_scene_is_legal_on_the_wire() -> None:
    world = World.load()
    message = decode(encode(SceneUpdate(replace=True, add=world.scene))).message
    assert isinstance(message, SceneUpdate)
    parts = world.level.blockout.parts
    assert len(message.add) == len(parts) > 40
    for sent in message.add:
        part = parts[sent.id]
        assert (sent.shape.value, sent.position, sent.size) == (part.shape.value, part.position, part.size)
        assert (sent.material, sent.colour) == (part.material, part.colour)
        assert sent.rotation == pytest.approx(part.rotation, abs=1e-6)


def test_the_reference_shows_the_conditions() -> None:
    world = World.load()
    renderer = ReferenceRenderer(world.level.blockout)
    day = renderer.frame(world.view.camera, world.conditions, 0.0, (24, 40))
    night = renderer.frame(world.view.camera, world.conditions.replace("time", "night"), 0.0, (24, 40))
    assert day.shape == (24, 40, 3)
    assert night.mean() < 0.5 * day.mean()

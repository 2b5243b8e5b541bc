"""The sum of a session's scene messages."""

from __future__ import annotations

from bridge.input.scene_state import SceneState
from bridge.protocol.messages import Part, PartMove, Reset, SceneUpdate, Shape


def part(part_id: int, x: float = 0.0, shape: Shape = Shape.BOX) -> Part:
    return Part(id=part_id, shape=shape, position=(x, 0.0, 0.0))


def parts_of(blockout: SceneState) -> list[tuple[int, float]]:
    scene = blockout.start().scene
    assert scene is not None
    assert scene.replace
    return [(each.id, each.position[0]) for each in scene.add]


def test_without_a_blockout_a_session_walks_the_default_map() -> None:
    blockout = SceneState(seed=3, prompt="garden")
    blockout.apply(SceneUpdate(prompt="castle", add=(part(1),)))
    start = blockout.start()
    assert (start.seed, start.prompt, start.scene) == (3, "castle", None)
    assert not blockout.has_parts


def test_updates_add_up_in_the_protocols_order() -> None:
    blockout = SceneState(seed=0, prompt="")
    blockout.apply(SceneUpdate(replace=True, add=(part(1), part(2), part(3))))
    blockout.apply(SceneUpdate(remove=(1, 2), add=(part(2, 5.0),), move=(PartMove(id=2, position=(6.0, 0.0, 0.0)),)))
    assert parts_of(blockout) == [(3, 0.0), (2, 6.0)]
    blockout.apply(SceneUpdate(replace=True, add=(part(9),)))
    assert parts_of(blockout) == [(9, 0.0)]
    blockout.apply(SceneUpdate(replace=True))
    assert parts_of(blockout) == []


def test_a_reset_changes_only_what_it_names() -> None:
    blockout = SceneState(seed=1, prompt="a")
    blockout.apply(SceneUpdate(replace=True, add=(part(1),)))
    blockout.apply_reset(Reset(seed=2))
    blockout.apply_reset(Reset(prompt="b"))
    start = blockout.start()
    assert (start.seed, start.prompt) == (2, "b")
    assert parts_of(blockout) == [(1, 0.0)]


def test_parts_that_the_engine_refused_are_not_asked_for_again() -> None:
    blockout = SceneState(seed=1, prompt="a")
    bad = SceneUpdate(add=(part(2, shape=Shape.MESH),))
    blockout.apply(SceneUpdate(replace=True, add=(part(1),)))
    blockout.apply(bad)
    blockout.forget_parts(bad)
    assert parts_of(blockout) == [(1, 0.0)]


def test_a_blockout_is_what_its_whole_says() -> None:
    for update in (SceneUpdate(prompt="x"), SceneUpdate(replace=True, add=(part(1),), seed=4), SceneUpdate()):
        blockout = SceneState(seed=3, prompt="garden")
        blockout.apply(update)
        assert SceneState.of(blockout.whole()).start() == blockout.start()


def test_a_reset_that_was_refused_leaves_seed_and_prompt_but_what_a_scene_said_since() -> None:
    blockout = SceneState(seed=1, prompt="a")
    refused = Reset(seed=2, prompt="b")
    blockout.apply_reset(refused)
    blockout.forget_reset(refused)
    assert (blockout.start().seed, blockout.start().prompt) == (1, "a")
    blockout.apply_reset(refused)
    blockout.apply(SceneUpdate(prompt="c"))
    blockout.forget_reset(refused)
    assert (blockout.start().seed, blockout.start().prompt) == (1, "c")


BOX = Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, 0.0))


def test_a_moved_part_has_its_new_position_and_rotation() -> None:
    scene = SceneState(seed=0, prompt="")
    turned = (0.0, 0.6, 0.0, 0.8)
    scene.apply(
        SceneUpdate(replace=True, add=(BOX,), move=(PartMove(id=1, position=(1.0, 2.0, 3.0), rotation=turned),))
    )
    (part,) = scene.whole().add
    assert (part.position, part.rotation) == ((1.0, 2.0, 3.0), turned)

"""Parts, their changes, meshes and maps."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from model.errors import BlockoutError
from model.scene.blockout import Blockout, Part, Shape
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.maps import load_map, map_names
from model.scene.raycast import cast

CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], dtype=np.float32)
CUBE_TRIANGLES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], dtype=np.uint32
)  # fmt: skip
BOX = Part(id=7, shape=Shape.BOX, position=(0, 0, -5), size=(2, 2, 2), material="stone")


def camera(size=(24, 40)) -> Camera:
    return Camera(
        position=np.array([0.4, 0.7, 1.0]), rotation=quaternion_from_yaw_pitch(0.1, -0.1), vertical_fov_deg=60,
        height=size[0], width=size[1],
    )  # fmt: skip


def mesh_of(box: Part) -> Part:
    return Part(id=box.id, shape=Shape.MESH, position=box.position, size=box.size, rotation=box.rotation,
                material=box.material, vertices=CUBE, triangles=CUBE_TRIANGLES)  # fmt: skip


def test_add_move_remove_leave_the_old_one_alone():
    before = Blockout().add([BOX])
    moved = before.move(7, (1, 0, -5), (0, 0, 0, 1))
    assert before.parts[7].position == (0, 0, -5)
    assert moved.parts[7].position == (1, 0, -5)
    assert not moved.remove([7, 99]).parts


def test_moving_an_absent_part_is_refused_by_name():
    with pytest.raises(BlockoutError, match="cannot move part 3"):
        Blockout().move(3, (0, 0, 0), (0, 0, 0, 1))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part(id=1, shape=Shape.BOX, position=(0, 0, 0), size=(1, 0, 1)), "size must be positive"),
        (Part(id=1, shape=Shape.MESH, position=(0, 0, 0), size=(1, 1, 1)), "needs vertices"),
        (Part(id=1, shape=Shape.MESH, position=(0, 0, 0), size=(1, 1, 1), vertices=CUBE,
              triangles=np.array([[0, 1, 8]], np.uint32)), "names vertex 8 of 8"),
    ],
)  # fmt: skip
def test_impossible_parts_are_refused(part, message):
    with pytest.raises(BlockoutError, match=message):
        Blockout().add([part])


def test_a_mesh_is_cast_as_the_box_it_is():
    pytest.importorskip("embreex")
    turned = Part(id=7, shape=Shape.BOX, position=(0, 0.5, -5), size=(2, 3, 1), material="stone",
                  rotation=tuple(quaternion_from_yaw_pitch(0.6, 0.0)))  # fmt: skip
    ours = cast(np, Blockout().add([turned]).pack(), camera(), step_px=1)
    embree = cast(np, Blockout().add([mesh_of(turned)]).pack(), camera(), step_px=1)
    same = ours.hit == embree.hit
    assert same.mean() > 0.99  # an edge ray may fall either way
    both = ours.hit & embree.hit
    np.testing.assert_allclose(ours.depth[both], embree.depth[both], rtol=1e-4)
    np.testing.assert_allclose(ours.normal[both], embree.normal[both], atol=1e-4)
    np.testing.assert_allclose(ours.uv[both], embree.uv[both], atol=1e-3)
    np.testing.assert_array_equal(ours.material[both], embree.material[both])


def test_meshes_and_primitives_share_one_depth():
    pytest.importorskip("embreex")
    nearer = Part(id=1, shape=Shape.SPHERE, position=(0, 0.5, -2), size=(0.6, 0.6, 0.6), material="metal")
    hits = cast(np, Blockout().add([mesh_of(BOX), nearer]).pack(), camera(), step_px=1)
    assert {int(p) for p in np.unique(hits.part)} == {-1, 0, 1}


def test_without_embreex_a_mesh_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    with pytest.raises(BlockoutError, match=r"pip install .*\[mesh\]"):
        Blockout().add([mesh_of(BOX)]).pack()


def test_unknown_materials_are_plaster():
    packed = Blockout().add([Part(id=1, shape=Shape.BOX, position=(0, 0, 0), size=(1, 1, 1), material="velvet")]).pack()
    assert packed.material[0] == 0


def test_every_shipped_map_loads_and_its_spawn_is_free():
    for name in map_names():
        level = load_map(name)
        spawn = Camera(position=np.array(level.spawn_position), rotation=quaternion_from_yaw_pitch(0, 0),
                       vertical_fov_deg=65, height=24, width=40)  # fmt: skip
        assert np.median(cast(np, level.blockout.pack(), spawn, step_px=1).depth) > 1
        colours = np.array([part.colour for part in level.blockout.parts.values()])
        assert colours.max() <= 1, "the wire takes colours up to 1"


def test_an_unknown_map_is_refused_with_the_known_names():
    with pytest.raises(BlockoutError, match="garden"):
        load_map("atlantis")

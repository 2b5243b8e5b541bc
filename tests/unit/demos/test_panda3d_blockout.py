"""What a Panda3D scene becomes, against geometry done by hand. Scene graphs alone: nothing is drawn."""

from __future__ import annotations

import numpy as np
import pytest

panda3d = pytest.importorskip("panda3d.core", reason="the panda3d extra is not installed")

from demos.clients.panda3d import geometry  # noqa: E402  # after the skip
from demos.clients.panda3d.blockout import SceneBlockout, camera_from_panda  # noqa: E402

HALF = 0.5**0.5


def world_points(part) -> np.ndarray:
    """A mesh's vertices in our world, (N, 3)."""
    x, y, z, w = part.rotation
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    points = np.frombuffer(part.vertices, "<f4").reshape(-1, 3).astype(float)
    return points * np.array(part.size) @ turn.T + np.array(part.position)


def scene() -> tuple[panda3d.NodePath, panda3d.NodePath]:
    world = panda3d.NodePath("world")
    return world, world.attachNewNode("level")


def test_a_tagged_box_in_a_turned_parent() -> None:
    world, level = scene()
    level.setPos(10, 0, 0)
    level.setH(-90)  # turned right: its forward is the world's +x
    level.setTag("helios_material", "brick")
    box = geometry.box()
    box.reparentTo(level)
    box.setPos(0, 4, 1)
    box.setScale(6, 0.5, 2)
    box.setTag("helios_shape", "box")
    box.setTag("helios_tint", "1 0.5 0.25")
    (part,) = SceneBlockout(level, world).parts
    assert (part.id, part.shape.value, part.material, part.colour) == (1, "box", "brick", (1.0, 0.5, 0.25))
    assert part.position == pytest.approx((14, 1, 0), abs=1e-5)
    assert part.rotation == pytest.approx((0, -HALF, 0, HALF), abs=1e-6)  # ours: a right turn about +Y is negative
    assert part.size == pytest.approx((6, 2, 0.5), abs=1e-5)  # across, up, along


def test_a_shape_off_its_nodes_origin_stands_where_its_geometry_is() -> None:
    world, level = scene()
    drum = geometry.drum()
    drum.setPos(1, 2, 3)
    drum.flattenLight()  # the place goes into the vertices
    drum.reparentTo(level)
    drum.setTag("helios_shape", "cylinder")
    drum.setScale(2)
    (part,) = SceneBlockout(level, world).parts
    assert part.position == pytest.approx((2, 6, -4), abs=1e-5)
    assert part.size == pytest.approx((2, 2, 2), abs=1e-5)


@pytest.mark.parametrize("scale", [(2, 3, 4), (-2, 3, 4)])
def test_a_mesh_keeps_its_place_and_its_outside(scale: tuple[float, float, float]) -> None:
    world, level = scene()
    roof = geometry.roof()
    roof.reparentTo(level)
    roof.setPos(0, 10, 3)
    roof.setHpr(30, 20, 10)
    roof.setScale(*scale)
    (part,) = SceneBlockout(level, world).parts
    at = roof.getMat(world)
    ridge = [at.xformPoint(panda3d.Point3(x, 0, 1)) for x in (-0.5, 0.5)]
    points = world_points(part)
    for end in ridge:
        ours = np.array([end.x, end.z, -end.y])
        assert np.abs(points - ours).sum(axis=1).min() < 1e-4
    a, b, c = np.moveaxis(points[np.frombuffer(part.triangles, "<u4").reshape(-1, 3)], 1, 0)
    outwards = np.cross(b - a, c - a)
    inside = points.mean(axis=0)
    assert (np.einsum("ij,ij->i", outwards, (a + b + c) / 3 - inside) > 0).all()


def test_what_is_hidden_is_not_handed_over_and_ids_follow_the_graph() -> None:
    world, level = scene()
    for name in ("first", "second", "third"):
        node = geometry.box()
        node.setTag("helios_shape", "box")
        node.setTag("helios_material", name)
        node.reparentTo(level)
        if name == "second":
            node.hide()
    parts = SceneBlockout(level, world).parts
    assert [(part.id, part.material) for part in parts] == [(1, "first"), (2, "third")]


def test_only_what_moved_is_told_and_only_once() -> None:
    world, level = scene()
    hinge = level.attachNewNode("hinge")
    hinge.setTag("helios_moves", "yes")
    door = geometry.box()
    door.setTag("helios_shape", "box")
    door.setX(0.5)
    door.reparentTo(hinge)
    blockout = SceneBlockout(level, world)
    assert blockout.moves() == []
    hinge.setH(90)  # to the left: the door's far edge goes forward
    (move,) = blockout.moves()
    assert move.id == 1
    assert move.position == pytest.approx((0, 0, -0.5), abs=1e-6)
    assert move.rotation == pytest.approx((0, HALF, 0, HALF), abs=1e-6)
    assert blockout.moves() == []


def test_the_camera_looks_where_panda3ds_does() -> None:
    world, _ = scene()
    lens = panda3d.PerspectiveLens()
    lens.setFov(80, 50)
    camera = world.attachNewNode(panda3d.Camera("eye", lens))
    camera.setPos(1, 2, 3)
    camera.setHpr(-90, 0, 0)
    seen = camera_from_panda(camera, world)
    assert seen.position == pytest.approx((1, 3, -2))
    assert seen.rotation == pytest.approx((0, -HALF, 0, HALF), abs=1e-6)
    assert seen.vertical_fov_deg == pytest.approx(50, abs=1e-4)

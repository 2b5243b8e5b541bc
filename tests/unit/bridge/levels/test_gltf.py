"""glTF levels as parts, against geometry done by hand; the files are written by trimesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridge.errors import ConfigError
from bridge.levels.gltf import GltfOptions, parts_from_gltf
from bridge.levels.scene_file import read_scenes, scenes_of, write_scenes
from bridge.protocol.axes import client_from_ours, ours_from_client
from bridge.protocol.codec import MAX_SCENE_BYTES, encode_checked
from bridge.protocol.messages import Axes, Part, Shape

trimesh = pytest.importorskip("trimesh", reason="the gltf extra is not installed")

HALF = 0.5**0.5
TURN = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])  # 90 degrees about +Y: z to x
PLAIN = GltfOptions()


def written(folder: Path, *placed: tuple[object, np.ndarray], name: str = "Brick.001") -> Path:
    """A .glb of meshes at their places, all of one material."""
    scene = trimesh.Scene()
    for index, (mesh, transform) in enumerate(placed):
        material = trimesh.visual.material.PBRMaterial(name=name, baseColorFactor=[255, 128, 0, 255])
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(mesh, node_name=f"node {index}", transform=transform)
    path = folder / "level.glb"
    path.write_bytes(scene.export(file_type="glb"))
    return path


def at(x: float, y: float, z: float, linear: np.ndarray = TURN) -> np.ndarray:
    transform = linear.copy()
    transform[:3, 3] = (x, y, z)
    return transform


def triangles_of(part: Part) -> np.ndarray:
    """World corners, (M, 3, 3)."""
    x, y, z, w = part.rotation
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    points = np.frombuffer(part.vertices, "<f4").reshape(-1, 3) * np.array(part.size) @ turn.T + np.array(part.position)
    return points[np.frombuffer(part.triangles, "<u4").reshape(-1, 3)]


def check_outside(triangles: np.ndarray) -> None:
    outwards = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    away = triangles.mean(axis=1) - triangles.reshape(-1, 3).mean(axis=0)
    assert (np.einsum("ij,ij->i", outwards, away) > 0).all()


def test_a_mesh_keeps_place_name_and_colour(tmp_path: Path) -> None:
    path = written(tmp_path, (trimesh.creation.box((1, 2, 3)), at(1, 2, 3)))
    (part,) = parts_from_gltf(path, PLAIN)
    assert (part.id, part.shape, part.material) == (1, Shape.MESH, "brick")
    assert part.colour == pytest.approx((1, 128 / 255, 0), abs=1e-6)
    assert part.position == pytest.approx((1, 2, 3))
    assert part.rotation == pytest.approx((0, HALF, 0, HALF), abs=1e-6)
    corners = triangles_of(part).reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0), (1 - 1.5, 2 - 1, 3 - 0.5), atol=1e-5)  # 3 along x now
    np.testing.assert_allclose(corners.max(axis=0), (1 + 1.5, 2 + 1, 3 + 0.5), atol=1e-5)
    check_outside(triangles_of(part))


@pytest.mark.parametrize(
    "linear",
    [
        TURN @ np.diag([-2.0, 3, 4, 1]),
        np.diag([1.0, 1, -1, 1]),
        np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]),
        np.array([[1.0, 0.5, 0, 0], [0, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]),
    ],
    ids=["mirrored and scaled", "mirrored", "sheared", "sheared and mirrored"],
)
def test_mirrored_and_sheared_meshes_stay_where_they_are_and_face_outwards(tmp_path: Path, linear: np.ndarray) -> None:
    box = trimesh.creation.box((1, 1, 1))
    (part,) = parts_from_gltf(written(tmp_path, (box, at(5, 6, 7, linear))), PLAIN)
    assert min(part.size) > 0
    expected = np.array(box.vertices) @ linear[:3, :3].T + (5, 6, 7)
    got = triangles_of(part).reshape(-1, 3)
    for corner in expected:
        assert np.abs(got - corner).sum(axis=1).min() < 1e-5
    check_outside(triangles_of(part))


@pytest.mark.parametrize("seed", range(6))
def test_any_rotation_comes_through(tmp_path: Path, seed: int) -> None:
    linear = trimesh.transformations.random_rotation_matrix(np.random.default_rng(seed).random(3))
    (part,) = parts_from_gltf(written(tmp_path, (trimesh.creation.box((1, 2, 3)), at(0, 0, 0, linear))), PLAIN)
    expected = np.array(trimesh.creation.box((1, 2, 3)).vertices) @ linear[:3, :3].T
    got = triangles_of(part).reshape(-1, 3)
    assert all(np.abs(got - corner).sum(axis=1).min() < 1e-5 for corner in expected)


def test_one_mesh_at_two_nodes_is_two_parts_and_names_can_be_mapped(tmp_path: Path) -> None:
    box = trimesh.creation.box((1, 1, 1))
    path = written(tmp_path, (box, at(0, 0, 0)), (box.copy(), at(4, 0, 0)), name="Wood.Floor")
    parts = parts_from_gltf(path, GltfOptions(materials={"Wood.Floor": "planks"}))
    assert [(part.id, part.position[0], part.material) for part in parts] == [(1, 0.0, "planks"), (2, 4.0, "planks")]


def test_boxes_stand_around_their_meshes(tmp_path: Path) -> None:
    wedge = trimesh.Trimesh([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 4]], [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    (part,) = parts_from_gltf(written(tmp_path, (wedge, at(10, 0, 0))), GltfOptions(boxes=True))
    assert part.shape is Shape.BOX
    assert part.vertices == b""
    assert part.size == pytest.approx((2, 1, 4))
    assert part.position == pytest.approx((10 + 2, 0.5, -1))  # the middle (1, .5, 2), turned: z to x, x to -z


def test_a_large_mesh_is_handed_over_in_pieces(tmp_path: Path) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=6)  # 81,920 triangles
    parts = parts_from_gltf(written(tmp_path, (sphere, at(0, 0, 0))), PLAIN)
    assert len(parts) == 4
    assert sum(len(part.triangles) // 12 for part in parts) == 81_920
    updates = list(scenes_of(parts))
    assert [update.replace for update in updates] == [True]
    assert all(len(bytes(encode_checked(update)[2])) <= MAX_SCENE_BYTES for update in updates)


def test_what_fits_no_message_goes_in_several_and_comes_back_from_a_file(tmp_path: Path) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=6)
    path = written(tmp_path, *((sphere.copy(), at(3 * i, 0, 0)) for i in range(3)))
    parts = parts_from_gltf(path, PLAIN)
    to_unity = client_from_ours(Axes.UNITY, 1.0)
    updates = [to_unity.scene(update) for update in scenes_of(parts)]
    assert [update.replace for update in updates] == [True, False]
    target = tmp_path / "level.scene"
    assert write_scenes(target, updates) == target.stat().st_size
    back = [ours_from_client(Axes.UNITY, 1.0).scene(update) for update in read_scenes(target)]
    assert tuple(part for update in back for part in update.add) == tuple(parts)
    cut = tmp_path / "cut.scene"
    cut.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="cut short"):
        read_scenes(cut)


def test_too_much_for_a_session_is_said_so() -> None:
    part = Part(id=1, shape=Shape.MESH, position=(0, 0, 0), vertices=bytes(12 * 65536), triangles=bytes(12 * 100_000))
    with pytest.raises(ConfigError, match=r"40 parts and 75\.8 MiB"):
        list(scenes_of([part] * 40))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("level.glb", b"", "not a glTF file"),
        ("level.glb", b"glTF\x02\x00\x00\x00\xff\xff\xff\xff", "not a glTF file"),
        ("level.gltf", b"{}", "not a glTF file|no triangle meshes"),
        ("level.gltf", b"not json", "not a glTF file"),
        ("level.obj", b"v 0 0 0", r"got \.obj, expected \.glb or \.gltf"),
    ],
)
def test_what_is_no_gltf_is_one_clear_error(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=expected):
        parts_from_gltf(path, PLAIN)
    with pytest.raises(ConfigError, match=r"got a folder, expected a \.glb or \.gltf file"):
        parts_from_gltf(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match="no such file"):
        parts_from_gltf(tmp_path / "missing.glb", PLAIN)

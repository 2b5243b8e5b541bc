"""Converts glTF files to blockouts: each mesh of each node becomes a part. Needs the gltf extra (trimesh).

glTF's axes are ours (right-handed, +Y up, metres, counter-clockwise outside), and its base colours are linear, as
the protocol's are (glTF 2.0 specification, sections 3.4 and 3.9.2). The only module that imports trimesh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from bridge.protocol.fields import MAX_MESH_VERTICES, MAX_NAME_CHARS, Colour, Quat, Vec3
from bridge.protocol.messages import Part, Shape
from model.cli_args import install

_TRIANGLES_A_PART: Final = MAX_MESH_VERTICES // 3  # however few vertices they share, they fit
_BLENDER_COPY: Final = re.compile(r"\.\d{3}$")
_SHEAR: Final = 1e-4  # of unit axes' inner products; float32 files are rounded by 1e-7
_NOT_READ: Final = (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, AttributeError, EOFError)

Points = NDArray[np.float64]
"""(N, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GltfOptions:
    """materials: what a material's name in the file is called in the model. boxes: bounding boxes, not triangles."""

    materials: Mapping[str, str] = field(default_factory=dict)
    boxes: bool = False


def parts_from_gltf(path: Path, options: GltfOptions) -> list[Part]:
    """The parts of a .glb or .gltf file in our axes. Ids run from 1 in the order of the nodes' names.

    Raises: ConfigError: trimesh is missing, or the file is not there, is no glTF, or has no meshes.
    """
    parts: list[Part] = []
    for node, mesh, world_from_mesh in _meshes(path):
        material, colour = _look(mesh)
        name = options.materials.get(material, _plain(material))
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
        if len(faces) == 0:
            continue
        placed = _place(world_from_mesh, vertices, faces, node)
        if options.boxes:
            parts.append(_box(len(parts) + 1, placed, name, colour))
            continue
        for some_vertices, some_faces in _pieces(placed.vertices, placed.faces):
            parts.append(
                Part(
                    id=len(parts) + 1, shape=Shape.MESH, position=placed.position, rotation=placed.rotation,
                    size=placed.size, material=name, colour=colour, vertices=some_vertices.astype("<f4").tobytes(),
                    triangles=some_faces.astype("<u4").tobytes(),
                )
            )  # fmt: skip
    if not parts:
        raise ConfigError(f"{path}: no triangle meshes in it")
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """A mesh in its own axes and where these are. size multiplies the vertices."""

    position: Vec3
    rotation: Quat
    size: Vec3
    vertices: Points
    faces: NDArray[np.int64]


def _meshes(path: Path) -> Iterator[tuple[str, Any, Points]]:
    """Each instance of each mesh: its node's name, the mesh, and its (4, 4) place in the world."""
    try:
        import trimesh
    except ModuleNotFoundError as exc:
        raise ConfigError(f"reading glTF needs trimesh: {install('gltf')}") from exc
    if path.is_dir():
        raise ConfigError(f"{path}: got a folder, expected a .glb or .gltf file")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.suffix.lower() not in (".glb", ".gltf"):
        raise ConfigError(f"{path}: got {path.suffix or 'no suffix'}, expected .glb or .gltf")
    try:
        scene = trimesh.load_scene(str(path), process=False)
    except _NOT_READ as exc:
        raise ConfigError(f"{path}: not a glTF file that can be read: {exc}") from exc
    for node in sorted(scene.graph.nodes_geometry, key=str):
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, trimesh.Trimesh):
            yield str(node), mesh, np.asarray(transform, np.float64)


def _look(mesh: Any) -> tuple[str, Colour]:
    """A mesh's material name, and its base colour without the texture."""
    material = getattr(mesh.visual, "material", None)
    factor = getattr(material, "baseColorFactor", None)
    colour = (1.0, 1.0, 1.0)
    if factor is not None:
        red, green, blue = (float(c) for c in np.asarray(factor, np.float64)[:3] / 255)
        colour = (min(red, 1.0), min(green, 1.0), min(blue, 1.0))
    return str(getattr(material, "name", None) or ""), colour


def _plain(name: str) -> str:
    """`Brick.001` is brick: editors number copies, and names of materials are lower-case."""
    return _BLENDER_COPY.sub("", name).lower()[:MAX_NAME_CHARS]


def _place(world_from_mesh: Points, vertices: Points, faces: NDArray[np.int64], node: str) -> _Placed:
    """Takes a transform apart. A mirroring goes into the vertices; so does all of it where it shears."""
    linear, position = world_from_mesh[:3, :3], world_from_mesh[:3, 3]
    if not (np.isfinite(world_from_mesh).all() and np.isfinite(vertices).all()):
        raise ConfigError(f"node {node!r}: a number is not finite")
    size = np.linalg.norm(linear, axis=0)
    mirrored = np.linalg.det(linear) < 0
    if mirrored:
        faces = faces[:, (0, 2, 1)]
    unit = linear / np.maximum(size, 1e-30)
    if size.min() <= 0 or np.abs(unit.T @ unit - np.eye(3)).max() > _SHEAR:
        return _Placed(
            position=_vec3(position), rotation=(0.0, 0.0, 0.0, 1.0), size=(1.0, 1.0, 1.0),
            vertices=vertices @ linear.T, faces=faces,
        )  # fmt: skip
    if mirrored:
        unit, vertices = unit * (-1, 1, 1), vertices * (-1, 1, 1)
    return _Placed(
        position=_vec3(position), rotation=_quaternion(unit), size=_vec3(size), vertices=vertices, faces=faces
    )


def _pieces(vertices: Points, faces: NDArray[np.int64]) -> Iterator[tuple[Points, NDArray[np.int64]]]:
    """A mesh within the limits of a part: in pieces, if need be, and without what covers no area."""
    corners = vertices[faces].astype(np.float32).astype(np.float64)
    has_area = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) != 0).any(axis=1)
    faces = faces[has_area]
    for first in range(0, len(faces), _TRIANGLES_A_PART):
        used, renumbered = np.unique(faces[first : first + _TRIANGLES_A_PART], return_inverse=True)
        yield vertices[used], renumbered.reshape(-1, 3)


def _box(part_id: int, placed: _Placed, material: str, colour: Colour) -> Part:
    """The box around a mesh, along the mesh's own axes."""
    low, high = placed.vertices.min(axis=0), placed.vertices.max(axis=0)
    size = np.array(placed.size)
    offset = _matrix(placed.rotation) @ (size * (low + high) / 2)
    thick = np.maximum(size * (high - low), 1e-3)  # a flat mesh is a thin box
    return Part(
        id=part_id, shape=Shape.BOX, position=_vec3(np.array(placed.position) + offset), rotation=placed.rotation,
        size=_vec3(thick), material=material, colour=colour,
    )  # fmt: skip


def _vec3(values: Points) -> Vec3:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def _quaternion(m: Points) -> Quat:
    """Of a rotation matrix, by its largest component (Shepperd 1978)."""
    squares = np.array([1 + m[0, 0] - m[1, 1] - m[2, 2], 1 - m[0, 0] + m[1, 1] - m[2, 2],
                        1 - m[0, 0] - m[1, 1] + m[2, 2], 1 + m[0, 0] + m[1, 1] + m[2, 2]])  # fmt: skip
    table = np.array([
        [squares[0], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
        [m[1, 0] + m[0, 1], squares[1], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
        [m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[2], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
    ])  # fmt: skip
    row = table[int(squares.argmax())]
    x, y, z, w = (float(q) for q in row / np.linalg.norm(row))
    return (x, y, z, w)


def _matrix(q: Quat) -> Points:
    x, y, z, w = q
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip

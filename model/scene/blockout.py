"""The blockout: an engine's grey-box geometry with material names.

raycast.py casts rays at it. How a surface looks is the model's (and the demo renderer's) matter.

Every primitive is a unit shape in its own frame (box and cylinder fill [-1, 1]^3, the sphere has radius 1, the plane
is y = 0), moved by one affine map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import BlockoutError
from model.scene.camera import Array, matrix_from_quaternion
from model.scene.meshes import MeshScene, Triangles

MATERIALS = (
    "plaster", "grass", "stone", "brick", "planks", "tiles", "water",
    "foliage", "metal", "lamp", "sand", "slate", "bark", "door", "fountain",
)  # fmt: skip
"""Materials the demo model knows, in the order of its one-hot channels. Unknown names are painted as plaster."""


class Shape(StrEnum):
    """What a part is; the values are the wire's names."""

    BOX = "box"
    SPHERE = "sphere"
    CYLINDER = "cylinder"
    PLANE = "plane"
    MESH = "mesh"


SHAPE_INDEX = {shape: index for index, shape in enumerate(Shape)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of the grey-box.

    `size`: full extents in metres along the part's own axes (a sphere is the ellipsoid with these diameters, a cylinder
    stands along its own Y, a plane lies in its own XZ and ignores size y). `rotation`: unit quaternion xyzw.
    A mesh gives `vertices` (N, 3) float32 in its own frame (size scales them) and `triangles` (M, 3) uint32.
    """

    id: int
    shape: Shape
    position: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    material: str = "plaster"
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vertices: NDArray[np.float32] | None = None
    triangles: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedParts:
    """Parts as arrays, P of them. `local_from_world` (P, 3, 3) takes metres in the world to the unit shape's frame."""

    shape: Array  # (P,) index into Shape
    centre: Array  # (P, 3)
    half: Array  # (P, 3) half extents
    local_from_world: Array  # (P, 3, 3)
    material: Array  # (P,) index into MATERIALS
    colour: Array  # (P, 3)
    meshes: MeshScene | None = None  # the last parts are its meshes, in order

    def to_torch(self, xp: ModuleType, device: Any) -> PackedParts:
        """The same parts as torch tensors on `device`. Raises: BlockoutError: there are meshes, which are numpy's."""
        if self.meshes is not None:
            raise BlockoutError("meshes are cast by numpy alone")
        names = ("shape", "centre", "half", "local_from_world", "material", "colour")
        return PackedParts(**{name: xp.as_tensor(getattr(self, name), device=device) for name in names})


@dataclass(frozen=True, slots=True)
class Blockout:
    """An immutable set of parts by id. `add`, `move` and `remove` return a new one."""

    parts: Mapping[int, Part] = field(default_factory=dict)

    def add(self, parts: Iterable[Part]) -> Blockout:
        """Raises: BlockoutError: a size is not positive, or a mesh's arrays are missing or out of range."""
        merged = dict(self.parts)
        for part in parts:
            _check(part)
            merged[part.id] = part
        return Blockout(merged)

    def move(
        self, part_id: int, position: tuple[float, float, float], rotation: tuple[float, float, float, float]
    ) -> Blockout:
        """Raises: BlockoutError: there is no such part."""
        if part_id not in self.parts:
            raise BlockoutError(f"cannot move part {part_id}: the blockout has no part with this id; add it first")
        return Blockout({**self.parts, part_id: replace(self.parts[part_id], position=position, rotation=rotation)})

    def remove(self, part_ids: Iterable[int]) -> Blockout:
        """Removing an absent part is no error: events may arrive twice."""
        gone = set(part_ids)
        return Blockout({key: part for key, part in self.parts.items() if key not in gone})

    def pack(self) -> PackedParts:
        """The parts as arrays: primitives in order of id, then meshes (with a frame of unit scale).

        Raises: BlockoutError: there is a mesh and no embreex.
        """
        in_order = [part for _, part in sorted(self.parts.items())]
        meshes = [part for part in in_order if part.shape is Shape.MESH]
        parts = [part for part in in_order if part.shape is not Shape.MESH] + meshes
        sizes = [(2.0, 2.0, 2.0) if part.shape is Shape.MESH else part.size for part in parts]
        half = np.array(sizes, dtype=np.float32).reshape(-1, 3) / 2
        rotation = np.array([p.rotation for p in parts], dtype=np.float64).reshape(-1, 4)
        world_from_local = matrix_from_quaternion(rotation).astype(np.float32)
        inverse = np.swapaxes(world_from_local, -1, -2) / np.maximum(half, 1e-6)[:, :, None]
        known = {name: index for index, name in enumerate(MATERIALS)}
        return PackedParts(
            shape=np.array([SHAPE_INDEX[p.shape] for p in parts], dtype=np.int64),
            centre=np.array([p.position for p in parts], dtype=np.float32).reshape(-1, 3),
            half=half,
            local_from_world=inverse.astype(np.float32),
            material=np.array([known.get(p.material, 0) for p in parts], dtype=np.int64),
            colour=np.array([p.colour for p in parts], dtype=np.float32).reshape(-1, 3),
            meshes=MeshScene([_world_triangles(part) for part in meshes]) if meshes else None,
        )


def _check(part: Part) -> None:
    extents = (part.size[0], part.size[2]) if part.shape is Shape.PLANE else part.size
    if min(extents) <= 0:
        raise BlockoutError(f"part {part.id}: size must be positive along every axis, got {part.size}")
    if part.shape is Shape.MESH:
        if part.vertices is None or part.triangles is None or len(part.triangles) == 0:
            raise BlockoutError(f"part {part.id}: a mesh needs vertices and at least one triangle")
        if int(part.triangles.max()) >= len(part.vertices):
            raise BlockoutError(
                f"part {part.id}: a triangle names vertex {part.triangles.max()} of {len(part.vertices)}"
            )


def _world_triangles(part: Part) -> Triangles:
    assert part.vertices is not None
    assert part.triangles is not None
    rotation = matrix_from_quaternion(np.array(part.rotation))
    vertices = (part.vertices * np.array(part.size)) @ rotation.T + np.array(part.position)
    return vertices.astype(np.float32), part.triangles

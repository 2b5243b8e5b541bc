"""Exact ray casting over a blockout: analytic for primitives, Embree for meshes.

Rays are taken into each part's own frame without renormalising, so one parameter t serves all, and t is view-axis
depth. Tracing keeps only t and the part per ray; normals and surface coordinates are derived afterwards, for the
winners. Numpy and torch run the same code (`xp`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from model.scene.blockout import SHAPE_INDEX, PackedParts, Shape
from model.scene.camera import Array, Camera, matrix_from_quaternion, ray_directions

NEAR_M = 0.05
"""Nothing nearer is met; a camera inside a solid does not see it."""

_SKY_SCALE, _SKY_BEND = 0.6, 0.2  # clouds of some 30 degrees overhead, flatter towards the horizon
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class RayHits:
    """What each ray of an (h, w) grid met. Rays that met nothing have depth inf and part -1, the surface coordinates of
    a flat sky overhead, and zeros elsewhere."""

    origin: Array  # (3,) float32; of several frames (F, 1, 1, 3), and all below has a leading axis F
    directions: Array  # (h, w, 3) float32, view-axis component 1
    depth: Array  # (h, w) float32, metres along the view axis
    part: Array  # (h, w) int64, index into the packed parts
    hit: Array  # (h, w) bool
    position: Array  # (h, w, 3) float32, world metres
    normal: Array  # (h, w, 3) float32, unit, world, towards the viewer
    uv: Array  # (h, w, 2) float32, metres along the surface
    facet: Array  # (h, w) int64: which side of its part, 0 (top, bottom or cap), 1 or 2; 2 for all that is round
    material: Array  # (h, w) int64
    colour: Array  # (h, w, 3) float32


def cast(
    xp: ModuleType,
    parts: PackedParts,
    camera: Camera | Sequence[Camera],
    *,
    step_px: float,
    offset_px: tuple[float, float] = (0.5, 0.5),
) -> RayHits:
    """Casts one ray every `step_px` pixels of `camera` at the parts. The arrays of the result belong to `xp`.

    Several cameras (which share window and size) give every array but those of the parts a leading axis of frames.
    """
    return surfaces(xp, parts, trace(xp, parts, camera, step_px=step_px, offset_px=offset_px))


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """The part of a cast that is cheap; fields as in `RayHits`. `facet`: where a mesh was met, its normal."""

    origin: Array
    directions: Array
    depth: Array
    part: Array
    facet: Array | None


def trace(
    xp: ModuleType,
    parts: PackedParts,
    camera: Camera | Sequence[Camera],
    *,
    step_px: float,
    offset_px: tuple[float, float] = (0.5, 0.5),
) -> Traced:
    """Which part each ray meets first, and where."""
    if isinstance(camera, Camera):
        return _trace_tiles(xp, parts, camera, step_px, offset_px)
    if xp is np or parts.centre.device.type == "cpu":
        frames = [_trace_tiles(xp, parts, one, step_px, offset_px) for one in camera]
        return Traced(
            origin=xp.stack([frame.origin for frame in frames])[:, None, None],
            directions=xp.stack([frame.directions for frame in frames]),
            depth=xp.stack([frame.depth for frame in frames]), part=xp.stack([frame.part for frame in frames]),
            facet=None if frames[0].facet is None else xp.stack([frame.facet for frame in frames]),
        )  # fmt: skip
    return trace_dense(xp, parts, camera, step_px=step_px, offset_px=offset_px)


def trace_dense(
    xp: ModuleType, parts: PackedParts, cameras: Sequence[Camera], *, step_px: float, offset_px: tuple[float, float]
) -> Traced:
    """Every ray of every frame at every primitive: more work than by tiles, in few large steps, as a GPU likes it."""
    device = parts.centre.device
    directions = xp.as_tensor(np.stack([ray_directions(c, step_px, offset_px) for c in cameras]), device=device)
    origin = xp.as_tensor(np.stack([c.position for c in cameras]).astype(np.float32), device=device)[:, None, None]
    everywhere = (slice(None), slice(None))
    depth, part = _meet(xp, parts, origin, directions, [(i, everywhere) for i in range(len(parts.shape))])
    return Traced(origin=origin, directions=directions, depth=depth, part=part, facet=None)


def _trace_tiles(
    xp: ModuleType, parts: PackedParts, camera: Camera, step_px: float, offset_px: tuple[float, float]
) -> Traced:
    directions: Array = ray_directions(camera, step_px, offset_px)
    origin: Array = camera.position.astype(np.float32)
    tiles = screen_tiles(parts, camera, step_px, directions.shape[:2])
    if xp is not np:
        device = parts.centre.device
        directions, origin = xp.as_tensor(directions, device=device), xp.as_tensor(origin, device=device)
    depth, part = _meet(xp, parts, origin, directions, tiles)
    facet = None
    if parts.meshes is not None:
        t, mesh, facet = parts.meshes.cast(origin, directions)
        nearer = (t < depth) & (t > NEAR_M)
        first_mesh = parts.shape.tolist().index(SHAPE_INDEX[Shape.MESH])
        depth, part = np.where(nearer, t, depth), np.where(nearer, mesh + first_mesh, part)
    return Traced(origin=origin, directions=directions, depth=depth, part=part, facet=facet)


def _meet(
    xp: ModuleType, parts: PackedParts, origin: Array, directions: Array, tiles: list[tuple[int, tuple[slice, slice]]]
) -> tuple[Array, Array]:
    """Depth and part of the nearest primitive on each ray; `tiles`: which part may be met in which block of rays."""
    depth = xp.ones_like(directions[..., 0]) * float("inf")
    part = xp.zeros_like(depth, dtype=xp.int64) - 1
    shapes = parts.shape.tolist()
    for index, (rows, cols) in tiles:
        if shapes[index] == SHAPE_INDEX[Shape.MESH]:
            continue
        block = (..., rows, cols)
        to_local = parts.local_from_world[index].T
        local_origin = (origin - parts.centre[index]) @ to_local
        t = INTERSECT[shapes[index]](xp, local_origin, directions[..., rows, cols, :] @ to_local)
        nearer = t < depth[block]
        depth[block] = xp.where(nearer, t, depth[block])
        part[block] = xp.where(nearer, xp.ones_like(part[block]) * index, part[block])
    return depth, part


def dot(a: Array, b: Array) -> Array:
    """Inner product over a last axis of three (a reduction over so short an axis is slow)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def screen_tiles(
    parts: PackedParts, camera: Camera, step_px: float, grid: tuple[int, int]
) -> list[tuple[int, tuple[slice, slice]]]:
    """For each part that can be seen, the block of the ray grid that its bounding box covers."""
    centre, half, inverse = _on_host(parts.centre), _on_host(parts.half), _on_host(parts.local_from_world)
    if len(centre) == 0:
        return []
    flat = _on_host(parts.shape) == SHAPE_INDEX[Shape.PLANE]
    axes = np.swapaxes(inverse * half[:, :, None], -1, -2)  # (P, 3, 3) unit world axes of each part
    extent = np.where(flat[:, None], half * np.array([1, 0, 1]), half)
    corners = centre[:, None] + (_CORNERS * extent[:, None]) @ np.swapaxes(axes, -1, -2)  # (P, 8, 3)
    view = (corners - camera.position) @ matrix_from_quaternion(camera.rotation)  # right, up, backward
    ahead = -view[..., 2]
    a, b = view[:, _EDGES[:, 0]], view[:, _EDGES[:, 1]]
    depth_a, depth_b = -a[..., 2], -b[..., 2]
    crossing = (depth_a < NEAR_M) != (depth_b < NEAR_M)
    share = np.where(crossing, (NEAR_M - depth_a) / np.where(crossing, depth_b - depth_a, 1), 0)[..., None]
    points = np.concatenate([view, a + share * (b - a)], axis=1)
    valid = np.concatenate([ahead >= NEAR_M, crossing], axis=1)
    z = np.maximum(-points[..., 2], NEAR_M)
    top, left = camera.window[:2] if camera.window else (0, 0)
    xs = (camera.width / 2 + camera.focal_px * points[..., 0] / z - left) / step_px
    ys = (camera.height / 2 - camera.focal_px * points[..., 1] / z - top) / step_px
    big = 1e9
    low_x, high_x = np.where(valid, xs, big).min(1), np.where(valid, xs, -big).max(1)
    low_y, high_y = np.where(valid, ys, big).min(1), np.where(valid, ys, -big).max(1)
    x0, y0 = np.clip(np.floor(low_x), 0, grid[1]).astype(int), np.clip(np.floor(low_y), 0, grid[0]).astype(int)
    x1, y1 = np.clip(np.ceil(high_x), 0, grid[1]).astype(int), np.clip(np.ceil(high_y), 0, grid[0]).astype(int)
    seen = np.nonzero((x1 > x0) & (y1 > y0))[0]
    return [(int(i), (slice(y0[i], y1[i]), slice(x0[i], x1[i]))) for i in seen]


def _on_host(array: Array) -> Any:
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu())


def surfaces(xp: ModuleType, parts: PackedParts, traced: Traced) -> RayHits:
    """Position, normal, surface coordinates, material and colour where each ray ended."""
    origin, directions, depth, part = traced.origin, traced.directions, traced.depth, traced.part
    hit = part >= 0
    index = xp.where(hit, part, xp.zeros_like(part))
    t = xp.where(hit, depth, xp.zeros_like(depth))[..., None]
    position = origin + t * directions
    if parts.centre.shape[0] == 0:
        zero = xp.zeros_like(directions)
        return RayHits(
            origin=origin, directions=directions, depth=depth, part=part, hit=hit, position=position, normal=zero,
            uv=xp.stack(_sky_coordinates(xp, directions), -1), facet=index, material=index, colour=zero,
        )  # fmt: skip
    inverse = parts.local_from_world[index]  # (h, w, 3, 3)
    offset = position - parts.centre[index]
    x, y, z = (dot(offset, inverse[..., row, :]) for row in range(3))
    shape = parts.shape[index]
    is_cylinder, is_plane = shape == SHAPE_INDEX[Shape.CYLINDER], shape == SHAPE_INDEX[Shape.PLANE]
    is_sphere = shape == SHAPE_INDEX[Shape.SPHERE]
    if traced.facet is not None:  # a mesh has the axes of its facet's normal, as a box has those of its sides
        is_mesh = shape == SHAPE_INDEX[Shape.MESH]
        facing_x, facing_y, facing_z = (dot(traced.facet, inverse[..., row, :]) for row in range(3))
        at_x, at_y, at_z = x, y, z
        x, y, z = (xp.where(is_mesh, n, p) for n, p in ((facing_x, x), (facing_y, y), (facing_z, z)))
    radial = xp.sqrt(x * x + z * z)
    ax, ay, az = xp.abs(x), xp.abs(y), xp.abs(z)
    on_y = is_plane | (is_cylinder & (ay > radial)) | (~is_cylinder & ~is_sphere & (ay >= ax) & (ay >= az))
    on_x = ~on_y & ~is_cylinder & ~is_sphere & (ax >= az)
    on_z = ~on_y & ~is_cylinder & ~is_sphere & ~on_x
    zero = xp.zeros_like(x)
    nx = xp.where(on_y | on_z, zero, xp.where(on_x, xp.sign(x), x))
    ny = xp.where(on_y, xp.where(is_plane, xp.ones_like(y), xp.sign(y)), xp.where(is_sphere, y, zero))
    nz = xp.where(on_y | on_x, zero, xp.where(on_z, xp.sign(z), z))
    normal = (
        nx[..., None] * inverse[..., 0, :] + ny[..., None] * inverse[..., 1, :] + nz[..., None] * inverse[..., 2, :]
    )
    normal = normal / xp.sqrt(dot(normal, normal) + 1e-12)[..., None]
    if traced.facet is not None:
        normal = xp.where(is_mesh[..., None], traced.facet, normal)
        x, y, z = at_x, at_y, at_z
    facing = xp.where(dot(normal, directions) > 0, -xp.ones_like(x), xp.ones_like(x))
    keep = xp.where(hit, facing, zero)[..., None]
    half = parts.half[index]
    mx, my, mz = x * half[..., 0], y * half[..., 1], z * half[..., 2]
    around = xp.arctan2(z, x) * half[..., 0]
    round_side = (is_cylinder & ~on_y) | is_sphere
    sky_u, sky_v = _sky_coordinates(xp, directions)
    u = xp.where(hit, xp.where(round_side, around, xp.where(on_x, mz, mx)), sky_u)
    v = xp.where(hit, xp.where(on_y, mz, my), sky_v)
    return RayHits(
        origin=origin, directions=directions, depth=depth, part=part, hit=hit, position=position,
        normal=normal * keep, uv=xp.stack([u, v], -1), facet=(hit & ~on_y) * (2 - 1 * on_x),
        material=parts.material[index], colour=parts.colour[index] * xp.abs(keep),
    )  # fmt: skip


def _sky_coordinates(xp: ModuleType, directions: Array) -> tuple[Array, Array]:
    """Where rays pass through a flat layer overhead that bends down to the horizon, so that the sky can have a texture
    like any surface; in metres only so far as a texture's waves are."""
    length = xp.sqrt(dot(directions, directions))
    scale = _SKY_SCALE / (xp.clip(directions[..., 1], 0, float("inf")) + _SKY_BEND * length)
    return directions[..., 0] * scale, directions[..., 2] * scale


def _reciprocal(xp: ModuleType, d: Array) -> Array:
    return 1 / xp.where(xp.abs(d) < 1e-9, xp.ones_like(d) * 1e-9, d)


def _box(xp: ModuleType, o: Array, d: Array) -> Array:
    """Slab test. A camera inside a box does not see it."""
    inverse = _reciprocal(xp, d)
    a, b = (-1 - o) * inverse, (1 - o) * inverse
    low, high = xp.minimum(a, b), xp.maximum(a, b)
    enter = xp.maximum(xp.maximum(low[..., 0], low[..., 1]), low[..., 2])
    leave = xp.minimum(xp.minimum(high[..., 0], high[..., 1]), high[..., 2])
    return xp.where((enter <= leave) & (enter > NEAR_M), enter, xp.ones_like(enter) * float("inf"))


def _quadratic(xp: ModuleType, a: Array, b: Array, c: Array) -> Array:
    """The nearer root of a t^2 + 2 b t + c = 0, inf where there is none or it lies behind."""
    disc = b * b - a * c
    root = xp.sqrt(xp.maximum(disc, xp.zeros_like(disc)))
    t = (-b - root) / xp.maximum(a, xp.ones_like(a) * 1e-12)
    return xp.where((disc > 0) & (t > NEAR_M), t, xp.ones_like(t) * float("inf"))


def _sphere(xp: ModuleType, o: Array, d: Array) -> Array:
    return _quadratic(xp, dot(d, d), dot(d, o), dot(o, o) - 1)


def _cylinder(xp: ModuleType, o: Array, d: Array) -> Array:
    dx, dy, dz = d[..., 0], d[..., 1], d[..., 2]
    ox, oz = o[..., 0], o[..., 2]
    side = _quadratic(xp, dx * dx + dz * dz, dx * ox + dz * oz, ox * ox + oz * oz - 1)
    inf = xp.ones_like(side) * float("inf")
    height = o[..., 1] + xp.where(side < float("inf"), side, xp.zeros_like(side)) * dy
    side = xp.where(xp.abs(height) <= 1, side, inf)
    cap = (xp.where(dy < 0, xp.ones_like(dy), -xp.ones_like(dy)) - o[..., 1]) * _reciprocal(xp, dy)
    px, pz = ox + cap * dx, oz + cap * dz
    cap = xp.where((px * px + pz * pz <= 1) & (cap > NEAR_M) & (xp.abs(dy) > 1e-9), cap, inf)
    return xp.minimum(side, cap)


def _plane(xp: ModuleType, o: Array, d: Array) -> Array:
    t = -o[..., 1] * _reciprocal(xp, d[..., 1])
    inside = (xp.abs(o[..., 0] + t * d[..., 0]) <= 1) & (xp.abs(o[..., 2] + t * d[..., 2]) <= 1)
    return xp.where(inside & (t > NEAR_M), t, xp.ones_like(t) * float("inf"))


INTERSECT = {
    SHAPE_INDEX[Shape.BOX]: _box,
    SHAPE_INDEX[Shape.SPHERE]: _sphere,
    SHAPE_INDEX[Shape.CYLINDER]: _cylinder,
    SHAPE_INDEX[Shape.PLANE]: _plane,
}

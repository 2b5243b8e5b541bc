"""Tours of maps that nobody trained on: walks on free ground, with turns on the spot and action texts whose effect is
in view. A pure function of the map, the length and a seed.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from model.demo.training.clips import FPS, FRAME_HEIGHT, FRAME_WIDTH
from model.demo.world.conditions import SLOTS, Conditions
from model.scene.blockout import MATERIALS, SHAPE_INDEX, PackedParts, Shape
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.maps import Map
from model.scene.raycast import cast

EYE_M, VERTICAL_FOV_DEG = 1.6, 65.0
_CELL_M, _CLEARANCE_M = 0.25, 0.6
_BODY_M = np.arange(0.4, 1.9, 0.25)  # heights at which a walker must not stand inside anything
_WALK_M_PER_S, _TURN_RAD_PER_S = 2.2, 1.4
TEXT_EVERY_S = 3.0
_IN_VIEW = 0.004  # share of the picture that a thing fills when it is told to change
_THINGS = {"lamps": "lamp", "door": "door", "fountain": "fountain"}
_TEXTS = {
    ("time", "day"): "make it day", ("time", "dusk"): "let it be dusk", ("time", "night"): "make it night",
    ("weather", "clear"): "clear sky", ("weather", "rain"): "let it rain", ("weather", "snow"): "let it snow",
    ("weather", "fog"): "bring thick fog", ("lamps", "on"): "turn on the lamps", ("lamps", "off"): "turn off the lamps",
    ("door", "open"): "open the door", ("door", "closed"): "close the door",
    ("fountain", "on"): "start the fountain", ("fountain", "off"): "stop the fountain",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An action text given before frame `frame`: from then on `slot` is to show `value`."""

    frame: int
    slot: str
    value: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """A walk at FPS: positions (N, 3) metres and rotations (N, 4), and what is said on the way.

    begins: the conditions before anything is said.
    """

    map_name: str
    parts: PackedParts
    positions: NDArray[np.float64]
    rotations: NDArray[np.float64]
    changes: tuple[Change, ...]
    begins: Conditions = field(default_factory=Conditions)

    def camera(self, frame: int) -> Camera:
        return _camera(self.positions[frame], self.rotations[frame])

    def conditions(self, frame: int) -> Conditions:
        """What is in force at a frame, by what was said before it."""
        now = self.begins
        for change in self.changes:
            if change.frame <= frame:
                now = now.replace(change.slot, change.value)
        return now

    def text(self, frame: int) -> str:
        """The newest text given, "" before the first."""
        return next((change.text for change in reversed(self.changes) if change.frame <= frame), "")


def draw_tour(level: Map, *, frames: int, seed: int, multiple: int, text_every_s: float = TEXT_EVERY_S) -> Tour:
    """A tour of `frames` frames. multiple: of how many frames a chunk is made; texts are given where chunks begin."""
    rng = np.random.default_rng([seed, *level.name.encode()])
    parts = level.blockout.pack()
    positions, yaws = _walk(rng, level, parts, frames)
    pitches = 0.08 * np.sin(np.arange(frames) / FPS * 0.9 + rng.uniform(0, 6))
    rotations = np.array([quaternion_from_yaw_pitch(y, p) for y, p in zip(yaws, pitches, strict=True)])
    return Tour(
        map_name=level.name, parts=parts, positions=positions, rotations=rotations,
        changes=_changes(rng, parts, positions, rotations, multiple, text_every_s),
    )  # fmt: skip


def _camera(position: NDArray[np.float64], rotation: NDArray[np.float64]) -> Camera:
    return Camera(position=position, rotation=rotation, vertical_fov_deg=VERTICAL_FOV_DEG, height=FRAME_HEIGHT,
                  width=FRAME_WIDTH)  # fmt: skip


def _changes(
    rng: np.random.Generator, parts: PackedParts, positions: NDArray[np.float64], rotations: NDArray[np.float64],
    multiple: int, text_every_s: float,
) -> tuple[Change, ...]:  # fmt: skip
    """Every few seconds a slot changes: a thing if it is in view (the one that changed least), else weather or time."""
    every = max(1, round(text_every_s * FPS / multiple)) * multiple
    now, told, changes = Conditions(), dict.fromkeys(SLOTS, 0), []
    wished = dict.fromkeys(_TEXTS, 0)
    for frame in range(every, len(positions) - multiple, every):
        seen = cast(np, parts, _camera(positions[frame], rotations[frame]), step_px=4).material
        shares = {slot: float((seen == MATERIALS.index(name)).mean()) for slot, name in _THINGS.items()}
        things = [slot for slot, share in shares.items() if share > _IN_VIEW and told[slot] <= told["weather"]]
        slot = min(things or ("weather", "time"), key=lambda name: (told[name], name))
        others = rng.permutation([value for value in SLOTS[slot] if value != getattr(now, slot)]).tolist()
        value = str(min(others, key=lambda name: wished[slot, name]))
        told[slot] += 1
        wished[slot, value] += 1
        now = now.replace(slot, value)
        changes.append(Change(frame=frame, slot=slot, value=value, text=_TEXTS[slot, value]))
    return tuple(changes)


def _walk(
    rng: np.random.Generator, level: Map, parts: PackedParts, frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3) positions and (N,) yaws: from spot to spot over free ground, looking ahead, with turns on the spot."""
    ground = _Ground(parts, level.half_extent_m)
    here = ground.nearest(level.spawn_position[0], level.spawn_position[2])
    reachable = ground.reachable(here)
    points: list[tuple[float, float]] = []
    turns: list[float] = []
    while len(points) < frames:
        there = reachable[int(rng.integers(len(reachable)))]
        path = ground.spots(ground.path(here, there))
        walked = _evenly(path, _WALK_M_PER_S / FPS)
        points += walked
        turns += [0.0] * len(walked)
        if rng.random() < 0.5:  # a look around on the spot
            still = int(rng.uniform(1.0, 2.5) * FPS)
            spin = float(rng.choice([-1.0, 1.0])) * _TURN_RAD_PER_S / FPS
            points += [walked[-1] if walked else path[-1]] * still
            turns += [spin] * still
        here = there
    xz = np.array(points[:frames])
    smooth = cv2.GaussianBlur(xz, (1, 0), sigmaX=0, sigmaY=FPS / 4, borderType=cv2.BORDER_REPLICATE).reshape(-1, 2) \
        if len(xz) > 1 else xz  # fmt: skip
    yaws = _looking_ahead(smooth, np.array(turns[:frames]), math.radians(level.spawn_yaw_deg))
    return np.stack([smooth[:, 0], np.full(frames, EYE_M), smooth[:, 1]], 1), yaws


def _looking_ahead(xz: NDArray[np.float64], turns: NDArray[np.float64], yaw_rad: float) -> NDArray[np.float64]:
    """Yaw follows the way at a player's turning rate; where `turns` says so, it turns by that instead."""
    yaws = np.empty(len(xz))
    most = _TURN_RAD_PER_S / FPS
    rate = 0.0
    for i in range(len(xz)):
        ahead = xz[min(i + FPS // 2, len(xz) - 1)] - xz[i]
        wanted = turns[i]
        if not wanted and np.linalg.norm(ahead) > 0.1:
            off = math.remainder(math.atan2(-ahead[0], -ahead[1]) - yaw_rad, 2 * math.pi)
            wanted = float(np.clip(off * 0.15, -most, most))
        rate += float(np.clip(wanted - rate, -most / 6, most / 6))  # a turn begins and ends softly
        yaw_rad += rate
        yaws[i] = yaw_rad
    return yaws


def _evenly(path: NDArray[np.float64], step_m: float) -> list[tuple[float, float]]:
    """Points along a polyline (N, 2), `step_m` apart."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.arange(0, lengths[-1], step_m)
    return list(zip(np.interp(at, lengths, path[:, 0]).tolist(), np.interp(at, lengths, path[:, 1]).tolist(),
                    strict=True))  # fmt: skip


class _Ground:
    """Where one can stand: a grid of free cells, `_CLEARANCE_M` away from every part."""

    def __init__(self, parts: PackedParts, half_extent_m: float) -> None:
        self._count = 2 * int((half_extent_m - _CLEARANCE_M) / _CELL_M) + 1
        axis = (np.arange(self._count) - self._count // 2) * _CELL_M
        self._axis = axis
        x, z = np.meshgrid(axis, axis, indexing="ij")
        self._free = np.ones(x.shape, dtype=bool)
        for height in _BODY_M:
            points = np.stack([x, np.full_like(x, height), z], -1)
            for index in range(len(parts.shape)):
                self._free &= _distance_m(parts, index, points) > _CLEARANCE_M

    def nearest(self, x: float, z: float) -> tuple[int, int]:
        """The free cell nearest to a place."""
        i, j = np.nonzero(self._free)
        best = int(np.argmin((self._axis[i] - x) ** 2 + (self._axis[j] - z) ** 2))
        return int(i[best]), int(j[best])

    def reachable(self, start: tuple[int, int]) -> list[tuple[int, int]]:
        """Every cell that one can walk to, in order."""
        _, labels = cv2.connectedComponents(self._free.astype(np.uint8), connectivity=4)
        i, j = np.nonzero(labels == labels[start])
        return list(zip(i.tolist(), j.tolist(), strict=True))

    def spots(self, cells: list[tuple[int, int]]) -> NDArray[np.float64]:
        """(N, 2) metres, x and z."""
        return np.array([(self._axis[i], self._axis[j]) for i, j in cells])

    def path(self, start: tuple[int, int], goal: tuple[int, int]) -> list[tuple[int, int]]:
        """The cells of a shortest way (A*, four neighbours and diagonals that cut no corner)."""
        queue = [(0.0, 0.0, start)]
        came: dict[tuple[int, int], tuple[int, int]] = {start: start}
        best = {start: 0.0}
        while queue:
            _, cost, cell = heapq.heappop(queue)
            if cell == goal:
                break
            if cost > best[cell]:
                continue
            for step in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                to = (cell[0] + step[0], cell[1] + step[1])
                corners = ((to[0], cell[1]), (cell[0], to[1]), to)
                if not all(self._is_free(at) for at in corners):
                    continue
                new = cost + math.hypot(*step)
                if new < best.get(to, math.inf):
                    best[to], came[to] = new, cell
                    heapq.heappush(queue, (new + math.hypot(to[0] - goal[0], to[1] - goal[1]), new, to))
        way = [goal]
        while way[-1] != start:
            way.append(came[way[-1]])
        return way[::-1]

    def _is_free(self, cell: tuple[int, int]) -> bool:
        return 0 <= cell[0] < self._count and 0 <= cell[1] < self._count and bool(self._free[cell])


def _distance_m(parts: PackedParts, index: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far points are from a part's solid, at least; 0 inside. A flat plane is walked on and is never near."""
    shape = parts.shape[index]
    if shape == SHAPE_INDEX[Shape.PLANE]:
        return np.full(points.shape[:-1], np.inf)
    local = (points - parts.centre[index]) @ parts.local_from_world[index].T
    half = np.asarray(parts.half[index], dtype=np.float64)
    if shape == SHAPE_INDEX[Shape.CYLINDER]:
        radial = np.linalg.norm(local[..., [0, 2]], axis=-1)
        outside = np.stack([(radial - 1) * min(half[0], half[2]), (np.abs(local[..., 1]) - 1) * half[1]], -1)
    elif shape == SHAPE_INDEX[Shape.SPHERE]:
        outside = ((np.linalg.norm(local, axis=-1) - 1) * half.min())[..., None]
    else:
        outside = (np.abs(local) - 1) * half
    result: NDArray[np.float64] = np.linalg.norm(np.maximum(outside, 0), axis=-1)
    return result

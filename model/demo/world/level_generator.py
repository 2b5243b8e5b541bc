"""Random blockouts to train on: rooms, courtyards, arcades, steps and groves, of every material.

The demo map and the held-out maps (`model/demo/maps/`) never come from here.
"""

from __future__ import annotations

import math

import numpy as np

from model.scene.blockout import MATERIALS, Blockout, Part, Shape
from model.scene.camera import quaternion_from_yaw_pitch

_FLOORS = ("grass", "grass", "grass", "stone", "tiles", "planks", "sand", "brick", "slate")
_WALLS = ("plaster", "stone", "brick", "planks", "tiles", "metal", "slate")
_ANY = tuple(m for m in MATERIALS if m not in ("lamp", "door", "fountain"))
_GROUPS = (
    "arcade",
    "grove",
    "steps",
    "pool",
    "pool",
    "house",
    "clutter",
    "clutter",
)  # by likelihood


class BlockoutGenerator:
    """Draws one random blockout a call. `half_extent_m` of the last one bounds where a camera may walk."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._parts: list[Part] = []
        self.half_extent_m = 10.0

    def draw(self) -> Blockout:
        rng = self._rng
        self._parts = []
        self.half_extent_m = float(rng.uniform(5, 16))
        self._ground()
        if rng.random() < 0.8:
            self._walls()
        for _ in range(int(rng.integers(0, 3))):
            self._gate()
        for _ in range(int(rng.integers(2, 6))):
            getattr(
                self, f"_{rng.choice(['arcade', 'grove', 'steps', 'pool', 'clutter', 'house', 'pool', 'clutter'])}"
            )()
        for _ in range(int(rng.integers(1, 5))):
            self._lamp_post(*self._spot())
        if rng.random() < 0.6:
            self._avenue()
        return Blockout().add(self._parts)

    def _add(self, shape: Shape, position: tuple[float, float, float], size: tuple[float, float, float],
             material: str, *, yaw_rad: float = 0.0) -> None:  # fmt: skip
        tint = tuple(float(c) for c in np.clip(self._rng.normal(1.0, 0.10, 3), 0.6, 1.25))
        x, y, z, w = (float(q) for q in quaternion_from_yaw_pitch(yaw_rad, 0.0))
        self._parts.append(
            Part(id=len(self._parts), shape=shape, position=position, size=size, rotation=(x, y, z, w),
                 material=material, colour=(tint[0], tint[1], tint[2]))
        )  # fmt: skip

    def _spot(self, margin_m: float = 1.0) -> tuple[float, float]:
        reach = self.half_extent_m - margin_m
        return float(self._rng.uniform(-reach, reach)), float(self._rng.uniform(-reach, reach))

    def _pick(self, names: tuple[str, ...]) -> str:
        return str(self._rng.choice(names))

    def _ground(self) -> None:
        self._add(Shape.PLANE, (0, 0, 0), (120, 0, 120), self._pick(_FLOORS))
        for _ in range(int(self._rng.integers(0, 3))):  # paths and carpets, a centimetre above the ground
            x, z = self._spot()
            wide, long = (float(v) for v in self._rng.uniform(1.2, 12, 2))
            self._add(Shape.PLANE, (x, 0.01, z), (wide, 0, long), self._pick(_FLOORS))

    def _walls(self) -> None:
        reach, height = self.half_extent_m + 0.3, float(self._rng.uniform(1.5, 6))
        material = self._pick(_WALLS)
        for side in range(4):
            if self._rng.random() < 0.15:
                continue
            yaw = side * math.pi / 2
            own = material if self._rng.random() < 0.6 else self._pick(_WALLS)
            self._add(Shape.BOX, (math.sin(yaw) * reach, height / 2, math.cos(yaw) * reach),
                      (2 * reach + 0.6, height, 0.6), own, yaw_rad=yaw)  # fmt: skip

    def _arcade(self) -> None:
        x, z = self._spot(2)
        along, count = float(self._rng.uniform(2, 4)), int(self._rng.integers(3, 7))
        height, thick = float(self._rng.uniform(2, 4.5)), float(self._rng.uniform(0.3, 0.9))
        shape = Shape.CYLINDER if self._rng.random() < 0.6 else Shape.BOX
        material, beam = self._pick(_WALLS), self._pick(_WALLS)
        turned = self._rng.random() < 0.5
        for i in range(count):
            step = (i - (count - 1) / 2) * along
            spot = (x, height / 2, z + step) if turned else (x + step, height / 2, z)
            self._add(shape, spot, (thick, height, thick), material)
        span = (count - 1) * along + thick
        size = (thick * 1.2, 0.4, span) if turned else (span, 0.4, thick * 1.2)
        self._add(Shape.BOX, (x, height + 0.2, z), size, beam)

    def _grove(self) -> None:
        x, z = self._spot(2)
        for _ in range(int(self._rng.integers(2, 7))):
            px, pz = x + float(self._rng.normal(0, 2.5)), z + float(self._rng.normal(0, 2.5))
            trunk, crown = float(self._rng.uniform(0.8, 2.5)), float(self._rng.uniform(1.0, 2.8))
            self._add(Shape.CYLINDER, (px, trunk / 2, pz), (0.3, trunk, 0.3), "bark")
            self._add(Shape.SPHERE, (px, trunk + crown * 0.4, pz), (crown, crown * 1.1, crown), "foliage")

    def _steps(self) -> None:
        x, z = self._spot(2)
        material, wide = self._pick(_WALLS + _FLOORS), float(self._rng.uniform(1.5, 5))
        yaw = float(self._rng.uniform(0, 2 * math.pi))
        for i in range(int(self._rng.integers(2, 6))):
            high = 0.25 * (i + 1)
            along = 0.45 * i
            self._add(Shape.BOX, (x + along * math.sin(yaw), high / 2, z + along * math.cos(yaw)),
                      (wide, high, 0.45), material, yaw_rad=yaw)  # fmt: skip

    def _pool(self) -> None:
        x, z = self._spot(2)
        wide, long = (float(v) for v in self._rng.uniform(2, 6, 2))
        self._add(Shape.BOX, (x, 0.15, z), (wide + 0.6, 0.3, long + 0.6), self._pick(_WALLS))
        self._add(Shape.PLANE, (x, 0.32, z), (wide, 0, long), "water")
        middle = self._rng.random()
        if middle < 0.5:  # a jet of water over a basin; the action text turns it on
            jet = float(self._rng.uniform(0.9, 2.2))
            around = float(self._rng.uniform(0.5, 1.4))
            self._add(Shape.CYLINDER, (x, 0.45, z), (around, 0.3, around), self._pick(_WALLS))
            self._add(Shape.CYLINDER, (x, 0.6 + jet / 2, z), (around * 0.4, jet, around * 0.4), "fountain")
            self._add(Shape.SPHERE, (x, 0.6 + jet, z), (around * 0.8, around * 0.5, around * 0.8), "fountain")
        elif middle < 0.75:
            self._add(Shape.CYLINDER, (x, 0.8, z), (0.4, 1.6, 0.4), self._pick(_WALLS))
            self._add(Shape.SPHERE, (x, 1.7, z), (0.9, 0.9, 0.9), self._pick(_ANY))

    def _clutter(self) -> None:
        for _ in range(int(self._rng.integers(2, 6))):
            x, z = self._spot()
            shape = Shape(str(self._rng.choice(["box", "sphere", "cylinder", "box"])))
            size = tuple(float(v) for v in self._rng.uniform(0.4, 2.4, 3))
            rest = size[1] / 2 if self._rng.random() < 0.85 else float(self._rng.uniform(1.0, 3.0))
            self._add(shape, (x, rest, z), (size[0], size[1], size[2]), self._pick(_ANY),
                      yaw_rad=float(self._rng.uniform(0, 2 * math.pi)))  # fmt: skip

    def _house(self) -> None:
        x, z = self._spot(3)
        wide, high, deep = (float(v) for v in self._rng.uniform((3, 2.5, 3), (7, 6, 7)))
        yaw = float(self._rng.uniform(0, 2 * math.pi)) if self._rng.random() < 0.3 else 0.0
        self._add(Shape.BOX, (x, high / 2, z), (wide, high, deep), self._pick(_WALLS), yaw_rad=yaw)
        door_wide, door_high = float(self._rng.uniform(1.0, 1.8)), float(self._rng.uniform(2.0, 2.4))
        side, along = (
            float(self._rng.choice([-1.0, 1.0])),
            float(self._rng.uniform(-0.5, 0.5)) * (wide - door_wide - 0.3),
        )
        ahead = side * (deep / 2 + 0.05)
        at = (x + along * math.cos(yaw) + ahead * math.sin(yaw), z - along * math.sin(yaw) + ahead * math.cos(yaw))
        self._add(Shape.BOX, (at[0], door_high / 2, at[1]), (door_wide, door_high, 0.12), "door", yaw_rad=yaw)
        roof, roof_high = self._pick(("slate", "planks", "tiles", "metal")), 0.5
        self._add(Shape.BOX, (x, high + roof_high / 2, z), (wide + 0.6, roof_high, deep + 0.6), roof, yaw_rad=yaw)

    def _gate(self) -> None:
        """A door in an outer wall, or standing by itself where that wall is missing."""
        side, reach = int(self._rng.integers(4)) * math.pi / 2, self.half_extent_m - 0.05
        along = float(self._rng.uniform(-0.8, 0.8)) * self.half_extent_m
        wide, high = float(self._rng.uniform(1.0, 2.0)), float(self._rng.uniform(2.0, 2.6))
        x = math.sin(side) * reach + math.cos(side) * along
        z = math.cos(side) * reach - math.sin(side) * along
        self._add(Shape.BOX, (x, high / 2, z), (wide, high, 0.12), "door", yaw_rad=side)

    def _avenue(self) -> None:
        """Lamps in rows, near enough to one another that their light meets: by night they are most of the picture."""
        x, z = self._spot(2)
        yaw, along = float(self._rng.uniform(0, 2 * math.pi)), float(self._rng.uniform(1.8, 4))
        apart = float(self._rng.uniform(2, 5))
        for i in range(int(self._rng.integers(2, 6))):
            for side in (-apart / 2, apart / 2):
                ahead = i * along - 3
                self._lamp_post(x + ahead * math.sin(yaw) + side * math.cos(yaw),
                                z + ahead * math.cos(yaw) - side * math.sin(yaw))  # fmt: skip

    def _lamp_post(self, x: float, z: float) -> None:
        height = float(self._rng.uniform(1.2, 3.2))
        self._add(Shape.CYLINDER, (x, height / 2, z), (0.16, height, 0.16), "metal")
        self._add(Shape.SPHERE, (x, height + 0.2, z), (0.5, 0.5, 0.5), "lamp")

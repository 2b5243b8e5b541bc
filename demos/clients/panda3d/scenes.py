"""Two scenes: `walk`, the level that every client of this folder hands over, and `yard`, one of this demo's own.

A scene has a root that is drawn and handed over, moves its parts with time, and says where the camera is.
"""

from __future__ import annotations

import math
from typing import Protocol

from panda3d.core import AmbientLight, DirectionalLight, NodePath

from demos.clients.panda3d import geometry

Camera = tuple[tuple[float, float, float], float]
"""Position in Panda3D's axes, and heading in degrees: positive turns left."""
_DISPLAY = {
    "grass": (0.35, 0.5, 0.25), "brick": (0.6, 0.33, 0.25), "stone": (0.55, 0.55, 0.52), "lamp": (1.0, 0.9, 0.6),
    "planks": (0.5, 0.37, 0.22), "tiles": (0.62, 0.28, 0.2), "plaster": (0.8, 0.77, 0.7), "water": (0.25, 0.4, 0.5),
    "foliage": (0.22, 0.4, 0.18), "metal": (0.5, 0.52, 0.55), "bark": (0.35, 0.27, 0.2), "door": (0.4, 0.26, 0.15),
}  # fmt: skip
"""How Panda3D itself draws each material: what the neural picture is put beside."""


class Scene(Protocol):
    root: NodePath

    def camera(self, tick: int) -> Camera:
        """Where the player is at a tick of 60 Hz."""

    def move(self, tick: int) -> None:
        """Puts the moving parts where they are at a tick."""


class Walk:
    """The walk of demos/clients/README.md."""

    def __init__(self) -> None:
        self.root = NodePath("walk")
        _put(self.root, geometry.ground(), "plane", "grass", (0, 0, 0), (40, 40, 1))
        _put(self.root, geometry.box(), "box", "brick", (0, 8, 1.5), (8, 0.5, 3))
        _put(self.root, geometry.drum(), "cylinder", "stone", (4, 5, 2), (1, 1, 4))
        self._lamp = _put(self.root, geometry.ball(), "sphere", "lamp", (2, 4, 1.5), (0.6, 0.6, 0.6))
        self._lamp.setTag("helios_tint", "1 0.9 0.7")
        self._lamp.setTag("helios_moves", "yes")

    def camera(self, tick: int) -> Camera:
        turned = 0.01 * tick  # to the right, around a point 3 m to the right of the start
        return (3 * (1 - math.cos(turned)), 3 * math.sin(turned), 1.6), -math.degrees(turned)

    def move(self, tick: int) -> None:
        if tick and tick % 15 == 0:
            self._lamp.setZ(1.5 + 0.5 * math.sin(tick / 30))


class Yard:
    """A house with a gabled roof, a wall, trees, a well, a lamp post, and a door that opens and shuts."""

    def __init__(self) -> None:
        self.root = NodePath("yard")
        _put(self.root, geometry.ground(), "plane", "grass", (0, 0, 0), (60, 60, 1))
        _put(self.root, geometry.box(), "box", "stone", (0, 6, 0.02), (2.4, 12, 0.04))
        _put(self.root, geometry.box(), "box", "plaster", (0, 14, 1.6), (7, 5, 3.2))
        _put(self.root, geometry.roof(), "", "tiles", (0, 14, 3.2), (7.6, 5.8, 2.2))
        hinge = self.root.attachNewNode("hinge")
        hinge.setPos(-0.6, 11.42, 0)
        hinge.setTag("helios_moves", "yes")
        self._hinge = hinge
        _put(hinge, geometry.box(), "box", "door", (0.6, 0, 1.05), (1.2, 0.1, 2.1))
        for x in (-2.2, 2.2):
            _put(self.root, geometry.box(), "box", "planks", (x, 11.46, 1.8), (1.1, 0.1, 1.2))
        for x, y, tall in ((-6, 8, 4.5), (6.5, 9, 5.5), (-7, 15, 6.0), (7.5, 16, 5.0)):
            _put(self.root, geometry.drum(), "cylinder", "bark", (x, y, tall / 4), (0.4, 0.4, tall / 2))
            _put(self.root, geometry.ball(), "sphere", "foliage", (x, y, tall * 0.7), (2.6, 2.6, tall * 0.6))
        _put(self.root, geometry.drum(), "cylinder", "stone", (3.2, 6, 0.45), (1.6, 1.6, 0.9))
        _put(self.root, geometry.drum(), "cylinder", "water", (3.2, 6, 0.88), (1.3, 1.3, 0.1))
        _put(self.root, geometry.drum(), "cylinder", "metal", (-2.4, 5, 1.5), (0.14, 0.14, 3.0))
        _put(self.root, geometry.ball(), "sphere", "lamp", (-2.4, 5, 3.15), (0.45, 0.45, 0.45))
        for x in (-9.5, 9.5):
            _put(self.root, geometry.box(), "box", "brick", (x, 9, 0.9), (0.4, 20, 1.8))
        _put(self.root, geometry.box(), "box", "brick", (0, 19, 0.9), (19.4, 0.4, 1.8))

    def camera(self, tick: int) -> Camera:
        seconds = tick / 60
        x, y = 2.2 * math.sin(seconds * 0.35), 2.0 - 2.0 * math.cos(seconds * 0.25)
        return (x, y - 2.0, 1.7), 6 * math.sin(seconds * 0.5)

    def move(self, tick: int) -> None:
        self._hinge.setH(-45 + 45 * math.cos(tick / 60))


SCENES: dict[str, type[Walk] | type[Yard]] = {"walk": Walk, "yard": Yard}


def light(root: NodePath) -> None:
    """A sun and a sky, for Panda3D's own picture."""
    sun = DirectionalLight("sun")
    sun.setColor((0.9, 0.86, 0.78, 1))
    sky = AmbientLight("sky")
    sky.setColor((0.38, 0.42, 0.48, 1))
    sun_path = root.attachNewNode(sun)
    sun_path.setHpr(-35, -50, 0)
    root.setLight(sun_path)
    root.setLight(root.attachNewNode(sky))


def _put(
    parent: NodePath, what: NodePath, shape: str, material: str,
    position: tuple[float, float, float], size: tuple[float, float, float],
) -> NodePath:  # fmt: skip
    what.reparentTo(parent)
    what.setPos(*position)
    what.setScale(*size)
    what.setColor(*_DISPLAY[material], 1)
    what.setTag("helios_material", material)
    if shape:
        what.setTag("helios_shape", shape)
    return what

"""A perfect network for tests: it paints what the game's own renderer would, and knows the true depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import bridge
from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine.interface import ControlWindow
from demos.world import ReferenceRenderer, World
from model.scene.camera import Camera
from model.scene.raycast import trace


class PaintingEngine(SyntheticEngine):
    """Serves one session: the words said so far are kept here."""

    def __init__(self, config: SyntheticConfig) -> None:
        super().__init__(config)
        self._size = (config.height, config.width)
        self._world = World.load()
        self._renderer = ReferenceRenderer(self._world.level.blockout)
        self._parts = self._world.level.blockout.pack()

    def _paint(self, window: ControlWindow, index: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        if window.actions[index] != self._world.action:
            self._world.say(window.actions[index])
        (x, y, z), (qx, qy, qz, qw) = window.positions[index].tolist(), window.rotations[index].tolist()
        fov_deg = float(window.vertical_fov_deg[index])
        camera = bridge.Camera(position=(x, y, z), rotation=(qx, qy, qz, qw), vertical_fov_deg=fov_deg)
        view = Camera(
            position=window.positions[index],
            rotation=window.rotations[index],
            vertical_fov_deg=fov_deg,
            height=self._size[0],
            width=self._size[1],
        )
        depth: NDArray[np.float32] = trace(np, self._parts, view, step_px=4).depth
        return self._renderer.frame(camera, self._world.conditions, 0.0, self._size), depth


def create(**settings: object) -> PaintingEngine:
    """The factory that the engine process calls."""
    return PaintingEngine(SyntheticConfig(**settings))  # type: ignore[arg-type]  # a test's values

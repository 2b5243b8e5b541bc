"""The game's truth: the map, the player in it, world time, weather and light. No network, no window, no socket.

The player is a body of 0.35 m radius that walks on the ground and slides along walls; eyes are at 1.6 m. What the world
looks like to a player is `reference_frame`: the picture that the network is asked to paint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

import bridge
from demos.action_parser import apply_text
from demos.collision import Footprint, obstacles, push_out
from model.demo.world.conditions import Conditions
from model.demo.world.renderer import render
from model.scene.blockout import Blockout
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.maps import DEFAULT_MAP, Map, load_map

EYE_HEIGHT_M = 1.6
VERTICAL_FOV_DEG = 65.0
BODY_RADIUS_M = 0.35
STEP_HEIGHT_M = 0.35
_BODY_TOP_M = 1.8
_LONGEST_STEP_M = 0.1  # a third of the body's radius: nothing thinner than a lamp post is stepped through
_MAX_PITCH_RAD = math.radians(60)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkConfig:
    """How fast a player moves. The look rates are those of the arrow keys; a mouse turns as far as it is moved."""

    walk_m_per_s: float = 3.0
    run_m_per_s: float = 5.0
    turn_deg_per_s: float = 100.0
    mouse_deg_per_px: float = 0.15
    ramp_s: float = 0.12  # to full speed: a person's step, and smooth enough to be predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a player wants this tick.

    forward, right: -1..1. turn_left, look_up: -1..1, by keys. The same in degrees: by mouse, on top of it.
    """

    forward: float = 0.0
    right: float = 0.0
    run: bool = False
    turn_left: float = 0.0
    look_up: float = 0.0
    turn_left_deg: float = 0.0
    look_up_deg: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewpoint:
    """Where eyes are. position: x, y, z metres. yaw turns left from -Z, pitch looks up."""

    position: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float

    @property
    def rotation(self) -> tuple[float, float, float, float]:
        """Camera-to-world unit quaternion xyzw."""
        x, y, z, w = (float(q) for q in quaternion_from_yaw_pitch(self.yaw_rad, self.pitch_rad))
        return (x, y, z, w)

    @property
    def camera(self) -> bridge.Camera:
        """What a control carries."""
        return bridge.Camera(position=self.position, rotation=self.rotation, vertical_fov_deg=VERTICAL_FOV_DEG)


class Ground:
    """Where a body can stand."""

    def __init__(self, blockout: Blockout, half_extent_m: float) -> None:
        self._half_extent_m = half_extent_m
        self.obstacles: list[Footprint] = obstacles(blockout, from_m=STEP_HEIGHT_M, to_m=_BODY_TOP_M)
        outlines = [obstacle.outline for obstacle in self.obstacles]
        self._low = np.array([outline.min(0) for outline in outlines]).reshape(-1, 2)
        self._high = np.array([outline.max(0) for outline in outlines]).reshape(-1, 2)

    def clearance_m(self, x: float, z: float) -> float:
        """How far a point is from the nearest obstacle or the map's edge; negative inside."""
        nearest_m = self._half_extent_m - max(abs(x), abs(z))
        here = np.array([x, z])
        at_least_m = np.linalg.norm(np.maximum(np.maximum(self._low - here, here - self._high), 0), axis=-1)
        for index in np.argsort(at_least_m):
            if at_least_m[index] > max(nearest_m, 0):
                break
            nearest_m = min(nearest_m, push_out(self.obstacles[index].outline, x, z)[0])
        return nearest_m

    def walk(self, x: float, z: float, by_x: float, by_z: float) -> tuple[float, float]:
        """Moves a body, sliding along what is in the way."""
        steps = max(1, math.ceil(math.hypot(by_x, by_z) / _LONGEST_STEP_M))
        for _ in range(steps):
            x, z = self._settle(x + by_x / steps, z + by_z / steps, otherwise=(x, z))
        return x, z

    def _settle(self, x: float, z: float, *, otherwise: tuple[float, float]) -> tuple[float, float]:
        """Pushes a body out of everything it overlaps; between two things too close for that it does not go."""
        for _ in range(6):
            x = min(max(x, -self._half_extent_m), self._half_extent_m)
            z = min(max(z, -self._half_extent_m), self._half_extent_m)
            overlaps = False
            here = np.array([x, z])
            near = ((here > self._low - BODY_RADIUS_M) & (here < self._high + BODY_RADIUS_M)).all(-1)
            for index in np.flatnonzero(near):
                distance_m, out_x, out_z = push_out(self.obstacles[index].outline, x, z)
                if distance_m < BODY_RADIUS_M - 1e-6:
                    overlaps = True
                    x += out_x * (BODY_RADIUS_M - distance_m)
                    z += out_z * (BODY_RADIUS_M - distance_m)
            if not overlaps:
                return x, z
        return otherwise


@dataclass(slots=True, kw_only=True)
class World:
    """A map being played. `action` is the newest text a player gave; `conditions` is what it made of the world."""

    level: Map
    ground: Ground
    view: Viewpoint
    walk: WalkConfig = field(default_factory=WalkConfig)
    time_s: float = 0.0
    action: str = ""
    conditions: Conditions = field(default_factory=Conditions)
    _velocity: tuple[float, float] = (0.0, 0.0)

    @staticmethod
    def load(name: str = DEFAULT_MAP) -> World:
        level = load_map(name)
        level = replace(level, blockout=_within_wire_bounds(level.blockout))
        start = Viewpoint(position=level.spawn_position, yaw_rad=math.radians(level.spawn_yaw_deg), pitch_rad=0.0)
        return World(level=level, ground=Ground(level.blockout, level.half_extent_m), view=start)

    def step(self, intent: Intent, dt_s: float) -> None:
        """Moves the player and the world's time by one tick."""
        self.time_s += dt_s
        config, view = self.walk, self.view
        turn = math.radians(config.turn_deg_per_s * dt_s)
        yaw = view.yaw_rad + intent.turn_left * turn + math.radians(intent.turn_left_deg)
        pitch = view.pitch_rad + intent.look_up * turn * 0.6 + math.radians(intent.look_up_deg)
        length = max(1.0, math.hypot(intent.forward, intent.right))  # a diagonal is not faster
        speed = (config.run_m_per_s if intent.run else config.walk_m_per_s) / length
        forward, right = intent.forward * speed, intent.right * speed
        wanted = (-math.sin(yaw) * forward + math.cos(yaw) * right, -math.cos(yaw) * forward - math.sin(yaw) * right)
        share = 1 - math.exp(-dt_s / config.ramp_s)
        vx, vz = (v + (w - v) * share for v, w in zip(self._velocity, wanted, strict=True))
        from_x, y, from_z = view.position
        x, z = self.ground.walk(from_x, from_z, vx * dt_s, vz * dt_s)
        # What a wall took is gone: a player who leaves it starts from the speed along it.
        self._velocity = ((x - from_x) / dt_s, (z - from_z) / dt_s) if dt_s > 0 else (0.0, 0.0)
        pitch = min(max(pitch, -_MAX_PITCH_RAD), _MAX_PITCH_RAD)
        self.view = Viewpoint(position=(x, y, z), yaw_rad=yaw, pitch_rad=pitch)

    def place(self, view: Viewpoint, dt_s: float) -> None:
        """Moves the player along a script instead."""
        self.time_s += dt_s
        self.view = view

    def say(self, text: str) -> None:
        """A player's action text: it is what controls carry from now on, and it changes the world if understood."""
        self.action = text
        self.conditions = apply_text(self.conditions, text)

    @property
    def scene(self) -> tuple[bridge.Part, ...]:
        """The blockout as a service is handed it."""
        return tuple(
            bridge.Part(
                id=part.id, shape=bridge.Shape(part.shape.value), position=part.position, rotation=part.rotation,
                size=part.size, material=part.material, colour=part.colour,
                vertices=b"" if part.vertices is None else part.vertices.astype("<f4").tobytes(),
                triangles=b"" if part.triangles is None else part.triangles.astype("<u4").tobytes(),
            )
            for part in self.level.blockout.parts.values()
        )  # fmt: skip


class ReferenceRenderer:
    """What the world looks like, by the renderer that the network learned from. Slow: tens of ms a frame."""

    def __init__(self, blockout: Blockout) -> None:
        self._parts = blockout.pack()

    def frame(
        self,
        camera: bridge.Camera,
        conditions: Conditions,
        time_s: float,
        size: tuple[int, int],
        *,
        smooth: bool = True,
    ) -> NDArray[np.uint8]:
        """size: height and width in pixels. smooth: edges without steps. Returns: (H, W, 3) uint8 RGB."""
        height, width = size
        view = Camera(
            position=np.array(camera.position), rotation=np.array(camera.rotation),
            vertical_fov_deg=camera.vertical_fov_deg, height=height, width=width,
        )  # fmt: skip
        picture: NDArray[np.float32] = render(np, self._parts, view, conditions.vector(), time_s, smooth=smooth).colour
        shown: NDArray[np.uint8] = np.round(picture * 255).astype(np.uint8)
        return shown


def _within_wire_bounds(blockout: Blockout) -> Blockout:
    """A part's colour is 0..1 on the wire; a map may tint brighter. The game and the network must see the same."""
    return Blockout().add(
        replace(part, colour=(min(part.colour[0], 1.0), min(part.colour[1], 1.0), min(part.colour[2], 1.0)))
        for part in blockout.parts.values()
    )

"""Training clips of random worlds: a blockout, a camera walking through it, and the reference renderer's frames.

On a CPU clips are rendered once into a folder (`python -m model.demo.train data`) by any number of processes, and every
later stage reads that folder. A clip shows a window of the full picture, so that textures have their true scale at a
quarter of the cost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.demo.world.conditions import SLOTS, STATE_SIZE, column_of
from model.demo.world.level_generator import BlockoutGenerator
from model.demo.world.renderer import render
from model.scene.blockout import MATERIALS, PackedParts
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.raycast import cast

FRAME_HEIGHT, FRAME_WIDTH, FPS = 192, 320, 24
FRAMES_PER_LATENT = 4
BEFORE_THINGS = 0.4  # how many walks begin before a door, a fountain or a lamp, where there is one
_BEFORE_M = (1.5, 6.0)
_PART_FIELDS = ("shape", "centre", "half", "local_from_world", "material", "colour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """frames (N, h, w, 3) uint8; positions (N, 3), rotations (N, 4) float64; weights (N, STATE_SIZE) float32.

    window: the part of the 192x320 picture that `frames` shows. N is a multiple of FRAMES_PER_LATENT. start_s: the
    world's time at the first frame.
    """

    frames: NDArray[np.uint8]
    positions: NDArray[np.float64]
    rotations: NDArray[np.float64]
    weights: NDArray[np.float32]
    vertical_fov_deg: float
    window: tuple[int, int, int, int]
    parts: PackedParts
    start_s: float

    @property
    def times_s(self) -> NDArray[np.float64]:
        times: NDArray[np.float64] = self.start_s + np.arange(len(self.frames)) / FPS
        return times

    def camera(self, frame: int) -> Camera:
        return Camera(
            position=self.positions[frame], rotation=self.rotations[frame], vertical_fov_deg=self.vertical_fov_deg,
            height=FRAME_HEIGHT, width=FRAME_WIDTH, window=self.window,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        arrays = {f"part_{name}": getattr(self.parts, name) for name in _PART_FIELDS}
        arrays |= {name: getattr(self, name) for name in ("frames", "positions", "rotations", "weights")}
        arrays |= {"fov": np.array(self.vertical_fov_deg), "window": np.array(self.window),
                   "start_s": np.array(self.start_s)}  # fmt: skip
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        unfinished.rename(path)

    @staticmethod
    def load(path: Path) -> Clip:
        with np.load(path) as file:
            window = tuple(int(v) for v in file["window"])
            return Clip(
                frames=file["frames"], positions=file["positions"], rotations=file["rotations"],
                weights=file["weights"], vertical_fov_deg=float(file["fov"]),
                window=(window[0], window[1], window[2], window[3]),
                parts=PackedParts(**{name: file[f"part_{name}"] for name in _PART_FIELDS}),
                start_s=float(file["start_s"]),
            )  # fmt: skip


def draw_clip(rng: np.random.Generator, *, latents: int, rows: int, cols: int, device: str = "cpu") -> Clip:
    """Draws a world, a walk and its conditions, and renders `latents` * 4 frames of a rows x cols window.

    device: where torch renders all frames at once; on "cpu" numpy renders one after the other.
    """
    generator = BlockoutGenerator(rng)
    parts = generator.draw().pack()
    count = latents * FRAMES_PER_LATENT
    top = 16 * int(rng.integers(0, (FRAME_HEIGHT - rows) // 16 + 1))
    left = 16 * int(rng.integers(0, (FRAME_WIDTH - cols) // 16 + 1))
    fov = 65.0 if rng.random() < 0.7 else float(rng.uniform(50, 85))
    while True:
        thing = draw_thing(rng, parts) if rng.random() < BEFORE_THINGS else None
        positions, rotations = draw_walk(rng, count, generator.half_extent_m, thing)
        cameras = [
            Camera(position=p, rotation=r, vertical_fov_deg=fov, height=FRAME_HEIGHT, width=FRAME_WIDTH)
            for p, r in ((positions[0], rotations[0]), (positions[-1], rotations[-1]))
        ]
        if all(float(np.median(cast(np, parts, camera, step_px=16).depth)) > 1.2 for camera in cameras):
            break
    weights = draw_conditions(rng, latents).repeat(FRAMES_PER_LATENT, axis=0)
    walk = Clip(
        frames=np.empty((count, rows, cols, 3), dtype=np.uint8), positions=positions, rotations=rotations,
        weights=weights, vertical_fov_deg=fov, window=(top, left, rows, cols), parts=parts,
        start_s=float(rng.uniform(0, 100)),
    )  # fmt: skip
    film(walk, device)
    return walk


def film(walk: Clip, device: str = "cpu") -> None:
    """Renders a clip's frames from everything else that it holds."""
    if device == "cpu":
        for i, time_s in enumerate(walk.times_s):
            walk.frames[i] = np.round(render(np, walk.parts, walk.camera(i), walk.weights[i], time_s).colour * 255)
    else:
        import torch  # rendering on a GPU alone needs it

        cameras = [walk.camera(i) for i in range(len(walk.frames))]
        seen = render(torch, walk.parts.to_torch(torch, device), cameras, walk.weights, walk.times_s)
        walk.frames[:] = (seen.colour * 255).round().byte().cpu().numpy()


def switched(clip: Clip, things: Collection[str]) -> Clip:
    """The same walk with `things` (slots of two values) the other way round in every frame."""
    weights = clip.weights.copy()
    for slot in things:
        first = column_of(slot, SLOTS[slot][0])
        weights[:, first : first + 2] = clip.weights[:, [first + 1, first]]
    other = replace(clip, weights=weights, frames=np.empty_like(clip.frames))
    film(other)
    return other


def draw_thing(rng: np.random.Generator, parts: PackedParts) -> NDArray[np.float64] | None:
    """(3,) metres, the middle of a door, fountain or lamp, each kind that there is as likely; None where there is
    none."""
    found = [np.flatnonzero(parts.material == MATERIALS.index(name)) for name in ("door", "fountain", "lamp")]
    kinds = [indices for indices in found if len(indices)]
    if not kinds:
        return None
    chosen = kinds[int(rng.integers(len(kinds)))]
    middle: NDArray[np.float64] = parts.centre[int(rng.choice(chosen))].astype(np.float64)
    return middle


def draw_walk(
    rng: np.random.Generator, count: int, half_extent_m: float, thing: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A player's walk: (count, 3) positions and (count, 4) rotations; standing, walking, strafing and turning.

    thing: (3,) metres, what the walk begins a few steps before, with an eye on it.
    """
    reach = half_extent_m - 0.7
    position = np.array([rng.uniform(-reach, reach), 1.6, rng.uniform(-reach, reach)])
    if rng.random() < 0.3:
        position[1] = rng.uniform(0.6, 4.0)
    yaw, pitch = rng.uniform(0, 2 * np.pi), rng.normal(-0.03, 0.14)
    if thing is not None:
        away = rng.uniform(*_BEFORE_M) * np.array([np.sin(yaw), np.cos(yaw)])
        position[[0, 2]] = np.clip(thing[[0, 2]] + away, -reach, reach)
        there = thing - position
        yaw = float(np.arctan2(-there[0], -there[2])) + rng.normal(0, 0.25)
    forward, sideways = rng.uniform(-1.5, 4.0), rng.normal(0, 1.2)
    turn_rate, tilt_rate = rng.normal(0, 1.1), rng.normal(0, 0.25)
    if rng.random() < 0.15:
        forward = sideways = 0.0
    if rng.random() < 0.25:
        turn_rate = tilt_rate = 0.0
    positions, rotations = np.empty((count, 3)), np.empty((count, 4))
    for i in range(count):
        positions[i], rotations[i] = position, quaternion_from_yaw_pitch(yaw, pitch)
        ahead, right = np.array([-np.sin(yaw), 0, -np.cos(yaw)]), np.array([np.cos(yaw), 0, -np.sin(yaw)])
        position = position + (forward * ahead + sideways * right) / FPS
        position[[0, 2]] = np.clip(position[[0, 2]], -reach, reach)
        yaw, pitch = yaw + turn_rate / FPS, float(np.clip(pitch + tilt_rate / FPS, -0.6, 0.6))
        if rng.random() < 0.03:  # the player changes their mind
            forward, turn_rate = rng.uniform(-1.5, 4.0), rng.normal(0, 1.1)
    return positions, rotations


def draw_conditions(rng: np.random.Generator, latents: int) -> NDArray[np.float32]:
    """(latents, STATE_SIZE) weights; in a third of the clips one slot changes at a latent frame."""
    chosen = {slot: int(rng.integers(len(values))) for slot, values in SLOTS.items()}
    if rng.random() < 0.3:
        chosen["weather"] = 0
    if chosen["time"] == 2 and rng.random() < 0.4:
        chosen["lamps"] = 1
    change_at = int(rng.integers(1, max(2, latents))) if rng.random() < 0.33 else latents
    rows = []
    for i in range(latents):
        if i == change_at:
            slot = str(rng.choice(list(SLOTS)))
            chosen[slot] = int(rng.integers(len(SLOTS[slot])))
        rows.append(np.concatenate([np.eye(len(values))[chosen[slot]] for slot, values in SLOTS.items()]))
    result = np.array(rows, dtype=np.float32)
    assert result.shape == (latents, STATE_SIZE)
    return result


def render_clips(
    folder: Path, *, first: int, step: int, count: int, latents: int, rows: int, cols: int, device: str = "cpu"
) -> None:
    """Renders clips number first, first + step, ... (each drawn from its own number) until `count` of them exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, count, step):
        path = folder / f"clip_{number:06d}.npz"
        if not path.exists():
            rng = np.random.default_rng([20261124, number])
            draw_clip(rng, latents=latents, rows=rows, cols=cols, device=device).save(path)

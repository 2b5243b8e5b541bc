"""What a lower precision costs in the picture: the shipped model walks, FP8 simulated on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge import Camera
from bridge.backends.helios import create
from bridge.engine.interface import ControlWindow, Plan, SessionStart
from bridge.geometry import quaternion_from_rotation_vector
from demos.world import ReferenceRenderer
from model.demo.evaluation.figures import psnr_db
from model.demo.world.conditions import Conditions
from model.scene.maps import DEFAULT_MAP, load_map

pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

CHUNKS, STEP_M, TURN_RAD, FPS = 3, 0.04, 0.01, 24
LOST_DB = 0.5


def windows(frames: int) -> list[ControlWindow]:
    """Forward and slowly to the left, from the garden's gate."""
    made = []
    for chunk in range(CHUNKS):
        ticks = np.arange(chunk * frames, (chunk + 1) * frames)
        made.append(
            ControlWindow(
                positions=np.stack([0.0 * ticks, 0.0 * ticks + 1.6, 5.5 - STEP_M * ticks], axis=1),
                rotations=np.stack([quaternion_from_rotation_vector(np.array([0, TURN_RAD * t, 0])) for t in ticks]),
                vertical_fov_deg=np.full(frames, 65.0), actions=("",) * frames, scene_updates=(), cut=False,
                newest_control_t_us=0,
            )
        )  # fmt: skip
    return made


def walk(precision: str) -> NDArray[np.uint8]:
    engine = create(model="demo", runner="torch", threads=1, precision=precision)
    assert engine.info.runner == f"torch {precision}"
    frames = engine.info.frames_per_chunk[-1]
    plan = Plan(frames=frames, steps=(1, 1, 1), rung="full")
    state, made = engine.open(SessionStart(seed=3, prompt="", scene=None)), []
    for window in windows(frames):
        chunk, state = engine.step(state, window, plan)
        made.append(chunk.frames)
    engine.close()
    return np.concatenate(made)


def test_fp8_loses_at_most_half_a_decibel_of_the_picture() -> None:
    in_float, in_fp8 = walk("fp32"), walk("fp8")
    assert in_float.std() > 5  # levels of 255: there is a picture to lose
    assert 35 < psnr_db(in_fp8, in_float) < 60  # something was quantised, and the two show the same
    renderer = ReferenceRenderer(load_map(DEFAULT_MAP).blockout)
    count = len(in_float) // CHUNKS
    lost = []
    for place in range(0, len(in_float), count - 1):
        window, tick = windows(count)[place // count], place % count
        x, y, z = (float(value) for value in window.positions[tick])
        camera = Camera(position=(x, y, z), rotation=tuple(window.rotations[tick]), vertical_fov_deg=65.0)
        truth = renderer.frame(camera, Conditions(), place / FPS, in_float.shape[1:3])
        lost.append(psnr_db(in_float[place], truth) - psnr_db(in_fp8[place], truth))
    assert len(lost) > CHUNKS
    assert max(lost) <= LOST_DB

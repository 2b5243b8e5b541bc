"""The shipped model behind the whole bridge: what a newcomer gets from `make play`, without a display."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.backends.helios import create
from bridge.backends.loading import SHIPPED_MODEL
from bridge.engine.interface import ControlWindow, Plan, SessionStart

BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "diffusers", "transformers", "onnx", "safetensors"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refuse())
import numpy as np
from bridge.engine.interface import ControlWindow, Plan, SessionStart
from bridge.backends.helios import create
engine = create(model="demo", runner="auto", threads=1)
state = engine.open(SessionStart(seed=1, prompt="", scene=None))
for start in range(2):
    window = ControlWindow(
        positions=np.tile([0.0, 1.6, 5.5], (4, 1)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (4, 1)),
        vertical_fov_deg=np.full(4, 65.0), actions=("let it snow",) * 4, scene_updates=(), cut=False,
        newest_control_t_us=0,
    )
    chunk, state = engine.step(state, window, Plan(frames=4, steps=(1, 1, 1), rung="full"))
print(chunk.frames.shape, chunk.frames.std() > 5, "torch" in sys.modules)
"""


def test_serving_never_needs_torch():
    told = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split("\n")[0] == "(4, 192, 320, 3) True False"


def test_what_is_shipped_is_small():
    assert sum(file.stat().st_size for file in SHIPPED_MODEL.iterdir()) < 25e6


@pytest.mark.slow
def test_headless_tour_is_painted_and_accounted_for(tmp_path: Path):
    """`helios-bridge play --headless --tour`: every figure adds up, and the picture is the world's.

    How fast it is depends on the machine, so speed is a benchmark and no gate here.
    """
    command = [sys.executable, "-m", "bridge", "play", "--headless", "--tour", "--seconds", "12", "--tick-hz", "30",
               "--report", str(tmp_path / "r.json"), "--record", str(tmp_path / "t.mp4"),
               "--out", str(tmp_path)]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert told.returncode == 0, told.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["controls"] == report["answered"] + report["unanswered"]
    assert report["answered"] == report["generated"] + report["reprojected"] + report["held"]
    assert report["model"] == "helios-demo"
    assert report["generated"] + report["reprojected"] > 100
    assert report["psnr_db"]["mean"] > 20  # 25.6 over 30 s on an idle machine
    assert (tmp_path / "t.mp4").stat().st_size > 10_000
    assert (tmp_path / "tour.png").stat().st_size > 10_000


def paint(runner: str, seed: int) -> np.ndarray:
    engine = create(model="demo", runner=runner, threads=1)
    state = engine.open(SessionStart(seed=seed, prompt="", scene=None))
    window = ControlWindow(
        positions=np.tile([0.0, 1.6, 5.5], (4, 1)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (4, 1)),
        vertical_fov_deg=np.full(4, 65.0), actions=("",) * 4, scene_updates=(), cut=False, newest_control_t_us=0,
    )  # fmt: skip
    plan = Plan(frames=4, steps=(1, 1, 1), rung="full")
    for _ in range(2):
        chunk, state = engine.step(state, window, plan)
    engine.close()
    return chunk.frames


def test_the_same_controls_and_seed_paint_the_same_frames():
    first = paint("onnxruntime", seed=3)
    np.testing.assert_array_equal(first, paint("onnxruntime", seed=3))
    assert not np.array_equal(first, paint("onnxruntime", seed=4))


@pytest.mark.torch
def test_torch_paints_what_onnxruntime_paints():
    pytest.importorskip("torch")
    difference = paint("torch", seed=3).astype(int) - paint("onnxruntime", seed=3)
    assert np.abs(difference).max() <= 2  # levels of 255, after two chunks

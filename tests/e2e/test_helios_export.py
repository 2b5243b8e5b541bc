"""A random-weight Helios, exported and served through `--runner tensorrt` and `onnxruntime` with torch blocked.

The fake TensorRT computes with onnxruntime what a plan's graph says; frames must be torch's own from the checkpoint.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment

pytestmark = [pytest.mark.torch, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
HERE = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")
FRAMES = """
import sys
RUNNER, FOLDER, OUT, CAMERA = sys.argv[1:]
if RUNNER != "torch":
    import tests.tensorrt_api.installed
import numpy as np
from bridge.engine.interface import ControlWindow, Pictures, Plan, SessionStart
from bridge.backends.helios import create
from bridge.protocol.messages import PixelFormat

form = {"frame_size": (128, 64)} if RUNNER == "torch" else {}
engine = create(model=FOLDER, runner=RUNNER, camera=CAMERA, threads=1, chunk_latents=(2, 3, 9), **form)
assert CAMERA in ("auto", engine.info.camera_method)
assert engine.info.takes_pictures
picture = np.random.default_rng(2).integers(0, 256, (64, 128, 3), dtype=np.uint8)
starts = (None, Pictures(width=128, height=64, pixel_format=PixelFormat.RGB8, data=(picture.tobytes(),)))
made = []
for pictures in starts:
    state = engine.open(SessionStart(seed=1, prompt="a walled garden", scene=None, pictures=pictures))
    for number in (5, 9):
        window = ControlWindow(
            positions=np.zeros((number, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (number, 1)),
            vertical_fov_deg=np.full(number, 65.0), actions=("rain",) * number, scene_updates=(), cut=False,
            newest_control_t_us=0,
        )
        chunk, state = engine.step(state, window, Plan(frames=number, steps=(1, 1, 1), rung="full"))
        made.append(np.array(chunk.frames))
engine.close()
np.save(OUT, np.concatenate(made))
print("torch" in sys.modules)
"""


def frames(runner: str, folder: Path, out: Path, *, camera: str = "auto", **environment: str) -> np.ndarray[Any, Any]:
    told = subprocess.run(
        [sys.executable, "-c", FRAMES, runner, str(folder), str(out), camera], cwd=ROOT, env=os.environ | environment,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == str(runner == "torch")
    return np.load(out)


@pytest.fixture(scope="module")
def wanted(helios_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray[Any, Any]:
    made = frames("torch", helios_folder, tmp_path_factory.mktemp("torch") / "frames.npy")
    assert made.shape == (28, 64, 128, 3)
    assert made.std() > 5
    assert (np.abs(made[:14].astype(int) - made[14:]) > 1).mean() > 0.05  # the picture is seen
    return made


def test_frames_are_torchs_and_nothing_needs_torch(
    tensorrt_world: Any, helios_export: Path, wanted: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    """Prompts, a start from a picture, chunks of two lengths: tokeniser, encoder and decoder with their memory. The
    plans are stripped: they run only with the weights that serving takes from the export."""
    from trt_build.build import BuildOptions, build_model

    cache = EngineCache(tmp_path / "helios-bridge" / "engines")
    build_model(helios_export, cache, HERE, BuildOptions(strip=True), out=io.StringIO())
    ours = frames("tensorrt", helios_export, tmp_path / "frames.npy", XDG_CACHE_HOME=str(tmp_path))
    assert np.abs(ours.astype(int) - wanted).max() <= 1  # a value between two levels


def test_onnxruntime_serves_it_too(helios_export: Path, wanted: np.ndarray[Any, Any], tmp_path: Path) -> None:
    """What `--runner rtx` does on a card: the decoder's memory stays with the runner."""
    ours = frames("onnxruntime", helios_export, tmp_path / "frames.npy")
    assert np.abs(ours.astype(int) - wanted).max() <= 1


def test_an_export_with_room_for_a_view_is_steered_as_its_checkpoint_is(
    tensorrt_world: Any, helios_folder: Path, helios_view_export: Path, tmp_path: Path
) -> None:
    """The first chunk after a beginning from text has no view at all, the second most of one."""
    from trt_build.build import BuildOptions, build_model

    cache = EngineCache(tmp_path / "helios-bridge" / "engines")
    build_model(helios_view_export, cache, HERE, BuildOptions(), out=io.StringIO())
    torchs = frames("torch", helios_folder, tmp_path / "torch.npy", camera="warp-history")
    ours = frames(
        "tensorrt", helios_view_export, tmp_path / "ours.npy", camera="warp-history", XDG_CACHE_HOME=str(tmp_path)
    )
    assert np.abs(ours.astype(int) - torchs).max() <= 1


def test_steps_are_chosen_when_an_export_is_served(helios_export: Path) -> None:
    from bridge.backends.helios import create
    from bridge.errors import ConfigError

    engine = create(model=str(helios_export), runner="onnxruntime", threads=1, steps=(2, 1, 1))
    assert engine.info.rungs[0].steps == (2, 1, 1)
    engine.close()
    with pytest.raises(ConfigError, match="demo was trained on 1,1,1; leave it out"):
        create(model="demo", steps=(2, 1, 1))

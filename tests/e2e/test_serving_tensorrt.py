"""`--runner tensorrt` makes the shipped model's frames, with torch and onnx blocked, over a fake TensorRT and GPU.

The fake computes with onnxruntime what the plan's graph says. So the frames must be those of `--runner onnxruntime`:
plans found in the cache, profiles switched between stages, constants bound, memory handed from chunk to chunk.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
from bridge.backends.loading import SHIPPED_MODEL
from model.precision import Precision
from tests.tensorrt_api.exports import SPEC
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment
from trt_build.manifest import ExportManifest, GraphExport, Profile, ShapeRange, Target, stage_profiles, write_manifest

ROOT = Path(__file__).parents[2]
HERE = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")

SERVE = """
import sys
import tests.tensorrt_api.installed
import numpy as np
from bridge.engine.interface import ControlWindow, Plan, SessionStart
from bridge.backends.helios import create

def frames(runner):
    engine = create(model=sys.argv[1], runner=runner, threads=1)
    state = engine.open(SessionStart(seed=1, prompt="", scene=None))
    made = []
    for number in (4, 8):
        window = ControlWindow(
            positions=np.tile([0.0, 1.6, 5.5], (number, 1)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (number, 1)),
            vertical_fov_deg=np.full(number, 65.0), actions=("let it snow",) * number, scene_updates=(), cut=False,
            newest_control_t_us=0,
        )
        chunk, state = engine.step(state, window, Plan(frames=number, steps=(1, 1, 1), rung="full"))
        made.append(np.array(chunk.frames))
    engine.close()
    return np.concatenate(made)

ours, wanted = frames("tensorrt"), frames("onnxruntime")
print(ours.shape, int(np.abs(ours.astype(int) - wanted).max()), wanted.std() > 5, "torch" in sys.modules)
"""


def as_export(folder: Path) -> Path:
    """The shipped graphs, called an export for TensorRT, at chunks of 1 to 3 latent frames."""
    folder.mkdir()
    names = ("text_encoder", "conditioner", "denoiser", "decoder")
    for name in (*(f"{name}.onnx" for name in names), "spec.json"):
        shutil.copy(SHIPPED_MODEL / name, folder)
    height, width = SPEC.latent_height, SPEC.latent_width

    def frames(**shapes: tuple[int, ...]) -> tuple[Profile, ...]:
        def at(count: int, shape: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(count if length == 0 else length for length in shape)

        ranges = {
            name: ShapeRange(min=at(1, shape), opt=at(3, shape), max=at(3, shape)) for name, shape in shapes.items()
        }
        return (Profile(name="frames", shapes=ranges),)

    profiles: dict[str, tuple[Profile, ...]] = {
        "text_encoder": (),
        "conditioner": frames(
            rays=(1, channels(folder, "rays"), 0, height * 4, width * 4),
            flow=(1, channels(folder, "flow"), 0, height, width),
        ),
        "denoiser": tuple(
            Profile(
                name=p.name,
                shapes={k: ShapeRange(min=s.min, opt=s.opt, max=s.opt) for k, s in p.shapes.items()},
            )
            for p in stage_profiles(SPEC)
        ),
        "decoder": frames(
            latents=(1, SPEC.latent_channels, 0, height, width),
            frame_rays=(1, 4, 0, channels(folder, "rays"), height * 4, width * 4),
        ),
    }
    graphs = {
        name: GraphExport(
            file=f"{name}.onnx", weights_file="", bytes=(folder / f"{name}.onnx").stat().st_size, graph_sha256=name,
            weights_sha256=name, profiles=profiles[name],
        )
        for name in names
    }  # fmt: skip
    manifest = ExportManifest(
        model="demo", target=Target.TENSORRT, precision=Precision.BF16, opset=20, graphs=graphs, versions={}
    )
    write_manifest(manifest, folder)
    return folder


def channels(folder: Path, name: str) -> int:
    import onnx

    inputs = {value.name: value for value in onnx.load(folder / "conditioner.onnx").graph.input}
    return int(inputs[name].type.tensor_type.shape.dim[1].dim_value)


def test_frames_are_those_of_onnxruntime_and_nothing_needs_torch(tensorrt_world: Any, tmp_path: Path) -> None:
    from trt_build.build import BuildOptions, build_model

    folder = as_export(tmp_path / "export")
    cache = EngineCache(tmp_path / "cache" / "helios-bridge" / "engines")
    build_model(folder, cache, HERE, BuildOptions(), out=io.StringIO())
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    told = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    shape, difference, painted, torch = told.stdout.strip().rsplit(maxsplit=3)
    assert (shape, painted, torch) == ("(12, 192, 320, 3)", "True", "False")
    assert int(difference) <= 1  # onnxruntime may round another way in another session

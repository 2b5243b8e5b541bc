"""What the engine says of a chunk's cameras, and on which thread it finds that out."""

from __future__ import annotations

import threading
from types import ModuleType

import numpy as np
import pytest

from bridge.backends.camera import CameraConditioner
from bridge.backends.loading import ModelOptions, load_model
from bridge.backends.scene import SceneCache
from model.camera_control.method import CameraMethod
from model.scene.blockout import PackedParts
from model.scene.camera import Camera
from model.scene.maps import DEFAULT_MAP, load_map
from model.scene.raycast import RayHits, cast

FRAMES = 8


def test_what_only_the_decoder_needs_is_cast_on_a_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, _ = load_model(ModelOptions(model="demo", runner="onnxruntime"))
    spec, threads, done = loaded.spec, [], threading.Event()

    def watched(xp: ModuleType, parts: PackedParts, camera: Camera, *, step_px: float) -> RayHits:
        hits = cast(xp, parts, camera, step_px=step_px)
        threads.append(threading.current_thread().name)
        if len(threads) == FRAMES:
            done.set()
        return hits

    monkeypatch.setattr("model.scene.ray_features.cast", watched)
    start = load_map(DEFAULT_MAP)
    world = SceneCache(start.blockout).open(None)
    cameras = [
        Camera(
            position=np.add(start.spawn_position, (0, 0, 0.1 * frame)), rotation=np.array([0.0, 0.0, 0.0, 1.0]),
            vertical_fov_deg=60.0, height=spec.frame_height, width=spec.frame_width,
        )
        for frame in range(FRAMES)
    ]  # fmt: skip
    telling = CameraConditioner(CameraMethod.CHANNELS, spec, loaded.runner, threads=1)
    try:
        said = telling.said({}, world, world, cameras, cut=False)
        assert done.wait(10)
    finally:
        telling.close()
        loaded.close()
    here = threading.current_thread().name
    assert [name == here for name in threads].count(True) == FRAMES // spec.temporal_stride
    assert len(said.request.guide) == FRAMES // spec.temporal_stride
    assert said.behind is not None
    assert len(said.behind.get().depth) == len(said.request.edges) == FRAMES

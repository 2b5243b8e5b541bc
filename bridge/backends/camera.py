"""Conditions a chunk on its cameras by the method in force, and keeps the newest picture for the next chunk.

`model.camera_control` defines the methods. This module fits them to the engine's states and scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.backends.scene import EngineScene
from bridge.engine.interface import State
from model.camera_control.method import CameraMethod
from model.camera_control.steering import Steering
from model.camera_control.warp import View, depth_of
from model.deferred import Deferred, Helper
from model.pipeline.image_history import encoder_of
from model.pipeline.state import ChunkRequest
from model.runners.base import ModuleRunner
from model.scene.camera import Camera
from model.scene.ray_features import condition
from model.spec import Decode, Graph, ModelSpec

_VIEW_FRAME, _VIEW_CAMERA = "view_frame", "view_camera"
_VIEW_DEPTH_STEP_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConditioning:
    """What a camera method tells the network of a chunk: part of its request, and of its texts. behind: the blockout at
    each frame, where the picture follows it."""

    request: ChunkRequest
    behind: Deferred[Behind] | None
    clause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What is behind a chunk's frames, as in `FrameChunk`: depth in metres, and the ids of parts."""

    depth: NDArray[np.float32]
    parts: NDArray[np.uint32]


class CameraConditioner:
    """One method for one model on one runner, for any number of sessions."""

    def __init__(self, method: CameraMethod, spec: ModelSpec, runner: ModuleRunner, *, threads: int) -> None:
        """threads: that cast and bend frames; `channels` casts with one, and another beside the network."""
        self._method, self._spec = method, spec
        self._steering = Steering(method, spec, encoder_of(spec, runner), threads=threads)
        self._guided = "frame_rays" in runner.graphs[Graph.DECODER].inputs
        self._helper = Helper("guide")
        self.bends = method in (CameraMethod.WARP_HISTORY, CameraMethod.LAYOUT)
        """Whether a chunk begins with the last picture, so that a session has to remember it."""

    def token_counts(self, frames: int) -> list[int]:
        """How many tokens a view of `frames` frames can have."""
        return self._steering.token_counts(frames)

    def close(self) -> None:
        self._helper.close()
        self._steering.close()

    def said(
        self, state: State, before: EngineScene, world: EngineScene, cameras: Sequence[Camera], *, cut: bool
    ) -> CameraConditioning:
        """What the camera method tells the network of `cameras`. before: the world that the last picture shows."""
        if self._method is CameraMethod.CHANNELS:
            return self._channels(world, cameras)
        last = self._last_view(state, before, cameras[0]) if self.bends and not cut else None
        hints = self._steering.hints(world.packed if world.parts else None, cameras, last)
        behind = None
        if hints.depth is not None and hints.part is not None:
            behind = Deferred.known(Behind(depth=hints.depth, parts=world.ids[hints.part]))
        request = ChunkRequest(texts=(), steps=(), view=hints.view, first_stage=hints.first_stage)
        return CameraConditioning(request=request, behind=behind, clause=hints.clause)

    def _channels(self, world: EngineScene, cameras: Sequence[Camera]) -> CameraConditioning:
        """Casts what the denoiser is told; what only the decoder and the service need is cast beside the denoiser."""
        # A latent frame has four frames; the first of a chunk that decodes alone is the fourth of its own.
        lead = 0 if self._spec.decode is Decode.STREAMING else self._spec.temporal_stride - 1
        seen = condition(world.packed, [cameras[0]] * lead + list(cameras))
        request = ChunkRequest(texts=(), steps=(), features={"rays": seen.rays, "flow": seen.flow})
        wanted: list[Deferred[object]] = [seen.surfaces]
        if self._guided:
            request = replace(request, guide=seen.guide, edges=seen.edges[lead:])
            wanted = seen.in_turn(lead=lead)
        self._helper.begin(wanted)
        surfaces = seen.surfaces

        def behind() -> Behind:
            found = surfaces.get()
            return Behind(depth=found.depth[lead:], parts=world.ids[found.part[lead:]])

        return CameraConditioning(request=request, behind=Deferred(behind))

    def _last_view(self, state: State, world: EngineScene, first: Camera) -> View | None:
        """The newest picture; one that the session began with is what its `first` camera sees. None: there is none."""
        if _VIEW_FRAME not in state:
            return None
        camera, stored = first, np.asarray(state[_VIEW_CAMERA], np.float64)
        if len(stored):
            position, rotation, fov = stored[:3], stored[3:7], float(stored[7])
            camera = replace(first, position=position, rotation=rotation, vertical_fov_deg=fov)
        depth = depth_of(world.packed, camera, step_px=_VIEW_DEPTH_STEP_PX) if world.parts else None
        return View(frame=np.asarray(state[_VIEW_FRAME], np.uint8), camera=camera, depth=depth)


def view_arrays(frame: NDArray[np.uint8], camera: Camera | None) -> dict[str, NDArray[np.generic]]:
    """What a state holds of its newest picture. camera: None for one that the session began with."""
    seen_from: list[float] = []
    if camera is not None:
        seen_from = [*camera.position, *camera.rotation, camera.vertical_fov_deg]
    return {_VIEW_FRAME: frame.copy(), _VIEW_CAMERA: np.array(seen_from, np.float64)}

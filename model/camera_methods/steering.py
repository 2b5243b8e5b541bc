"""From a chunk's cameras to what a camera method adds to its request: a view in history, a first stage, or words.

`channels` adds nothing here: its rays go through `model.conditioning`. Numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.blockout import PackedParts
from model.camera import Camera
from model.camera_methods.clause import motion_clause
from model.camera_methods.layout import coarse_shading, first_stage
from model.camera_methods.method import CameraMethod
from model.camera_methods.warp import View, Warped, depth_of, seen_share, warped
from model.history import HistoryView
from model.spec import Decode, ModelSpec

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A chunk's frames (N, H, W, 3) -> its normalised latents (1, 16, T, h, w)."""

_KNOWN = 0.75  # share of a token's pixels that must have been seen, or the token is left out
_CAST_STEP_PX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a method adds to a `ChunkRequest`; `clause` to its texts."""

    view: HistoryView | None = None
    first_stage: NDArray[np.float32] | None = None
    clause: str = ""


class Steering:
    """One method for one model, for any number of sessions."""

    def __init__(self, method: CameraMethod, spec: ModelSpec, encode: Encode) -> None:
        self.method, self._spec, self._encode = method, spec, encode

    def hints(self, parts: PackedParts | None, cameras: Sequence[Camera], last: View | None) -> Hints:
        """cameras: one a frame of the chunk. parts: None without a blockout. last: the newest picture, None if none.

        Without a blockout, `warp-history` and `layout` follow the camera's rotation alone; without a last picture too,
        warp-history adds nothing, as the first chunk has no view to continue. A layout without either is refused by
        its caller's choice of method: there is nothing to draw it from, so it adds nothing.
        """
        if self.method is CameraMethod.PROMPT:
            seconds = max(len(cameras) - 1, 1) / self._spec.fps
            positions = np.stack([camera.position for camera in cameras])
            rotations = np.stack([camera.rotation for camera in cameras])
            return Hints(clause=motion_clause(positions, rotations, seconds))
        if self.method is CameraMethod.WARP_HISTORY and last is not None:
            bent = bent_views(last, parts, cameras)
            latents = self._encode(np.stack([view.frame for view in bent]))
            return Hints(view=HistoryView(latents, self._known_tokens(bent)))
        if self.method is CameraMethod.LAYOUT and (parts is not None or last is not None):
            frames = layout_frames(parts, cameras, last)
            return Hints(first_stage=first_stage(self._encode(frames), self._spec.stages))
        return Hints()

    def _known_tokens(self, bent: Sequence[Warped]) -> NDArray[np.int64]:
        spec = self._spec
        rows, columns = spec.latent_height // spec.patch_size[1], spec.latent_width // spec.patch_size[2]
        shares = [seen_share(view.seen, rows, columns) for view in bent]
        known = [np.min([shares[i] for i in group], axis=0) >= _KNOWN for group in latent_frames(spec, len(bent))]
        return np.flatnonzero(np.stack(known)).astype(np.int64)


def latent_frames(spec: ModelSpec, frames: int) -> list[range]:
    """Which frames of a chunk each latent frame stands for; the first of a chunk that decodes alone stands for one."""
    stride = spec.temporal_stride
    if spec.decode is Decode.STREAMING:
        return [range(first, first + stride) for first in range(0, frames, stride)]
    return [range(1), *(range(first, first + stride) for first in range(1, frames, stride))]


def bent_views(last: View, parts: PackedParts | None, cameras: Sequence[Camera]) -> list[Warped]:
    """`last` as each camera would have seen it."""
    return [warped(last, camera, None if parts is None else _full_depth(parts, camera)) for camera in cameras]


def layout_frames(parts: PackedParts | None, cameras: Sequence[Camera], last: View | None) -> NDArray[np.uint8]:
    """(N, H, W, 3): the last view bent to each camera where it saw what is there, the blockout's shading elsewhere."""
    shaded = None if parts is None else [coarse_shading(parts, camera) for camera in cameras]
    bent = None if last is None else bent_views(last, parts, cameras)
    if bent is None:
        assert shaded is not None, "a layout needs a blockout or a view"
        return np.stack(shaded)
    if shaded is None:
        return np.stack([view.frame for view in bent])
    pairs = zip(bent, shaded, strict=True)
    return np.stack([np.where(view.seen[..., None], view.frame, drawn) for view, drawn in pairs])


def _full_depth(parts: PackedParts, camera: Camera) -> NDArray[np.float32]:
    coarse = depth_of(parts, camera, step_px=_CAST_STEP_PX)
    return coarse.repeat(_CAST_STEP_PX, axis=0).repeat(_CAST_STEP_PX, axis=1)

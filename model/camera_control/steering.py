"""Prepares what a camera method adds to a chunk's request: a view in the history, a first stage, or words.

`channels` adds nothing here: its rays go through `model.scene.ray_features`. Numpy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.camera_control.clause import motion_clause
from model.camera_control.layout import first_stage, shaded
from model.camera_control.method import CameraMethod
from model.camera_control.warp import View, Warped, seen_share, warped
from model.pipeline.history import HistoryView
from model.pipeline.image_history import Encode
from model.scene.blockout import PackedParts
from model.scene.camera import Camera
from model.scene.raycast import RayHits, cast
from model.spec import Decode, ModelSpec

CAST_STEP_PX = 4
_KNOWN = 0.75  # share of a token's pixels that must have been seen, or the token is left out
_TOKEN_STEPS = 8  # how many numbers of tokens there are: a runtime with static graphs has one for each

_From = TypeVar("_From")
_To = TypeVar("_To")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a method adds to a `ChunkRequest`; `clause` to its texts.

    depth: (N, H / 4, W / 4) float32 view-axis metres of the blockout at each frame, inf for the sky, and part: (N, H /
    4, W / 4) int64, the packed part there or -1; None where the picture does not follow the blockout.
    """

    view: HistoryView | None = None
    first_stage: NDArray[np.float32] | None = None
    clause: str = ""
    depth: NDArray[np.float32] | None = None
    part: NDArray[np.int64] | None = None


class Steering:
    """One method for one model, for any number of sessions."""

    def __init__(self, method: CameraMethod, spec: ModelSpec, encode: Encode, *, threads: int = 1) -> None:
        """threads: that cast and bend frames beside each other."""
        self.method, self._spec, self._encode = method, spec, encode
        self._pool = ThreadPoolExecutor(threads, "steering") if threads > 1 else None

    def hints(self, parts: PackedParts | None, cameras: Sequence[Camera], last: View | None) -> Hints:
        """cameras: one a frame of the chunk. parts: None without a blockout. last: the newest picture, None if none.

        Without a blockout, `warp-history` and `layout` follow the camera's rotation alone. Where warp-history has
        nothing to bend (a first chunk, a cut, a view that turned away) the layout stands in for it, and where that has
        nothing to be drawn from, the motion is told in words: no pose is without effect.
        """
        if self.method is CameraMethod.CHANNELS:
            return Hints()
        if self.method is CameraMethod.PROMPT:
            return Hints(clause=self._clause(cameras))
        hits = None if parts is None else self._cast(parts, cameras)
        depth = None if hits is None else np.stack([_depth(hit) for hit in hits])
        part = None if hits is None else np.stack([hit.part for hit in hits])
        bent = None if last is None else self._bent(last, hits, cameras)
        view = None
        if self.method is CameraMethod.WARP_HISTORY and bent is not None:
            view = self._view(bent)
        if view is not None:
            return Hints(view=view, depth=depth, part=part)
        if hits is None and bent is None:
            return Hints(clause=self._clause(cameras))
        stage = first_stage(self._encode(layout_frames(hits, bent)), self._spec.stages)
        return Hints(first_stage=stage, depth=depth, part=part)

    def token_counts(self, frames: int) -> list[int]:
        """How many tokens a view of `frames` frames can have."""
        every = len(latent_frames(self._spec, frames)) * self._rows * self._columns
        unit = max(1, every // _TOKEN_STEPS)
        return list(range(unit, every + 1, unit))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def _rows(self) -> int:
        return self._spec.latent_height // self._spec.patch_size[1]

    @property
    def _columns(self) -> int:
        return self._spec.latent_width // self._spec.patch_size[2]

    def _each(self, function: Callable[[_From], _To], values: Iterable[_From]) -> list[_To]:
        return list(map(function, values) if self._pool is None else self._pool.map(function, values))

    def _cast(self, parts: PackedParts, cameras: Sequence[Camera]) -> list[RayHits]:
        return self._each(lambda camera: cast(np, parts, camera, step_px=CAST_STEP_PX), cameras)

    def _clause(self, cameras: Sequence[Camera]) -> str:
        seconds = max(len(cameras) - 1, 1) / self._spec.fps
        positions = np.stack([camera.position for camera in cameras])
        rotations = np.stack([camera.rotation for camera in cameras])
        return motion_clause(positions, rotations, seconds)

    def _bent(self, last: View, hits: Sequence[RayHits] | None, cameras: Sequence[Camera]) -> list[Warped]:
        depths = [None] * len(cameras) if hits is None else [_enlarged(_depth(hit)) for hit in hits]
        return self._each(lambda pair: warped(last, *pair), zip(cameras, depths, strict=True))

    def _view(self, bent: Sequence[Warped]) -> HistoryView | None:
        """None where next to nothing of the view is still in sight."""
        tokens = self._known_tokens(bent)
        if not len(tokens):
            return None
        return HistoryView(self._encode(np.stack([frame.frame for frame in bent])), tokens)

    def _known_tokens(self, bent: Sequence[Warped]) -> NDArray[np.int64]:
        """The places that were seen, the best seen first where their number is rounded down to one of a few."""
        shares = [seen_share(frame.seen, self._rows, self._columns) for frame in bent]
        groups = latent_frames(self._spec, len(bent))
        least = np.stack([np.min([shares[i] for i in group], axis=0) for group in groups]).ravel()
        known = int((least >= _KNOWN).sum())
        counts = [count for count in self.token_counts(len(bent)) if count <= known]
        kept = np.argsort(-least, kind="stable")[: max(counts, default=0)]
        return np.sort(kept).astype(np.int64)


def latent_frames(spec: ModelSpec, frames: int) -> list[range]:
    """Which frames of a chunk each latent frame stands for; the first of a chunk that decodes alone stands for one."""
    stride = spec.temporal_stride
    if spec.decode is Decode.STREAMING:
        return [range(first, first + stride) for first in range(0, frames, stride)]
    return [range(1), *(range(first, first + stride) for first in range(1, frames, stride))]


def layout_frames(hits: Sequence[RayHits] | None, bent: Sequence[Warped] | None) -> NDArray[np.uint8]:
    """(N, H, W, 3): the last view bent to each camera where it saw what is there, the blockout's shading elsewhere."""
    drawn = None if hits is None else [shaded(hit, step_px=CAST_STEP_PX) for hit in hits]
    if bent is None:
        assert drawn is not None, "a layout needs a blockout or a view"
        return np.stack(drawn)
    if drawn is None:
        return np.stack([view.frame for view in bent])
    pairs = zip(bent, drawn, strict=True)
    return np.stack([np.where(view.seen[..., None], view.frame, ground) for view, ground in pairs])


def _depth(hits: RayHits) -> NDArray[np.float32]:
    return np.where(hits.hit, hits.depth, np.inf).astype(np.float32)


def _enlarged(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    return depth.repeat(CAST_STEP_PX, axis=0).repeat(CAST_STEP_PX, axis=1)

"""Past latents as the denoiser takes them: long, mid and short history, and each frame's position in time.

Numpy only. Frames run along axis 2 of (B, C, T, h, w); a history has full length, with zeros where nothing was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class History:
    """long, mid, short: (B, C, their frames, h, w); the prefix, where there is one, is the first frame of `short`."""

    long: NDArray[np.float32]
    mid: NDArray[np.float32]
    short: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HistoryView:
    """What is expected to be seen in a chunk's own frames, as history tokens beside the short ones (arXiv 2605.15182).

    latents: (1, C, T, h, w) float32 normalised, one latent frame for each new one. tokens: (kept,) int64 ascending, the
    places, counted in patches over (T, rows, columns), where the view is known; the others are left out.
    """

    latents: NDArray[np.float32]
    tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FrameIndices:
    """Rotary frame positions, each (1, frames) int64."""

    long: NDArray[np.int64]
    mid: NDArray[np.int64]
    short: NDArray[np.int64]
    new: NDArray[np.int64]


def split_history(latents: NDArray[np.float32], sizes: tuple[int, ...], prefix: NDArray[np.float32] | None) -> History:
    """The newest sum(sizes) frames of `latents`, by term; `prefix` (B, C, 1, h, w) joins the short one."""
    long, mid, _ = sizes
    newest = latents[:, :, latents.shape[2] - sum(sizes) :]
    short = newest[:, :, long + mid :]
    if prefix is not None:
        short = np.concatenate([prefix, short], axis=2)
    return History(newest[:, :, :long], newest[:, :, long : long + mid], short)


def frame_indices(sizes: tuple[int, ...], *, prefix: bool, new: int) -> FrameIndices:
    """Positions of the history and of `new` frames after it; a prefix stands at 0 and shifts the rest by one."""
    long, mid, short = sizes
    first = int(prefix)
    indices = np.arange(first + long + mid + short + new, dtype=np.int64)
    long_end, mid_end = first + long, first + long + mid
    newest = indices[mid_end : mid_end + short]
    return FrameIndices(
        long=indices[None, first:long_end],
        mid=indices[None, long_end:mid_end],
        short=(np.concatenate([indices[:1], newest]) if prefix else newest)[None],
        new=indices[None, mid_end + short :],
    )


def appended(latents: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """The history after `new` frames, as long as before. A new array; neither argument is changed."""
    return np.concatenate([latents, new], axis=2)[:, :, new.shape[2] :]

"""Latent pixels as tokens and back, and the rotation that tells attention where each token stands.

What both forms of Helios's transformer share (`model.networks.transformer`, for export and comparison; `model.fast`,
for GPUs). Needs the torch extra.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MID_REDUCTION, LONG_REDUCTION = 2, 4
"""Of mid and long history's patches against the new tokens', along every axis."""


def tokens_of(x: Tensor) -> Tensor:
    """(B, C, T, h, w) -> (B, T h w, C)."""
    return x.flatten(2).transpose(1, 2)


def padded(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Repeats the far edges of (B, C, T, h, w) up to multiples of `kernel`."""
    short = [-size % step for size, step in zip(x.shape[2:], kernel, strict=True)]
    if not any(short):
        return x
    return functional.pad(x, (0, short[2], 0, short[1], 0, short[0]), mode="replicate")


def unpatchified(tokens: Tensor, size: tuple[int, int, int], patch_size: tuple[int, ...]) -> Tensor:
    """(B, frames height width, C values a patch) -> (B, C, T, h, w); `size` counts patches."""
    frames, height, width = size
    patches = tokens.reshape(tokens.shape[0], frames, height, width, *patch_size, -1)
    patches = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)  # (B, C, frames, pt, height, ph, width, pw)
    return patches.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def rotation(rope: Any, indices: Tensor, rows: int, columns: int, *, reduction: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (tokens, head width / 2) float32, averaged over reduction^3 tokens (edges repeated).

    rope: the transformer's `rope`. indices: (1, frames), where each frame stands in time. rows, columns: of tokens,
    before the reduction.
    """
    frames, device = indices.shape[1], rope.freqs_base_t.device
    angles_t = indices[0].to(torch.float32)[:, None] * rope.freqs_base_t
    angles_y = torch.arange(rows, dtype=torch.float32, device=device)[:, None] * rope.freqs_base_y
    angles_x = torch.arange(columns, dtype=torch.float32, device=device)[:, None] * rope.freqs_base_x

    def grid(wave_t: Tensor, wave_y: Tensor, wave_x: Tensor) -> Tensor:
        waves = torch.cat(
            [
                wave_t[:, None, None].expand(frames, rows, columns, -1),
                wave_y[None, :, None].expand(frames, rows, columns, -1),
                wave_x[None, None].expand(frames, rows, columns, -1),
            ],
            dim=-1,
        )
        if reduction > 1:
            waves = padded(waves.permute(3, 0, 1, 2)[None], (reduction,) * 3)
            waves = functional.avg_pool3d(waves, reduction)[0].permute(1, 2, 3, 0)
        return waves.flatten(0, 2)

    return (
        grid(angles_t.cos(), angles_y.cos(), angles_x.cos()),
        grid(angles_t.sin(), angles_y.sin(), angles_x.sin()),
    )


def history_rotation(
    rope: Any, short: Tensor, mid: Tensor, long: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """The same for history tokens in their order: long, mid, short. short, mid, long: frame indices (1, frames)."""
    parts = [
        rotation(rope, long, rows, columns, reduction=LONG_REDUCTION),
        rotation(rope, mid, rows, columns, reduction=MID_REDUCTION),
        rotation(rope, short, rows, columns, reduction=1),
    ]
    return torch.cat([cos for cos, _ in parts]), torch.cat([sin for _, sin in parts])

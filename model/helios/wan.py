"""Wan's video autoencoder as graphs: decoding one latent frame at a time, encoding a picture or a clip.

diffusers' `AutoencoderKLWan` holds the weights and stays the reference: its decoder is causal in time and keeps, for
every convolution, the last two frames of what went in. Here that cache is explicit, always two frames long (zeros where
there was nothing, which is what the convolutions pad with), so that the same function runs as a static graph, exports,
and gives each latent frame's pictures as soon as they are made. Needs the torch extra.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

_REPEATED = "Rep"  # diffusers' mark in the cache of a temporal upsampling that has seen the first latent frame only


class WanDecoderStep(nn.Module):
    """One latent frame -> its frames, and the memory that the next latent frame continues."""

    def __init__(self, vae: AutoencoderKLWan, shapes: Sequence[tuple[int, ...]], *, first: bool) -> None:
        """shapes: `memory_shapes`. first: of a chunk. Its latent frame gives one frame and needs no memory; the others
        give four."""
        super().__init__()
        self.vae: Any = vae
        self.first = first
        self._shapes = tuple(shapes)

    def forward(self, latents: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """latents: (1, 16, 1, h, w), not normalised. Returns: pixels (1, 3, 1 or 4, 8h, 8w) in [-1, 1], then the memory
        in the order of the shapes."""
        vae, count = self.vae, len(self._shapes)
        cache: list[Any] = [None] * vae._cached_conv_counts["decoder"]
        if not self.first:
            cache[:count] = memory
        hidden = vae.post_quant_conv(latents.to(vae.dtype))
        pixels: Tensor = vae.decoder(hidden, feat_cache=cache, feat_idx=[0], first_chunk=self.first)
        after = [_full(kept, shape, hidden) for kept, shape in zip(cache[:count], self._shapes, strict=True)]
        return (pixels.clamp(-1, 1), *after)


class WanEncoder(nn.Module):
    """The `encoder` graph: 8-bit frames -> mean and standard deviation of their latents."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.vae: Any = vae

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames: (1 + 4n, 8h, 8w, 3) uint8. Returns: mean, std (1, 16, 1 + n, h, w) float32, not normalised."""
        # TensorRT takes 8-bit numbers into nothing but a cast
        pixels = frames.to(torch.float32).permute(3, 0, 1, 2)[None] / 127.5 - 1
        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return posterior.mean.float(), posterior.std.float()


def memory_shapes(vae: AutoencoderKLWan, latent_height: int, latent_width: int) -> list[tuple[int, ...]]:
    """(1, C, 2, rows, columns) of what each convolution of the decoder remembers, in the order of their use.

    Found by decoding on the meta device until every cache is full.
    """
    with torch.device("meta"):
        blank = AutoencoderKLWan.from_config(vae.config)
    cache: list[Any] = [None] * blank._cached_conv_counts["decoder"]
    for number in range(3):
        latents = torch.zeros(1, blank.config.z_dim, 1, latent_height, latent_width, device="meta")
        blank.decoder(latents, feat_cache=cache, feat_idx=[0], first_chunk=number == 0)
    return [tuple(kept.shape) for kept in itertools.takewhile(lambda kept: kept is not None, cache)]


def _full(kept: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A cache as `shape` has it; a chunk's first latent frame leaves shorter ones, with nothing before."""
    if isinstance(kept, str):
        assert kept == _REPEATED, f"unknown mark {kept!r} in the decoder's cache"
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
    cache: Tensor = kept
    missing = shape[2] - cache.shape[2]
    if not missing:
        return cache
    return torch.cat([cache.new_zeros(*shape[:2], missing, *shape[3:]), cache], dim=2)

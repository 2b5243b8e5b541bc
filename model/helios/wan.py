"""Wan's video autoencoder as graphs: one latent frame at a time, or a whole clip where the graph may be of any length.

diffusers' `AutoencoderKLWan` holds the weights and stays the reference: it is causal in time and keeps, for every
convolution, the last frames of what went in. Here that cache is explicit, always of one length (zeros where there was
nothing, which is what the convolutions pad with), so that the same function runs as a static graph, exports, and gives
each latent frame's pictures as soon as they are made. Needs the torch extra.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
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
        posterior = self.vae.encode(_pixels(frames).to(self.vae.dtype)).latent_dist
        return posterior.mean.float(), posterior.std.float()


class WanEncoderStep(nn.Module):
    """A clip's first frame, or the next four -> their latent frame, and the memory that the next four continue."""

    def __init__(self, vae: AutoencoderKLWan, shapes: Sequence[tuple[int, ...]], *, first: bool) -> None:
        """shapes: `encoder_memory_shapes`. first: of a clip; it needs no memory."""
        super().__init__()
        self.vae: Any = vae
        self.first = first
        self._shapes = tuple(shapes)

    def forward(self, frames: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """frames: (1 or 4, 8h, 8w, 3) uint8. Returns: mean, std (1, 16, 1, h, w) float32, not normalised, then the
        memory in the order of the shapes."""
        vae, count = self.vae, len(self._shapes)
        cache: list[Any] = [None] * vae._cached_conv_counts["encoder"]
        if not self.first:
            cache[:count] = memory
        pixels = _pixels(frames).to(vae.dtype)
        hidden = vae.encoder(pixels, feat_cache=cache, feat_idx=[0])
        posterior = DiagonalGaussianDistribution(vae.quant_conv(hidden))
        after = [_full(kept, shape, hidden) for kept, shape in zip(cache[:count], self._shapes, strict=True)]
        return (posterior.mean.float(), posterior.std.float(), *after)


def memory_shapes(vae: AutoencoderKLWan, latent_height: int, latent_width: int) -> list[tuple[int, ...]]:
    """(1, C, 2, rows, columns) of what each convolution of the decoder remembers, in the order of their use."""

    def decode(blank: Any, number: int, cache: list[Any]) -> None:
        latents = torch.zeros(1, blank.config.z_dim, 1, latent_height, latent_width, device="meta")
        blank.decoder(latents, feat_cache=cache, feat_idx=[0], first_chunk=number == 0)

    return _filled_shapes(vae, "decoder", decode)


def encoder_memory_shapes(vae: AutoencoderKLWan, frame_height: int, frame_width: int) -> list[tuple[int, ...]]:
    """The same of the encoder: (1, C, 1 or 2, rows, columns)."""

    def encode(blank: Any, number: int, cache: list[Any]) -> None:
        frames = torch.zeros(1, 3, 4 if number else 1, frame_height, frame_width, device="meta")
        blank.encoder(frames, feat_cache=cache, feat_idx=[0])

    return _filled_shapes(vae, "encoder", encode)


def _filled_shapes(
    vae: AutoencoderKLWan, half: str, run: Callable[[Any, int, list[Any]], None]
) -> list[tuple[int, ...]]:
    """Shapes of a half's caches, found by running it on the meta device until every one is full."""
    with torch.device("meta"):
        blank: Any = AutoencoderKLWan.from_config(vae.config)
    cache: list[Any] = [None] * blank._cached_conv_counts[half]
    for number in range(3):
        run(blank, number, cache)
    return [tuple(kept.shape) for kept in itertools.takewhile(lambda kept: kept is not None, cache)]


def _pixels(frames: Tensor) -> Tensor:
    """(T, H, W, 3) uint8 -> (1, 3, T, H, W) float32 in [-1, 1]."""
    # TensorRT takes 8-bit numbers into nothing but a cast
    return frames.to(torch.float32).permute(3, 0, 1, 2)[None] / 127.5 - 1


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

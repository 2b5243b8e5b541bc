"""The network that turns what rays met into a denoiser's conditioning channels. Needs the torch extra."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.scene.ray_features import FLOW_CHANNELS, RAY_CHANNELS, RAYS_PER_LATENT_PX

CONDITIONING_CHANNELS = 24


class Conditioner(nn.Module):
    """Folds a grid of rays and the flow to conditioning channels at latent size.

    told: the size of all text tokens together. The demo's conditioner hears them: what a lamp or a door is to the
    denoiser depends on what is in force, as a scale and an offset of its first features (FiLM, arXiv 1709.07871).
    """

    def __init__(self, told: int = 0) -> None:
        super().__init__()
        self.per_ray = nn.Sequential(nn.Conv2d(RAY_CHANNELS, 48, 1), nn.SiLU(), nn.Conv2d(48, 24, 1), nn.SiLU())
        self.fold = nn.Conv2d(24 * RAYS_PER_LATENT_PX**2, 96, 1)
        self.out = nn.Conv2d(96 + FLOW_CHANNELS, CONDITIONING_CHANNELS, 1)
        self.told = None
        if told:
            self.told = nn.Linear(told, 2 * 48)
            nn.init.zeros_(self.told.weight)
            nn.init.zeros_(self.told.bias)

    def forward(self, rays: Tensor, flow: Tensor, text: Tensor | None = None) -> Tensor:
        """rays (B, RAY_CHANNELS, T, 4h, 4w), flow (B, 4, T, h, w), text (B, tokens, dim) where the conditioner hears
        it -> (B, CONDITIONING_CHANNELS, T, h, w)."""
        b, _, t = rays.shape[:3]
        first, *later = self.per_ray
        x = first(rays.transpose(1, 2).flatten(0, 1))
        if self.told is not None:
            assert text is not None
            scale, offset = self.told(text.flatten(1)).repeat_interleave(t, 0)[..., None, None].chunk(2, 1)
            x = x * (1 + scale) + offset
        for layer in later:
            x = layer(x)
        x = functional.silu(self.fold(functional.pixel_unshuffle(x, RAYS_PER_LATENT_PX)))
        x = self.out(torch.cat([x, flow.transpose(1, 2).flatten(0, 1)], 1))
        return torch.unflatten(x, 0, (b, t)).transpose(1, 2)

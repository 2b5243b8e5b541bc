"""The tiny decoder (`taew2_1`) as graphs: Wan's latents to frames at a fraction of the cost.

It gives four frames for every latent frame. A chunk's first one stands for a single frame of the video (Wan's
autoencoder is causal), so that three of its four are left out. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.networks.autoencoder import TinyAutoencoder


class TinyDecoderStep(nn.Module):
    """One latent frame -> its frames, and the memory that the next latent frame continues."""

    def __init__(
        self,
        autoencoder: TinyAutoencoder,
        latents_mean: Sequence[float],
        latents_inv_std: Sequence[float],
        *,
        first: bool,
    ) -> None:
        """first: of a chunk. Its latent frame gives one frame and needs no memory; the others give four.

        The statistics are those of Wan's latents: this family was trained on latents normalised by them.
        """
        super().__init__()
        self.autoencoder = autoencoder
        self.first = first
        self.mean: Tensor
        self.inv_std: Tensor
        self.register_buffer("mean", torch.tensor(latents_mean)[:, None, None, None], persistent=False)
        self.register_buffer("inv_std", torch.tensor(latents_inv_std)[:, None, None, None], persistent=False)

    def forward(self, latents: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """latents: (1, 16, 1, h, w), not normalised. Returns: pixels (1, 3, 1 or 4, 8h, 8w) in [-1, 1], then the
        memory."""
        dtype = next(self.autoencoder.parameters()).dtype
        normalised = (latents - self.mean) * self.inv_std
        before = None if self.first else list(memory)
        frames, after = self.autoencoder.decode(normalised.to(dtype).transpose(1, 2), before)
        pixels = frames.transpose(1, 2).clamp(0, 1) * 2 - 1
        return (pixels[:, :, -1:] if self.first else pixels, *after)

"""Decoders that give frames a latent frame at a time: Wan's with its memory, and the tiny one (`taew2_1`).

The tiny decoder gives four frames for every latent frame. A chunk's first latent frame stands for a single frame of the
video (Wan's autoencoder is causal), so three of its four are left out. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.networks.autoencoder import TinyAutoencoder


class DecoderMemory(nn.Module):
    """The shared buffers; no checkpoint has them."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> None:
        super().__init__()
        self._count = len(shapes)
        for index, shape in enumerate(shapes):
            self.register_buffer(f"kept_{index}", torch.zeros(shape, dtype=dtype), persistent=False)

    def read(self) -> list[Tensor]:
        return [self.get_buffer(f"kept_{index}") for index in range(self._count)]

    def write(self, after: Sequence[Tensor]) -> None:
        for kept, new in zip(self.read(), after, strict=True):
            kept.copy_(new)

    @property
    def nbytes(self) -> int:
        return sum(kept.nbytes for kept in self.read())


class StreamingDecoder(nn.Module):
    """One latent frame -> 8-bit frames, over the memory it shares with its sibling graph."""

    def __init__(self, step: nn.Module, memory: DecoderMemory, *, first: bool) -> None:
        """step: (latents, *memory) -> (pixels, *memory), as `WanDecoderStep`; the first one takes no memory."""
        super().__init__()
        self.step, self.memory, self.first = FramesStep(step), memory, first

    def forward(self, latents: Tensor) -> Tensor:
        """latents: (1, 16, 1, h, w), not normalised. Returns: frames (1 or 4, 8h, 8w, 3) uint8."""
        frames: Tensor
        frames, *after = self.step(latents, *([] if self.first else self.memory.read()))
        self.memory.write(after)
        return frames


class FramesStep(nn.Module):
    """A decoder's step with 8-bit frames in place of its pixels: a quarter of the bytes for the host to fetch, and
    nothing there to convert."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, latents: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """As the step, but frames (T, H, W, 3) uint8 come first."""
        pixels, *after = self.step(latents, *memory)
        return (as_frames(pixels), *after)


def as_frames(pixels: Tensor) -> Tensor:
    """(1, 3, T, H, W) in [-1, 1] -> (T, H, W, 3) uint8, rounded as diffusers' video processor does."""
    levels = (pixels[0].float() / 2 + 0.5).clamp(0, 1) * 255
    # TensorRT makes 8-bit numbers by a cast that nothing follows
    return levels.round().permute(1, 2, 3, 0).contiguous().to(torch.uint8)


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

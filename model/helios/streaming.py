"""A decoder that is handed a chunk latent frame by latent frame and remembers the ones before on its own device.

Wan's memory is gigabytes at full size: it must not pass the seam between loop and runner. So the two graphs
`decoder_first` and `decoder` share buffers that never move, which the first fills and the second reads and rewrites: a
chunk is decoded on its own, hence the memory belongs to no session. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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

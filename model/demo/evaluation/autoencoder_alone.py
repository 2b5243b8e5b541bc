"""What the autoencoder alone makes of reference frames: the ceiling of all that is painted. Needs the torch extra.

The encoder is not shipped as a graph: nothing that serves needs it. It is read from the checkpoint beside the graphs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model.demo.checkpoint import load_checkpoint
from model.demo.data import FPS, FRAMES_PER_LATENT
from model.demo.evaluation.figures import psnr_db
from model.demo.evaluation.tours import Tour
from model.demo.renderer import render

_CLIP_LATENTS = 3  # frames of a clip: enough for the decoder's memory to be warm in most of them


class AutoencoderAlone:
    """The autoencoder of a checkpoint folder. Raises: CheckpointError, SpecError: there is none."""

    def __init__(self, folder: Path) -> None:
        self._autoencoder = load_checkpoint(folder)[1].autoencoder

    def psnrs_db(self, tour: Tour, first: int) -> list[float]:
        """Of the clip of the tour's reference frames from `first` on, encoded and decoded."""
        frames = np.stack([
            np.round(render(np, tour.parts, tour.camera(at), tour.conditions(at).vector(), at / FPS).colour * 255)
            for at in range(first, first + _CLIP_LATENTS * FRAMES_PER_LATENT)
        ]).astype(np.uint8)  # fmt: skip
        with torch.no_grad():
            given = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
            made, _ = self._autoencoder.decode(self._autoencoder.encode(given)[0])
        shown = (made[0].clamp(0, 1) * 255 + 0.5).permute(0, 2, 3, 1).to(torch.uint8).numpy()
        return [psnr_db(one, reference) for one, reference in zip(shown, frames, strict=True)]

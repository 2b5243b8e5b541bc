"""What the autoencoder alone makes of reference frames: the ceiling of all that is painted. Needs the torch extra.

The encoder is not shipped as a graph: nothing that serves needs it. It is read from the checkpoint beside the graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.demo.evaluation.tours import Tour
from model.demo.training.clips import FPS, FRAMES_PER_LATENT
from model.demo.world.renderer import render
from model.networks.autoencoder import TinyAutoencoder
from model.scene.edge_antialiasing import resolve
from model.scene.ray_features import condition

CLIP_FRAMES = 3 * FRAMES_PER_LATENT
"""Frames of a clip: enough for the decoder's memory to be warm in most of them."""


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A clip of a tour, and what came back of it: (N, H, W, 3) uint8 each."""

    reference: NDArray[np.uint8]
    made: NDArray[np.uint8]


def reconstruct(autoencoder: TinyAutoencoder, tour: Tour, first: int) -> Reconstruction:
    """Encodes and decodes the tour's reference frames from `first` on, CLIP_FRAMES of them."""
    frames = np.stack([
        np.round(render(np, tour.parts, tour.camera(at), tour.conditions(at).vector(), at / FPS).colour * 255)
        for at in range(first, first + CLIP_FRAMES)
    ]).astype(np.uint8)  # fmt: skip
    weight = next(autoencoder.parameters())
    seen = condition(tour.parts, [tour.camera(at) for at in range(first, first + CLIP_FRAMES)])
    guide = torch.from_numpy(seen.frame_rays()).to(weight).transpose(1, 2).flatten(1, 2)
    with torch.no_grad():
        given = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].to(weight) / 255
        made, _ = autoencoder.decode(autoencoder.encode(given)[0], None, guide)
    pixels = np.ascontiguousarray((made[0].clamp(0, 1) * 255 + 0.5).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy())
    for frame, edges in zip(pixels, seen.edges, strict=True):
        resolve(frame, edges.get())
    return Reconstruction(frames, pixels)

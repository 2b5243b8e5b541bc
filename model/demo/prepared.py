"""Clips as the denoiser and the decoder are trained on them: latents and rays instead of pixels, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.autoencoder import TinyAutoencoder
from model.conditioning import RAY_STEP_PX, REFERENCE_FRAME, flow, ray_features
from model.demo.data import FRAMES_PER_LATENT, Clip
from model.raycast import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A clip as the denoiser sees it, N latent frames: latents (16, N, h, w) not normalised, rays
    (RAY_CHANNELS, N, 4h, 4w), flow (4, N, h, w), weights (N, STATE_SIZE); float16 but for the weights."""

    latents: NDArray[np.float16]
    rays: NDArray[np.float16]
    flow: NDArray[np.float16]
    weights: NDArray[np.float32]


def prepare(clip: Clip, autoencoder: TinyAutoencoder) -> Prepared:
    """Encodes a clip's frames and casts its rays."""
    with torch.no_grad():
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float()[None] / 255
        latents, _ = autoencoder.encode(frames)
    rays, flows = [], []
    for first in range(0, len(clip.frames), FRAMES_PER_LATENT):
        group = [clip.camera(first + i) for i in range(FRAMES_PER_LATENT)]
        hits = cast(np, clip.parts, group[REFERENCE_FRAME], step_px=RAY_STEP_PX)
        rays.append(ray_features(np, clip.parts, hits))
        flows.append(flow(np, hits, group))
    return Prepared(
        latents=latents[0].transpose(0, 1).numpy().astype(np.float16), rays=np.stack(rays, 1).astype(np.float16),
        flow=np.stack(flows, 1).astype(np.float16), weights=clip.weights[::FRAMES_PER_LATENT],
    )  # fmt: skip


class PreparedFolder:
    """Clips as .npy files, read by memory map; a folder may grow while it is used."""

    FIELDS = ("latents", "rays", "flow", "weights")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        self.names = sorted(p.name.removesuffix(".weights.npy") for p in self._folder.glob("*.weights.npy"))

    def write(self, name: str, prepared: Prepared) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for field in self.FIELDS:  # weights last: its presence says that the clip is complete
            np.save(self._folder / f"{name}.{field}.npy", getattr(prepared, field))

    def read(self, name: str) -> Prepared:
        arrays = {field: np.load(self._folder / f"{name}.{field}.npy", mmap_mode="r") for field in self.FIELDS}
        return Prepared(**arrays)


def latent_statistics(folder: PreparedFolder, clips: int = 200) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each latent channel."""
    values = np.concatenate(
        [folder.read(n).latents.reshape(16, -1).astype(np.float64) for n in folder.names[:clips]], 1
    )
    return values.mean(1).astype(np.float32), values.std(1).astype(np.float32)

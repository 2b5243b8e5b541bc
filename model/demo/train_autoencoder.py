"""Trains the demo's video autoencoder on rendered clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.autoencoder import DEMO, TinyAutoencoder
from model.demo.data import Clip
from model.demo.training import LossFunction, TrainConfig, own_share, train

CROP, FRAMES, BATCH = 64, 8, 10
LATENT_NOISE = 0.05  # the denoiser's small errors must not become visible


class TrainedAutoencoder(TinyAutoencoder):
    """The autoencoder with a head that reads each latent pixel's mean colour.

    Without that short way the rarest colour axis (green) was still missing after 1,200 steps: latents carry first what
    the long way through the decoder asks for most.
    """

    def __init__(self) -> None:
        super().__init__(DEMO)
        self.tone = nn.Conv2d(DEMO.latent_channels, 3, 1)


def train_autoencoder(clips: Path, config: TrainConfig, device: str) -> None:
    """Raises: FileNotFoundError: there are no clips."""
    model = TrainedAutoencoder().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(config, model, reconstruction_loss(clips, device))


def reconstruction_loss(clips: Path, device: str) -> LossFunction:
    """L1 and squared error, vivid pixels counting more, and the error of edges, over random crops of clips."""
    paths = sorted(clips.glob("clip_*.npz"))
    if not paths:
        raise FileNotFoundError(f"no clips in {clips}: run `python -m model.demo.train data` first")
    rare = _share_of_rare_colours(paths)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, TrainedAutoencoder)
        rng = own_share(rng)
        chosen = [*rng.integers(len(paths), size=BATCH // 2), *rng.choice(len(paths), size=BATCH // 2, p=rare)]
        batch = [_crop(Clip.load(paths[int(index)]).frames, rng) for index in chosen]
        frames = torch.from_numpy(np.stack(batch)).to(device).permute(0, 1, 4, 2, 3).float() / 255
        latents, _ = model.encode(frames)
        noisy = latents + LATENT_NOISE * torch.from_numpy(
            rng.standard_normal(latents.shape, dtype=np.float32) * (rng.random() < 0.7)
        ).to(device)
        out, _ = model.decode(noisy)
        vivid = 1 + 4 * (frames.amax(2, keepdim=True) - frames.amin(2, keepdim=True))
        error = out - frames
        mse = error.square().mean()
        edges = functional.l1_loss(out.diff(dim=-1), frames.diff(dim=-1)) + functional.l1_loss(
            out.diff(dim=-2), frames.diff(dim=-2)
        )
        tones = functional.avg_pool3d(frames.transpose(1, 2), (4, 8, 8)).transpose(1, 2).flatten(0, 1)
        tone_error = functional.l1_loss(model.tone(noisy.flatten(0, 1)), tones)
        loss = (vivid * (error.abs() + 4 * error.square())).mean() + 0.5 * edges + tone_error
        return {"loss": loss, "psnr": -10 * torch.log10(mse.detach()), "tone": tone_error.detach()}

    return loss_of


def _crop(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], rng: np.random.Generator) -> np.ndarray[
    tuple[int, ...], np.dtype[np.uint8]
]:  # fmt: skip
    t = 4 * int(rng.integers(0, (len(frames) - FRAMES) // 4 + 1))
    y = int(rng.integers(0, frames.shape[1] - CROP + 1))
    x = int(rng.integers(0, frames.shape[2] - CROP + 1))
    part = frames[t : t + FRAMES, y : y + CROP, x : x + CROP]
    if rng.random() < 0.5:
        part = part[:, :, ::-1]
    return np.ascontiguousarray(part)


def _share_of_rare_colours(paths: list[Path]) -> NDArray[np.float64]:
    """How often each clip shall be drawn so that green, a thirtieth of all pixels, is met as often as brick."""
    shares = []
    for path in paths:
        red, green, blue = np.moveaxis(Clip.load(path).frames[::8, ::4, ::4].astype(np.int16), -1, 0)
        shares.append(0.01 + float(((green > red + 20) & (green > blue + 20)).mean()))
    weights = np.array(shares, dtype=np.float64)
    return weights / float(weights.sum())

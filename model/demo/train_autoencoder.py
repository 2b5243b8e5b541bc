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
from model.demo.prepared import PreparedFolder
from model.demo.training import LossFunction, TrainConfig, load_ema, own_share, train

CROP, FRAMES, BATCH = 64, 8, 10
DECODER_LATENTS, DECODER_BATCH = 3, 2
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


def train_decoder(clips: Path, prepared: PreparedFolder, autoencoder: Path, config: TrainConfig, device: str) -> None:
    """Goes on with the decoder alone, on the latents that the denoiser was trained on."""
    model = TrainedAutoencoder()
    load_ema(autoencoder, model)
    for parameter in model.decoder.parameters():
        parameter.requires_grad = True
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, TrainedAutoencoder)
        rng = own_share(rng)
        frames, latents = [], []
        for name in rng.choice(prepared.names, DECODER_BATCH):
            start = int(rng.integers(0, prepared.read(name).latents.shape[1] - DECODER_LATENTS + 1))
            latents.append(prepared.read(name).latents[:, start : start + DECODER_LATENTS])
            pixels = Clip.load(clips / f"{name}.npz").frames
            frames.append(pixels[4 * start : 4 * (start + DECODER_LATENTS)])
        wanted = torch.from_numpy(np.stack(frames)).to(device).permute(0, 1, 4, 2, 3).float() / 255
        given = torch.from_numpy(np.stack(latents).astype(np.float32)).to(device).transpose(1, 2)
        noise = torch.from_numpy(rng.standard_normal(given.shape, dtype=np.float32)).to(device)
        out, _ = model.decode(given + noise * float(rng.uniform(0, 2 * LATENT_NOISE)))
        return picture_loss(out, wanted)

    train(config, model, loss_of)


def picture_loss(out: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """L1 and squared error, vivid pixels counting more, and the error of edges; (N, T, 3, H, W) in [0, 1]."""
    vivid = 1 + 4 * (wanted.amax(2, keepdim=True) - wanted.amin(2, keepdim=True))
    error = out - wanted
    edges = functional.l1_loss(out.diff(dim=-1), wanted.diff(dim=-1)) + functional.l1_loss(
        out.diff(dim=-2), wanted.diff(dim=-2)
    )
    loss = (vivid * (error.abs() + 4 * error.square())).mean() + 0.5 * edges
    return {"loss": loss, "psnr": -10 * torch.log10(error.square().mean().detach())}


def reconstruction_loss(clips: Path, device: str) -> LossFunction:
    """`picture_loss` and the tone head's error, over random crops of clips."""
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
        tones = functional.avg_pool3d(frames.transpose(1, 2), (4, 8, 8)).transpose(1, 2).flatten(0, 1)
        tone_error = functional.l1_loss(model.tone(noisy.flatten(0, 1)), tones)
        losses = picture_loss(out, frames)
        return {**losses, "loss": losses["loss"] + tone_error, "tone": tone_error.detach()}

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

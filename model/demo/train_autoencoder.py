"""Trains the demo's video autoencoder on rendered clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.autoencoder import DEMO, Guide, TinyAutoencoder
from model.conditioning import LATENT_PX, RAY_STEP_PX
from model.demo.data import FRAMES_PER_LATENT, Clip
from model.demo.prepared import Geometry, PreparedFolder
from model.demo.samples import reconstructions
from model.demo.training import LossFunction, TrainConfig, load_ema, own_share, train

CROP, FRAMES, BATCH = 64, 8, 10
DECODER_CROP, DECODER_BATCH = (64, 80), 8
BLURRED = 0.5  # the share of the decoder's steps that know the latents at half their size: the guide must give edges
LATENT_NOISE = 0.3  # at most: the denoiser's errors must not become visible, and the guide is to be trusted for edges


class TrainedAutoencoder(TinyAutoencoder):
    """The autoencoder with a head that reads each latent pixel's mean colour.

    Without that short way the rarest colour axis (green) was still missing after 1,200 steps: latents carry first what
    the long way through the decoder asks for most.
    """

    def __init__(self) -> None:
        super().__init__(DEMO)
        self.tone = nn.Conv2d(DEMO.latent_channels, 3, 1)


def train_autoencoder(clips: Path, prepared: PreparedFolder, config: TrainConfig, device: str) -> None:
    """Raises: FileNotFoundError: there are no clips with what their rays met."""
    model = TrainedAutoencoder().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(config, model, reconstruction_loss(clips, prepared, device), samples=reconstructions)


def train_decoder(clips: Path, prepared: PreparedFolder, autoencoder: Path, config: TrainConfig, device: str) -> None:
    """Goes on with the decoder and its guide alone, on the latents that the denoiser was trained on."""
    model = TrainedAutoencoder()
    load_ema(autoencoder, model)
    for part in (model.decoder, model.guide):
        assert part is not None
        for parameter in part.parameters():
            parameter.requires_grad = True
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, TrainedAutoencoder)
        rng = own_share(rng)
        samples = []
        for name in rng.choice(prepared.encoded, DECODER_BATCH):
            pixels = Clip.load(clips / f"{name}.npz").frames
            window = _draw_window(pixels.shape[:3], rng, DECODER_CROP, every_px=LATENT_PX)
            kept = window.latents_of(prepared.read_latents(name))
            samples.append((window.frames(pixels), kept, *window.guide(prepared.read(name))))
        wanted, given, rays, lookup = (_batch(samples, index, device) for index in range(4))
        given = given.transpose(1, 2)
        noise = torch.from_numpy(rng.standard_normal(given.shape, dtype=np.float32)).to(device)
        if rng.random() < BLURRED:
            given = functional.interpolate(functional.avg_pool3d(given, (1, 2, 2)), scale_factor=(1, 2, 2))
        noisy = given + noise * float(rng.uniform(0, LATENT_NOISE))
        out, _ = model.decode(noisy, None, Guide(rays=rays, lookup=lookup))
        return picture_loss(out, wanted.permute(0, 1, 4, 2, 3) / 255)

    train(config, model, loss_of, samples=reconstructions)


@dataclass(frozen=True, slots=True)
class _Window:
    """A piece of a clip: `latents` latent frames from `first`, rows x cols pixels from (top, left), all even."""

    first: int
    latents: int
    top: int
    left: int
    rows: int
    cols: int

    def frames(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(4 latents, rows, cols, 3)."""
        start, count = self.first * FRAMES_PER_LATENT, self.latents * FRAMES_PER_LATENT
        inside = (slice(self.top, self.top + self.rows), slice(self.left, self.left + self.cols))
        return np.ascontiguousarray(pixels[start : start + count, inside[0], inside[1]])

    def latents_of(self, latents: NDArray[np.float16]) -> NDArray[np.float16]:
        """(16, latents, rows / 8, cols / 8)."""
        top, left, rows, cols = (value // LATENT_PX for value in (self.top, self.left, self.rows, self.cols))
        return latents[:, self.first : self.first + self.latents, top : top + rows, left : left + cols]

    def guide(self, geometry: Geometry) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rays (C, latents, rows / 2, cols / 2), and their lookup in the window's own terms."""
        step = int(RAY_STEP_PX)
        top, left, rows, cols = (value // step for value in (self.top, self.left, self.rows, self.cols))
        inside = (slice(top, top + rows), slice(left, left + cols))
        rays = np.array(geometry.rays[:, self.first : self.first + self.latents, inside[0], inside[1]], np.float32)
        lookup = np.array(geometry.lookup[:, self.first : self.first + self.latents, inside[0], inside[1]], np.float32)
        height, width = geometry.rays.shape[2:]
        whole, own = np.array([width, height], np.float32), np.array([cols, rows], np.float32)
        at = (lookup + 1) / 2 * whole - np.array([left, top], np.float32)
        return rays, (at / own * 2 - 1).astype(np.float32)


def _batch(samples: Sequence[Sequence[NDArray[np.generic]]], index: int, device: str) -> Tensor:
    return torch.from_numpy(np.stack([sample[index] for sample in samples]).astype(np.float32)).to(device)


def picture_loss(out: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """L1 and squared error, vivid pixels counting more, and the error of edges; (N, T, 3, H, W) in [0, 1]."""
    vivid = 1 + 4 * (wanted.amax(2, keepdim=True) - wanted.amin(2, keepdim=True))
    error = out - wanted
    edges = functional.l1_loss(out.diff(dim=-1), wanted.diff(dim=-1)) + functional.l1_loss(
        out.diff(dim=-2), wanted.diff(dim=-2)
    )
    loss = (vivid * (error.abs() + 4 * error.square())).mean() + 0.5 * edges
    return {"loss": loss, "psnr": -10 * torch.log10(error.square().mean().detach())}


def reconstruction_loss(clips: Path, prepared: PreparedFolder, device: str) -> LossFunction:
    """`picture_loss` and the tone head's error, over random crops of clips."""
    if not prepared.names:
        raise FileNotFoundError(
            f"no prepared clips of {clips}: run `python -m model.demo.train data` and `prepare` first"
        )
    names = prepared.names
    rare = _share_of_rare_colours([clips / f"{name}.npz" for name in names])

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, TrainedAutoencoder)
        rng = own_share(rng)
        chosen = [*rng.integers(len(names), size=BATCH // 2), *rng.choice(len(names), size=BATCH // 2, p=rare)]
        samples = []
        for index in chosen:
            pixels = Clip.load(clips / f"{names[int(index)]}.npz").frames
            window = _draw_window(pixels.shape[:3], rng, (CROP, CROP), every_px=2)
            samples.append((window.frames(pixels), *window.guide(prepared.read(names[int(index)]))))
        pixels_, rays, lookup = (_batch(samples, index, device) for index in range(3))
        frames = pixels_.permute(0, 1, 4, 2, 3) / 255
        latents, _ = model.encode(frames)
        strength = (LATENT_NOISE * rng.random((BATCH, 1, 1, 1, 1))).astype(np.float32)
        noise = strength * rng.standard_normal(latents.shape, dtype=np.float32)
        noisy = latents + torch.from_numpy(noise).to(device)
        out, _ = model.decode(noisy, None, Guide(rays=rays, lookup=lookup))
        tones = functional.avg_pool3d(frames.transpose(1, 2), (4, 8, 8)).transpose(1, 2).flatten(0, 1)
        tone_error = functional.l1_loss(model.tone(noisy.flatten(0, 1)), tones)
        losses = picture_loss(out, frames)
        return {**losses, "loss": losses["loss"] + tone_error, "tone": tone_error.detach()}

    return loss_of


def _draw_window(shape: tuple[int, ...], rng: np.random.Generator, crop: tuple[int, int], *, every_px: int) -> _Window:
    """A window of FRAMES frames and crop (rows, cols), at a multiple of `every_px`."""
    count, rows, cols = shape
    latents = FRAMES // FRAMES_PER_LATENT
    top, left = (every_px * int(rng.integers(0, (whole - own) // every_px + 1)) for whole, own in
                 zip((rows, cols), crop, strict=True))  # fmt: skip
    first = int(rng.integers(0, count // FRAMES_PER_LATENT - latents + 1))
    return _Window(first, latents, top, left, *crop)


def _share_of_rare_colours(paths: list[Path]) -> NDArray[np.float64]:
    """How often each clip shall be drawn so that green, a thirtieth of all pixels, is met as often as brick."""
    shares = []
    for path in paths:
        red, green, blue = np.moveaxis(Clip.load(path).frames[::8, ::4, ::4].astype(np.int16), -1, 0)
        shares.append(0.01 + float(((green > red + 20) & (green > blue + 20)).mean()))
    weights = np.array(shares, dtype=np.float64)
    return weights / float(weights.sum())

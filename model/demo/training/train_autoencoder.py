"""Trains the demo's video autoencoder on rendered clips, and its guided decoder on what a denoiser makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.demo.training.clips import FRAMES_PER_LATENT, Clip
from model.demo.training.loop import LossFunction, TrainConfig, own_share, train
from model.demo.training.prepared_data import PreparedFolder
from model.demo.training.samples import reconstructions
from model.networks.autoencoder import DEMO, TinyAutoencoder
from model.scene.edge_antialiasing import CELL_PX, Edges, edges_of
from model.scene.ray_features import LATENT_PX, RAY_STEP_PX, ray_features
from model.scene.raycast import cast

CROP, FRAMES, BATCH = 64, 8, 10
DECODER_CROP, DECODER_FRAMES, DECODER_LENGTHS = (64, 96), 64, (4, 8)
"""The decoder's crops, how many frames of them a step sees, and how many may be of one clip."""
BLURS, BLUR_SHARES = (1, 2, 4), (0.6, 0.3, 0.1)
"""Over how many latent pixels (squared) the decoder's true latents are averaged: edges and textures are the guide's."""
LATENT_NOISE = 0.3  # at most: the denoiser's errors must not become visible, and the guide is to be trusted for edges
PAINTED = 0.5  # the share of the decoder's samples whose latents the denoiser has made, once it has made any


class TrainedAutoencoder(TinyAutoencoder):
    """The autoencoder with a head that reads each latent pixel's mean colour.

    Without that short way the rarest colour axis (green) was still missing after 1,200 steps: latents carry first what
    the long way through the decoder asks for most.
    """

    def __init__(self) -> None:
        super().__init__(DEMO)
        self.tone = nn.Conv2d(DEMO.latent_channels, 3, 1)


def train_autoencoder(clips: Path, model: TrainedAutoencoder, config: TrainConfig, device: str) -> None:
    """Raises: FileNotFoundError: there are no clips."""
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(config, model, reconstruction_loss(clips, device), samples=reconstructions)


def train_decoder(
    clips: Path, prepared: Sequence[PreparedFolder], model: TrainedAutoencoder, config: TrainConfig, device: str
) -> None:
    """Goes on with the decoder and its guide alone, on the latents that the denoiser is trained on and on those that it
    makes. prepared: folders of `clips` (`crops`, `full`) by their own name.

    Raises: FileNotFoundError: no clip was encoded.
    """
    if not any(folder.encoded for folder in prepared):
        raise FileNotFoundError(f"no latents of {clips}: run `python -m model.demo.train encode` first")
    model.requires_grad_(requires_grad=False)
    for part in (model.decoder, model.guide):
        assert part is not None
        part.requires_grad_(requires_grad=True)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sources = [(clips / folder.name, folder) for folder in prepared]

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, TrainedAutoencoder)
        if rng.random() < 0.02:
            for folder in prepared:
                folder.refresh()
        frames = int(rng.choice(DECODER_LENGTHS))
        rng = own_share(rng)
        samples = [_decoder_sample(sources, frames, rng) for _ in range(DECODER_FRAMES // frames)]
        wanted, given, rays = (_batch([sample[:3] for sample in samples], index, device) for index in range(3))
        out, _ = model.decode(given.transpose(1, 2), None, rays)
        return picture_loss(resolved(out, [sample[3] for sample in samples]), wanted.permute(0, 1, 4, 2, 3) / 255)

    train(config, model, loss_of, samples=reconstructions)


def _decoder_sample(
    sources: Sequence[tuple[Path, PreparedFolder]], frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.floating], NDArray[np.float32], list[Edges]]:
    """Frames, latents, rays and edges of a window; the latents are a denoiser's, or true ones that are disturbed."""
    painted = [(clips, folder, name) for clips, folder in sources for name in folder.painted]
    if painted and rng.random() < PAINTED:
        clips, folder, name = painted[int(rng.integers(len(painted)))]
        latents: NDArray[np.floating] = folder.read_painted(name, rng)
    else:
        encoded = [(clips, folder, name) for clips, folder in sources for name in folder.encoded]
        clips, folder, name = encoded[int(rng.integers(len(encoded)))]
        latents = _disturbed(folder.read_latents(name), rng)
    clip = Clip.load(clips / f"{name}.npz")
    window = _draw_window(clip, rng, DECODER_CROP, frames, every_px=LATENT_PX)
    return window.frames(clip), window.latents_of(latents), *window.met(clip)


def _disturbed(latents: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float32]:
    """Often no more than smaller latents could say, and always a little noise."""
    given = latents.astype(np.float32)
    blur = int(rng.choice(BLURS, p=BLUR_SHARES))
    channels, count, rows, cols = given.shape
    means = given.reshape(channels, count, rows // blur, blur, cols // blur, blur).mean((3, 5))
    given = means.repeat(blur, 2).repeat(blur, 3)
    noise = rng.standard_normal(given.shape, dtype=np.float32)
    disturbed: NDArray[np.float32] = given + np.float32(rng.uniform(0, LATENT_NOISE)) * noise
    return disturbed


@dataclass(frozen=True, slots=True)
class _Window:
    """A piece of a clip: `latents` latent frames from `first`, rows x cols pixels from (top, left), all even."""

    first: int
    latents: int
    top: int
    left: int
    rows: int
    cols: int

    @property
    def _own_frames(self) -> range:
        return range(self.first * FRAMES_PER_LATENT, (self.first + self.latents) * FRAMES_PER_LATENT)

    def frames(self, clip: Clip) -> NDArray[np.uint8]:
        """(4 latents, rows, cols, 3)."""
        inside = (slice(self.top, self.top + self.rows), slice(self.left, self.left + self.cols))
        own = self._own_frames
        return np.ascontiguousarray(clip.frames[own.start : own.stop, inside[0], inside[1]])

    def latents_of(self, latents: NDArray[np.floating]) -> NDArray[np.floating]:
        """(16, latents, rows / 8, cols / 8)."""
        top, left, rows, cols = (value // LATENT_PX for value in (self.top, self.left, self.rows, self.cols))
        return latents[:, self.first : self.first + self.latents, top : top + rows, left : left + cols]

    def met(self, clip: Clip) -> tuple[NDArray[np.float32], list[Edges]]:
        """(4 latents, RAY_CHANNELS, rows / 2, cols / 2) and each frame's edges; cast here, not worth keeping."""
        seen, edges = [], []
        for frame in self._own_frames:
            whole = clip.camera(frame)
            top, left = clip.window[0] + self.top, clip.window[1] + self.left
            camera = replace(whole, window=(top, left, self.rows, self.cols))
            hits = cast(np, clip.parts, camera, step_px=RAY_STEP_PX)
            seen.append(ray_features(np, clip.parts, hits, camera.focal_px))
            edges.append(edges_of(clip.parts, hits))
        return np.stack(seen), edges


def _batch(samples: Sequence[Sequence[NDArray[np.generic]]], index: int, device: str) -> Tensor:
    return torch.from_numpy(np.stack([sample[index] for sample in samples]).astype(np.float32)).to(device)


def resolved(out: Tensor, edges: Sequence[Sequence[Edges]]) -> Tensor:
    """Pictures (N, T, 3, H, W) with their edges painted anew, as `model.scene.edge_antialiasing.resolve` does, but
    differentiable: what is served is what is trained."""
    n, t, _, height, width = out.shape
    pictures = out.flatten(0, 1)
    pixels = pictures.permute(0, 2, 3, 1).reshape(-1, 3)
    cells = functional.avg_pool2d(pictures, CELL_PX).permute(0, 2, 3, 1).reshape(-1, 3)
    frames = [frame for clip in edges for frame in clip]
    at = [frame.pixels + index * height * width for index, frame in enumerate(frames)]
    sources = [frame.sources + index * (height * width // CELL_PX**2) for index, frame in enumerate(frames)]
    mixed = cells[torch.from_numpy(np.concatenate(sources)).to(out.device)].mean(1)
    pixels = pixels.index_copy(0, torch.from_numpy(np.concatenate(at)).to(out.device), mixed.to(pixels.dtype))
    return pixels.reshape(n, t, height, width, 3).permute(0, 1, 4, 2, 3)


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
        samples = []
        for index in chosen:
            clip = Clip.load(paths[int(index)])
            window = _draw_window(clip, rng, (CROP, CROP), FRAMES, every_px=2)
            samples.append((window.frames(clip), *window.met(clip)))
        pixels, rays = (_batch([sample[:2] for sample in samples], index, device) for index in range(2))
        frames = pixels.permute(0, 1, 4, 2, 3) / 255
        latents, _ = model.encode(frames)
        strength = (LATENT_NOISE * rng.random((BATCH, 1, 1, 1, 1))).astype(np.float32)
        noise = strength * rng.standard_normal(latents.shape, dtype=np.float32)
        noisy = latents + torch.from_numpy(noise).to(device)
        out, _ = model.decode(noisy, None, rays)
        out = resolved(out, [sample[2] for sample in samples])
        tones = functional.avg_pool3d(frames.transpose(1, 2), (4, 8, 8)).transpose(1, 2).flatten(0, 1)
        tone_error = functional.l1_loss(model.tone(noisy.flatten(0, 1)), tones)
        losses = picture_loss(out, frames)
        return {**losses, "loss": losses["loss"] + tone_error, "tone": tone_error.detach()}

    return loss_of


def _draw_window(clip: Clip, rng: np.random.Generator, crop: tuple[int, int], frames: int, *, every_px: int) -> _Window:
    """A window of so many frames and crop (rows, cols), at a multiple of `every_px`."""
    count, rows, cols = clip.frames.shape[:3]
    latents = frames // FRAMES_PER_LATENT
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

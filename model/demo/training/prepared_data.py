"""Clips as the networks are trained on them, on disk: what rays met; once the autoencoder is trained, latents; once the
denoiser is, the latents that it paints instead."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.demo.training.clips import FRAMES_PER_LATENT, Clip
from model.demo.world.conditions import column_of
from model.networks.autoencoder import TinyAutoencoder
from model.scene.blockout import MATERIALS
from model.scene.ray_features import GLOW_CHANNEL, MATERIAL_CHANNELS, condition

LAMPLIT_GLOW, THING_COVERAGE = 0.06, 0.004  # how much light, and which part of the picture, makes a clip show a thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What the denoiser is told of a clip of N latent frames: rays (RAY_CHANNELS, N, 4h, 4w) and flow (4, N, h, w),
    both float16; weights (N, STATE_SIZE) float32, its conditions."""

    rays: NDArray[np.float16]
    flow: NDArray[np.float16]
    weights: NDArray[np.float32]


def geometry_of(clip: Clip) -> Geometry:
    """Casts a clip's rays, as serving does."""
    seen = condition(clip.parts, [clip.camera(frame) for frame in range(len(clip.frames))])
    return Geometry(
        rays=seen.rays[0].astype(np.float16), flow=seen.flow[0].astype(np.float16),
        weights=clip.weights[::FRAMES_PER_LATENT],
    )  # fmt: skip


def things_seen(geometry: Geometry) -> list[str]:
    """The slots of the things that a clip shows: lamps that could light the night, doors, fountains."""
    seen = []
    night = bool((geometry.weights[:, column_of("time", "night")] > 0.5).any())
    if night and float(geometry.rays[GLOW_CHANNEL, 0].astype(np.float32).mean()) > LAMPLIT_GLOW:
        seen.append("lamps")
    for thing in ("door", "fountain"):
        covered = geometry.rays[MATERIAL_CHANNELS.start + MATERIALS.index(thing), ::2].astype(np.float32)
        if float(covered.mean()) > THING_COVERAGE:
            seen.append(thing)
    return seen


def latents_of(clip: Clip, autoencoder: TinyAutoencoder) -> NDArray[np.float16]:
    """(16, N, h, w), not normalised."""
    with torch.no_grad():
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float()[None] / 255
        latents, _ = autoencoder.encode(frames)
    return latents[0].transpose(0, 1).numpy().astype(np.float16)


SWITCHED = "_switched"
"""How the name of a clip ends that shows another's walk with the things in it the other way round."""


class PreparedFolder:
    """Clips as .npy files, read by memory map; a folder may grow while it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = folder.name
        self.names: list[str] = []
        self.encoded: list[str] = []
        self.painted: list[str] = []
        self._things: dict[str, list[str]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Looks again which clips there are: `names` have geometry, `encoded` latents too, `painted` a denoiser's."""
        self.names = self._with("weights")
        self._encoded = set(self.names) & set(self._with("latents"))
        self.encoded = sorted(self._encoded)
        self.painted = self._with("painted")

    def write(self, name: str, geometry: Geometry) -> None:
        for field in fields(Geometry):  # weights last: its presence says that the clip is complete
            self._save(name, field.name, getattr(geometry, field.name))

    def things(self, name: str) -> list[str]:
        """`things_seen` in a clip, looked for once: training asks for every clip again as the folder grows."""
        if name not in self._things:
            self._things[name] = things_seen(self.read(name))
        return self._things[name]

    def counterpart(self, name: str) -> str | None:
        """The clip of the same walk with the things in it the other way round, if there is one with latents."""
        other = name.removesuffix(SWITCHED) if name.endswith(SWITCHED) else name + SWITCHED
        return other if other in self._encoded else None

    def write_latents(self, name: str, latents: NDArray[np.float16]) -> None:
        self._save(name, "latents", latents)

    def read(self, name: str) -> Geometry:
        return Geometry(**{field.name: self._load(name, field.name) for field in fields(Geometry)})

    def read_latents(self, name: str) -> NDArray[np.float16]:
        latents: NDArray[np.float16] = self._load(name, "latents")
        return latents

    def write_painted(self, name: str, latents: NDArray[np.float16]) -> None:
        """latents: (M, 16, N, h, w), a denoiser's M attempts at the clip, not normalised."""
        self._save(name, "painted", latents)

    def read_painted(self, name: str, rng: np.random.Generator) -> NDArray[np.float16]:
        """One of the attempts, (16, N, h, w)."""
        attempts = self._load(name, "painted")
        chosen: NDArray[np.float16] = attempts[int(rng.integers(len(attempts)))]
        return chosen

    def _with(self, field: str) -> list[str]:
        return sorted(path.name.removesuffix(f".{field}.npy") for path in self._folder.glob(f"clip_*.{field}.npy"))

    def _save(self, name: str, field: str, array: NDArray[np.generic]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / f"unfinished_{name}.{field}.npy"
        np.save(unfinished, array)
        unfinished.rename(self._folder / f"{name}.{field}.npy")

    def _load(self, name: str, field: str) -> Any:
        return np.load(self._folder / f"{name}.{field}.npy", mmap_mode="r")


def latent_statistics(folder: PreparedFolder, clips: int = 200) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each latent channel, over clips as they were drawn."""
    drawn = [name for name in folder.encoded if not name.endswith(SWITCHED)][:clips]
    values = np.concatenate([folder.read_latents(name).reshape(16, -1).astype(np.float64) for name in drawn], 1)
    return values.mean(1).astype(np.float32), values.std(1).astype(np.float32)

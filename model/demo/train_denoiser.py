"""Trains the demo's denoiser (with its conditioner and state embedding) for just what is sampled: one step a stage.

A step draws one pyramid stage, a number of new latent frames, and samples of clips; the stage's input is made from the
stage before (the true one disturbed, or the model's own), the target is the clean latent at this stage's size.
History is often missing, so that frames stand on the conditioning alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.demo.checkpoint import HISTORY_SIZES
from model.demo.conditions import column_of
from model.demo.network import DemoDenoiser
from model.demo.prepared import PreparedFolder
from model.demo.training import LossFunction, SampleSheet, TrainConfig, own_share, train

HISTORY = sum(HISTORY_SIZES)
STAGES = 3
TIMESTEPS = (999, 743, 385)
START_SIGMA = 0.999
ORIGINAL_START_SIGMAS = (0.999, 0.666333, 0.333666)
GAMMA = 1 / 3
HISTORY_KEPT = 0.55  # the share of steps with history
LAMPLIT_SHARE = 0.5
"""How often a sample that shows no lamps by night is exchanged: dark latents err by little, and look wrong."""
CHUNK_LATENTS, CHUNK_SHARES = (1, 2, 3, 5, 8), (0.38, 0.22, 0.25, 0.1, 0.05)
"""Lengths of chunks and how often each is trained: short ones are what a game plays, long ones must work as well."""
_BATCH_LATENTS = 3  # a batch holds as many latent frames as its size times this, in as many samples as that gives


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserData:
    """Where samples come from. `share` of the steps draw from each folder; `stages` are the stages it can serve."""

    folders: tuple[PreparedFolder, ...]
    share: tuple[float, ...]
    stages: tuple[tuple[float, float, float], ...]
    batch: tuple[int, ...]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


def train_denoiser(
    data: DenoiserData, model: DemoDenoiser, config: TrainConfig, device: str, samples: SampleSheet | None = None
) -> nn.Module:
    return train(config, model.to(device), flow_loss(data, device), samples=samples)


def flow_loss(data: DenoiserData, device: str) -> LossFunction:
    mean = torch.from_numpy(data.mean).view(1, 16, 1, 1, 1).to(device)
    std = torch.from_numpy(data.std).view(1, 16, 1, 1, 1).to(device)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, DemoDenoiser)
        which = int(rng.choice(len(data.folders), p=data.share))
        folder = data.folders[which]
        if rng.random() < 0.02:
            folder.refresh()
        stage = int(rng.choice(STAGES, p=data.stages[which]))
        new = int(rng.choice(CHUNK_LATENTS, p=CHUNK_SHARES))
        keep_history, own_stage_before = rng.random() < HISTORY_KEPT, rng.random() < 0.3
        rng = own_share(rng)
        count = max(1, data.batch[which] * (_BATCH_LATENTS + HISTORY // 4) // (new + HISTORY // 4))
        samples = [_draw(folder, rng, new) for _ in range(count)]
        latents, rays, flows, weights = (
            torch.from_numpy(np.stack([s[i] for s in samples])).to(device).float() for i in range(4)
        )
        latents = (latents - mean) / std
        fresh = model.conditioner(rays[:, :, HISTORY:], flows[:, :, HISTORY:])
        clean = latents[:, :, HISTORY:]
        history = latents.new_zeros(len(samples), 16 + fresh.shape[1], HISTORY, *latents.shape[3:])
        if keep_history:
            with torch.no_grad():  # the new frames teach the conditioner enough, at half the cost
                seen = model.conditioner(rays[:, :, :HISTORY], flows[:, :, :HISTORY])
            disturbed = latents[:, :, :HISTORY] + _normal(latents[:, :, :HISTORY], rng) * float(rng.uniform(0, 0.25))
            present = weights[:, :HISTORY].view(-1, 1, HISTORY, 1, 1)
            history = torch.cat([disturbed, seen], 1) * present
        text = model.embedding(weights[:, HISTORY:])
        sizes = [shrunk(clean, 2 ** (STAGES - 1 - s)) for s in range(STAGES)]
        start = _normal(clean, rng)
        for _ in range(STAGES - 1):
            start = shrunk(start, 2) * 2
        if stage > 0:
            before = sizes[stage - 1]
            if own_stage_before and _is_whole(sizes[stage - 1]):
                with torch.no_grad():
                    first = start if stage == 1 else raise_stage(_disturbed(sizes[0], rng), 1, rng)
                    before = first - START_SIGMA * predict_flow(model, stage - 1, first, fresh, history, text)
            else:
                before = _disturbed(before, rng)
            start = raise_stage(before, stage, rng)
        target = (start - sizes[stage]) / START_SIGMA
        error = predict_flow(model, stage, start, fresh, history, text) - target
        mse = error.square().mean()
        return {"loss": mse, f"x0_{stage}": mse.detach()}

    return loss_of


def _is_whole(latents: Tensor) -> bool:
    """Whether a stage's latents divide into patches; the lowest stage of a crop does not."""
    return latents.shape[-2] % 2 == 0 and latents.shape[-1] % 2 == 0


def predict_flow(
    model: DemoDenoiser, stage: int, noisy: Tensor, conditioning: Tensor, history: Tensor, text: Tensor
) -> Tensor:
    """The transformer at one stage. `conditioning` is of full size, `history` (B, 16 + C, HISTORY, h, w) with it."""
    b, _, new = noisy.shape[:3]
    long, mid, short = torch.split(history, list(HISTORY_SIZES), 2)
    indices = torch.arange(HISTORY + new, device=noisy.device)[None].expand(b, -1)
    at_long, at_mid, at_short, at_new = torch.split(indices, [*HISTORY_SIZES, new], 1)
    inputs = torch.cat([noisy, shrunk(conditioning, 2 ** (STAGES - 1 - stage))], 1)
    result: Tensor = model.transformer(
        hidden_states=inputs, timestep=torch.full((b,), TIMESTEPS[stage], device=noisy.device),
        encoder_hidden_states=text, indices_hidden_states=at_new,
        indices_latents_history_short=at_short, indices_latents_history_mid=at_mid,
        indices_latents_history_long=at_long, latents_history_short=short, latents_history_mid=mid,
        latents_history_long=long, return_dict=False,
    )[0]  # fmt: skip
    return result


def raise_stage(before: Tensor, stage: int, rng: np.random.Generator) -> Tensor:
    """A stage's input from the result of the one before (HeliosPyramidPipeline: nearest x2, then block noise)."""
    signal = 1 - ORIGINAL_START_SIGMAS[stage]
    alpha = 1 / ((1 + 1 / GAMMA) ** 0.5 * (1 - signal) + signal)
    beta = alpha * (1 - signal) / GAMMA**0.5
    large = functional.interpolate(before, scale_factor=(1, 2, 2), mode="nearest")
    b, c, t, h, w = large.shape
    covariance = (1 + GAMMA + 1e-8) * torch.eye(4, dtype=torch.float64) - GAMMA
    factor = torch.linalg.cholesky(covariance).float().to(large.device)
    z = torch.from_numpy(rng.standard_normal((b, c, t, h // 2, w // 2, 4), dtype=np.float32)).to(large.device)
    noise: Tensor = (z @ factor.T).unflatten(-1, (2, 2)).permute(0, 1, 2, 3, 5, 4, 6).reshape(b, c, t, h, w)
    raised: Tensor = alpha * large + beta * noise
    return raised


def _draw(folder: PreparedFolder, rng: np.random.Generator, new: int) -> list[NDArray[np.floating]]:
    """latents, rays and flow of HISTORY + new latent frames, and a vector: presence of history frames, conditions.

    Missing frames are zeros. The new frames show one set of conditions, as a chunk does.
    """
    name = folder.encoded[int(rng.integers(len(folder.encoded)))]
    if rng.random() < LAMPLIT_SHARE and not _is_lamplit(folder.read(name).weights):
        name = folder.encoded[int(rng.integers(len(folder.encoded)))]  # once more: it may be this time
    clip, latents = folder.read(name), folder.read_latents(name)
    count = latents.shape[1]
    starts = [s for s in range(count - new + 1) if (clip.weights[s : s + new] == clip.weights[s]).all()]
    start = int(rng.choice(starts)) if starts else count - 1
    chosen = np.arange(start - HISTORY, start + new)
    valid = (chosen >= 0) & (chosen < count)
    at = np.clip(chosen, 0, count - 1)
    parts = []
    for array in (latents, clip.rays, clip.flow):
        part = np.array(array[:, at], dtype=np.float32)
        part[:, ~valid] = 0
        parts.append(part)
    weights = np.concatenate([valid[:HISTORY].astype(np.float32), clip.weights[start]])
    return [*parts, weights.astype(np.float32)]


def _is_lamplit(weights: NDArray[np.float32]) -> bool:
    """Whether a clip shows lamps by night, from conditions (N, STATE_SIZE)."""
    night, lamps = (column_of(slot, value) for slot, value in (("time", "night"), ("lamps", "on")))
    return bool((weights[:, night] * weights[:, lamps] > 0.5).any())


def shrunk(x: Tensor, factor: int) -> Tensor:
    """(..., T, h, w) averaged over factor x factor latent pixels."""
    return functional.avg_pool3d(x, (1, factor, factor)) if factor > 1 else x


def _normal(like: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32)).to(like.device)


def _disturbed(x: Tensor, rng: np.random.Generator) -> Tensor:
    return x + _normal(x, rng) * float(rng.uniform(0, 0.3))

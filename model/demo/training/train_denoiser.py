"""Trains the demo's denoiser (with its conditioner and state embedding) for just what is sampled: one step a stage.

A step draws one pyramid stage, a number of new latent frames, and samples of clips; the stage's input is made from the
stage before (the true one disturbed, or the model's own), the target is the clean latent at this stage's size.
History is often missing, so that frames stand on the conditioning alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.demo.checkpoint import HISTORY_SIZES
from model.demo.network import DemoDenoiser
from model.demo.training.loop import LossFunction, SampleSheet, TrainConfig, own_share, train
from model.demo.training.prepared_data import PreparedFolder
from model.scene.blockout import MATERIALS
from model.scene.ray_features import GLOW_CHANNEL, MATERIAL_CHANNELS, RAYS_PER_LATENT_PX

HISTORY = sum(HISTORY_SIZES)
STAGES = 3
TIMESTEPS = (999, 743, 385)
START_SIGMA = 0.999
ORIGINAL_START_SIGMAS = (0.999, 0.666333, 0.333666)
GAMMA = 1 / 3
HISTORY_KEPT = 0.55  # the share of steps with history
BLIND_SHARE = 0.08  # of steps that see history alone: who never painted from it cannot follow a view that stands in it
ACTION_WEIGHT = 8.0  # how much more a latent pixel counts that shows nothing but what action texts change
_ACTED = [MATERIALS.index(name) for name in ("lamp", "door", "fountain")]
RARE_SHARES = {"lamps": 0.1, "door": 0.15, "fountain": 0.25}
"""How often a sample is of a clip that shows what few do: lamps by night, doors, fountains."""
SWITCHED_HISTORY = 0.5  # how often, where it can be: things were the other way round until now, as when a text is given
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
    blind_share: float = BLIND_SHARE


def train_denoiser(
    data: DenoiserData, model: DemoDenoiser, config: TrainConfig, device: str, samples: SampleSheet | None = None
) -> nn.Module:
    return train(config, model.to(device), flow_loss(data, device), samples=samples)


def flow_loss(data: DenoiserData, device: str) -> LossFunction:
    mean = torch.from_numpy(data.mean).view(1, 16, 1, 1, 1).to(device)
    std = torch.from_numpy(data.std).view(1, 16, 1, 1, 1).to(device)

    rare = [rare_clips(folder) for folder in data.folders]

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, DemoDenoiser)
        which = int(rng.choice(len(data.folders), p=data.share))
        folder = data.folders[which]
        if rng.random() < 0.02:
            folder.refresh()
            rare[which] = rare_clips(folder)
        stage = int(rng.choice(STAGES, p=data.stages[which]))
        new = int(rng.choice(CHUNK_LATENTS, p=CHUNK_SHARES))
        blind, own_stage_before = rng.random() < data.blind_share, rng.random() < 0.3
        keep_history = rng.random() < HISTORY_KEPT or blind
        rng = own_share(rng)
        count = max(1, data.batch[which] * (_BATCH_LATENTS + HISTORY // 4) // (new + HISTORY // 4))
        samples = [draw_sample(folder, rare[which], rng, new) for _ in range(count)]
        latents, rays, flows, conditions, present = (
            torch.from_numpy(np.stack([s[i] for s in samples])).to(device).float() for i in range(5)
        )
        latents = (latents - mean) / std
        fresh = conditioned(model, rays[:, :, HISTORY:], flows[:, :, HISTORY:], conditions[:, HISTORY:])
        clean = latents[:, :, HISTORY:]
        history = latents.new_zeros(len(samples), 16 + fresh.shape[1], HISTORY, *latents.shape[3:])
        if keep_history:
            with torch.no_grad():  # the new frames teach the conditioner enough, at half the cost
                seen = conditioned(model, rays[:, :, :HISTORY], flows[:, :, :HISTORY], conditions[:, :HISTORY])
            past = latents[:, :, :HISTORY]
            disturbed = past + normal_like(past, rng) * float(rng.uniform(0, 0.25))
            history = torch.cat([disturbed, seen], 1) * present.view(-1, 1, HISTORY, 1, 1)
        if blind:
            fresh = torch.zeros_like(fresh)
            history = torch.cat([history[:, :16], torch.zeros_like(history[:, 16:])], 1)
        text = model.embedding(conditions[:, -1])
        sizes = [shrunk(clean, 2 ** (STAGES - 1 - s)) for s in range(STAGES)]
        start = first_start(clean, rng)
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
        weights = shrunk(action_weights(rays[:, :, HISTORY:]), 2 ** (STAGES - 1 - stage))
        mse = (error.square().mean(1, keepdim=True) * weights).mean() / weights.mean()
        return {"loss": mse, f"x0_{stage}": mse.detach()}

    return loss_of


def conditioned(model: DemoDenoiser, rays: Tensor, flow: Tensor, conditions: Tensor) -> Tensor:
    """The conditioner, each of T latent frames under conditions of its own, (B, T, STATE_SIZE)."""
    b, _, t = rays.shape[:3]
    alone = [x.transpose(1, 2).flatten(0, 1).unsqueeze(2) for x in (rays, flow)]
    channels: Tensor = model.conditioner(*alone, model.embedding(conditions.flatten(0, 1)))
    return torch.unflatten(channels.squeeze(2), 0, (b, t)).transpose(1, 2)


def action_weights(rays: Tensor) -> Tensor:
    """(B, 1, T, h, w) from rays: how much the loss looks at a latent pixel. What action texts change (lamps and what
    they light, doors, fountains) fills little of most pictures, and counts more."""
    acted = rays[:, [MATERIAL_CHANNELS.start + index for index in _ACTED]].sum(1, keepdim=True)
    concerned = (acted + rays[:, GLOW_CHANNEL : GLOW_CHANNEL + 1]).clamp(0, 1)
    return 1 + ACTION_WEIGHT * shrunk(concerned, RAYS_PER_LATENT_PX)


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


def first_start(clean: Tensor, rng: np.random.Generator) -> Tensor:
    """Where the lowest stage starts for latents of full size: noise brought down, of variance 1 again."""
    start = normal_like(clean, rng)
    for _ in range(STAGES - 1):
        start = shrunk(start, 2) * 2
    return start


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


def draw_sample(
    folder: PreparedFolder, rare: Mapping[str, Sequence[str]], rng: np.random.Generator, new: int
) -> list[NDArray[np.floating]]:
    """latents, rays, flow and conditions of HISTORY + new latent frames, and which history frames are present.

    Missing frames are zeros. The new frames show one set of conditions, as a chunk does.
    """
    shares = {thing: RARE_SHARES[thing] for thing in rare}
    kind = str(rng.choice(["any", *shares], p=[1 - sum(shares.values()), *shares.values()]))
    names = rare.get(kind, folder.encoded)
    name = names[int(rng.integers(len(names)))]
    clip = folder.read(name)
    count = clip.rays.shape[1]
    starts = [s for s in range(count - new + 1) if (clip.weights[s : s + new] == clip.weights[s]).all()]
    start = int(rng.choice(starts)) if starts else count - 1
    chosen = np.arange(start - HISTORY, start + new)
    valid = (chosen >= 0) & (chosen < count)
    at = np.clip(chosen, 0, count - 1)
    latents, rays, flow = (
        np.where(valid[:, None, None], array[:, at], 0).astype(np.float32)
        for array in (folder.read_latents(name), clip.rays, clip.flow)
    )
    conditions = clip.weights[at]
    before = folder.counterpart(name)
    if before is not None and rng.random() < SWITCHED_HISTORY:
        past, conditions = at[:HISTORY], conditions.copy()
        latents[:, :HISTORY] = np.where(valid[:HISTORY, None, None], folder.read_latents(before)[:, past], 0)
        conditions[:HISTORY] = folder.read(before).weights[past]
    return [latents, rays, flow, conditions, valid[:HISTORY].astype(np.float32)]


def rare_clips(folder: PreparedFolder) -> dict[str, list[str]]:
    """The clips that show what few do, by thing; of things that none shows there is no list."""
    found: dict[str, list[str]] = {}
    for name in folder.encoded:
        for thing in folder.things(name):
            found.setdefault(thing, []).append(name)
    return found


def shrunk(x: Tensor, factor: int) -> Tensor:
    """(..., T, h, w) averaged over factor x factor latent pixels."""
    return functional.avg_pool3d(x, (1, factor, factor)) if factor > 1 else x


def normal_like(like: Tensor, rng: np.random.Generator) -> Tensor:
    """float32 noise of the size of `like`, on its device."""
    return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32)).to(like.device)


def _disturbed(x: Tensor, rng: np.random.Generator) -> Tensor:
    return x + normal_like(x, rng) * float(rng.uniform(0, 0.3))

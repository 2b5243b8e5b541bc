"""A LoRA that teaches the demo's denoiser to do without its camera channels, for `benchmarks.camera`. Needs torch.

The demo's network has never been without channels, and never seen a view in its history: as it comes it cannot show
what a view is worth to a network like Helios-14B, which was trained without any. So a small adapter is trained with the
channels at zero, in two steps out of three with a view and otherwise without. Both are then measured on the same
weights, which differ in nothing but the view.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from model.camera_control.method import CameraMethod
from model.camera_control.steering import Steering
from model.camera_control.warp import View, depth_of
from model.demo.checkpoint import DemoModel
from model.demo.training.clips import FRAME_HEIGHT, FRAME_WIDTH, FRAMES_PER_LATENT, Clip, draw_clip
from model.demo.training.train_denoiser import shrunk
from model.networks.checkpoints import PATCHES
from model.networks.view_denoiser import ViewDenoiserGraph
from model.pipeline.history import frame_indices, split_history
from model.pipeline.image_history import Encode
from model.pipeline.noise import block_correlated
from model.pipeline.schedule import Schedule
from model.spec import ModelSpec

_RANK = 16
_BATCH = 4
_RATE = 2e-3
_WITH_VIEW = 0.67
_CLIP_LATENTS = 14
_NOISED_HISTORY = 0.25
_WARM_UP_STEPS = 20
_STAGE_SHARES = (0.25, 0.3, 0.45)
_CROP = (16, 24)
"""Rows and columns of latent pixels that a step sees: a third of a picture, at a third of the cost."""


@dataclass(frozen=True, slots=True)
class Sample:
    """latents: (1, 16, history + new, h, w) normalised. view: (1, 16, new, h, w), tokens: (kept,), of the picture
    before the new frames. conditions: (STATE_SIZE,)."""

    latents: Tensor
    view: Tensor
    tokens: Tensor
    conditions: Tensor


def samples_of(clips: int, spec: ModelSpec, encode: Encode, *, new: int, say: Callable[[str], None]) -> list[Sample]:
    """Samples of walks through random worlds: no map of the benchmark's is among them."""
    steering = Steering(CameraMethod.WARP_HISTORY, spec, encode)
    found: list[Sample] = []
    for number in range(clips):
        rng = np.random.default_rng([41, number])
        clip = draw_clip(rng, latents=_CLIP_LATENTS, rows=FRAME_HEIGHT, cols=FRAME_WIDTH)
        found += _windows(clip, spec, encode, steering, new)
        say(f"clip {number + 1} of {clips}, {len(found)} samples")
    return found


def _windows(clip: Clip, spec: ModelSpec, encode: Encode, steering: Steering, new: int) -> Iterator[Sample]:
    latents = encode(clip.frames)
    for first in range(spec.history_latents, _CLIP_LATENTS - new + 1):
        at = first * FRAMES_PER_LATENT
        weights = clip.weights[at : at + new * FRAMES_PER_LATENT]
        if (weights != weights[0]).any():
            continue
        before = clip.camera(at - 1)
        last = View(frame=clip.frames[at - 1], camera=before, depth=depth_of(clip.parts, before))
        cameras = [clip.camera(at + index) for index in range(new * FRAMES_PER_LATENT)]
        view = steering.hints(clip.parts, cameras, last).view
        if view is not None:
            yield Sample(
                torch.from_numpy(latents[:, :, first - spec.history_latents : first + new]),
                torch.from_numpy(view.latents),
                torch.from_numpy(view.tokens),
                torch.from_numpy(weights[0]),
            )


def train_lora(
    model: DemoModel, spec: ModelSpec, samples: list[Sample], path: Path, *, steps: int, say: Callable[[str], None]
) -> None:
    """Trains on `samples`; writes an adapter (`model.networks.lora`) to `path`. `model` is changed: do not use it
    after.
    """
    transformer = model.denoiser.transformer
    graph = ViewDenoiserGraph(transformer)
    linears = {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("blocks.") and ".attn2." not in name
    }
    pairs = {name: _Pair(module) for name, module in linears.items()}
    for name, module in linears.items():
        parametrize.register_parametrization(module, "weight", pairs[name])
    patches = [parameter for name in PATCHES for parameter in getattr(transformer, name).parameters()]
    for parameter in patches:
        parameter.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for pair in pairs.values() for p in pair.parameters()], "lr": _RATE},
            {"params": patches, "lr": _RATE / 4},
        ],
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 - 0.95 * step / steps)
    )
    rng = np.random.default_rng(7)
    loss_of = _FlowLoss(graph, model, spec)
    losses: list[float] = []
    since_s = time.monotonic()
    for step in range(steps):
        loss = torch.stack([loss_of(samples[int(rng.integers(len(samples)))], rng) for _ in range(_BATCH)]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 20 == 19:
            per_step_s = (time.monotonic() - since_s) / (step + 1)
            say(f"step {step + 1} of {steps}, loss {np.mean(losses[-100:]):.3f}, {per_step_s:.2f} s a step")
    tensors = {f"{name}.lora_A.weight": pair.down.detach() for name, pair in pairs.items()}
    tensors |= {f"{name}.lora_B.weight": pair.up.detach() for name, pair in pairs.items()}
    for name in PATCHES:
        tensors |= {f"{name}.{key}": value.detach() for key, value in getattr(transformer, name).named_parameters()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


class _Pair(nn.Module):
    """W -> W + up @ down; nothing changes until it is trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(_RANK, linear.in_features) / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, _RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


class _FlowLoss:
    """The squared error of one step of one stage, started as the chunk loop starts it, with the true stage before."""

    def __init__(self, graph: ViewDenoiserGraph, model: DemoModel, spec: ModelSpec) -> None:
        self._graph, self._model, self._spec = graph, model, spec
        self._schedule = Schedule(spec)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Tensor:
        spec, sample = self._spec, _cropped(sample, self._spec, rng)
        past, clean = sample.latents[:, :, : spec.history_latents], sample.latents[:, :, spec.history_latents :]
        stage = int(rng.choice(spec.stages, p=_STAGE_SHARES))
        sizes = [shrunk(clean, 2 ** (spec.stages - 1 - index)) for index in range(spec.stages)]
        tokens = sizes[max(stage - 1, 0)][0, 0].numel() // 4
        plan = self._schedule.stage(stage, 1, tokens=tokens, doubled=False)
        start = self._start(stage, sizes, rng)
        sigma = float(plan.sigmas[0])
        flow = self._flow(start, torch.from_numpy(plan.timesteps[:1]), past, sample, rng)
        return (flow - (start - sizes[stage]) / sigma).square().mean()

    def _start(self, stage: int, sizes: list[Tensor], rng: np.random.Generator) -> Tensor:
        if stage == 0:
            noise = _normal(sizes[-1].shape, rng)
            for _ in range(self._spec.stages - 1):
                noise = shrunk(noise, 2) * 2
            return noise
        before = sizes[stage - 1]
        large = functional.interpolate(before + _normal(before.shape, rng) * float(rng.uniform(0, 0.3)),
                                       scale_factor=(1, 2, 2))  # fmt: skip
        batch, channels, frames, height, width = large.shape
        raw = rng.standard_normal((batch, channels, frames, height // 2, width // 2, 4), dtype=np.float32)
        weights = self._schedule.upsampling(stage)
        noise = torch.from_numpy(np.asarray(block_correlated(raw, self._spec.gamma, (2, 2)), np.float32))
        return weights.alpha * large + weights.beta * noise

    def _flow(self, start: Tensor, timestep: Tensor, past: Tensor, sample: Sample, rng: np.random.Generator) -> Tensor:
        """The network's prediction, its channels at zero; now and then without the view."""
        spec = self._spec
        noised = past + _normal(past.shape, rng) * float(rng.uniform(0, _NOISED_HISTORY))
        tokens = sample.tokens if rng.random() < _WITH_VIEW else sample.tokens[:0]
        text = self._model.denoiser.embedding(sample.conditions[None])
        return flow_with_view(self._graph, spec, start, timestep, text, noised, sample.view, tokens)


def _cropped(sample: Sample, spec: ModelSpec, rng: np.random.Generator) -> Sample:
    """A part of the picture, cut where patches of every stage begin."""
    unit = spec.patch_size[1] * 2 ** (spec.stages - 1)
    rows, columns = _CROP
    top = unit * int(rng.integers(0, (spec.latent_height - rows) // unit + 1))
    left = unit * int(rng.integers(0, (spec.latent_width - columns) // unit + 1))
    patch = spec.patch_size[1]
    kept = torch.zeros(sample.view.shape[2], spec.latent_height // patch, spec.latent_width // patch, dtype=torch.bool)
    kept.view(-1)[sample.tokens] = True
    inside = kept[:, top // patch : (top + rows) // patch, left // patch : (left + columns) // patch]
    here = (..., slice(top, top + rows), slice(left, left + columns))
    tokens = inside.reshape(-1).nonzero()[:, 0]
    return Sample(sample.latents[here].contiguous(), sample.view[here].contiguous(), tokens, sample.conditions)


def flow_with_view(
    graph: ViewDenoiserGraph, spec: ModelSpec, start: Tensor, timestep: Tensor, text: Tensor, past: Tensor,
    view: Tensor, tokens: Tensor,
) -> Tensor:  # fmt: skip
    """A stage's flow, the camera's channels at zero.

    start: (B, 16, T, ...), past: (B, 16, history, h, w), view: (B, 16, T, h, w), all normalised. text: the embedded
    conditions. tokens: (kept,) of the view, none for no view.
    """
    indices = frame_indices(spec.history_sizes, prefix=spec.keep_prefix, new=start.shape[2])
    history = split_history(_with_channels(past, spec).numpy(), spec.history_sizes, None)
    flow: Tensor = graph(
        _with_channels(start, spec), timestep, text,
        *(torch.from_numpy(x) for x in (indices.new, indices.short, indices.mid, indices.long)),
        *(torch.from_numpy(np.ascontiguousarray(x)) for x in (history.short, history.mid, history.long)),
        _with_channels(view, spec), torch.from_numpy(indices.new), tokens,
    )  # fmt: skip
    return flow


def _with_channels(latents: Tensor, spec: ModelSpec) -> Tensor:
    """(B, 16, T, h, w) -> (B, 16 + C, T, h, w), the camera's channels at zero."""
    batch, _, *size = latents.shape
    return torch.cat([latents, latents.new_zeros(batch, spec.conditioning_channels, *size)], dim=1)


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    drawn: NDArray[np.float32] = rng.standard_normal(tuple(shape), dtype=np.float32)
    return torch.from_numpy(drawn)

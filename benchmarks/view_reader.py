"""Trains a demo denoiser to read a view in its history, for `benchmarks.camera --model`. Needs torch.

    python -m benchmarks.view_reader --from CHECKPOINT --data runs/demo/prepared/full --minutes 17 --out runs/reader

CHECKPOINT is one that paints without its channels (`model.demo.train denoiser --blind-share 0.97`), as Helios-14B does.
Training on true pasts and true stages teaches no such network to look at a view: it can do nearly as well without. So
here half of the samples have no past, most begin a stage from a wrong one (the past standing still, the truth moved
aside, another sample's), and one head of the first layers begins as one that looks at its own place.
A view is the truth, as far wrong as a bent picture's latents were found to be, at tokens that a turn could have left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor, nn

from benchmarks.camera_lora import flow_with_view
from model.demo.checkpoint import load_checkpoint, save_checkpoint
from model.demo.network import DemoDenoiser
from model.demo.training.loop import LossFunction, TrainConfig, train
from model.demo.training.prepared_data import PreparedFolder
from model.demo.training.train_denoiser import (
    HISTORY,
    STAGES,
    START_SIGMA,
    TIMESTEPS,
    draw_sample,
    first_start,
    normal_like,
    raise_stage,
    shrunk,
)
from model.networks.view_denoiser import ViewDenoiserGraph
from model.spec import ModelSpec

STAGE_SHARES = (0.15, 0.10, 0.75)  # a view is as fine as the last stage, where its tokens stand beside the new ones
_LENGTHS, _LENGTH_SHARES = (1, 3), (0.3, 0.7)
_SAMPLES = (6, 3, 1)  # of three latent frames, by stage
_WITH_PAST, _WITH_VIEW = 0.5, 0.75
_STILL, _ASIDE, _ANOTHER = 0.45, 0.2, 0.1  # shares of wrong stages before
_VIEW_ERROR, _PAST_ERROR, _STAGE_ERROR = 0.12, 0.25, 0.5  # standard deviations; of the last two the largest
_LOOKING_LAYERS, _LOOKING_WAVES, _LOOKING_SIZE, _LOOKING_GAIN = (0, 1), 2, 3.27, 2.2


def look_at_own_place(transformer: HeliosTransformer3DModel, layers: tuple[int, ...] = _LOOKING_LAYERS) -> None:
    """Lets the last head of `layers` ask for nothing but its own place: its queries and keys are one constant vector on
    the fastest waves of time, rows and columns, which rotation turns into a peak."""
    rope, heads = transformer.rope, transformer.config.num_attention_heads
    times, rows = len(rope.freqs_base_t), len(rope.freqs_base_y)
    with torch.no_grad():
        for layer in layers:
            attention = transformer.blocks[layer].attn1
            width = attention.to_q.weight.shape[0] // heads
            last = slice((heads - 1) * width, None)
            pattern = torch.zeros(width)
            for first in (0, times, times + rows):
                pattern[2 * first : 2 * (first + _LOOKING_WAVES) : 2] = _LOOKING_SIZE
            for linear, norm in ((attention.to_q, attention.norm_q), (attention.to_k, attention.norm_k)):
                linear.weight[last] = 0
                linear.bias[last] = pattern
                norm.weight[last] = _LOOKING_GAIN


def reading_loss(folder: PreparedFolder, spec: ModelSpec) -> LossFunction:
    mean = torch.tensor(spec.latents_mean).view(1, -1, 1, 1, 1)
    inv_std = torch.tensor(spec.latents_inv_std).view(1, -1, 1, 1, 1)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        assert isinstance(model, DemoDenoiser)
        stage, new = int(rng.choice(STAGES, p=STAGE_SHARES)), int(rng.choice(_LENGTHS, p=_LENGTH_SHARES))
        count = _SAMPLES[stage] * max(_LENGTHS) // new
        samples = [draw_sample(folder, {}, rng, new) for _ in range(count)]
        latents, conditions, present = (torch.from_numpy(np.stack([s[i] for s in samples])) for i in (0, 3, 4))
        latents = (latents - mean) * inv_std
        past, clean = latents[:, :, :HISTORY] * present.view(count, 1, -1, 1, 1), latents[:, :, HISTORY:]
        has_past, has_view = rng.random() < _WITH_PAST, rng.random() < _WITH_VIEW
        shown = _noised(past, rng, _PAST_ERROR) * has_past
        target = shrunk(clean, 2 ** (STAGES - 1 - stage))
        start = _start(stage, clean, past[:, :, -1:] if has_past else None, rng)
        tokens = seen_tokens((new, clean.shape[3] // 2, clean.shape[4] // 2), rng)
        view = clean + _VIEW_ERROR * normal_like(clean, rng)
        graph = ViewDenoiserGraph(model.transformer)  # made anew: its tables are copies of what is trained
        timestep, text = torch.tensor([TIMESTEPS[stage]]), model.embedding(conditions[:, -1])
        flow = flow_with_view(graph, spec, start, timestep, text, shown, view, tokens if has_view else tokens[:0])
        loss = (flow - (start - target) / START_SIGMA).square().mean()
        return {"loss": loss, f"stage{stage}_{'view' if has_view else 'alone'}": loss.detach()}

    return loss_of


def seen_tokens(size: tuple[int, int, int], rng: np.random.Generator) -> Tensor:
    """(kept,) int64 over (frames, rows, columns): all but a strip at one side, up to half, and some here and there."""
    kept = rng.random(size) > rng.uniform(0, 0.3)
    axis = int(rng.integers(1, 3))
    strip = int(rng.integers(0, size[axis] // 2 + 1))
    hidden = slice(strip) if rng.random() < 0.5 else slice(size[axis] - strip, None)
    kept[(slice(None),) * axis + (hidden,)] = False
    return torch.from_numpy(np.flatnonzero(kept))


def _start(stage: int, clean: Tensor, last: Tensor | None, rng: np.random.Generator) -> Tensor:
    """Where a stage starts. last: the newest latent frame of the past, where there is one."""
    if stage == 0:
        return first_start(clean, rng)
    before, kind = shrunk(clean, 2 ** (STAGES - stage)), rng.random()
    if kind < _STILL and last is not None:
        before = shrunk(last, 2 ** (STAGES - stage)).expand_as(before)
    elif kind < _STILL + _ASIDE:
        before = before.roll((int(rng.integers(-2, 3)), int(rng.integers(-4, 5))), (3, 4))
    elif kind < _STILL + _ASIDE + _ANOTHER:
        before = before.roll(1, 0)
    return raise_stage(_noised(before, rng, _STAGE_ERROR), stage, rng)


def _noised(x: Tensor, rng: np.random.Generator, most: float) -> Tensor:
    return x + normal_like(x, rng) * float(rng.uniform(0, most))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="begin", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--data", type=Path, required=True, help="encoded clips of whole frames")
    parser.add_argument("--minutes", type=float, default=17.0)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; the trained checkpoint goes there")
    options = parser.parse_args()
    spec, model = load_checkpoint(options.begin)
    look_at_own_place(model.denoiser.transformer.requires_grad_(requires_grad=True))
    config = TrainConfig(folder=options.out, minutes=options.minutes, peak_rate=options.rate, bf16=True)
    trained = train(config, model.denoiser, reading_loss(PreparedFolder(options.data), spec))
    model.denoiser.load_state_dict(trained.state_dict())
    save_checkpoint(model, spec, options.out / "checkpoint")
    print(f"python -m benchmarks.camera --model {options.out / 'checkpoint'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

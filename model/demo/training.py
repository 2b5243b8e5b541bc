"""One time-boxed, resumable training loop for all of the demo model's parts.

A run is a folder: `state.pt` (weights, their moving average, optimizer, step) written atomically, `losses.csv`,
`losses.png`. Batches are drawn from (seed, step), so a killed run goes on as if it had not been. Started by `torchrun`,
several processes share each step's batch (on a CPU two processes of one thread are faster than one of two).
"""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from model.demo.muon import build_optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Training ends after `minutes`, or at step `last_step` if that comes first.

    `peak_rate` is reached after `warmup_steps`; over the last third of `minutes` the rate falls to a hundredth.
    """

    folder: Path
    minutes: float
    peak_rate: float
    seed: int = 0
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    save_every_s: float = 120.0
    last_step: int = 10**9


LossFunction = Callable[[nn.Module, np.random.Generator], dict[str, Tensor]]


def train(config: TrainConfig, model: nn.Module, loss_of: LossFunction) -> nn.Module:
    """Trains until the minutes are over; `loss_of` gives named losses, "loss" is minimised. Returns the EMA weights."""
    config.folder.mkdir(parents=True, exist_ok=True)
    if distributed.is_initialized():
        for parameter in model.parameters():
            distributed.broadcast(parameter.data, 0)
    ema = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    optimizer = build_optimizer(model, rate=config.peak_rate, weight_decay=config.weight_decay)
    step = _resume(config.folder / "state.pt", model, ema, optimizer)
    started = saved = time.monotonic()
    history: list[dict[str, float]] = []
    recent: dict[str, float] = {}
    while step < config.last_step:
        elapsed = _of_first_process(time.monotonic() - started)
        if elapsed >= config.minutes * 60:
            break
        progress = elapsed / (config.minutes * 60)
        fall = 1.0 if progress < 2 / 3 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress * 3 - 2)))
        for group in optimizer.param_groups:
            group["lr"] = config.peak_rate * min(1.0, (step + 1) / config.warmup_steps) * fall
        losses = loss_of(model, np.random.default_rng([config.seed, step]))
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        _average_gradients(model)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(config.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, now in zip(ema.parameters(), model.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        step += 1
        for name, value in losses.items():
            now_value = float(value.detach())
            recent[name] = recent.get(name, now_value) * 0.98 + 0.02 * now_value
        if step % 20 == 0 and rank() == 0:
            history.append({"step": float(step), "seconds": time.monotonic() - started, **recent})
            shown = " ".join(f"{name}={value:.4f}" for name, value in recent.items())
            print(f"step {step} {elapsed / 60:.1f}/{config.minutes:g} min {shown}", flush=True)
        if time.monotonic() - saved > config.save_every_s:
            _save(config.folder, model, ema, optimizer, step, history)
            history, saved = [], time.monotonic()
    _save(config.folder, model, ema, optimizer, step, history)
    return ema


def join_processes() -> None:
    """Joins the processes that `torchrun` started; without it this one trains alone."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")


def rank() -> int:
    """This process's number, 0 when it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own_share(rng: np.random.Generator) -> np.random.Generator:
    """What this process draws its samples from; what all must agree on is drawn from `rng` itself, before."""
    count = distributed.get_world_size() if distributed.is_initialized() else 1
    return rng.spawn(count)[rank()]


def _of_first_process(value: float) -> float:
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value])
    distributed.broadcast(shared, 0)
    return float(shared)


def _average_gradients(model: nn.Module) -> None:
    if not distributed.is_initialized():
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for parameter, part in zip(model.parameters(), parts, strict=True):
        parameter.grad = part.view_as(parameter)


def load_ema(folder: Path, model: nn.Module) -> nn.Module:
    """The averaged weights of a run, in `model`."""
    state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["ema"])
    return model.eval().requires_grad_(requires_grad=False)


def _resume(path: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _save(
    folder: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, step: int,
    history: list[dict[str, float]],
) -> None:  # fmt: skip
    if rank() != 0:
        return
    unfinished = folder / "state.part"
    state = {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, unfinished)
    unfinished.rename(folder / "state.pt")
    if history:
        path = folder / "losses.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            if fresh:
                writer.writeheader()
            writer.writerows(history)
        _draw_curve(path, folder / "losses.png")


def _draw_curve(table: Path, picture: Path) -> None:
    """The loss over steps, logarithmic, as a small PNG."""
    import cv2

    with table.open() as file:
        losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    canvas = np.full((240, 480, 3), 255, dtype=np.uint8)
    if len(losses) > 1:
        logs = np.log10(np.maximum(losses, 1e-9))
        span = max(float(np.ptp(logs)), 1e-6)
        xs = np.linspace(10, 470, len(logs))
        ys = 230 - 220 * (logs - logs.min()) / span
        cv2.polylines(canvas, [np.stack([xs, ys], 1).astype(np.int32)], False, (180, 80, 20), 1, cv2.LINE_AA)
        cv2.putText(
            canvas, f"{losses[0]:.4f} -> {losses[-1]:.4f}", (300, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0)
        )
    cv2.imwrite(str(picture), canvas)

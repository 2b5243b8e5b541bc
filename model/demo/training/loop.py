"""One time-boxed, resumable training loop for all of the demo model's parts.

A run is a folder: `state.pt` (weights, their moving average, optimizer, step) written atomically, `losses.csv`,
`losses.png`, `samples.png`. Batches are drawn from (seed, step), so a killed run goes on as if it had not been. Started
by `torchrun`, several processes share each step's batch (on a CPU two processes of one thread are faster than one of
two). Losses may be computed under bfloat16 autocast (`bf16`); weights and their updates stay float32.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from tqdm import tqdm

from model.demo.training.charts import draw_curves, write_png
from model.demo.training.muon import build_optimizer

_NOTED_EVERY = 20  # steps between two rows of losses.csv
_SAID_EVERY = 200  # steps between two lines where there is no terminal for a progress bar


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Training ends `minutes` after its start, or at step `last_step` if that comes first.

    `peak_rate` is reached after `warmup_steps`; over the last third the rate falls to a hundredth: over the last third
    of `last_step` where that is given, else of `minutes`. With `last_step` a run is a function of its seed, bit for bit
    on one device, however often it is killed and resumed; by the clock only the batches are.

    bf16: pays on a GPU, and on a CPU that multiplies bfloat16 itself (AVX512-BF16, AMX).
    samples_every_s: between two sheets of samples. should_stop: asked after each step; True saves and ends.
    """

    folder: Path
    minutes: float
    peak_rate: float
    seed: int = 0
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    bf16: bool = False
    save_every_s: float = 120.0
    samples_every_s: float = 600.0
    last_step: int | None = None
    should_stop: Callable[[], bool] = lambda: False

    def rate(self, step: int, elapsed_s: float) -> float:
        """The learning rate of a step (0 is the first) that begins `elapsed_s` after the start."""
        progress = step / self.last_step if self.last_step else elapsed_s / (self.minutes * 60)
        fall = 1.0 if progress < 2 / 3 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (min(progress, 1) * 3 - 2)))
        return self.peak_rate * min(1.0, (step + 1) / self.warmup_steps) * fall


LossFunction = Callable[[nn.Module, np.random.Generator], dict[str, Tensor]]
SampleSheet = Callable[[nn.Module], NDArray[np.uint8]]
"""The averaged weights -> an RGB picture that shows what they can do."""


def train(
    config: TrainConfig, model: nn.Module, loss_of: LossFunction, *, samples: SampleSheet | None = None
) -> nn.Module:
    """Trains until the minutes are over; `loss_of` gives named losses, "loss" is minimised. Returns the EMA weights."""
    config.folder.mkdir(parents=True, exist_ok=True)
    if distributed.is_initialized():
        for parameter in model.parameters():
            distributed.broadcast(parameter.data, 0)
    ema = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    optimizer = build_optimizer(model, rate=config.peak_rate, weight_decay=config.weight_decay)
    run = _Run(config, model, ema, optimizer)
    device = next(model.parameters()).device.type
    step = run.resume()
    started = saved = drawn = time.monotonic()
    recent: dict[str, Tensor] = {}
    bar = _Bar(config)
    while config.last_step is None or step < config.last_step:
        elapsed = math.inf if config.should_stop() else time.monotonic() - started
        elapsed = _of_first_process(elapsed)
        if elapsed >= config.minutes * 60:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step, elapsed)
        with torch.autocast(device, torch.bfloat16, enabled=config.bf16):
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
        for name, value in losses.items():  # kept on the device: a look at each would wait for it
            fresh = value.detach().float()
            recent[name] = recent[name] * 0.98 + fresh * 0.02 if name in recent else fresh
        if step % _NOTED_EVERY == 0 and rank() == 0:
            seen = {name: float(value) for name, value in recent.items()}
            run.note(step, time.monotonic() - started, seen)
            bar.show(step, elapsed, seen)
        if time.monotonic() - saved > config.save_every_s:
            run.save(step, time.monotonic() - started)
            saved = time.monotonic()
        if samples is not None and rank() == 0 and time.monotonic() - drawn > config.samples_every_s:
            write_png(config.folder / "samples.png", samples(ema))
            drawn = time.monotonic()
    bar.close()
    run.save(step, time.monotonic() - started)
    if samples is not None and rank() == 0:
        write_png(config.folder / "samples.png", samples(ema))
    return ema


class _Run:
    """A run's folder: what is kept of it, and how it is taken up again."""

    def __init__(self, config: TrainConfig, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._folder, self._model, self._ema, self._optimizer = config.folder, model, ema, optimizer
        self._seconds_before = 0.0
        self._rows: list[dict[str, float]] = []

    def resume(self) -> int:
        """Loads what was saved, if anything was. Returns the step to make next."""
        path = self._folder / "state.pt"
        if not path.exists():
            return 0
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._model.load_state_dict(state["model"])
        self._ema.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._seconds_before = float(state.get("seconds", 0.0))
        return int(state["step"])

    def note(self, step: int, seconds: float, losses: dict[str, float]) -> None:
        """One row of the losses table."""
        self._rows.append({"step": float(step), "seconds": self._seconds_before + seconds, **losses})

    def save(self, step: int, seconds: float) -> None:
        """Writes the state, then the losses up to it."""
        if rank() != 0:
            return
        unfinished = self._folder / "state.part"
        torch.save(
            {
                "model": self._model.state_dict(), "ema": self._ema.state_dict(),
                "optimizer": self._optimizer.state_dict(), "step": step, "seconds": self._seconds_before + seconds,
            },
            unfinished,
        )  # fmt: skip
        unfinished.replace(self._folder / "state.pt")
        if self._rows:
            self._write_losses()

    def _write_losses(self) -> None:
        table = self._folder / "losses.csv"
        rows: list[dict[str, object]] = []
        if table.exists():
            with table.open(newline="") as file:
                rows = [dict(row) for row in csv.DictReader(file)]
        rows += [dict(row) for row in self._rows]
        names = dict.fromkeys(name for row in rows for name in row)  # a loss may be met late
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(names), restval="")
            writer.writeheader()
            writer.writerows(rows)
        self._rows = []
        draw_curves(table, self._folder / "losses.png")


class _Bar:
    """Progress for a person at a terminal; for a log, a line now and then."""

    def __init__(self, config: TrainConfig) -> None:
        self._of_steps = config.last_step is not None
        self._minutes = config.minutes
        total = config.last_step if config.last_step is not None else round(config.minutes * 60)
        self._bar = tqdm(total=total, unit="step" if self._of_steps else "s", desc=config.folder.name,
                         disable=True if rank() != 0 else None, dynamic_ncols=True)  # fmt: skip

    def show(self, step: int, elapsed_s: float, losses: dict[str, float]) -> None:
        shown = " ".join(f"{name}={value:.4f}" for name, value in losses.items())
        if self._bar.disable:
            if step % _SAID_EVERY == 0:
                print(f"step {step} {elapsed_s / 60:.1f}/{self._minutes:g} min {shown}", flush=True)
            return
        self._bar.n = step if self._of_steps else round(elapsed_s)
        self._bar.set_postfix_str(f"step {step} {shown}", refresh=True)

    def close(self) -> None:
        self._bar.close()


def stop_on_signals() -> Callable[[], bool]:
    """From now on SIGINT and SIGTERM ask for an orderly end; a second one ends at once. Returns whether one came."""
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return lambda: bool(came)


def make_deterministic(seed: int) -> None:
    """Seeds torch, and takes deterministic kernels where CUDA has them (it warns where it has none)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


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

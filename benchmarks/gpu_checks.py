"""Before speed, truth: the fast form against diffusers' class, FP8 against bf16, and what the device can do at most."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_model import random_prompt, random_transformer
from benchmarks.gpu_sizes import Size
from model.fast.block_errors import block_errors
from model.fast.denoiser import FastDenoiser
from model.fast.fused_ops import quantised
from model.fast.projection import Fp8Projection, native_fp8, working_dtype
from model.networks.denoiser import example_inputs
from model.precision import Precision
from model.spec import ModelSpec

_LAYERS = 2
_ROUNDS = 10
BF16_TOLERANCE = 0.05
"""|fast - diffusers| / |diffusers|, both in bf16; two bf16 forwards of one network differ by about 0.01."""
FP8_TOLERANCE = 0.1
"""Of what a block adds to its rows. E4M3 rounds to 3 bits: 2.6 % of a row on average, and a block has products in
series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """bf16_error: of the flow, against diffusers' class. fp8_*: of each block, against the fast form in bf16."""

    bf16_error: float
    fp8_native: bool
    fp8_output_errors: list[float]
    fp8_change_errors: list[float]

    @property
    def holds(self) -> bool:
        return self.bf16_error < BF16_TOLERANCE and max(self.fp8_change_errors) < FP8_TOLERANCE

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "holds": self.holds}


def agreement(size: Size, spec: ModelSpec, device: torch.device) -> Agreement:
    """Two blocks at the size's full width, one forward at the full latent size."""
    model = random_transformer(size, device, torch.bfloat16, layers=_LAYERS)
    inputs = {name: tensor.to(device) for name, tensor in example_inputs(spec).items()}
    inputs["hidden_states"] = torch.randn(1, 16, 3, spec.latent_height, spec.latent_width, device=device)
    inputs["encoder_hidden_states"] = random_prompt(size, device)
    with torch.no_grad():
        given = {name: x.bfloat16() if x.is_floating_point() else x for name, x in inputs.items()}
        wanted = model(**given).sample.float()
        bf16 = FastDenoiser(copy.deepcopy(model), Precision.BF16)
        prompt = inputs.pop("encoder_hidden_states")
        got = bf16(*inputs.values(), *bf16.text_keys(prompt))
    errors = block_errors(bf16, FastDenoiser(model, Precision.FP8), (*inputs.values(), prompt))
    return Agreement(
        bf16_error=float((got - wanted).norm() / wanted.norm()),
        fp8_native=native_fp8(device),
        fp8_output_errors=[error.output for error in errors],
        fp8_change_errors=[error.change for error in errors],
    )


def matrix_rate(length: int, precision: Precision, device: torch.device) -> float:
    """TFLOP/s of a square product of random numbers in a precision, as the device does it through torch."""
    left, right = (torch.randn(length, length, device=device, dtype=torch.bfloat16) for _ in range(2))
    if precision is Precision.FP8:
        rows, weights = quantised(left), Fp8Projection(right, right.new_zeros(length), torch.bfloat16)
        seconds = seconds_of(lambda: weights(rows), device)
    else:
        left, right = left.to(working_dtype(precision)), right.to(working_dtype(precision))
        seconds = seconds_of(lambda: left @ right.t(), device)
    return 2 * length**3 / seconds / 1e12


def copy_rate(device: torch.device, *, size_bytes: int) -> float:
    """GB/s of a copy on the device, bytes read plus bytes written."""
    source = torch.randint(0, 255, (size_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size_bytes / seconds_of(lambda: target.copy_(source), device) / 1e9


def seconds_of(run: Callable[[], Tensor], device: torch.device) -> float:
    """The mean of ten runs after three."""
    wait = waiter(device)
    for _ in range(3):
        run()
    wait()
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        run()
    wait()
    return (time.perf_counter() - start) / _ROUNDS


def waiter(device: torch.device) -> Callable[[], None]:
    """Waits until the device has done all it was given."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return wait


def memory_gb(device: torch.device) -> dict[str, float | None]:
    """resident: held by tensors now. peak: the most that was reserved since the last `forget_peak`."""
    if device.type != "cuda":
        return {"resident": None, "peak": None}
    return {
        "resident": torch.cuda.memory_allocated(device) / 1e9,
        "peak": torch.cuda.max_memory_reserved(device) / 1e9,
    }


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def machine(device: torch.device) -> dict[str, Any]:
    """Names and versions that a row of results needs."""
    import importlib.metadata
    import platform

    found: dict[str, Any] = {"python": platform.python_version(), "device": str(device)}
    for package in ("torch", "diffusers", "triton", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "gpu_memory_gb": properties.total_memory / 1e9,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return found

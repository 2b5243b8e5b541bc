"""The large matrix products, in each of the number formats of `model.precision`.

FP8 is E4M3 with one scale for each row of the activations (found as they are made) and one for each output channel of
the weights (found once): `torch._scaled_mm` on a GPU that has it, dequantised float32 elsewhere. Needs the torch extra.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import RunnerError
from model.fast.fused_ops import Rows, quantised
from model.precision import Precision

_FP8_CAPABILITY = (8, 9)  # Ada and newer have E4M3 matrix units


def working_dtype(precision: Precision) -> torch.dtype:
    """Of activations and of weights that are not quantised."""
    return torch.float32 if precision is Precision.FP32 else torch.bfloat16


class Projection(nn.Module):
    """y = x W^T + b, with W (out, in) in the working dtype."""

    quantises = False

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", weight.detach().to(dtype))
        self.register_buffer("bias", bias.detach().to(dtype))

    def forward(self, rows: Rows) -> Tensor:
        """(rows, in) -> (rows, out) in the working dtype."""
        return functional.linear(rows.values, self.weight, self.bias)


class Fp8Projection(nn.Module):
    """The same with W in E4M3, one scale for each output channel. Takes quantised rows."""

    quantises = True

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        """Raises: RunnerError: a length of the weight is no multiple of 16, which the matrix units need."""
        super().__init__()
        if weight.shape[0] % 16 or weight.shape[1] % 16:
            raise RunnerError(f"fp8 needs weights of multiples of 16, got {tuple(weight.shape)}; use bf16")
        self.weight: Tensor
        self.scales: Tensor
        self.bias: Tensor
        rows = quantised(weight.detach())
        assert rows.scales is not None
        self.register_buffer("weight", rows.values)
        self.register_buffer("scales", rows.scales.view(1, -1))
        self.register_buffer("bias", bias.detach().to(dtype))
        self._native = native_fp8(weight.device)

    def forward(self, rows: Rows) -> Tensor:
        assert rows.scales is not None
        if self._native:
            # Fast accumulation, as inference libraries use it: partial sums stay in the matrix units' registers.
            product: Tensor = torch._scaled_mm(
                rows.values, self.weight.t(), scale_a=rows.scales, scale_b=self.scales, bias=self.bias,
                out_dtype=self.bias.dtype, use_fast_accum=True,
            )  # fmt: skip
            return product
        weight = self.weight.float() * self.scales.view(-1, 1)
        return functional.linear(rows.dequantised(), weight, self.bias.float()).to(self.bias.dtype)


def projection(weight: Tensor, bias: Tensor, precision: Precision) -> Projection | Fp8Projection:
    kind = Fp8Projection if precision is Precision.FP8 else Projection
    return kind(weight, bias, working_dtype(precision))


def native_fp8(device: torch.device) -> bool:
    """Whether the device multiplies E4M3 itself; elsewhere FP8 is simulated, and slow."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FP8_CAPABILITY

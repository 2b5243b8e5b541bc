"""What happens to single rows (one token's channels) between the large matrix products, each as one operation.

`ReferenceRowOps` says in plain torch what is meant and runs anywhere; `TritonRowOps` is the same in one kernel each.
Sums and statistics are float32 whatever the rows' dtype. Needs the torch extra.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

E4M3 = torch.float8_e4m3fn
E4M3_MAX = 448.0  # OCP 8-bit floating point specification 1.0, table 1
_SPARE_SCALES = 256  # torch's CUTLASS product reads scales of a whole tile of rows (pytorch issue 133334)
_SMALLEST_AMAX = 1e-12  # a row of zeros keeps a scale that can be divided by


@dataclass(frozen=True, slots=True)
class Rows:
    """The left side of a matrix product.

    values: (rows, width), in the working dtype or E4M3. scales: (rows, 1) float32 that E4M3 values are multiplied by.
    """

    values: Tensor
    scales: Tensor | None = None

    @staticmethod
    def empty(rows: int, width: int, like: Tensor, *, quantise: bool) -> Rows:
        if not quantise:
            return Rows(like.new_empty(rows, width))
        scales = like.new_empty(rows + _SPARE_SCALES, 1, dtype=torch.float32)[:rows]
        return Rows(like.new_empty(rows, width, dtype=E4M3), scales)

    def part(self, start: int, stop: int) -> Rows:
        """A view of some of the rows."""
        return Rows(self.values[start:stop], None if self.scales is None else self.scales[start:stop])

    def dequantised(self) -> Tensor:
        return self.values if self.scales is None else self.values.float() * self.scales


@dataclass(frozen=True, slots=True)
class Norm:
    """LayerNorm's own scale and bias, or modulation in their place; (width,) float32 each."""

    scale: Tensor
    shift: Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class Rotary:
    """Where rows stand. cos, sin: (rows, head width / 2) float32, one angle for each pair of neighbouring channels.

    history: the first rows, whose keys are multiplied by key_scale (width,), unless that is None.
    """

    cos: Tensor
    sin: Tensor
    history: int = 0
    key_scale: Tensor | None = None


class RowOps(Protocol):
    """x and delta: (rows, width), rows contiguous. An operation whose name ends in `_` changes its first argument."""

    def add_(self, x: Tensor, delta: Tensor, gate: Tensor) -> None:
        """x += delta * gate; gate (width,)."""
        ...

    def norm(self, x: Tensor, norm: Norm, out: Rows) -> None:
        """out = LayerNorm(x)."""
        ...

    def add_norm_(self, x: Tensor, delta: Tensor, gate: Tensor | None, norm: Norm, out: Rows) -> None:
        """x += delta * gate (1 without), then out = LayerNorm(x)."""
        ...

    def turn_(self, x: Tensor, weights: Tensor, eps: float, turn: Rotary | None) -> None:
        """RMSNorm over all heads, then rotation, of the parts of each row.

        x: (rows, at least parts * width). weights: (parts, width), part 0 for queries, 1 for keys; parts past them
        (values) stay as they are.
        """
        ...

    def rows(self, x: Tensor, *, gelu: bool, quantise: bool) -> Rows:
        """x, or its GELU in the tanh form, ready for a product."""
        ...


class ReferenceRowOps:
    """The meaning of each operation, in a few lines of torch."""

    def add_(self, x: Tensor, delta: Tensor, gate: Tensor) -> None:
        x.copy_(x.float() + delta.float() * gate.float())

    def norm(self, x: Tensor, norm: Norm, out: Rows) -> None:
        normed = functional.layer_norm(x.float(), x.shape[-1:], norm.scale.float(), norm.shift.float(), norm.eps)
        _write(normed, out)

    def add_norm_(self, x: Tensor, delta: Tensor, gate: Tensor | None, norm: Norm, out: Rows) -> None:
        x.copy_(x.float() + delta.float() * (1.0 if gate is None else gate.float()))
        self.norm(x, norm, out)

    def turn_(self, x: Tensor, weights: Tensor, eps: float, turn: Rotary | None) -> None:
        width = weights.shape[1]
        for index, weight in enumerate(weights):
            part = x[:, index * width : (index + 1) * width]
            value = functional.rms_norm(part.float(), (width,), weight.float(), eps)
            if turn is not None:
                pairs = value.reshape(len(x), -1, turn.cos.shape[1], 2)
                left, right = pairs[..., 0], pairs[..., 1]
                cos, sin = turn.cos[:, None], turn.sin[:, None]
                value = torch.stack([left * cos - right * sin, left * sin + right * cos], dim=-1).flatten(1)
                if index == 1 and turn.key_scale is not None:
                    value[: turn.history] *= turn.key_scale.float()
            part.copy_(value)

    def rows(self, x: Tensor, *, gelu: bool, quantise: bool) -> Rows:
        if gelu:
            x = functional.gelu(x.float(), approximate="tanh").to(x.dtype)
        if not quantise:
            return Rows(x)
        out = Rows.empty(x.shape[0], x.shape[1], x, quantise=True)
        _write(x.float(), out)
        return out


class TritonRowOps:
    """One Triton kernel an operation."""

    def __init__(self, kernels: Any = None) -> None:
        """kernels: the module of kernels, `model.fast.fused_kernels` by default."""
        self._kernels = kernels or importlib.import_module("model.fast.fused_kernels")

    def add_(self, x: Tensor, delta: Tensor, gate: Tensor) -> None:
        self._add_norm(x, delta, gate, None, None)

    def norm(self, x: Tensor, norm: Norm, out: Rows) -> None:
        self._add_norm(x, None, None, norm, out)

    def add_norm_(self, x: Tensor, delta: Tensor, gate: Tensor | None, norm: Norm, out: Rows) -> None:
        self._add_norm(x, delta, gate, norm, out)

    def _add_norm(
        self, x: Tensor, delta: Tensor | None, gate: Tensor | None, norm: Norm | None, out: Rows | None
    ) -> None:
        rows, width = _contiguous(x)
        if delta is not None:
            _contiguous(delta)
        quantise = out is not None and out.scales is not None
        self._kernels.add_norm_kernel[(rows,)](
            x,
            x if delta is None else delta,
            x if gate is None else gate,
            x if norm is None else norm.scale,
            x if norm is None else norm.shift,
            x if out is None else out.values,
            x if out is None or out.scales is None else out.scales,
            width,
            0.0 if norm is None else norm.eps,
            ADD=delta is not None,
            GATE=gate is not None,
            NORM=norm is not None,
            QUANTISE=quantise,
            **launch_options(width),
        )

    def turn_(self, x: Tensor, weights: Tensor, eps: float, turn: Rotary | None) -> None:
        parts, width = weights.shape
        if x.stride(1) != 1:
            raise ValueError("rows to turn must have their channels side by side in memory")
        key_scale = None if turn is None else turn.key_scale
        self._kernels.turn_kernel[(len(x), parts)](
            x,
            weights,
            weights if turn is None else turn.cos,
            weights if turn is None else turn.sin,
            weights if key_scale is None else key_scale,
            x.stride(0),
            width,
            eps,
            0 if turn is None else turn.history,
            HALF_HEAD=1 if turn is None else turn.cos.shape[1],
            ROTATE=turn is not None,
            AMPLIFY=key_scale is not None,
            **launch_options(width),
        )

    def rows(self, x: Tensor, *, gelu: bool, quantise: bool) -> Rows:
        if not gelu and not quantise:
            return Rows(x)
        rows, width = _contiguous(x)
        out = Rows.empty(rows, width, x, quantise=quantise)
        self._kernels.activate_kernel[(rows,)](
            x,
            out.values,
            x if out.scales is None else out.scales,
            width,
            GELU=gelu,
            QUANTISE=quantise,
            **launch_options(width),
        )
        return out


def row_ops(device: torch.device) -> RowOps:
    """The fastest there is for a device."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        return TritonRowOps()
    return ReferenceRowOps()


def quantised(x: Tensor) -> Rows:
    """Each row of (rows, width) as E4M3 with its own scale, the largest magnitude of the row over 448."""
    out = Rows.empty(x.shape[0], x.shape[1], x, quantise=True)
    _write(x.float(), out)
    return out


def _write(value: Tensor, out: Rows) -> None:
    """value: float32."""
    if out.scales is None:
        out.values.copy_(value)
        return
    amax = value.abs().amax(dim=1, keepdim=True).clamp_min(_SMALLEST_AMAX)
    out.scales.copy_(amax / E4M3_MAX)
    # Clamped because a value just above 448, from rounding, becomes NaN in torch's conversion.
    out.values.copy_((value * (E4M3_MAX / amax)).clamp(-E4M3_MAX, E4M3_MAX))


def _contiguous(x: Tensor) -> tuple[int, int]:
    if x.ndim != 2 or not x.is_contiguous():
        raise ValueError(f"rows must be a contiguous (rows, width), got {tuple(x.shape)} with strides {x.stride()}")
    return x.shape[0], x.shape[1]


def launch_options(width: int) -> dict[str, Any]:
    """A kernel's block, the power of two that holds a row (Triton's ranges must be one), and its warps: about 32
    channels a thread, few enough to stay in registers."""
    block = 1 << (width - 1).bit_length()
    return {"BLOCK": block, "num_warps": max(1, min(16, block // 1024)), "enable_fp_fusion": True}

"""A model's graphs in the precision that they are exported in. Needs the torch extra.

Graphs take and give float32 whatever they compute in, but for frames, which are 8-bit: hosts have no bf16, and what
crosses the seam is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from model.networks.fp8 import QuantisedLinear, Scales
from model.networks.transformer import DenoiserGraph, Form
from model.networks.weight_offload import Fetch, Streamed, StreamedLinear, hollow, is_hollow
from model.precision import Precision
from model.runners.torch import TorchGraph
from trt_build.errors import BuildError

# diffusers' `_keep_in_fp32_modules`, but for history_key_scale, which follows the keys that it scales.
_STAYS_FLOAT32 = frozenset({"time_embedder", "scale_shift_table", "norm1", "norm2", "norm3", "rope"})
_CASTABLE = (torch.float32, torch.float16, torch.bfloat16)


class InBfloat16(nn.Module):
    """A module with bf16 weights between float32 inputs and outputs; integers pass as they are."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = self.module(*(x.to(torch.bfloat16) if x.dtype == torch.float32 else x for x in inputs))
        if isinstance(given, Tensor):
            return _widened(given)
        return tuple(_widened(x) for x in given)


def in_precision(
    graph: TorchGraph,
    precision: Precision,
    scales: Mapping[str, float] | None = None,
    *,
    carrier: torch.dtype = torch.bfloat16,
) -> TorchGraph:
    """The graph computing in `precision`. Its module is changed in place and must not be used as it was again.

    scales: of the denoiser's sites, needed for FP8. carrier: what an fp8 denoiser computes in between its pairs;
    float32 shows the pairs' rounding alone.
    """
    module = graph.module
    if precision is Precision.FP32:
        return graph
    if not isinstance(module, DenoiserGraph):
        cast(module, torch.bfloat16)
        return replace(graph, module=InBfloat16(module).eval())
    model = module.model
    if precision is Precision.BF16:
        cast(model, torch.bfloat16, stays=_STAYS_FLOAT32)
        return replace(graph, module=type(module)(model, Form.PLAIN, dtype=torch.bfloat16).eval())
    if scales is None:
        raise BuildError("an fp8 denoiser needs calibrated scales")
    for block in model.blocks:
        _quantise_linears(block, carrier)
    cast(model, carrier, stays=_STAYS_FLOAT32)
    sites = Scales(scales, len(model.blocks), carrier)
    return replace(graph, module=type(module)(model, Form.PARTS, dtype=carrier, sites=sites).eval())


def cast(module: nn.Module, dtype: torch.dtype, *, stays: frozenset[str] = frozenset()) -> None:
    """Casts every float parameter and buffer in place, but those with one of `stays` in their name's path."""

    def casts(name: str, tensor: Tensor) -> bool:
        return tensor.dtype in _CASTABLE and stays.isdisjoint(name.split("."))

    for place, layer in module.named_modules():
        for name, weight in layer.named_parameters(prefix=place, recurse=False):
            if casts(name, weight):
                weight.data = hollow(tuple(weight.shape), dtype).data if is_hollow(weight) else weight.data.to(dtype)
        for name, buffer in layer.named_buffers(prefix=place, recurse=False, remove_duplicate=False):
            if casts(name, buffer):  # replaced: a buffer may be a view, whose data cannot be given another dtype
                layer._buffers[name.rpartition(".")[2]] = buffer.to(dtype)
        if isinstance(layer, Streamed):
            layer.dtype = dtype


def _quantise_linears(module: nn.Module, dtype: torch.dtype) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, StreamedLinear):
            setattr(module, name, QuantisedLinear(child.fetch, child.shape, child.bias, dtype))
        elif isinstance(child, nn.Linear):
            fetch, shape = _held(child.weight.detach()), (child.out_features, child.in_features)
            setattr(module, name, QuantisedLinear(fetch, shape, child.bias, dtype))
        else:
            _quantise_linears(child, dtype)


def _held(weight: Tensor) -> Fetch:
    return lambda: weight


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x

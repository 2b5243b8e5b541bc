"""Modules larger than memory: large weights stay where they lie and are read when a layer runs or is written.

A hollow tensor has a shape and a dtype but no numbers (every element is the same stored zero): a module of such tensors
can be traced for export. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Fetch = Callable[[], Tensor]
"""Reads one weight, anew at every call: the caller lets go of it as soon as it can."""


def hollow(shape: tuple[int, ...], dtype: torch.dtype) -> nn.Parameter:
    """A placeholder that takes no memory; its values mean nothing."""
    return nn.Parameter(torch.zeros((), dtype=dtype).expand(shape), requires_grad=False)


def is_hollow(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and not any(tensor.stride())


class StreamedLinear(nn.Module):
    """A linear layer whose weight is fetched at every run; while it is exported it holds a placeholder."""

    def __init__(self, fetch: Fetch, shape: tuple[int, int], bias: Tensor | None, dtype: torch.dtype) -> None:
        """shape: (out, in)."""
        super().__init__()
        self.fetch, self.dtype = fetch, dtype
        self.weight = hollow(shape, dtype)
        self.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if torch.compiler.is_exporting() else self.stored("weight")
        return functional.linear(x, weight, self.bias)

    def stored(self, name: str) -> Tensor:
        """What the placeholder `name` stands for."""
        assert name == "weight"
        return self.fetch().to(self.dtype)

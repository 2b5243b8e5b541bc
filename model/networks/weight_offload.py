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
    """A placeholder that takes no memory; its values mean nothing.

    A parameter, because torch.export copies buffers that no state has, and a copy takes memory.
    """
    return nn.Parameter(torch.zeros((), dtype=dtype).expand(shape), requires_grad=False)


def is_hollow(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and not any(tensor.stride())


class Streamed(nn.Module):
    """A layer whose weight is fetched at every run. While it is exported it holds a placeholder, from `hold_place` on:
    without one, loading a checkpoint passes the weight over."""

    def __init__(self, fetch: Fetch, shape: tuple[int, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.fetch, self.shape, self.dtype = fetch, shape, dtype
        self.weight: nn.Parameter | None
        self.register_parameter("weight", None)

    def hold_place(self) -> None:
        self.weight = hollow(self.shape, self.dtype)

    def current(self, device: torch.device) -> Tensor:
        """The weight to compute with: the placeholder while torch traces, the real one on `device` otherwise."""
        if torch.compiler.is_exporting():
            assert self.weight is not None
            return self.weight
        return self.stored("weight").to(device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Streamed:  # torch's
        """Moves everything but the placeholder, which would take the weight's memory wherever it went."""
        place, self.weight = self.weight, None
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:
            self.weight = place
        return self

    def stored(self, name: str) -> Tensor:
        """What the placeholder `name` stands for."""
        assert name == "weight"
        return self.fetch().to(self.dtype)


class StreamedLinear(Streamed):
    """shape: (out, in)."""

    def __init__(self, fetch: Fetch, shape: tuple[int, int], bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__(fetch, shape, dtype)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.current(x.device), self.bias)


class StreamedEmbedding(Streamed):
    """shape: (words, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.embedding(tokens, self.current(tokens.device))


def stream_large(module: nn.Module, read: Callable[[str], Fetch], dtype: torch.dtype, *, prefix: str = "") -> None:
    """Replaces every linear layer and embedding below `module` by one that fetches its weight; biases stay.

    The module may lie on the meta device. read: gives the way to a weight of the module by its name.
    """
    for name, child in list(module.named_children()):
        place = f"{prefix}{name}"
        if isinstance(child, nn.Linear):
            shape = (child.out_features, child.in_features)
            setattr(module, name, StreamedLinear(read(f"{place}.weight"), shape, child.bias, dtype))
        elif isinstance(child, nn.Embedding):
            table = (child.num_embeddings, child.embedding_dim)
            setattr(module, name, StreamedEmbedding(read(f"{place}.weight"), table, dtype))
        else:
            stream_large(child, read, dtype, prefix=f"{place}.")


def hold_places(module: nn.Module) -> None:
    """Gives every streamed layer its placeholder; call it once everything else is loaded."""
    for layer in module.modules():
        if isinstance(layer, Streamed):
            layer.hold_place()

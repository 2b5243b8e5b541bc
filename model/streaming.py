"""Modules larger than memory: large weights stay where they lie and are read when a layer runs or is written.

A hollow tensor has a shape and a dtype but no numbers (every element is the same stored zero): a module of such tensors
can be traced for export. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import CheckpointError
from model.weight_files import WeightFiles

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


def fill_streamed(module: nn.Module, files: WeightFiles, streamed: Iterable[str]) -> None:
    """Gives a module that was made on the meta device its weights: float32 in memory, but for the linear layers inside
    the submodules named by `streamed`, whose weights stay in `files`.

    Raises: CheckpointError: a name is missing or not the module's, or a shape differs.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if wrong := sorted(wanted.keys() ^ files.keys()):
        which = "has no" if wrong[0] in wanted else "has an unknown"
        raise CheckpointError(f"the checkpoint {which} {wrong[0]} ({len(wrong)} names do not fit in all)")
    for name, shape in wanted.items():
        if files.shape(name) != shape:
            raise CheckpointError(f"{name} is {files.shape(name)} in the checkpoint, the model has {shape}")
    for place in streamed:
        _stream_linears(module.get_submodule(place), f"{place}.", files)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_meta and name in files:
            owner, _, attribute = name.rpartition(".")
            filled = files[name].float()
            layer = module.get_submodule(owner)
            if attribute in layer._parameters:
                layer._parameters[attribute] = nn.Parameter(filled, requires_grad=False)
            else:
                layer._buffers[attribute] = filled


def _stream_linears(module: nn.Module, prefix: str, files: WeightFiles) -> None:
    for name, child in list(module.named_children()):
        place = f"{prefix}{name}"
        if isinstance(child, nn.Linear):
            bias = None if child.bias is None else files[f"{place}.bias"]
            shape = (child.out_features, child.in_features)
            setattr(module, name, StreamedLinear(_reading(files, f"{place}.weight"), shape, bias, torch.float32))
        else:
            _stream_linears(child, f"{place}.", files)


def _reading(files: WeightFiles, name: str) -> Fetch:
    return lambda: files[name]

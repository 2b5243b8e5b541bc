"""Runs torch modules as graphs: for parity tests, and for `--runner torch` on a training run. Needs the torch extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import RunnerError
from model.runners.base import Arrays, GraphSignature, TensorSignature, check_input, check_inputs, signature_of

FAILURES = (RuntimeError, IndexError, ValueError)
"""What a module raises when it cannot run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The part of a graph that depends on a few slowly changing inputs only, such as the prompt.

    inputs: their names. module: takes them in this order; what it returns goes to the graph's module in their stead,
    after all its other inputs. A runner may keep the result for as long as these inputs stay the same.
    """

    inputs: tuple[str, ...]
    module: nn.Module

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return _as_tuple(self.module(*inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchGraph:
    """A module with what export and the runner must know of it.

    inputs: one example each, named, in the order of the module's forward, all of different dynamic lengths where they
    may differ. dynamic_axes: input name -> axis -> the name of its length; inputs that share a name share the length.
    outputs: names, in the order that forward returns them (one tensor or a tuple). kept: see `Kept`; None makes every
    input an argument of forward. memory: the part of `module` whose buffers a run changes and the next one reads, as a
    decoder that is handed a chunk frame by frame; a runner that runs a module more often than it was asked to, to warm
    it up, puts them back.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    dynamic_axes: Mapping[str, Mapping[int, str]]
    kept: Kept | None = None
    memory: nn.Module | None = None

    @property
    def own_inputs(self) -> tuple[str, ...]:
        """The inputs that the module itself takes, in order."""
        return tuple(name for name in self.inputs if self.kept is None or name not in self.kept.inputs)

    def call(self, inputs: Mapping[str, Tensor], kept: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """The module's outputs for its own inputs and what `Kept.call` gave."""
        return _as_tuple(self.module(*(inputs[name] for name in self.own_inputs), *kept))

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            kept = () if self.kept is None else self.kept.call(*(inputs[name] for name in self.kept.inputs))
            return dict(zip(self.outputs, self.call(inputs, kept), strict=True))


class TorchRunner:
    """Modules on one device, in the dtype they come in; each runs its example once, to learn its outputs."""

    def __init__(self, graphs: Mapping[str, TorchGraph], *, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._modules = dict(graphs)
        self._graphs = {name: graph_signature(graph, self._device) for name, graph in graphs.items()}
        self._bound: dict[str, dict[str, Tensor]] = {name: {} for name in graphs}

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return self._graphs

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        signature = signature_of(self._graphs, graph)
        bound = self._bound[graph]
        check_inputs(graph, signature, inputs, {name: np.empty(0) for name in bound})
        tensors = {name: self._tensor(array) for name, array in inputs.items()}
        try:
            outputs = self._modules[graph].run({**bound, **tensors})
        except FAILURES as exc:
            raise RunnerError(f"{graph}: torch failed: {exc}") from exc
        return {name: tensor.cpu().numpy().copy() for name, tensor in outputs.items()}

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        check_input(graph, signature_of(self._graphs, graph), name, array)
        self._bound[graph][name] = self._tensor(array.copy())

    def close(self) -> None:
        self._modules.clear()
        self._graphs.clear()

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        own = array if array.flags.writeable else array.copy()  # torch warns of memory that it must not write
        return torch.from_numpy(np.ascontiguousarray(own)).to(self._device)


def graph_signature(graph: TorchGraph, device: torch.device) -> GraphSignature:
    """Moves a graph's modules to `device` and runs its example once, to learn its outputs.

    Output lengths count as varying wherever any input's do: a module does not say which follow which.
    """
    graph.module.to(device).eval()
    if graph.kept is not None:
        graph.kept.module.to(device).eval()
    outputs = graph.run({name: tensor.to(device) for name, tensor in graph.inputs.items()})
    varies = any(graph.dynamic_axes.values())
    return GraphSignature(
        inputs={
            name: _tensor_signature(tensor, set(graph.dynamic_axes.get(name, {})))
            for name, tensor in graph.inputs.items()
        },
        outputs={
            name: _tensor_signature(tensor, set(range(tensor.ndim)) if varies else set())
            for name, tensor in outputs.items()
        },
    )


def _as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _tensor_signature(tensor: Tensor, dynamic: set[int]) -> TensorSignature:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSignature(dtype, tuple(None if axis in dynamic else n for axis, n in enumerate(tensor.shape)))

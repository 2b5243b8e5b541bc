"""Keeps a causal autoencoder's memory between two runs of a chunk, on the device or in host memory.

An export makes the memory visible: `decoder_first` gives `next_memory_*`, `decoder` takes `memory_*` and gives
`next_memory_*`; `encoder_first` and `encoder` likewise. A chunk is decoded or encoded on its own, so the memory
belongs to no session. Wan's takes gigabytes: `KeptMemory` leaves it on the device and says which address goes to
which name; `HostMemory` is for runtimes that only take and give host arrays. No device is touched here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError
from model.runners.base import GraphSignature, TensorSignature
from model.spec import Graph

_TAKEN, _GIVEN = "memory_", "next_memory_"
_PAIRS = {Graph.DECODER_FIRST: Graph.DECODER, Graph.ENCODER_FIRST: Graph.ENCODER}

Kept = Mapping[str, Mapping[str, TensorSignature]]
"""What a pair of graphs keeps: by the second's name, then by the name under which it takes it."""


def kept_tensors(graphs: Mapping[str, GraphSignature]) -> dict[str, dict[str, TensorSignature]]:
    """Nothing for a model without first graphs: its memory belongs to a session (the demo's decoder).

    Raises: RunnerError: the two graphs of a pair do not agree, or a length varies.
    """
    found: dict[str, dict[str, TensorSignature]] = {}
    for pair in _PAIRS.items():
        if not all(name in graphs for name in pair):
            continue
        first, second = (graphs[name] for name in pair)
        kept = {name: tensor for name, tensor in second.inputs.items() if name.startswith(_TAKEN)}
        for name, tensor in kept.items():
            for giver in (first, second):
                if giver.outputs.get(f"next_{name}") != tensor or None in tensor.shape:
                    raise RunnerError(
                        f"{pair[1]}: {name} is {tensor}, and not given back as such; export the model again"
                    )
        found[pair[1]] = kept
    return found


def is_kept(graph: str, name: str, kept: Kept) -> bool:
    return name.removeprefix("next_") in kept.get(_pair_of(graph), {})


def seen_from_outside(graph: str, signature: GraphSignature, kept: Kept) -> GraphSignature:
    """The signature that callers meet: no memory."""

    def without(tensors: Mapping[str, TensorSignature]) -> dict[str, TensorSignature]:
        return {name: tensor for name, tensor in tensors.items() if not is_kept(graph, name, kept)}

    return GraphSignature(without(signature.inputs), without(signature.outputs))


class KeptMemory:
    """Two addresses for each kept input: a run reads at one and writes at the other, then they change places."""

    def __init__(self, addresses: Mapping[str, Mapping[str, tuple[int, int]]]) -> None:
        """addresses: by pair and name, as `Kept`."""
        self._addresses = addresses
        self._turn = dict.fromkeys(addresses, 0)

    def addresses_of(self, graph: str, names: Mapping[str, TensorSignature]) -> dict[str, int]:
        """Where each kept tensor among a graph's inputs and outputs lies in its next run."""
        pair = _pair_of(graph)
        kept = self._addresses.get(pair, {})
        return {
            name: both[1 - self._turn[pair] if name.startswith(_GIVEN) else self._turn[pair]]
            for name in names
            if (both := kept.get(name.removeprefix("next_"))) is not None
        }

    def advance(self, graph: str) -> None:
        """A run of `graph` was queued: what it wrote is what the next of its pair reads."""
        pair = _pair_of(graph)
        if pair in self._turn:
            self._turn[pair] = 1 - self._turn[pair]


class HostMemory:
    """The same for a runtime that takes and gives numpy arrays: what the newest run of a pair gave."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._newest: dict[str, dict[str, NDArray[np.generic]]] = {}

    def taken_by(self, graph: str) -> Mapping[str, NDArray[np.generic]]:
        """What of it a graph takes as inputs. Raises: RunnerError: the first graph of its pair has not run yet."""
        if graph not in self._kept:
            return {}
        if graph not in self._newest:
            raise RunnerError(f"{graph} continues what {graph}_first began, which has not run")
        return self._newest[graph]

    def keep(self, graph: str, outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Keeps what of a run's outputs is memory. Returns: the others."""
        pair = _pair_of(graph)
        if pair in self._kept:
            self._newest[pair] = {name: outputs[f"next_{name}"] for name in self._kept[pair]}
        return {name: array for name, array in outputs.items() if not is_kept(graph, name, self._kept)}


def _pair_of(graph: str) -> str:
    """The second graph of the pair that `graph` may have part in; any other graph is its own."""
    return next((second for first, second in _PAIRS.items() if graph == first), graph)

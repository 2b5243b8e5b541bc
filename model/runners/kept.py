"""A chunk decoder's memory, kept on the device between its runs, and its pixels as frames.

An export for a device makes the memory visible: `decoder_first` gives `next_memory_*`, `decoder` takes `memory_*` and
gives `next_memory_*`. For Wan's decoder that is gigabytes, which must not cross the seam. A chunk is decoded on its
own, so the memory belongs to no session. No device is touched here, only which address goes to which name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError
from model.runners.base import GraphSignature, TensorSignature
from model.spec import Graph

_TAKEN, _GIVEN = "memory_", "next_memory_"
_PIXELS, _FRAMES = "pixels", "frames"
_SHARING = (Graph.DECODER_FIRST, Graph.DECODER)


def kept_tensors(graphs: Mapping[str, GraphSignature]) -> dict[str, TensorSignature]:
    """What is to be kept, by the decoder's input names; nothing for a model without `decoder_first`.

    Raises: RunnerError: the two decoders do not agree, or a length varies.
    """
    if not all(name in graphs for name in _SHARING):
        return {}
    first, decoder = (graphs[name] for name in _SHARING)
    kept = {name: tensor for name, tensor in decoder.inputs.items() if name.startswith(_TAKEN)}
    for name, tensor in kept.items():
        for giver in (first, decoder):
            if giver.outputs.get(f"next_{name}") != tensor or None in tensor.shape:
                raise RunnerError(f"decoder: {name} is {tensor}, and not given back as such; export the model again")
    return kept


def is_kept(graph: str, name: str, kept: Mapping[str, TensorSignature]) -> bool:
    return graph in _SHARING and name.removeprefix("next_") in kept


def seen_from_outside(graph: str, signature: GraphSignature, kept: Mapping[str, TensorSignature]) -> GraphSignature:
    """The signature that callers meet: no memory, and 8-bit frames in place of pixels."""
    if graph not in _SHARING or not kept:
        return signature
    outputs = {name: tensor for name, tensor in signature.outputs.items() if not is_kept(graph, name, kept)}
    if _PIXELS in outputs:
        _, channels, frames, height, width = outputs.pop(_PIXELS).shape
        outputs[_FRAMES] = TensorSignature("uint8", (frames, height, width, channels))
    inputs = {name: tensor for name, tensor in signature.inputs.items() if not is_kept(graph, name, kept)}
    return replace(signature, inputs=inputs, outputs=outputs)


def finished(outputs: dict[str, NDArray[np.generic]], seen: GraphSignature) -> dict[str, NDArray[np.generic]]:
    """A graph's outputs under the names of the signature that callers meet."""
    if _FRAMES in seen.outputs and _PIXELS in outputs:
        return {_FRAMES: frames_from_pixels(np.asarray(outputs[_PIXELS], dtype=np.float32))}
    return outputs


def frames_from_pixels(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(1, 3, T, H, W) in [-1, 1] -> (T, H, W, 3) uint8, rounded to even as torch does."""
    levels = np.clip(pixels[0] / 2 + 0.5, 0, 1) * 255
    return np.ascontiguousarray(np.rint(levels).astype(np.uint8).transpose(1, 2, 3, 0))


@dataclass(slots=True)
class KeptMemory:
    """Two addresses for each kept input: a run reads at one and writes at the other, then they change places."""

    addresses: Mapping[str, tuple[int, int]]
    current: int = 0

    def addresses_of(self, graph: str, names: Mapping[str, TensorSignature]) -> dict[str, int]:
        """Where each kept tensor among a graph's inputs and outputs lies in its next run."""
        if graph not in _SHARING:
            return {}
        return {
            name: both[1 - self.current if name.startswith(_GIVEN) else self.current]
            for name in names
            if (both := self.addresses.get(name.removeprefix("next_"))) is not None
        }

    def advance(self, graph: str) -> None:
        """A run of `graph` was queued: what it wrote is what the next one reads."""
        if graph in _SHARING:
            self.current = 1 - self.current

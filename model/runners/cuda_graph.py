"""Runs torch modules as static graphs: one for every set of input shapes, captured once, then replayed.

On CUDA a replay is one launch (a CUDA graph) over buffers that never move; graphs named `background` have a stream
of their own, so that a chunk is decoded while the next is denoised. On a CPU the same buffers are used and a replay
is a plain call, so that tests without a GPU find errors of reused memory. Needs the torch extra.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import RunnerError
from model.runners.base import Arrays, GraphSignature, Pending, check_input, check_inputs, is_frozen, signature_of
from model.runners.cuda_stream import CudaEvent, CudaStream
from model.runners.torch import FAILURES, Kept, TorchGraph, graph_signature

_log = logging.getLogger(__name__)
_WARM_UP_RUNS = 2  # before a capture: kernels are compiled and chosen, libraries allocate their workspaces
_KEPT_VALUES = 4  # prompts whose keys and values stay on the device; 0.4 GB each for Helios-14B in bf16


class CudaGraphRunner:
    """Modules on one device. `run` waits for its outputs, `start` does not. See `ModuleRunner` for the contract.

    Inputs and outputs are those of the seam (float32, integers); modules convert to their own dtype inside.
    """

    def __init__(
        self, graphs: Mapping[str, TorchGraph], *, device: str = "cpu", background: Collection[str] = ()
    ) -> None:
        """background: graphs that run beside the others, on a second stream."""
        self._device = torch.device(device)
        self._modules = dict(graphs)
        self._graphs = {name: graph_signature(graph, self._device) for name, graph in graphs.items()}
        # Somebody waits for the frames that the background makes, and nobody yet for what the rest of the GPU does.
        lanes = {False: CudaStream(self._device), True: CudaStream(self._device, first=True)}
        self._lanes = {name: lanes[name in background] for name in graphs}
        self._bound: dict[str, dict[str, NDArray[np.generic]]] = {name: {} for name in graphs}
        self._kept = {
            name: _KeptValues(graph.kept, self._device) for name, graph in graphs.items() if graph.kept is not None
        }
        self._static: dict[tuple[object, ...], _StaticGraph] = {}
        self._inputs: dict[tuple[object, ...], _Input] = {}
        if self._device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes never change: let cuDNN try its convolutions once
            # Weights may still be on their way, on a stream that the lanes do not wait for.
            torch.cuda.synchronize(self._device)

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return self._graphs

    @property
    def captured(self) -> Mapping[str, int]:
        """How many CUDA graphs each graph has; none on a CPU, or where capturing failed (the log says why)."""
        counts = dict.fromkeys(self._modules, 0)
        for (name, *_), static in self._static.items():
            counts[str(name)] += static.captured
        return counts

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        return self.start(graph, inputs).result()

    def start(self, graph: str, inputs: Arrays) -> Pending:
        """As `run`, but returns while the device works. `inputs` may be changed as soon as it returns.

        Raises: RunnerError: here for wrong inputs, in `result` for what fails on the device.
        """
        check_inputs(graph, signature_of(self._graphs, graph), inputs, self._bound[graph])
        given = {**self._bound[graph], **inputs}
        lane = self._lanes[graph]
        try:
            with torch.no_grad(), lane.active():
                extra = self._kept[graph].of(given) if graph in self._kept else ()
                static = self._static_graph(graph, given, extra)
                static.load({name: array for name, array in given.items() if name in static.inputs})
                static.replay()
                return self._unload(graph, static.outputs, lane)
        except FAILURES as exc:
            raise RunnerError(f"{graph}: torch failed: {exc}") from exc

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        check_input(graph, signature_of(self._graphs, graph), name, array)
        bound = array.copy()
        bound.flags.writeable = False
        self._bound[graph][name] = bound

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.wait()
        self._static.clear()
        self._inputs.clear()
        self._kept.clear()
        self._modules.clear()
        self._graphs.clear()

    def _static_graph(self, name: str, given: Arrays, extra: tuple[Tensor, ...]) -> _StaticGraph:
        graph = self._modules[name]
        own = {key: array for key, array in given.items() if graph.kept is None or key not in graph.kept.inputs}
        key = (name, *((array.shape, array.dtype) for array in own.values()), *(tensor.data_ptr() for tensor in extra))
        if key not in self._static:
            inputs = {key: self._input(name, key, own[key]) for key in graph.own_inputs}
            tensors = {key: one.tensor for key, one in inputs.items()}

            def call() -> tuple[Tensor, ...]:
                return graph.call(tensors, extra)

            with _unchanged(graph.memory):
                self._static[key] = _StaticGraph(name, inputs, call, self._lanes[name])
        return self._static[key]

    def _input(self, graph: str, name: str, array: NDArray[np.generic]) -> _Input:
        """One for all static graphs of a module that take this input in this shape."""
        key = (graph, name, array.shape, array.dtype)
        if key not in self._inputs:
            self._inputs[key] = _Input(torch.from_numpy(np.array(array)).to(self._device))
        return self._inputs[key]

    def _unload(self, graph: str, outputs: tuple[Tensor, ...], lane: CudaStream) -> Pending:
        arrays = {}
        for name, tensor in zip(self._graphs[graph].outputs, outputs, strict=True):
            buffer, arrays[name] = lane.ring.lend(tensor)
            buffer.copy_(tensor, non_blocking=True)
        return _Started(graph, arrays, lane.mark())


class _Started:
    """Outputs under way to the host."""

    def __init__(self, graph: str, arrays: dict[str, NDArray[np.generic]], done: CudaEvent) -> None:
        self._graph, self._arrays, self._done = graph, arrays, done

    def ready(self) -> bool:
        return self._done.reached()

    def result(self) -> dict[str, NDArray[np.generic]]:
        try:
            self._done.wait()
        except FAILURES as exc:
            raise RunnerError(f"{self._graph}: torch failed: {exc}") from exc
        return self._arrays


@dataclass(slots=True)
class _Input:
    """A buffer that never moves. held: the frozen array that is in it, if it is one."""

    tensor: Tensor
    held: NDArray[np.generic] | None = None


class _StaticGraph:
    """One module at one set of shapes, over buffers that never move."""

    def __init__(
        self, name: str, inputs: dict[str, _Input], call: Callable[[], tuple[Tensor, ...]], lane: CudaStream
    ) -> None:
        self.inputs = inputs
        self._call, self._lane = call, lane
        self._staging: deque[tuple[CudaEvent, dict[str, Tensor]]] = deque()
        self._graph: Any = None
        self.outputs = tuple(output.clone() for output in call())
        if lane.cuda:
            self._capture(name)

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def load(self, arrays: Arrays) -> None:
        staging = self._free_staging()
        for name, array in arrays.items():
            given = self.inputs[name]
            if given.held is array:
                continue
            given.held = None
            staging[name].numpy()[...] = array
            given.tensor.copy_(staging[name], non_blocking=True)
            given.held = array if is_frozen(array) else None
        self._staging.append((self._lane.mark(), staging))

    def _free_staging(self) -> dict[str, Tensor]:
        """Host memory that no copy still reads: the oldest, or more of it, so that nobody waits for runs queued up."""
        if self._staging and self._staging[0][0].reached():
            return self._staging.popleft()[1]
        return {
            name: torch.empty_like(one.tensor, device="cpu", pin_memory=self._lane.cuda)
            for name, one in self.inputs.items()
        }

    def replay(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        for kept, made in zip(self.outputs, self._call(), strict=True):
            kept.copy_(made)

    def _capture(self, name: str) -> None:
        for _ in range(_WARM_UP_RUNS):
            self._call()
        self._lane.wait()
        torch.cuda.empty_cache()  # what the warm-up took; the captured graph has a pool of its own
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, pool=self._lane.pool, stream=self._lane.stream, capture_error_mode="thread_local"
            ):
                outputs = self._call()
        except RuntimeError as exc:
            _log.warning("graph.capture_failed graph=%s launches one by one from here on: %s", name, exc)
            return
        self.outputs, self._graph = outputs, graph


class _KeptValues:
    """What a graph's `Kept` module made of the inputs seen last, on the device; the one in force in fixed buffers."""

    def __init__(self, kept: Kept, device: torch.device) -> None:
        self._kept, self._device = kept, device
        self._values: list[tuple[Arrays, tuple[Tensor, ...]]] = []  # the newest first
        self._frozen: Arrays = {}  # the arrays that the newest came as, if they are frozen
        self._fixed: dict[tuple[object, ...], tuple[Tensor, ...]] = {}
        self._in_force: tuple[Tensor, ...] = ()

    def of(self, given: Arrays) -> tuple[Tensor, ...]:
        """Buffers whose address depends on the inputs' shapes only."""
        inputs = {name: given[name] for name in self._kept.inputs}
        if inputs.keys() == self._frozen.keys() and all(self._frozen[name] is inputs[name] for name in inputs):
            return self._buffers(self._in_force)
        self._frozen = {}  # until what is given is in force
        place = next((i for i, (seen, _) in enumerate(self._values) if _equal(seen, inputs)), None)
        if place is None:
            tensors = (torch.from_numpy(np.array(array)).to(self._device) for array in inputs.values())
            seen: Arrays = {name: array.copy() for name, array in inputs.items()}
            entry = (seen, self._kept.call(*tensors))
            del self._values[_KEPT_VALUES - 1 :]
        else:
            entry = self._values.pop(place)
        self._values.insert(0, entry)
        _, made = entry
        fixed = self._buffers(made)
        if made is not self._in_force:
            for buffer, tensor in zip(fixed, made, strict=True):
                buffer.copy_(tensor)
            self._in_force = made
        self._frozen = inputs if all(map(is_frozen, inputs.values())) else {}
        return fixed

    def _buffers(self, like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        key = tuple((tensor.shape, tensor.dtype) for tensor in like)
        if key not in self._fixed:
            self._fixed[key] = tuple(torch.empty_like(tensor) for tensor in like)
        return self._fixed[key]


@contextlib.contextmanager
def _unchanged(memory: nn.Module | None) -> Iterator[None]:
    """Puts a module's buffers back as they were."""
    buffers = [] if memory is None else list(memory.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, kept in zip(buffers, before, strict=True):
            buffer.copy_(kept)


def _equal(seen: Arrays, given: Arrays) -> bool:
    return all(np.array_equal(seen[name], given[name]) for name in given)

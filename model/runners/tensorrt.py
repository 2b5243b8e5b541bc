"""Runs TensorRT plans: every buffer on the GPU made once, decoders on a queue of their own beside the other graphs.

The contexts of one queue share one piece of scratch memory, because their graphs run one after another. Needs the
tensorrt extra. Which plan files belong to a model is not decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from model.errors import RunnerError
from model.runners.base import (
    Arrays,
    GraphSignature,
    Pending,
    TensorSignature,
    check_input,
    check_inputs,
    is_frozen,
    signature_of,
)
from model.runners.decoder_cache import Kept, KeptMemory, is_kept, kept_tensors, seen_from_outside
from model.runners.device import Device, Event, Stream
from model.runners.staging import StagedOutputs, Staging, StagingSet
from model.runners.tensorrt_log import TensorRtLog
from model.runners.tensorrt_plan import REBUILD, LoadedPlan, PlanFile, Shape, load_plan
from model.spec import DECODERS


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where an input or output lies on the GPU, and the most bytes that it takes."""

    dtype: np.dtype[np.generic]
    memory: int
    most_bytes: int

    def nbytes(self, shape: Shape) -> int:
        return math.prod(shape) * self.dtype.itemsize


@dataclass(slots=True)
class _Graph:
    """One plan, its tensors, and what its context is set to. held: the frozen arrays that its inputs have from before.
    profile: -1 before the first run."""

    plan: LoadedPlan
    queue: Stream
    tensors: dict[str, _Tensor]
    inputs: Staging
    outputs: Staging
    held: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    profile: int = -1
    shapes: dict[str, Shape] = field(default_factory=dict)
    bound: dict[str, Shape] = field(default_factory=dict)


class TrtRunner:
    """Plans by graph name, on one GPU, which it owns. See `OverlappingRunner` for the contract."""

    def __init__(self, plans: Mapping[str, PlanFile], device: Device, *, keep_memory: bool = True) -> None:
        """keep_memory: False shows what an autoencoder remembers as inputs and outputs, for who compares graphs.

        Raises: RunnerError: a plan does not load on this GPU, or there is not enough memory for all of them.
        """
        self._device, self._log = device, TensorRtLog()
        self._graphs: dict[str, _Graph] = {}
        self._signatures: dict[str, GraphSignature] = {}
        self._queues: dict[bool, Stream] = {}
        self._closed = False
        try:
            with device.current(), _mapped("loading"):
                self._queues = {decodes: device.open_queue() for decodes in (False, True)}
                runtime = trt.Runtime(self._log)
                loaded = [
                    load_plan(name, plan, runtime, self._log, device, self._queue_of(name))
                    for name, plan in plans.items()
                ]
                for decodes in self._queues:
                    self._share_scratch([plan for plan in loaded if (plan.graph in DECODERS) is decodes])
                kept = kept_tensors({plan.graph: plan.signature for plan in loaded}) if keep_memory else {}
                self._kept = KeptMemory({pair: self._make_pair(pair, tensors) for pair, tensors in kept.items()})
                self._graphs = {plan.graph: self._make_graph(plan, kept) for plan in loaded}
        except BaseException:
            self.close()
            raise
        self._signatures = {
            name: seen_from_outside(name, graph.plan.signature, kept) for name, graph in self._graphs.items()
        }

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return self._signatures

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        return self.start(graph, inputs).result()

    def start(self, graph: str, inputs: Arrays) -> Pending:
        """As `run`, but returns while the GPU works. `inputs` may be changed as soon as it returns."""
        signature, state = self._lookup(graph)
        check_inputs(graph, signature, inputs, {name: np.empty(0) for name in state.bound})
        with self._device.current(), _mapped(graph):
            self._fit({name: array.shape for name, array in inputs.items()} | state.bound, state)
            self._upload(inputs, state)
            landing = state.outputs.lend()
            if not state.plan.context.execute_async_v3(state.queue.handle):
                raise RunnerError(f"{graph}: TensorRT failed: {self._log.last_errors()}; restart the engine")
            self._kept.advance(graph)
            return self._download(landing, state)

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        signature, state = self._lookup(graph)
        check_input(graph, signature, name, array)
        if array.nbytes > state.tensors[name].most_bytes:
            raise RunnerError(f"{graph}: no profile of the plan admits {name} {array.shape}; {REBUILD}")
        with self._device.current():
            self._upload({name: array}, state).wait()
        state.bound[name] = array.shape

    def close(self) -> None:
        """Harmless the second time."""
        if self._closed:
            return
        self._closed = True
        with self._device.current():
            for queue in self._queues.values():
                with suppress(RunnerError):  # told to whoever waits for it
                    queue.mark().wait()
            self._graphs.clear()  # TensorRT's objects before the memory that they use, and after their work
        self._signatures = {}
        self._device.close()

    def _queue_of(self, graph: str) -> Stream:
        return self._queues[graph in DECODERS]

    def _upload(self, arrays: Arrays, state: _Graph) -> Event:
        """Queues the inputs that are not there yet, whatever their strides. Returns: when they have been read."""
        staging = state.inputs.lend()
        for name, array in arrays.items():
            if state.held.get(name) is array:
                continue
            state.held.pop(name, None)
            tensor = state.tensors[name]
            filled = staging[name][: array.nbytes]
            filled.view(tensor.dtype).reshape(array.shape)[...] = array
            state.queue.upload(tensor.memory, filled)
            if is_frozen(array):
                state.held[name] = array
        read = state.queue.mark()
        state.inputs.give_back(staging, read)
        return read

    def _download(self, landing: StagingSet, state: _Graph) -> StagedOutputs:
        """Queues the outputs' way to the host. landing: lent for them."""
        shapes = {name: state.plan.context.get_tensor_shape(name)[:] for name in landing}
        for name, shape in shapes.items():
            tensor = state.tensors[name]
            state.queue.download(landing[name][: tensor.nbytes(shape)], tensor.memory)
        layouts = {name: (state.tensors[name].dtype, shape) for name, shape in shapes.items()}
        return StagedOutputs(state.plan.graph, state.outputs, landing, layouts, state.queue.mark())

    def _lookup(self, graph: str) -> tuple[GraphSignature, _Graph]:
        return signature_of(self._signatures, graph), self._graphs[graph]

    def _fit(self, shapes: Mapping[str, Shape], state: _Graph) -> None:
        """Sets the profile and the shapes that differ from the last run's, without waiting for the GPU."""
        plan = state.plan
        if not (state.profile >= 0 and plan.limits[state.profile].admits(shapes)):
            fitting = [index for index, limits in enumerate(plan.limits) if limits.admits(shapes)]
            if not fitting:
                asked = {name: shapes[name] for name in plan.limits[0].lowest} if plan.limits else dict(shapes)
                offered = "; ".join(map(str, plan.limits))
                raise RunnerError(f"{plan.graph}: the plan was built for {offered}; got {asked}; {REBUILD}")
            self._enter_profile(fitting[0], state)
        for name in plan.limits[state.profile].lowest:
            if state.shapes.get(name) != shapes[name]:
                _checked(plan.context.set_input_shape(name, shapes[name]), plan, self._log, f"the shape of {name}")
                state.shapes[name] = shapes[name]
        for name, address in self._kept.addresses_of(plan.graph, _all_tensors(plan)).items():
            _checked(plan.context.set_tensor_address(name, address), plan, self._log, f"the address of {name}")
        if unknown := plan.context.infer_shapes():
            raise RunnerError(f"{plan.graph}: TensorRT lacks the shape of {', '.join(unknown)}; {REBUILD}")

    def _enter_profile(self, profile: int, state: _Graph) -> None:
        context = state.plan.context
        switched = context.set_optimization_profile_async(profile, state.queue.handle)
        _checked(switched, state.plan, self._log, f"profile {profile}")
        state.profile = profile
        state.shapes.clear()  # a context forgets them with the profile
        for name, tensor in state.tensors.items():
            _checked(context.set_tensor_address(name, tensor.memory), state.plan, self._log, f"the address of {name}")

    def _share_scratch(self, plans: list[LoadedPlan]) -> None:
        """plans: those of one queue."""
        largest = max((plan.scratch_bytes for plan in plans), default=0)
        if not largest:
            return
        scratch = self._device.allocate(largest, what=f"what {', '.join(plan.graph for plan in plans)} compute in")
        for plan in plans:
            plan.context.set_device_memory(scratch, largest)

    def _make_pair(self, graph: str, tensors: Mapping[str, TensorSignature]) -> dict[str, tuple[int, int]]:
        made = {}
        for name, tensor in tensors.items():
            nbytes = math.prod(n for n in tensor.shape if n is not None) * np.dtype(tensor.dtype).itemsize
            what = f"the {graph}'s {name}"
            made[name] = (self._device.allocate(nbytes, what=what), self._device.allocate(nbytes, what=what))
        return made

    def _make_graph(self, plan: LoadedPlan, kept: Kept) -> _Graph:
        """With memory for all inputs and outputs but those that are kept, which never leave the device."""
        largest = {name: _largest(name, signature, plan) for name, signature in plan.signature.inputs.items()}
        largest |= self._largest_outputs(plan)
        largest = {name: nbytes for name, nbytes in largest.items() if not is_kept(plan.graph, name, kept)}
        signatures = _all_tensors(plan)
        tensors = {
            name: _Tensor(
                np.dtype(signatures[name].dtype),
                self._device.allocate(nbytes, what=f"{plan.graph}'s {name}"),
                nbytes,
            )
            for name, nbytes in largest.items()
        }

        def staging(side: Mapping[str, TensorSignature]) -> Staging:
            return Staging(self._device, {name: largest[name] for name in side if name in largest}, what=plan.graph)

        inputs, outputs = staging(plan.signature.inputs), staging(plan.signature.outputs)
        return _Graph(plan, self._queue_of(plan.graph), tensors, inputs, outputs)

    def _largest_outputs(self, plan: LoadedPlan) -> dict[str, int]:
        """Bytes of each output at every profile's largest inputs, as TensorRT tells them."""
        sizes = dict.fromkeys(plan.signature.outputs, 0)
        for index, limits in enumerate(plan.limits):
            switched = plan.context.set_optimization_profile_async(index, self._queue_of(plan.graph).handle)
            _checked(switched, plan, self._log, f"profile {index}")
            for name, shape in limits.highest.items():
                _checked(plan.context.set_input_shape(name, shape), plan, self._log, f"the shape of {name}")
            for name in sizes:
                nbytes = plan.context.get_max_output_size(name)
                _checked(nbytes >= 0, plan, self._log, f"to say how large {name} gets")
                sizes[name] = max(sizes[name], nbytes)
        return sizes


def _all_tensors(plan: LoadedPlan) -> dict[str, TensorSignature]:
    return {**plan.signature.inputs, **plan.signature.outputs}


def _largest(name: str, signature: TensorSignature, plan: LoadedPlan) -> int:
    """Bytes of an input at its largest in any profile."""
    fixed = tuple(n for n in signature.shape if n is not None)
    shapes = [limits.highest.get(name, fixed) for limits in plan.limits] or [fixed]
    return max(math.prod(shape) for shape in shapes) * np.dtype(signature.dtype).itemsize


def _checked(done: bool, plan: LoadedPlan, log: TensorRtLog, what: str) -> None:
    if not done:
        raise RunnerError(f"{plan.graph}: TensorRT refuses {what} ({log.last_errors()}); {REBUILD}")


@contextmanager
def _mapped(graph: str) -> Iterator[None]:
    """What TensorRT's bindings raise, in place of returning that they failed."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, MemoryError) as exc:
        raise RunnerError(f"{graph}: TensorRT failed: {exc}; {REBUILD}") from exc

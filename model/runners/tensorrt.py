"""Runs TensorRT plans: loads them, allocates every buffer on the GPU once, runs decoders on a stream of their own.

`load_plan` reads a plan file and refits it if it was stripped of weights; `TensorRtLog` sends TensorRT's log to
Python's and keeps its last errors, because TensorRT's calls only say that they failed. The contexts of one stream
share one piece of scratch memory, because their graphs run one after another. Needs the tensorrt extra. Which plan
files belong to a model is decided elsewhere (trt_build).
"""

from __future__ import annotations

import logging
import math
import mmap
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

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
from model.runners.device import Device, Event, Stream, out_of_memory
from model.runners.staging import StagedOutputs, Staging, StagingSet
from model.spec import DECODERS

_logger = logging.getLogger(__name__)
_KEPT_ERRORS = 3
_LEVELS = {
    trt.ILogger.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.ERROR: logging.ERROR,
    trt.ILogger.WARNING: logging.WARNING,
    trt.ILogger.INFO: logging.INFO,
    trt.ILogger.VERBOSE: logging.DEBUG,
}


class TensorRtLog(trt.ILogger):  # type: ignore[misc]  # an untyped base where the stubs are not at hand
    """TensorRT calls it from its own threads too."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        level = _LEVELS.get(severity, logging.DEBUG)
        if level == logging.ERROR:
            self._errors.append(msg.strip())
        _logger.log(level, "%s", msg)

    def last_errors(self) -> str:
        """What TensorRT complained of since the last call; "no reason given" if it did not."""
        text = "; ".join(self._errors) or "no reason given"
        self._errors.clear()
        return text


Shape = tuple[int, ...]
REBUILD = "build the plan on this machine: `python -m trt_build build DIR`"

_DTYPES = {
    trt.DataType.FLOAT: "float32", trt.DataType.HALF: "float16", trt.DataType.INT64: "int64",
    trt.DataType.INT32: "int32", trt.DataType.INT8: "int8", trt.DataType.UINT8: "uint8", trt.DataType.BOOL: "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """weights_from: the ONNX file that a stripped plan takes its weights from; None for a plan that has them.

    weight_streaming: the plan may keep part of its weights in host memory; TensorRT then chooses how much.
    """

    path: Path
    weights_from: Path | None = None
    weight_streaming: bool = False


@dataclass(frozen=True, slots=True)
class ShapeLimits:
    """One profile: what each input with a varying length may be."""

    lowest: Mapping[str, Shape]
    highest: Mapping[str, Shape]

    def admits(self, shapes: Mapping[str, Shape]) -> bool:
        return all(
            len(shapes[name]) == len(low)
            and all(a <= n <= b for a, n, b in zip(low, shapes[name], self.highest[name], strict=True))
            for name, low in self.lowest.items()
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {low}..{self.highest[name]}" for name, low in self.lowest.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlan:
    """An engine and its one context, which has no scratch memory of its own yet: `scratch_bytes` are to be given."""

    graph: str
    engine: trt.ICudaEngine
    context: trt.IExecutionContext
    signature: GraphSignature
    limits: tuple[ShapeLimits, ...]
    scratch_bytes: int


def load_plan(
    graph: str, plan: PlanFile, runtime: trt.Runtime, log: TensorRtLog, device: Device, queue: Stream
) -> LoadedPlan:
    """Call it while `device` is current. queue: that it will run on.

    Raises: RunnerError: the plan cannot be read, is for another GPU or TensorRT, or does not fit into GPU memory.
    """
    engine = _engine(graph, plan, runtime, log, device)
    if plan.weights_from is not None:
        _give_weights(graph, engine, plan.weights_from, log, queue)
    if plan.weight_streaming:
        # Before any context is made: contexts fix it.
        engine.weight_streaming_budget_v2 = engine.get_weight_streaming_automatic_budget()
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if context is None:
        raise RunnerError(f"{graph}: TensorRT makes no execution context ({log.last_errors()}); {REBUILD}")
    signature = _signature(graph, engine)
    return LoadedPlan(
        graph=graph, engine=engine, context=context, signature=signature,
        limits=_limits(engine, signature), scratch_bytes=engine.device_memory_size_v2,
    )  # fmt: skip


def _engine(graph: str, plan: PlanFile, runtime: trt.Runtime, log: TensorRtLog, device: Device) -> trt.ICudaEngine:
    try:
        file = plan.path.open("rb")
    except OSError as exc:
        raise RunnerError(f"{graph}: the plan {plan.path} cannot be read ({exc.strerror}); {REBUILD}") from exc
    with file:
        size = plan.path.stat().st_size
        if size == 0:
            raise RunnerError(f"{graph}: the plan {plan.path} is empty; {REBUILD}")
        free = device.free_bytes()
        if size > free and plan.weights_from is None and not plan.weight_streaming:
            raise out_of_memory(size, free, device.identity.total_bytes, what=f"{graph}'s plan")
        # Mapped, not read: 28 GB of weights must not pass through host memory twice.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            engine = runtime.deserialize_cuda_engine(mapped)
    if engine is None:
        raise RunnerError(
            f"{graph}: TensorRT {trt.__version__} on {device.identity.name} (compute capability "
            f"{device.identity.compute_capability}) refuses {plan.path} ({log.last_errors()}). A plan runs only on the "
            f"kind of GPU and the version of TensorRT that built it: {REBUILD}"
        )
    return engine


def _give_weights(graph: str, engine: trt.ICudaEngine, onnx_file: Path, log: TensorRtLog, queue: Stream) -> None:
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(onnx_file)):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise RunnerError(
            f"{graph}: the stripped plan takes no weights from {onnx_file} ({errors or log.last_errors()}); keep the "
            f"exported folder as it was built from, or {REBUILD}"
        )
    if missing := refitter.get_missing_weights():
        raise RunnerError(f"{graph}: {onnx_file} lacks weights of the plan ({', '.join(missing[:3])}); {REBUILD}")
    if not refitter.refit_cuda_engine_async(queue.handle):
        raise RunnerError(f"{graph}: TensorRT could not set the weights ({log.last_errors()}); {REBUILD}")
    queue.mark().wait()


def _signature(graph: str, engine: trt.ICudaEngine) -> GraphSignature:
    inputs: dict[str, TensorSignature] = {}
    outputs: dict[str, TensorSignature] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name)
        if dtype not in _DTYPES:
            raise RunnerError(f"{graph}: {name!r} is {dtype}, which no runner carries; export the model again")
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise RunnerError(f"{graph}: {name!r} is read on the host, which no runner does; export the model again")
        shape = engine.get_tensor_shape(name)[:]
        side = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        side[name] = TensorSignature(_DTYPES[dtype], tuple(None if n < 0 else n for n in shape))
    return GraphSignature(inputs, outputs)


def _limits(engine: trt.ICudaEngine, signature: GraphSignature) -> tuple[ShapeLimits, ...]:
    varying = [name for name, tensor in signature.inputs.items() if None in tensor.shape]
    limits = []
    for profile in range(engine.num_optimization_profiles):
        ranges = {name: engine.get_tensor_profile_shape(name, profile) for name in varying}
        limits.append(
            ShapeLimits(
                {name: low[:] for name, (low, _, _) in ranges.items()},
                {name: high[:] for name, (_, _, high) in ranges.items()},
            )
        )
    return tuple(limits)


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

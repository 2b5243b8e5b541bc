"""A plan file brought onto the GPU: read, given its weights if it was stripped of them, ready to run.

Here live loading and what a loaded plan says of itself. Buffers and runs are in tensorrt.py. Needs the tensorrt extra.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt

from model.errors import RunnerError
from model.runners.base import GraphSignature, TensorSignature
from model.runners.device import Device, Stream, out_of_memory
from model.runners.tensorrt_log import TensorRtLog

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

"""The fake TensorRT from an ONNX file to a plan, which is JSON that names the file. See fake_tensorrt.py."""

from __future__ import annotations

import json
from typing import Any

from tests.tensorrt_api.fake_types import (
    PHASES,
    WORLD,
    BuilderFlag,
    DataType,
    Dims,
    ILogger,
    IProgressMonitor,
    ITensor,
    MemoryPoolType,
    ParserError,
    ProfilingVerbosity,
    __version__,
)

_TYPES = {1: "FLOAT", 10: "HALF", 7: "INT64", 6: "INT32", 3: "INT8", 2: "UINT8", 9: "BOOL", 16: "BF16"}


class INetworkDefinition:
    def __init__(self) -> None:
        self.file = ""
        self.inputs: list[ITensor] = []
        self.outputs: list[ITensor] = []
        self.num_layers = 0

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    def parse_from_file(self, model: str) -> bool:
        if WORLD.fail == "parse":
            self._errors = [ParserError("no such operator"), ParserError("nor this one")]
            return False
        import onnx  # building needs it, running must not

        graph = onnx.load(model, load_external_data=False).graph
        self._network.file = model
        self._network.inputs = [_tensor(value) for value in graph.input]
        self._network.outputs = [_tensor(value) for value in graph.output]
        self._network.num_layers = len(graph.node)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        assert all(isinstance(shape, Dims) for shape in (min, opt, max))
        self.shapes[input] = [min[:], opt[:], max[:]]


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> IHostMemory:
        return IHostMemory(self.data + b"+timed")


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []
        self.flags_set: set[BuilderFlag] = set()
        self.cache: ITimingCache | None = None
        self.progress_monitor: IProgressMonitor | None = None
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.builder_optimization_level = 3

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags_set.add(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        WORLD.seen_pools[pool.name] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return -1 if WORLD.fail == "profile" else len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if WORLD.fail == "timing cache" and cache.data:
            return False
        self.cache = cache
        WORLD.timing_cache = cache.data
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.cache


class IHostMemory:
    """The real one is a buffer; memoryview() of this one needs Python 3.12, so it is a subclass of bytes there."""

    def __new__(cls, data: bytes) -> Any:
        return _HostBytes(data)


class _HostBytes(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        if WORLD.fail == "builder":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> Any:
        WORLD.builds += 1
        WORLD.seen_flags = frozenset(flag.name for flag in config.flags_set)
        varying = [tensor for tensor in network.inputs if -1 in tensor.shape[:]]
        if varying and not config.profiles:
            self._logger.log(ILogger.ERROR, "API Usage Error: network has dynamic inputs but no profile")
            return None
        if not self._report(config.progress_monitor):
            return None
        if WORLD.fail == "build":
            self._logger.log(ILogger.ERROR, "Could not find any implementation for node /blocks.3/attn")
            return None
        plan = {
            "gpu": WORLD.gpu, "version": __version__, "file": network.file,
            "stripped": BuilderFlag.STRIP_PLAN in config.flags_set,
            "inputs": [(t.name, t.dtype.name, t.shape[:]) for t in network.inputs],
            "outputs": [(t.name, t.dtype.name, t.shape[:]) for t in network.outputs],
            "profiles": [profile.shapes for profile in config.profiles] or [{}],
        }  # fmt: skip
        return IHostMemory(json.dumps(plan).encode())

    def _report(self, monitor: IProgressMonitor | None) -> bool:
        """Phases as TensorRT tells them: one inside the other. False when the monitor asked to stop."""
        if monitor is None:
            return True
        going = True
        for name, parent, steps in PHASES:
            monitor.phase_start(name, parent, steps)
            for step in range(steps):
                WORLD.on_step(name, step)
                going = going and monitor.step_complete(name, step)
        for name, _, _ in reversed(PHASES):
            monitor.phase_finish(name)
        return going


def _tensor(value: Any) -> ITensor:
    kind = value.type.tensor_type
    shape = tuple(-1 if dim.dim_param else dim.dim_value for dim in kind.shape.dim)
    return ITensor(value.name, DataType[_TYPES[kind.elem_type]], Dims(shape))

"""TensorRT as far as this project calls it, over onnxruntime: builds "plans" from real ONNX files and runs them.

Used in place of the module `tensorrt` on a machine without TensorRT. `test_signatures.py` holds every name and
parameter here against the real bindings, so a call that the real ones would refuse fails here too. What a fake can
not show: whether TensorRT accepts a graph, and what it computes.

`WORLD` is what tests turn: which GPU there is, where a build fails.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from tests.tensorrt_api.fake_device import STREAMS

__version__ = "11.4.0"
PHASES = (("Building engine", "", 3), ("Selecting tactics", "Building engine", 4))


@dataclass
class World:
    """gpu: plans of another are refused. fail: the step that gives what TensorRT gives when it fails. on_step: called
    in every progress step, which is where a test cancels or crashes."""

    gpu: str = "H100"
    fail: str = ""
    on_step: Callable[[str, int], None] = lambda name, step: None
    builds: int = 0
    timing_cache: bytes = b""
    seen_flags: frozenset[str] = frozenset()
    seen_pools: dict[str, int] = field(default_factory=dict)


WORLD = World()


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def __init__(self) -> None: ...

    def log(self, severity: ILogger.Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self) -> None: ...

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class BuilderFlag(enum.Enum):
    REFIT_IDENTICAL = 1
    STRIP_PLAN = 2
    WEIGHT_STREAMING = 3


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class Dims:
    def __init__(self, shape: Sequence[int] = ()) -> None:
        self._shape = tuple(shape)

    def __getitem__(self, arg0: Any) -> Any:
        return self._shape[arg0]

    def __len__(self) -> int:
        return len(self._shape)


_TYPES = {1: "FLOAT", 10: "HALF", 7: "INT64", 6: "INT32", 3: "INT8", 2: "UINT8", 9: "BOOL", 16: "BF16"}
_NUMPY = {
    "FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32, "INT8": np.int8,
    "UINT8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


@dataclass
class ITensor:
    """As the parser fills it; shape has -1 where a length varies."""

    name: str
    dtype: DataType
    shape: Any


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


@dataclass
class ParserError:
    text: str

    def desc(self) -> str:
        return self.text

    def node_name(self) -> str:
        return "node_7"

    def node_operator(self) -> str:
        return "Attention"


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


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        if WORLD.fail == "runtime":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        plan = json.loads(bytes(serialized_engine))
        if plan["gpu"] != WORLD.gpu or plan["version"] != __version__:
            self._logger.log(ILogger.ERROR, "IRuntime::deserializeCudaEngine: platform or version mismatch")
            return None
        return ICudaEngine(plan)


class ICudaEngine:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.file = None if plan["stripped"] else plan["file"]
        self.tensors = {name: (dtype, tuple(shape)) for name, dtype, shape in plan["inputs"] + plan["outputs"]}
        self._budget = 0

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    @property
    def num_layers(self) -> int:
        return 3

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.plan["profiles"])

    @property
    def device_memory_size_v2(self) -> int:
        return 4096

    @property
    def weight_streaming_budget_v2(self) -> int:
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, arg1: int) -> None:
        self._budget = arg1

    @property
    def streamable_weights_size(self) -> int:
        return 1 << 20

    def get_weight_streaming_automatic_budget(self) -> int:
        return 1 << 19

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in [t[0] for t in self.plan["inputs"]] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.tensors[name][0]]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self.tensors[name][1])

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.HOST if WORLD.fail == "host tensor" else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in self.plan["profiles"][profile_index][name]]

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC
    ) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return None if WORLD.fail == "context" else IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector()


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._profile = -1
        self._scratch = (0, 0)
        self._output_shapes: dict[Any, dict[str, tuple[int, ...]]] = {}
        self._session = engine.file and onnxruntime.InferenceSession(engine.file, providers=["CPUExecutionProvider"])

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self._scratch = (memory, size)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        STREAMS[stream_handle].log.append(f"profile {profile_index}")
        if WORLD.fail == "set profile":
            return False
        self._profile = profile_index
        self._shapes, self._addresses = {}, {}
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        if self._profile < 0 or WORLD.fail == "set shape":
            return False
        low, _, high = self.engine.plan["profiles"][self._profile][name]
        if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        if WORLD.fail == "infer":
            raise RuntimeError("shape inference failed")
        return [name for name in self._inputs() if -1 in self._shape(name)]

    def get_tensor_shape(self, name: str) -> Dims:
        if name in self._inputs():
            return Dims(self._shape(name))
        asked = tuple(self._shape(key) for key in self._inputs())
        if asked not in self._output_shapes:
            zeros = {key: np.zeros(self._shape(key), self._dtype(key)) for key in self._inputs()}
            self._output_shapes[asked] = {key: array.shape for key, array in self._compute(zeros).items()}
        return Dims(self._output_shapes[asked][name])

    def get_max_output_size(self, name: str) -> int:
        if WORLD.fail == "output size":
            return -1
        return math.prod(self.get_tensor_shape(name)[:]) * self._dtype(name).itemsize

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if WORLD.fail == "set address":
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        device = STREAMS[stream_handle]
        device.log.append("execute")
        if WORLD.fail == "execute" or self._session is None:
            return False
        assert self._scratch[0], "no scratch memory was given"
        shapes = {name: self.get_tensor_shape(name)[:] for name in self.engine.tensors}
        where = {
            name: device.memory(self._addresses[name], math.prod(shape) * self._dtype(name).itemsize)
            for name, shape in shapes.items()
        }

        def compute() -> None:
            given = {name: where[name].view(self._dtype(name)).reshape(shapes[name]) for name in self._inputs()}
            for name, array in self._compute(given).items():
                where[name][:] = np.frombuffer(array.tobytes(), np.uint8)

        device.enqueue(compute)
        return True

    def _inputs(self) -> list[str]:
        return [name for name, _, _ in self.engine.plan["inputs"]]

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._shapes.get(name, self.engine.tensors[name][1])

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(_NUMPY[self.engine.tensors[name][0]])

    def _compute(self, given: dict[str, Any]) -> dict[str, Any]:
        names = [name for name, _, _ in self.engine.plan["outputs"]]
        try:
            return dict(zip(names, self._session.run(names, given), strict=True))
        except onnxruntime_pybind11_state.InvalidArgument as exc:
            raise RuntimeError(str(exc)) from exc


class Refitter:
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self.engine = engine

    def get_missing_weights(self) -> list[str]:
        return ["blocks.0.weight"] if WORLD.fail == "missing weights" else []

    def refit_cuda_engine_async(self, stream_handle: int) -> bool:
        STREAMS[stream_handle].log.append("refit")
        return WORLD.fail != "refit"


class OnnxParserRefitter:
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self._refitter = refitter

    def refit_from_file(self, model: str) -> bool:
        if WORLD.fail == "refit file":
            return False
        self._refitter.engine.file = model
        return True

    @property
    def num_errors(self) -> int:
        return 1

    def get_error(self, index: int) -> ParserError:
        return ParserError("weights of another model")


class EngineInspector:
    def get_engine_information(self, format: LayerInformationFormat) -> str:
        layers = [
            {
                "Name": "__mye_fused_attention_blocks.0",
                "LayerType": "kgen",
                "Metadata": "[ONNX Layer: node_Attention_0]",
            },
            {"Name": "gemm_1", "LayerType": "gemm", "Metadata": "[ONNX Layer: node_MatMul_1]"},
        ]
        return json.dumps({"Layers": layers})


def _tensor(value: Any) -> ITensor:
    kind = value.type.tensor_type
    shape = tuple(-1 if dim.dim_param else dim.dim_value for dim in kind.shape.dim)
    return ITensor(value.name, DataType[_TYPES[kind.elem_type]], Dims(shape))

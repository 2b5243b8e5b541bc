"""The fake TensorRT from a plan to its outputs, which onnxruntime computes. See fake_tensorrt.py."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from tests.tensorrt_api.fake_device import STREAMS
from tests.tensorrt_api.fake_types import (
    WORLD,
    DataType,
    Dims,
    ExecutionContextAllocationStrategy,
    ILogger,
    LayerInformationFormat,
    ParserError,
    TensorIOMode,
    TensorLocation,
    __version__,
)

_NUMPY = {
    "FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32, "INT8": np.int8,
    "UINT8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


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
        STREAMS[stream_handle].tell(f"profile {profile_index}")
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
        queue = STREAMS[stream_handle]
        queue.tell("execute")
        if WORLD.fail == "execute" or self._session is None:
            return False
        assert self._scratch[0], "no scratch memory was given"
        shapes = {name: self.get_tensor_shape(name)[:] for name in self.engine.tensors}
        where = {
            name: queue.device.memory(self._addresses[name], math.prod(shape) * self._dtype(name).itemsize)
            for name, shape in shapes.items()
        }

        def compute() -> None:
            given = {name: where[name].view(self._dtype(name)).reshape(shapes[name]) for name in self._inputs()}
            for name, array in self._compute(given).items():
                where[name][:] = np.frombuffer(array.tobytes(), np.uint8)

        queue.enqueue(compute)
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
        STREAMS[stream_handle].tell("refit")
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

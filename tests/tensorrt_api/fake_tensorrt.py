"""TensorRT as far as this project calls it, over onnxruntime: builds "plans" from real ONNX files and runs them.

Used in place of the module `tensorrt` on a machine without TensorRT. `tests/contract/test_tensorrt_names.py` holds
every name and parameter here against the real bindings, so a call that the real ones would refuse fails here too. What
a fake can not show: whether TensorRT accepts a graph, and what it computes.

`WORLD` is what tests turn: which GPU there is, where a build fails.
"""

from __future__ import annotations

from tests.tensorrt_api.fake_builder import (
    Builder,
    IBuilderConfig,
    IHostMemory,
    INetworkDefinition,
    IOptimizationProfile,
    ITimingCache,
    OnnxParser,
)
from tests.tensorrt_api.fake_engine import (
    EngineInspector,
    ICudaEngine,
    IExecutionContext,
    OnnxParserRefitter,
    Refitter,
    Runtime,
)
from tests.tensorrt_api.fake_types import (
    PHASES,
    WORLD,
    BuilderFlag,
    DataType,
    Dims,
    ExecutionContextAllocationStrategy,
    ILogger,
    IProgressMonitor,
    ITensor,
    LayerInformationFormat,
    MemoryPoolType,
    ParserError,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
    World,
    __version__,
)

__all__ = [
    "PHASES",
    "WORLD",
    "Builder",
    "BuilderFlag",
    "DataType",
    "Dims",
    "EngineInspector",
    "ExecutionContextAllocationStrategy",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
    "MemoryPoolType",
    "OnnxParser",
    "OnnxParserRefitter",
    "ParserError",
    "ProfilingVerbosity",
    "Refitter",
    "Runtime",
    "TensorIOMode",
    "TensorLocation",
    "World",
    "__version__",
]

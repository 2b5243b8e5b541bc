"""The fake TensorRT's enums and small values, and `WORLD`, which tests turn. See fake_tensorrt.py."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class ITensor:
    """As the parser fills it; shape has -1 where a length varies."""

    name: str
    dtype: DataType
    shape: Any


@dataclass
class ParserError:
    text: str

    def desc(self) -> str:
        return self.text

    def node_name(self) -> str:
        return "node_7"

    def node_operator(self) -> str:
        return "Attention"

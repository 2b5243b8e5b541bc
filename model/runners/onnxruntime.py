"""Runs exported graphs with onnxruntime, on the CPU by default: all that `pip install` needs.

Only this module and rtx.py import onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from model.errors import RunnerError
from model.runners.base import Arrays, GraphSignature, TensorSignature, check_input, check_inputs, signature_of
from model.runners.decoder_cache import HostMemory, kept_tensors, seen_from_outside
from model.spec import Graph

_PROVIDER = "CPUExecutionProvider"
_LOG_ERRORS_ONLY = 3
_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(uint8)": "uint8", "tensor(bool)": "bool",
}  # fmt: skip

ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    # onnxruntime's own errors share no base below Exception.
    *(
        kind
        for kind in vars(onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)


class OrtRunner:
    """Every `*.onnx` file of a folder, named by its stem."""

    def __init__(
        self,
        folder: Path,
        *,
        threads: int,
        graph_threads: Mapping[str, int] | None = None,
        provide: Callable[[onnxruntime.SessionOptions], None] | None = None,
        keep_memory: bool = True,
    ) -> None:
        """threads: that one graph may use at a time; graph_threads: other numbers for some graphs, by name.

        provide: says on what a session runs; None means the CPU. keep_memory: as `TrtRunner`'s; here it is the host's.

        Raises: RunnerError: no graphs there, or one does not load.
        """
        files = sorted(folder.glob("*.onnx"))
        if not files:
            raise RunnerError(f"no *.onnx file in {folder}; export a model with `python -m trt_build export`")
        by_graph = graph_threads or {}
        self._sessions = {file.stem: _session(file, by_graph.get(file.stem, threads), provide) for file in files}
        own = {name: _signature(name, session) for name, session in self._sessions.items()}
        kept = kept_tensors(own) if keep_memory else {}
        self._outputs = {name: tuple(signature.outputs) for name, signature in own.items()}
        self._graphs = {name: seen_from_outside(name, signature, kept) for name, signature in own.items()}
        self._memory = HostMemory(kept)
        self._bound: dict[str, dict[str, NDArray[np.generic]]] = {name: {} for name in self._sessions}

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return self._graphs

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        signature = signature_of(self._graphs, graph)
        bound = self._bound[graph]
        check_inputs(graph, signature, inputs, bound)
        taken = self._memory.taken_by(graph)
        try:
            given = self._sessions[graph].run(None, {**bound, **inputs, **taken})
        except ORT_ERRORS as exc:
            raise RunnerError(f"{graph}: onnxruntime failed: {exc}") from exc
        return self._memory.keep(graph, dict(zip(self._outputs[graph], given, strict=True)))

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        check_input(graph, signature_of(self._graphs, graph), name, array)
        self._bound[graph][name] = array.copy()

    def close(self) -> None:
        self._sessions.clear()
        self._graphs.clear()


def create(folder: Path, *, threads: int) -> OrtRunner:
    """`--runner onnxruntime`: one thread more for the decoder.

    Its few large convolutions share two cores well, the transformer's many small products do not: in chunks of 12
    frames on two cores, with rays cast beside the network, this gives 57 frames/s, one thread for everything 43.
    """
    return OrtRunner(folder, threads=threads, graph_threads={Graph.DECODER: threads + 1})


def _session(
    file: Path, threads: int, provide: Callable[[onnxruntime.SessionOptions], None] | None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # The game and its server share these cores: a worker that waits must not burn one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        if provide is None:
            return onnxruntime.InferenceSession(file, options, providers=[_PROVIDER])
        provide(options)
        return onnxruntime.InferenceSession(file, options)
    except ORT_ERRORS as exc:
        raise RunnerError(f"{file} does not load: {exc}") from exc


def _signature(graph: str, session: onnxruntime.InferenceSession) -> GraphSignature:
    return GraphSignature(
        inputs={node.name: _tensor(graph, node) for node in session.get_inputs()},
        outputs={node.name: _tensor(graph, node) for node in session.get_outputs()},
    )


def _tensor(graph: str, node: onnxruntime.NodeArg) -> TensorSignature:
    if node.type not in _DTYPES:
        raise RunnerError(f"{graph}: {node.name!r} has type {node.type}, which no runner carries")
    return TensorSignature(_DTYPES[node.type], tuple(n if isinstance(n, int) else None for n in node.shape))

"""bf16 and fp8 graphs on ONNX Runtime's CPU, which has no bf16: the same graph with float32 in its place.

Weights and scales keep the values that bf16 gave them and FP8 pairs round as they do on a GPU; what is left out is the
rounding of bf16 results, which a GPU rounds its own way. Needs the torch extra.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, TensorProto, numpy_helper

from model.runners.onnxruntime import OrtRunner

_FROM, _TO = TensorProto.BFLOAT16, TensorProto.FLOAT
_THREADS = 2
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "softmax_precision"})


@contextmanager
def runnable(folder: Path, graphs: Iterable[str]) -> Iterator[OrtRunner]:
    """The named graphs of an exported folder on ONNX Runtime, in float32 where they are not. Closed at the end."""
    with tempfile.TemporaryDirectory(prefix="helios-bridge-") as name:
        for graph in graphs:
            write_float32(folder / f"{graph}.onnx", Path(name) / f"{graph}.onnx")
        runner = OrtRunner(Path(name), threads=_THREADS, keep_memory=False)
        try:
            yield runner
        finally:
            runner.close()


def write_float32(path: Path, target: Path) -> None:
    """Writes the graph at `path`, bf16 made float32, to `target`; the weights go beside it if they are large."""
    model = onnx.load(path)
    in_float32(model)
    # A float32 twin is up to twice as large as its source, and a protobuf message ends at 2 GB.
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 1 << 30
    onnx.save(model, target, save_as_external_data=large, location=f"{target.stem}.weights")


def in_float32(model: onnx.ModelProto) -> None:
    """Turns every bf16 type and tensor of a model into float32, in place."""
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            _widen(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == _FROM:
                value.type.tensor_type.elem_type = _TO
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    _widen(attribute.t)
                elif attribute.name in _TYPE_ATTRIBUTES and attribute.i == _FROM:
                    attribute.i = _TO


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == _FROM:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))

"""torch modules -> ONNX files for one runtime, checked against the modules they came from.

Here live exporting one graph, storing its weights compactly, and exporting a whole model folder. Which modules a model
has is the model's business. Needs the torch extra.
"""

from __future__ import annotations

import enum
import inspect
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from model.runners.ort import OrtRunner
from model.runners.torch import TorchGraph, TorchRunner
from model.spec import ModelSpec, write_spec
from model.transformer import DenoiserGraph, Form
from trt_build.errors import ExportError

OPSET = 20  # the first with GELU as one operator
TOLERANCE = {"float32": 2e-4, "float16": 2e-2}
_SMALL = 1024  # numbers; smaller weights (biases, norms, tables) stay float32


class Storage(enum.StrEnum):
    """How weights lie in the file. They are float32 again once loaded; FLOAT16 halves the file."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


def export_graph(graph: TorchGraph, path: Path, *, opset: int = OPSET, storage: Storage = Storage.FLOAT32) -> None:
    """Writes one graph for onnxruntime; its inputs and outputs keep their names."""
    module = graph.module.eval()
    if isinstance(module, DenoiserGraph):
        module = module.in_form(Form.ONNXRUNTIME)
    with warnings.catch_warnings():
        # torch 2.13's exporter trips over a deprecation of torch's own.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
        # Two inputs that share a length give it one name: that is what `dynamic_axes` asks for.
        warnings.filterwarnings("ignore", message="# The axis name: .* will not be used", category=UserWarning)
        program = torch.onnx.export(
            module,
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=_dynamic_shapes(graph),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if storage is Storage.FLOAT16:
        store_as_float16(model)
    onnx.save(model, path)


def store_as_float16(model: onnx.ModelProto) -> None:
    """Halves the large float32 weights, in place; each is cast back by a node that the runtime folds on loading."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _SMALL:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{name}.float16"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def export_model(
    spec: ModelSpec,
    graphs: Mapping[str, TorchGraph],
    folder: Path,
    *,
    storage: Storage = Storage.FLOAT32,
    report: Callable[[str], None] = print,
) -> None:
    """Writes every graph and spec.json into `folder`, all or nothing, after comparing each with its module.

    Raises: ExportError: a graph's outputs differ from its module's by more than storage explains.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        fresh = Path(name)
        for graph_name, graph in graphs.items():
            export_graph(graph, fresh / f"{graph_name}.onnx", storage=storage)
        write_spec(spec, fresh)
        errors = largest_errors(graphs, fresh)
        for graph_name, error in errors.items():
            size_mb = (fresh / f"{graph_name}.onnx").stat().st_size / 1e6
            report(f"{graph_name}: {size_mb:.1f} MB, largest difference to torch {error:.1e}")
        if wrong := [graph_name for graph_name, error in errors.items() if not error <= TOLERANCE[storage]]:
            raise ExportError(f"{', '.join(wrong)} differ from torch by more than {TOLERANCE[storage]}")
        folder.mkdir(exist_ok=True)
        for file in fresh.iterdir():
            shutil.move(file, folder / file.name)


def largest_errors(graphs: Mapping[str, TorchGraph], folder: Path) -> dict[str, float]:
    """For each graph, the largest difference of any output on its example, relative to that output's largest value.

    8-bit outputs count a difference of one level as none: rounding may fall either way.
    """
    exported, reference = OrtRunner(folder, threads=1), TorchRunner(graphs)
    errors = {}
    for name, graph in graphs.items():
        inputs = {key: tensor.cpu().numpy() for key, tensor in graph.inputs.items()}
        got, wanted = exported.run(name, inputs), reference.run(name, inputs)
        errors[name] = max(_difference(got[key], wanted[key]) for key in graph.outputs)
    exported.close()
    return errors


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return float("inf")
    gap = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    if got.dtype == np.uint8:
        return float(np.maximum(gap - 1, 0).max() / 255)
    return float(gap.max() / max(np.abs(wanted).max(), 1.0))


def _dynamic_shapes(graph: TorchGraph) -> dict[str, object]:
    """`dynamic_axes` by forward's own parameter names; a `*rest` parameter takes all inputs that are left."""
    axes = [dict(graph.dynamic_axes.get(name, {})) for name in graph.inputs]
    shapes: dict[str, object] = {}
    for parameter in inspect.signature(graph.module.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            shapes[parameter.name] = tuple(axes)
            axes = []
        elif axes:
            shapes[parameter.name] = axes.pop(0)
    return shapes

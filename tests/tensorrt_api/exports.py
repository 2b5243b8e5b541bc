"""Small exported folders, as `trt_build export` writes them, without torch; and a machine to build their plans on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.precision import Precision
from model.spec import ModelSpec, read_spec, write_spec
from trt_build.key import BuildEnvironment
from trt_build.manifest import (
    ExportManifest,
    GraphExport,
    Profile,
    ShapeRange,
    Target,
    write_manifest,
)

H100 = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")
SPEC = read_spec(Path(__file__).parents[2] / "model" / "demo" / "weights")
PROFILES = (
    Profile(name="short", shapes={"x": ShapeRange(min=(1, 2), opt=(3, 2), max=(4, 2))}),
    Profile(name="long", shapes={"x": ShapeRange(min=(5, 2), opt=(6, 2), max=(9, 2))}),
)


def write_export(folder: Path, *, weight: float = 2.0, spec: ModelSpec = SPEC, **manifest: Any) -> Path:
    """Two graphs: `scale` gives x * weight + offset for x of (1..9, 2), `words` looks up 3 tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])
    offset = helper.make_tensor_value_info("offset", TensorProto.FLOAT, [1, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])
    nodes = [helper.make_node("Mul", ["x", "weight"], ["scaled"]), helper.make_node("Add", ["scaled", "offset"], ["y"])]
    weights = [numpy_helper.from_array(np.full((1, 2), weight, np.float32), "weight")]
    _save(helper.make_graph(nodes, "scale", [x, offset], [y], weights), folder / "scale.onnx")

    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, [3])
    embeddings = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [3, 2])
    table = [numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(5, 2), "table")]
    gather = [helper.make_node("Gather", ["table", "tokens"], ["embeddings"])]
    _save(helper.make_graph(gather, "words", [tokens], [embeddings], table), folder / "words.onnx")

    write_spec(spec, folder)
    given: dict[str, Any] = {
        "model": "demo", "target": Target.TENSORRT, "precision": Precision.BF16, "opset": 23, "versions": {},
        "graphs": {name: _entry(folder / f"{name}.onnx", PROFILES if name == "scale" else (), str(weight))
                   for name in ("scale", "words")},
    }  # fmt: skip
    write_manifest(ExportManifest(**{**given, **manifest}), folder)
    return folder


def write_chunk_decoder(folder: Path) -> Path:
    """`decoder_first` gives its latents as frames (truncated) and as memory; `decoder` latents plus memory as both."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = [1, 3, 1, 2, 2]
    names = ("latents", "memory_0", "next_memory_0")
    latents, memory, after = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names)
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, shape)
    last = helper.make_node("Cast", ["next_memory_0"], ["frames"], to=TensorProto.UINT8)
    first = [helper.make_node("Identity", ["latents"], ["next_memory_0"]), last]
    _save(helper.make_graph(first, "first", [latents], [frames, after]), folder / "decoder_first.onnx")
    added = [helper.make_node("Add", ["latents", "memory_0"], ["next_memory_0"]), last]
    _save(helper.make_graph(added, "next", [latents, memory], [frames, after]), folder / "decoder.onnx")
    write_spec(SPEC, folder)
    graphs = {name: _entry(folder / f"{name}.onnx", (), name) for name in ("decoder_first", "decoder")}
    write_manifest(
        ExportManifest(
            model="demo", target=Target.TENSORRT, precision=Precision.BF16, opset=23, versions={}, graphs=graphs
        ),
        folder,
    )
    return folder


def _save(graph: Any, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _entry(path: Path, profiles: tuple[Profile, ...], weights: str) -> GraphExport:
    return GraphExport(
        file=path.name, weights_file="", bytes=path.stat().st_size, profiles=profiles,
        graph_sha256=hashlib.sha256(path.stem.encode()).hexdigest(),
        weights_sha256=hashlib.sha256(weights.encode()).hexdigest(),
    )  # fmt: skip

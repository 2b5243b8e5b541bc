"""What an exported graph is made of, read from the file without its weights' values. Needs the torch extra (onnx)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto

from trt_build.manifest import Profile

_BITS = {
    TensorProto.FLOAT: 32, TensorProto.INT32: 32, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16,
    TensorProto.INT64: 64, TensorProto.DOUBLE: 64, TensorProto.FLOAT8E4M3FN: 8, TensorProto.INT8: 8,
    TensorProto.UINT8: 8, TensorProto.BOOL: 8,
}  # fmt: skip
_SHOWN_OPERATORS = 12
_FUSED = ("Attention", "MultiHeadAttention")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphContents:
    """operators: nodes by type. weight_bytes: by dtype. inputs, outputs: name -> "FLOAT (1, 16, frames, 48, 80)".

    attention: how many are one operator; quantised: how many are products around a softmax with an FP8 pair behind it,
    the form that TensorRT fuses; unfused: softmaxes without either.
    """

    operators: Mapping[str, int]
    weight_bytes: Mapping[str, int]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    attention: int
    quantised: int
    unfused: int

    def text(self, graph: str, profiles: Sequence[Profile]) -> str:
        """A paragraph on the graph of this name."""
        nodes = ", ".join(f"{count} {kind}" for kind, count in list(self.operators.items())[:_SHOWN_OPERATORS])
        weights = ", ".join(f"{size / 1e6:.1f} MB {kind}" for kind, size in self.weight_bytes.items())
        lines = [f"{graph}: {sum(self.operators.values())} nodes ({nodes}, ...)", f"  weights    {weights}"]
        if self.attention or self.quantised or self.unfused:
            lines.append(
                f"  attention  {self.attention} as one operator, {self.quantised} in parts with an FP8 pair on the "
                f"softmax, {self.unfused} in parts without"
            )
        lines += [f"  input      {name} {described}" for name, described in self.inputs.items()]
        lines += [f"  output     {name} {described}" for name, described in self.outputs.items()]
        for profile in profiles:
            shapes = "; ".join(f"{key} {list(s.min)} {list(s.opt)} {list(s.max)}" for key, s in profile.shapes.items())
            lines.append(f"  profile    {profile.name}: {shapes}")
        return "\n".join(lines)


def contents_of(path: Path) -> GraphContents:
    graph = onnx.load(path, load_external_data=False).graph
    operators = Counter(node.op_type for node in graph.node)
    quantised_names = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    softmaxes = [node for node in graph.node if node.op_type == "Softmax"]
    quantised = sum(node.output[0] in quantised_names for node in softmaxes)
    weight_bytes: Counter[str] = Counter()
    for tensor in graph.initializer:
        weight_bytes[TensorProto.DataType.Name(tensor.data_type)] += prod(tensor.dims) * _BITS[tensor.data_type] // 8
    return GraphContents(
        operators=dict(operators.most_common()),
        weight_bytes=dict(weight_bytes.most_common()),
        inputs={value.name: _described(value) for value in graph.input},
        outputs={value.name: _described(value) for value in graph.output},
        attention=sum(operators[name] for name in _FUSED),
        quantised=quantised,
        unfused=len(softmaxes) - quantised,
    )


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    lengths = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
    return f"{TensorProto.DataType.Name(tensor.elem_type)} ({lengths})"

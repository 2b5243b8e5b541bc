"""Layers of a plan: which attention is one kernel, what it keeps, what a plan without details says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
from tests.tensorrt_api.exports import write_export
from tests.tensorrt_api.fake_device import FakeDevice
from trt_build.cache import EngineCache
from trt_build.errors import BuildError
from trt_build.key import BuildEnvironment

HERE = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580")


def told(*layers: tuple[str, list[str]]) -> str:
    return json.dumps(
        {
            "Layers": [
                {"Name": name, "LayerType": "kgen", "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes)}
                for name, nodes in layers
            ]
        }
    )


def found(tensorrt_world: Any, *layers: tuple[str, list[str]]) -> list[tuple[str, bool]]:
    from trt_build.inspect import attentions, layers_of

    return [(attention.node, attention.fused) for attention in attentions(layers_of(told(*layers)))]


@pytest.mark.parametrize(
    ("layers", "fused"),
    [
        ([("mha", ["node_scaled_dot_product_attention_3"])], True),
        ([("qk", ["node_scaled_dot_product_attention_3"]), ("pv", ["node_scaled_dot_product_attention_3"])], False),
        ([("mha", ["node_matmul_1", "node_softmax", "node_matmul_2"])], True),
        ([("gemm", ["node_matmul_1"]), ("softmax", ["node_softmax"]), ("gemm2", ["node_matmul_2"])], False),
    ],
    ids=["one attention", "attention in two", "parts in one", "parts apart"],
)
def test_attention_is_fused_when_one_layer_does_it_all(tensorrt_world: Any, layers: Any, fused: bool) -> None:
    assert [is_fused for _, is_fused in found(tensorrt_world, *layers)] == [fused]


def test_layers_that_are_no_attention_do_not_count(tensorrt_world: Any) -> None:
    assert found(tensorrt_world, ("gemm", ["node_linear"]), ("norm", ["node_layer_norm"])) == []


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": ["name only"]}'])
def test_a_plan_without_details_is_to_be_rebuilt(tensorrt_world: Any, text: str) -> None:
    from trt_build.inspect import layers_of

    with pytest.raises(BuildError, match="--rebuild"):
        layers_of(text)


def test_a_built_plan_tells_layers_memory_and_profiles(tensorrt_world: Any, tmp_path: Path) -> None:
    from trt_build.build import BuildOptions, build_model
    from trt_build.inspect import inspect_plan
    from trt_build.serving import plan_file

    folder = write_export(tmp_path / "export")
    options = BuildOptions(weight_streaming=True)
    entry = build_model(folder, EngineCache(tmp_path), HERE, options, graphs=("scale",), out=io.StringIO())[0]
    text = inspect_plan("scale", plan_file(folder, "scale", entry), FakeDevice()).text()
    assert "scale: 2 layers (1 kgen, 1 gemm)" in text
    assert "attention: 1 of 1 run as one kernel" in text
    assert "streamable weights 1.0 MB" in text
    assert "profile 1: x (5, 2)..(9, 2)" in text

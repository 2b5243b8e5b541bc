"""Graphs for TensorRT: a small random Helios at every stage computes what torch does, in every precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.precision import Precision
from model.runners.base import ModuleRunner
from model.runners.onnxruntime import OrtRunner
from model.spec import Decode, Graph, ModelSpec
from trt_build.compare import OutputError, compared

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
diffusers = pytest.importorskip("diffusers")
init_empty_weights = pytest.importorskip("accelerate").init_empty_weights
pytestmark = pytest.mark.torch

SPEC = ModelSpec(
    name="small", frame_height=64, frame_width=128, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=2,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=3, text_dim=8, history_sizes=(4, 2, 1),
)  # fmt: skip
LAYERS = 2


def transformer() -> Any:
    torch.manual_seed(5)
    return diffusers.HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=32, in_channels=16, out_channels=16, text_dim=8, freq_dim=32,
        ffn_dim=48, num_layers=LAYERS, rope_dim=(12, 10, 10), is_amplify_history=True,
    ).eval()  # fmt: skip


def graph_of(model: Any) -> Any:
    from model.networks.denoiser import denoiser_graph

    torch.manual_seed(6)
    return denoiser_graph(model, SPEC)


@pytest.fixture(scope="module")
def cases() -> Any:
    from trt_build.cases import cases_of

    return cases_of(SPEC, {Graph.DENOISER: graph_of(transformer())})


@pytest.fixture(scope="module")
def scales(cases: Any) -> dict[str, float]:
    from model.networks.fp8 import Observer
    from model.networks.transformer import Form

    observer = Observer()
    graph = graph_of(transformer())
    watched = graph.module.in_form(Form.PLAIN, sites=observer)
    for case in cases:
        with torch.no_grad():
            watched(*(torch.from_numpy(case.inputs[name]) for name in graph.inputs))
    return observer.scales()


def exported(folder: Path, graph: Any, **options: Any) -> Any:
    from trt_build.trace import traced
    from trt_build.weights import write_graph

    return write_graph(traced(graph), graph.module, folder / "denoiser.onnx", **options)


def errors_of(cases: Any, folder: Path, reference: Any, precision: Precision) -> Iterator[OutputError]:
    from model.runners.torch import TorchRunner
    from trt_build.simulate import runnable

    with runnable(folder, [Graph.DENOISER]) as runner:
        runners: dict[str, ModuleRunner] = {"ort": runner, "torch": TorchRunner({Graph.DENOISER: reference})}
        yield from compared(cases, runners, reference="torch", precision={Graph.DENOISER: precision})


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_float32_graph_is_exact_at_every_stage(tmp_path: Path, cases: Any) -> None:
    exported(tmp_path, graph_of(transformer()))
    errors = list(errors_of(cases, tmp_path, graph_of(transformer()), Precision.FP32))
    assert [error.case for error in errors] == ["stage0", "stage1", "stage2"]
    assert max(error.max_error for error in errors) <= 1e-4


def test_a_bf16_graph_is_strongly_typed_and_close_to_float32(tmp_path: Path, cases: Any) -> None:
    from trt_build.precision import in_precision

    exported(tmp_path, in_precision(graph_of(transformer()), Precision.BF16))
    model = onnx.load(tmp_path / "denoiser.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }
    types = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert types["model.blocks.0.ffn.net.2.weight"] == onnx.TensorProto.BFLOAT16
    assert types["model.condition_embedder.time_embedder.linear_1.weight"] == onnx.TensorProto.FLOAT
    assert operators(model).count("Attention") == 3 * LAYERS - 1  # the last layer has no history queries
    assert not [name for name in operators(model) if "Sequence" in name or name == "ScatterND"]
    for error in errors_of(cases, tmp_path, graph_of(transformer()), Precision.BF16):
        assert 1e-5 < error.relative_error < 1e-2  # rounded to 8 bits, and only that


def test_an_fp8_graph_computes_its_own_simulation(tmp_path: Path, cases: Any, scales: dict[str, float]) -> None:
    from trt_build.precision import in_precision

    def graph() -> Any:
        return in_precision(graph_of(transformer()), Precision.FP8, scales, carrier=torch.float32)

    exported(tmp_path, graph())
    for error in errors_of(cases, tmp_path, graph(), Precision.FP32):
        # A number that lies between two of E4M3's falls either way where the sums before it differ in their last bit.
        assert error.relative_error < 1e-3


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory, scales: dict[str, float]) -> Any:
    """An fp8 graph as it is written for TensorRT."""
    from trt_build.precision import in_precision

    return exported(tmp_path_factory.mktemp("fp8"), in_precision(graph_of(transformer()), Precision.FP8, scales))


def test_an_fp8_graph_quantises_what_tensorrt_fuses(eight: Any) -> None:
    model = onnx.load(eight.file)
    onnx.checker.check_model(model, full_check=True)
    makers = {output: node for node in model.graph.node for output in node.output}
    weights = {weight.name: weight for weight in model.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    assert len(softmaxes) == 2 * LAYERS - 1
    for softmax in softmaxes:
        (quantise,) = readers[softmax.output[0]]
        assert quantise.op_type == "QuantizeLinear"
        scale = weights[quantise.input[1]]
        assert scale.data_type == onnx.TensorProto.BFLOAT16
        assert float(onnx.numpy_helper.to_array(scale)) == pytest.approx(1 / 448, rel=2**-8)
        (dequantise,) = readers[quantise.output[0]]
        (product,) = readers[dequantise.output[0]]
        assert [makers[name].op_type for name in product.input] == ["DequantizeLinear"] * 2

    large = [
        node for node in model.graph.node
        if node.op_type == "MatMul" and all(makers[name].op_type == "DequantizeLinear" for name in node.input)
    ]  # fmt: skip
    # A layer's 10 linears: 4 see history too, and 2 more; the last layer's history makes keys and values only.
    linears = 10 * LAYERS + 6 * (LAYERS - 1) + 2
    assert len(large) == linears + 2 * len(softmaxes)
    eights = [weight for weight in weights.values() if weight.data_type == onnx.TensorProto.FLOAT8E4M3FN]
    assert len(eights) == 10 * LAYERS


def test_the_contents_of_a_graph_name_its_attention_and_weights(eight: Any) -> None:
    from trt_build.contents import contents_of
    from trt_build.manifest import stage_profiles

    contents = contents_of(eight.file)
    assert (contents.attention, contents.quantised, contents.unfused) == (LAYERS, 2 * LAYERS - 1, 0)
    assert contents.weight_bytes["FLOAT8E4M3FN"] == LAYERS * (8 * 64 * 64 + 2 * 64 * 48)
    assert contents.inputs["hidden_states"] == "FLOAT (1, 16, frames, height, width)"
    text = contents.text("denoiser", stage_profiles(SPEC))
    assert "3 in parts with an FP8 pair" in text
    assert "stage2: hidden_states [1, 16, 1, 8, 16] [1, 16, 2, 8, 16] [1, 16, 9, 8, 16]" in text


def test_fp8_stays_close_to_float32(cases: Any, scales: dict[str, float]) -> None:
    from model.runners.torch import TorchRunner
    from trt_build.precision import in_precision

    runners: dict[str, ModuleRunner] = {
        "fp8": TorchRunner({Graph.DENOISER: in_precision(graph_of(transformer()), Precision.FP8, scales)}),
        "torch": TorchRunner({Graph.DENOISER: graph_of(transformer())}),
    }
    for error in compared(cases, runners, reference="torch", precision={Graph.DENOISER: Precision.FP8}):
        assert 1e-3 < error.relative_error < 6e-2


def test_quantising_in_torch_is_what_onnx_runtime_does(tmp_path: Path) -> None:
    from model.networks.fp8 import quantise_dequantise

    # every E4M3 number, what lies halfway between neighbours, and what does not fit
    positive = torch.arange(0, 127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    halfway = (positive[1:] + positive[:-1]) / 2
    values = torch.cat([positive, halfway, torch.tensor([463.0, 465.0, 1e6])])
    x = torch.cat([values, -values]) * 0.25
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], output_dtype=onnx.TensorProto.FLOAT8E4M3FN),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "pair", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [len(x)])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [len(x)])],
        [onnx.numpy_helper.from_array(np.float32(0.25), "scale")],
    )  # fmt: skip
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=11),
        tmp_path / "pair.onnx",
    )
    got = OrtRunner(tmp_path, threads=1).run("pair", {"x": x.numpy()})["y"]
    np.testing.assert_array_equal(got, quantise_dequantise(x, torch.tensor(0.25)).numpy())


def test_a_streamed_model_exports_the_very_same_graph(tmp_path: Path, eight: Any, scales: dict[str, float]) -> None:
    from model.helios.components import Component
    from model.helios.streamed import load_streamed
    from model.helios.weights import stored_tensors
    from trt_build.precision import in_precision

    transformer().save_pretrained(tmp_path / "model", max_shard_size="40KB")
    with init_empty_weights(include_buffers=False):
        empty = diffusers.HeliosTransformer3DModel.from_config(transformer().config)
    stored = stored_tensors(tmp_path / "model")
    assert len({tensor.file for tensor in stored.values()}) > 2
    model = load_streamed(Component(name="transformer", module=empty, stored=stored, dtype=torch.float32))
    graph = in_precision(graph_of(model), Precision.FP8, scales)
    streamed = exported(tmp_path, graph, inline_bytes=0)
    assert streamed.weights_file == tmp_path / "denoiser.weights"
    assert streamed.file.stat().st_size < streamed.bytes
    assert (streamed.weights_sha256, streamed.graph_sha256) == (eight.weights_sha256, eight.graph_sha256)
    onnx.checker.check_model(streamed.file)

"""Export: files compute what their modules do, at every size; what does not is never written."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.runners.onnxruntime import OrtRunner
from model.spec import Decode, ModelSpec, read_spec
from trt_build.errors import ExportError
from trt_build.manifest import Target, read_manifest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

SPEC = ModelSpec(
    name="small", frame_height=64, frame_width=128, fps=24.0, decode=Decode.STREAMING, chunk_latents=2,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=3, text_dim=8, history_sizes=(4, 2, 1),
    keep_prefix=True, conditioning_channels=2,
)  # fmt: skip


def transformer(**changes: Any) -> Any:
    torch.manual_seed(5)
    config: dict[str, Any] = {
        "num_attention_heads": 2, "attention_head_dim": 32, "in_channels": 18, "out_channels": 16, "text_dim": 8,
        "freq_dim": 32, "ffn_dim": 48, "num_layers": 2, "rope_dim": (12, 10, 10), "cross_attn_norm": True,
    }  # fmt: skip
    return diffusers.HeliosTransformer3DModel(**{**config, **changes}).eval()


def noisy(graph: Any, frames: int, height: int, width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(frames * height)
    first = graph.inputs["indices_hidden_states"][0, 0]
    return {
        **graph.inputs,
        "hidden_states": torch.randn(1, 18, frames, height, width, generator=generator),
        "indices_hidden_states": torch.arange(first, first + frames)[None],
    }


SIZES = [(1, 2, 2), (2, 4, 6), (5, 8, 12)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"is_amplify_history": True}, {"is_amplify_history": True, "history_scale_mode": "scalar"},
     {"cross_attn_norm": False}],
)  # fmt: skip
@pytest.mark.parametrize("size", SIZES)
def test_two_streams_compute_what_diffusers_does(changes: dict[str, Any], size: tuple[int, int, int]) -> None:
    from model.networks.denoiser import denoiser_graph

    model = transformer(**changes)
    graph = denoiser_graph(model, SPEC)
    inputs = noisy(graph, *size)
    with torch.no_grad():
        wanted = model(**inputs, return_dict=False)[0]
    torch.testing.assert_close(graph.run(inputs)["sample"], wanted, atol=1e-5, rtol=1e-4)


def test_the_exported_denoiser_computes_what_diffusers_does_at_every_size(tmp_path: Path) -> None:
    from model.networks.denoiser import denoiser_graph
    from trt_build.export import export_graph

    model = transformer(is_amplify_history=True)
    graph = denoiser_graph(model, SPEC)
    export_graph(graph, tmp_path / "denoiser.onnx")
    runner = OrtRunner(tmp_path, threads=1)
    assert list(runner.graphs["denoiser"].inputs) == list(graph.inputs)
    for size in SIZES:
        inputs = noisy(graph, *size)
        with torch.no_grad():
            wanted = model(**inputs, return_dict=False)[0].numpy()
        got = runner.run("denoiser", {name: tensor.numpy() for name, tensor in inputs.items()})["sample"]
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_transformer_of_another_kind_is_refused() -> None:
    from model.errors import CheckpointError
    from model.networks.denoiser import denoiser_graph

    with pytest.raises(CheckpointError, match="zero_history_timestep=True"):
        denoiser_graph(transformer(zero_history_timestep=False), SPEC)
    with pytest.raises(CheckpointError, match="in_channels 18, the checkpoint 20"):
        denoiser_graph(transformer(in_channels=20), SPEC)


def small_graph(module: Any) -> Any:
    from model.runners.torch import TorchGraph

    return TorchGraph(
        module=module, inputs={"x": torch.randn(2, 64)}, outputs=("y",), dynamic_axes={"x": {0: "frames"}}
    )


def linear() -> Any:
    torch.manual_seed(2)
    return torch.nn.Linear(64, 64)


def source(**graphs: Any) -> Any:
    from trt_build.sources import Source

    return Source(spec=SPEC, graphs=graphs, requests=list)


@pytest.mark.parametrize("target", list(Target))
def test_a_model_folder_has_every_graph_its_spec_and_its_manifest(tmp_path: Path, target: Target) -> None:
    from trt_build.export import ExportConfig, export_model

    lines: list[str] = []
    given = source(a=small_graph(linear()), b=small_graph(torch.nn.ReLU()))
    export_model(given, tmp_path / "out", ExportConfig(model="small", target=target), report=lines.append)
    assert sorted(os.listdir(tmp_path)) == ["out"]  # nothing temporary is left
    assert sorted(os.listdir(tmp_path / "out")) == ["a.onnx", "b.onnx", "export.json", "spec.json"]
    assert read_spec(tmp_path / "out") == SPEC
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.model, manifest.target, manifest.opset) == (
        "small",
        target,
        {"onnxruntime": 20, "tensorrt": 23}[target],
    )
    assert manifest.graphs["a"].bytes == (tmp_path / "out" / "a.onnx").stat().st_size
    assert manifest.graphs["a"].profiles[0].shapes["x"].max == (9, 64)
    assert [line.split(":")[0] for line in lines] == ["a", "b"]


def test_another_export_takes_the_place_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first left goes, the user's own files stay, and half of a second one is no export."""
    from trt_build import export

    out, config = tmp_path / "out", export.ExportConfig(model="small")
    words = tmp_path / "tokenizer.json"
    words.write_text("{}")

    def write(**graphs: Any) -> None:
        given = replace(source(**graphs), files={"tokenizer/tokenizer.json": words})
        export.export_model(given, out, config, report=lambda _: None)

    write(a=small_graph(linear()), b=small_graph(torch.nn.ReLU()))
    (out / "mine.onnx").write_bytes(b"the user's")
    write(b=small_graph(linear()))
    assert sorted(os.listdir(out)) == ["b.onnx", "export.json", "mine.onnx", "spec.json", "tokenizer"]
    assert os.listdir(out / "tokenizer") == ["tokenizer.json"]

    def full(file: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export.shutil, "move", full)
    with pytest.raises(OSError, match="No space"):
        write(b=small_graph(linear()))
    assert sorted(os.listdir(out)) == ["mine.onnx", "tokenizer"]


def test_inputs_share_a_length_and_a_variadic_forward_takes_the_rest(tmp_path: Path) -> None:
    from model.runners.torch import TorchGraph
    from trt_build.export import export_graph

    class Joined(torch.nn.Module):
        def forward(self, left: Any, right: Any, *memory: Any) -> tuple[Any, ...]:
            return (left + right, *(m * 2 for m in memory))

    names = ("left", "right", "memory_0", "memory_1")
    graph = TorchGraph(
        module=Joined(), inputs={name: torch.randn(3, 2) for name in names},
        outputs=("sum", "next_memory_0", "next_memory_1"),
        dynamic_axes={"left": {0: "frames"}, "right": {0: "frames"}, "memory_1": {0: "rows"}},
    )  # fmt: skip
    export_graph(graph, tmp_path / "joined.onnx")
    runner = OrtRunner(tmp_path, threads=1)
    shapes = [tensor.shape for tensor in runner.graphs["joined"].inputs.values()]
    assert shapes == [(None, 2), (None, 2), (3, 2), (None, 2)]
    ones = {name: np.ones((rows, 2), np.float32) for name, rows in zip(names, (5, 5, 3, 7), strict=True)}
    outputs = runner.run("joined", ones)
    assert [(array.shape, array[0, 0]) for array in outputs.values()] == [((5, 2), 2), ((3, 2), 2), ((7, 2), 2)]


def test_float16_storage_halves_the_file_and_computes_in_float32(tmp_path: Path) -> None:
    from trt_build.export import Storage, export_graph

    graph, sizes = small_graph(linear()), {}
    for storage in Storage:
        (tmp_path / storage).mkdir()
        export_graph(graph, tmp_path / storage / "a.onnx", storage=storage)
        sizes[storage] = (tmp_path / storage / "a.onnx").stat().st_size
    assert sizes[Storage.FLOAT16] < 0.7 * sizes[Storage.FLOAT32]
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    got = OrtRunner(tmp_path / "float16", threads=1).run("a", {"x": x})["y"]
    module = linear()
    with torch.no_grad():
        module.weight.copy_(module.weight.half().float())
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_graph_that_differs_from_its_module_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trt_build import export

    def weights_lost(model: Any) -> None:
        for weight in model.graph.initializer:
            weight.raw_data = bytes(len(weight.raw_data))

    monkeypatch.setattr(export, "store_as_float16", weights_lost)
    config = export.ExportConfig(model="small", storage=export.Storage.FLOAT16)
    with pytest.raises(ExportError, match=r"a \(y\) differ"):
        export.export_model(source(a=small_graph(linear())), tmp_path / "out", config, report=lambda _: None)
    assert os.listdir(tmp_path) == []


def test_the_command_exports_what_the_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trt_build.__main__ import main

    asked: list[Path | None] = []
    checkpoint = ModuleType("model.demo.checkpoint")

    def load_graphs(folder: Path | None) -> Any:
        asked.append(folder)
        return SPEC, {"a": small_graph(linear())}

    checkpoint.load_graphs = load_graphs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model.demo.checkpoint", checkpoint)
    assert main(["export", "--model", "demo", "--out", str(tmp_path / "demo")]) == 0
    assert main(["export", "--model", str(tmp_path), "--out", str(tmp_path / "mine")]) == 0
    assert asked == [None, tmp_path]
    assert read_manifest(tmp_path / "mine").model == str(tmp_path)
    assert json.loads((tmp_path / "mine" / "spec.json").read_text())["name"] == "small"
    assert "wrote small to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "demo", "--precision", "fp8", "--target", "onnxruntime"], "onnxruntime runs fp32 only, not fp8"),
        (["--model", "demo", "--precision", "bf16", "--store", "float16"], "leave --store out for tensorrt"),
        (["--model", "/nowhere"], "no model at /nowhere"),
    ],
)
def test_a_users_mistake_is_one_line(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trt_build.__main__ import main

    assert main(["export", *arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert len(said.splitlines()) == 1

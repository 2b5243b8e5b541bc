"""A Helios folder, its large weights streamed: every graph on ONNX Runtime computes what torch does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.precision import Precision

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("diffusers")
pytestmark = [pytest.mark.torch, pytest.mark.slow]


def test_every_graph_of_a_helios_folder_is_exact_in_float32(helios_export: Path) -> None:
    from trt_build.verify import verify

    verification = verify(helios_export, open_plans=lambda _: None)
    assert verification.passed
    found = {(error.graph, error.case) for error in verification.errors}
    assert found == {
        *((graph, "fixed") for graph in ("text_encoder", "encoder_first", "encoder", "decoder_first", "decoder")),
        *(("denoiser", f"stage{stage}") for stage in range(3)),
    }
    assert max(error.max_error / max(1.0, error.largest) for error in verification.errors) <= 1e-4


def test_an_export_with_room_for_a_view_makes_torchs_latents_with_a_view_and_without(
    helios_folder: Path, helios_view_export: Path
) -> None:
    from model.helios.components import Dtype
    from model.helios.graphs import load_graphs
    from model.helios.layout import TOKENIZER, GenerationConfig
    from model.helios.text import PromptTokenizer
    from model.networks.view_denoiser import view_denoiser_graph
    from model.pipeline.history import HistoryView
    from model.pipeline.state import ChunkRequest
    from model.pipeline.video_pipeline import VideoPipeline
    from model.runners.onnxruntime import OrtRunner
    from model.runners.torch import TorchRunner
    from trt_build.manifest import read_manifest
    from trt_build.verify import verify

    assert read_manifest(helios_view_export).view
    verification = verify(helios_view_export, open_plans=lambda _: None)
    assert verification.passed
    cases = {error.case for error in verification.errors if error.graph == "denoiser"}
    assert cases == {f"stage{stage}{seen}" for stage in range(3) for seen in ("", ", no view")}

    session = GenerationConfig(frame_width=128, frame_height=64)
    spec, graphs = load_graphs(
        helios_folder, session, dtype=Dtype.FP32, vae_dtype=Dtype.FP32, denoiser=view_denoiser_graph
    )
    tokenize = PromptTokenizer(helios_folder / TOKENIZER)
    latents = np.random.default_rng(4).standard_normal((1, 16, 2, 8, 16)).astype(np.float32)
    views = [None, HistoryView(latents, np.arange(3, 40, 3))]
    made = []
    for runner in (TorchRunner(graphs), OrtRunner(helios_view_export, threads=1)):
        loop = VideoPipeline(spec, runner, clock=lambda: 0.0, tokenize=tokenize)
        plain = ChunkRequest(texts=("a garden",) * 2, steps=(1, 1, 1))
        state = loop.open(3, "a garden")
        for view in views:
            unseen, _ = loop.chunk(state, plain)
            chunk, state = loop.chunk(state, replace(plain, view=view))
            made.append(chunk)
        assert np.abs(unseen.latents - chunk.latents).max() > 1e-2  # the view is looked at
    for ours, torchs in zip(made[2:], made[:2], strict=True):
        np.testing.assert_allclose(ours.latents, torchs.latents, atol=1e-4)
        assert np.abs(ours.frames.astype(int) - torchs.frames).max() <= 1


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP8])
def test_a_view_keeps_its_room_in_every_precision(helios_folder: Path, precision: Precision) -> None:
    from model.spec import Graph
    from trt_build.calibrate import calibrated_scales
    from trt_build.precision import in_precision
    from trt_build.sources import load_source

    source = load_source(str(helios_folder), frame_size=(128, 64), view=True)
    wanted = source.graphs[Graph.DENOISER].run(source.graphs[Graph.DENOISER].inputs)["sample"]
    requests = [replace(request, texts=request.texts[:2]) for request in source.requests()[:2]]
    scales = calibrated_scales(source.spec, source.graphs, requests, tokenize=source.tokenize())
    graph = in_precision(source.graphs[Graph.DENOISER], precision, scales)
    got = graph.run(graph.inputs)["sample"]
    assert float((got - wanted).norm() / wanted.norm()) < 0.1


def test_a_model_with_camera_channels_has_no_room_for_a_view(tmp_path: Path) -> None:
    from trt_build.__main__ import main

    assert main(["export", "--model", "demo", "--camera", "warp-history", "--out", str(tmp_path / "out")]) == 2


def test_a_streamed_weight_is_in_onnxruntimes_graphs_too(helios_folder: Path, tmp_path: Path) -> None:
    """Their operators are others, and so is the way they are written; the largest networks are the streamed ones."""
    from model.networks.weight_offload import is_hollow
    from model.runners.onnxruntime import OrtRunner
    from model.runners.torch import TorchRunner
    from model.spec import Graph
    from trt_build.cases import cases_of
    from trt_build.compare import compared
    from trt_build.errors import BuildError
    from trt_build.export import Storage, export_graph
    from trt_build.sources import load_source

    source = load_source(str(helios_folder), frame_size=(128, 64))
    streamed = {name: source.graphs[name] for name in (Graph.TEXT_ENCODER, Graph.DENOISER)}
    for name, graph in streamed.items():
        assert any(is_hollow(weight) for weight in graph.module.parameters())
        export_graph(graph, tmp_path / f"{name}.onnx")
    runners = {"onnxruntime": OrtRunner(tmp_path, threads=1), "torch": TorchRunner(streamed)}
    precision = dict.fromkeys(streamed, Precision.FP32)
    errors = compared(cases_of(source.spec, streamed), runners, reference="torch", precision=precision)
    assert len(errors) == 4
    assert max(error.max_error / max(1.0, error.largest) for error in errors) <= 1e-4
    with pytest.raises(BuildError, match="not stored as float16"):
        export_graph(streamed[Graph.DENOISER], tmp_path / "half.onnx", storage=Storage.FLOAT16)


def test_calibration_sees_every_site_of_every_layer(helios_folder: Path) -> None:
    from model.networks.fp8 import E4M3_MAX
    from model.spec import Graph
    from trt_build.calibrate import calibrated_scales
    from trt_build.precision import in_precision
    from trt_build.sources import load_source

    source = load_source(str(helios_folder), frame_size=(128, 64))
    # Two chunks of one prompt: an empty history, then a filled one.
    requests = [replace(request, texts=request.texts[:2]) for request in source.requests()[:2]]
    scales = calibrated_scales(source.spec, source.graphs, requests, tokenize=source.tokenize())
    sites = {name.rsplit("_", 1)[0] for name in scales}
    assert len(sites) == 10
    assert len(scales) == 10 * 2
    assert all(1e-6 < scale < 1e3 / E4M3_MAX for scale in scales.values())
    graph = in_precision(source.graphs[Graph.DENOISER], Precision.FP8, scales)
    assert graph.run(graph.inputs)["sample"].isfinite().all()


@pytest.mark.gpu
def test_ranges_seen_on_a_gpu_are_those_seen_on_the_cpu(helios_folder: Path) -> None:
    from trt_build.calibrate import calibrated_scales
    from trt_build.sources import load_source

    seen = []
    for device in ("cpu", "cuda"):
        source = load_source(str(helios_folder), frame_size=(128, 64))
        requests = source.requests()[:1]
        seen.append(calibrated_scales(source.spec, source.graphs, requests, tokenize=source.tokenize(), device=device))
        graphs = source.graphs.values()
        assert {tensor.device.type for graph in graphs for tensor in graph.module.state_dict().values()} == {"cpu"}
    assert seen[0] == pytest.approx(seen[1], rel=0.02)


def test_a_gpu_that_torch_has_not_is_not_calibrated_on(helios_folder: Path, tmp_path: Path) -> None:
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("torch has a GPU")
    from trt_build.__main__ import main

    asked = ["export", "--model", str(helios_folder), "--precision", "fp8", "--calibrate-on", "cuda"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 2

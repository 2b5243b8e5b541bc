"""A Helios folder, its large weights streamed: every graph on ONNX Runtime computes what torch does."""

from __future__ import annotations

from pathlib import Path

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


def test_calibration_sees_every_site_of_every_layer(helios_folder: Path) -> None:
    from dataclasses import replace

    from model.fp8 import E4M3_MAX
    from model.spec import Graph
    from trt_build.calibrate import calibrated_scales
    from trt_build.precision import in_precision
    from trt_build.sources import load_source

    source = load_source(str(helios_folder), size=(64, 128))
    # Two chunks of one prompt: an empty history, then a filled one.
    requests = [replace(request, texts=request.texts[:2]) for request in source.requests()[:2]]
    scales = calibrated_scales(source.spec, source.graphs, requests, tokenize=source.tokenize())
    sites = {name.rsplit("_", 1)[0] for name in scales}
    assert len(sites) == 10
    assert len(scales) == 10 * 2
    assert all(1e-6 < scale < 1e3 / E4M3_MAX for scale in scales.values())
    graph = in_precision(source.graphs[Graph.DENOISER], Precision.FP8, scales)
    assert graph.run(graph.inputs)["sample"].isfinite().all()

"""`python -m trt_build export`, then `verify`: the demo model at full size passes, a damaged folder does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

PIXEL_CHANNELS = 3 * 2 * 2  # of the demo's decoder, before its pixel shuffle


def command(*arguments: str) -> int:
    from trt_build.__main__ import main

    return main(arguments)


@pytest.mark.parametrize(("precision", "worst"), [("fp32", 1e-4), ("fp8", 0.1)])
def test_an_exported_model_verifies_until_a_weight_is_lost(
    precision: str, worst: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = tmp_path / "demo", tmp_path / "report.json"
    assert command("export", "--model", "demo", "--precision", precision, "--out", str(folder)) == 0
    assert command("verify", str(folder), "--report", str(report)) == 0
    said = capsys.readouterr().out
    assert "10 of 10 outputs pass" in said
    assert "FAIL" not in said
    written = json.loads(report.read_text())
    assert (written["passed"], written["precision"]) == (True, precision)
    errors = {(error["graph"], error["case"], error["output"]): error for error in written["errors"]}
    assert {case for graph, case, _ in errors if graph == "denoiser"} == {"stage0", "stage1", "stage2"}
    assert {graph for graph, _, _ in errors} == {"text_encoder", "conditioner", "denoiser", "decoder"}
    assert max(error["relative_error"] for error in errors.values()) < worst

    if precision != "fp32":
        return
    lose_weight(folder / "decoder.onnx")
    assert command("verify", str(folder), "--report", str(report)) == 1
    assert "FAIL" in capsys.readouterr().out
    assert not json.loads(report.read_text())["passed"]


def lose_weight(path: Path) -> None:
    """Empties the convolution that makes pixels."""
    import onnx

    model: Any = onnx.load(path)
    (weight,) = (w for w in model.graph.initializer if w.dims and w.dims[0] == PIXEL_CHANNELS and len(w.dims) == 4)
    weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(model, path)

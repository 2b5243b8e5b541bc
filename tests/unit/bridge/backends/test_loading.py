"""Which folders and options are refused before anything is loaded, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.backends.loading import ModelOptions, load_model
from bridge.errors import ConfigError, EngineUnavailable


@pytest.mark.parametrize("options", [{}, {"frame_size": (128, 64)}, {"precision": "fp8"}])
def test_a_folder_without_a_model_is_named(tmp_path: Path, options: dict[str, Any]) -> None:
    expected = "expected 'demo', a Diffusers folder of Helios, or a folder with spec.json"
    with pytest.raises(EngineUnavailable, match=rf"^model: got '{tmp_path}', {expected}"):
        load_model(ModelOptions(model=str(tmp_path), **options))
    with pytest.raises(EngineUnavailable, match=rf"which is no folder, {expected}"):
        load_model(ModelOptions(model=str(tmp_path / "none"), **options))


@pytest.mark.parametrize("options", [{"runner": "torch"}, {"precision": "fp8"}])
def test_an_export_is_not_asked_for_what_was_chosen_when_it_was_made(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("onnx")
    from model.precision import Precision
    from tests.tensorrt_api.exports import write_export
    from trt_build.manifest import Target

    def refusal(**manifest: Any) -> str:
        folder = write_export(tmp_path / "export", **manifest)
        with pytest.raises(ConfigError) as told:
            load_model(ModelOptions(model=str(folder), **options))
        return str(told.value)

    said = refusal(precision=Precision.FP32)
    assert f"{tmp_path / 'export'} is an export in fp32 (its precision was chosen by `trt_build export`)" in said
    assert "which --runner onnxruntime, rtx, tensorrt runs" in said
    assert "which --runner rtx, tensorrt runs" in refusal(precision=Precision.FP8)
    assert "which --runner onnxruntime runs" in refusal(precision=Precision.FP32, target=Target.ONNXRUNTIME)
    (tmp_path / "export" / "export.json").unlink()
    with pytest.raises(ConfigError, match="is an export; --runner torch and --precision are for"):
        load_model(ModelOptions(model=str(tmp_path / "export"), **options))


@pytest.mark.parametrize("runner", ["onnxruntime", "rtx", "tensorrt"])
def test_a_checkpoint_is_to_be_exported_for_another_runner(tmp_path: Path, runner: str) -> None:
    """Before that runner's packages are asked for."""
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"got {runner} for a Diffusers folder, which torch runs; .*trt_build export"):
        load_model(ModelOptions(model=str(tmp_path), runner=runner))

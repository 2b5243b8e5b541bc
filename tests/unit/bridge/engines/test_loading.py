"""Which folders and options are refused before anything is loaded, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.engines.loading import ModelOptions, load_model
from bridge.errors import EngineUnavailable


@pytest.mark.parametrize("options", [{}, {"frame_size": (128, 64)}, {"precision": "fp8"}])
def test_a_folder_without_a_model_is_named(tmp_path: Path, options: dict[str, Any]) -> None:
    expected = "expected 'demo', a Diffusers folder of Helios, or a folder with spec.json"
    with pytest.raises(EngineUnavailable, match=rf"^model: got '{tmp_path}', {expected}"):
        load_model(ModelOptions(model=str(tmp_path), **options))
    with pytest.raises(EngineUnavailable, match=rf"which is no folder, {expected}"):
        load_model(ModelOptions(model=str(tmp_path / "none"), **options))

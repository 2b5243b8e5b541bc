"""What a folder's configs become, and which folders are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError, SpecError
from model.helios.layout import GenerationConfig, is_helios_folder, read_folder, spec_of
from model.spec import Decode, TimeShift


@pytest.fixture
def folder(helios_folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    shutil.copytree(helios_folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    return target


def change(file: Path, **values: Any) -> None:
    config = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def test_the_spec_has_what_the_configs_say(folder: Path) -> None:
    change(
        folder / "scheduler" / "scheduler_config.json",
        gamma=0.25, use_dynamic_shifting=True, time_shift_type="exponential",
    )  # fmt: skip
    spec = spec_of(read_folder(folder), GenerationConfig(frame_height=64, frame_width=128, chunk_latents=3))
    assert (spec.frame_height, spec.frame_width, spec.fps, spec.chunk_latents) == (64, 128, 24.0, 3)
    assert (spec.decode, spec.frames_in(9), spec.history_sizes, spec.keep_prefix) == (
        Decode.PER_CHUNK, 33, (16, 2, 1), True,
    )  # fmt: skip
    assert (spec.gamma, spec.use_dynamic_shifting, spec.time_shift_type) == (0.25, True, TimeShift.EXPONENTIAL)
    assert spec.latents_mean[0] == pytest.approx(-0.7571)
    assert spec.latents_inv_std[0] == pytest.approx(1 / 2.8184)
    assert (spec.conditioning_channels, spec.text_dim, spec.text_tokens) == (0, 32, 512)


def test_a_checkpoint_in_the_hubs_cache_has_its_ids_name(folder: Path, tmp_path: Path) -> None:
    assert spec_of(read_folder(folder)).name == "copy"
    cached = tmp_path / "models--BestWishYsh--Helios-Distilled" / "snapshots" / "0123abc"
    cached.parent.mkdir(parents=True)
    folder.rename(cached)
    assert spec_of(read_folder(cached)).name == "Helios-Distilled"


def test_sizes_that_the_pyramid_cannot_have_are_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="multiple of 64"):
        spec_of(read_folder(folder), GenerationConfig(frame_height=100, frame_width=128))


@pytest.mark.parametrize(
    ("part", "values", "named"),
    [
        ("scheduler/scheduler_config.json", {"_class_name": "HeliosScheduler"}, "Helios-Distilled"),
        ("transformer/config.json", {"_class_name": "WanTransformer3DModel"}, "expected 'HeliosTransformer3DModel'"),
        ("vae/config.json", {"scale_factor_spatial": 16}, "scale_factor_spatial 16, expected 8"),
        ("text_encoder/config.json", {"d_model": 64}, "d_model 64, expected 32"),
        ("model_index.json", {"_class_name": "WanPipeline"}, "expected one of Helios"),
        ("model_index.json", {"is_distilled": False}, "is_distilled false.*without guidance.*Helios-Distilled"),
    ],
)
def test_another_model_is_refused(folder: Path, part: str, values: dict[str, Any], named: str) -> None:
    change(folder / part, **values)
    with pytest.raises(CheckpointError, match=named):
        read_folder(folder)


def test_a_checkpoint_that_does_not_say_whether_it_is_distilled_is_taken(folder: Path) -> None:
    change(folder / "model_index.json", is_distilled="gone")
    assert "is_distilled" not in read_folder(folder).index


def test_missing_and_broken_configs_are_named(folder: Path) -> None:
    change(folder / "vae" / "config.json", latents_mean="gone")
    with pytest.raises(CheckpointError, match="lacks 'latents_mean'"):
        spec_of(read_folder(folder))
    (folder / "vae" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="one JSON object"):
        read_folder(folder)
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*vae"):
        read_folder(folder)


def test_other_folders_are_not_taken_for_it(folder: Path, tmp_path: Path) -> None:
    assert is_helios_folder(folder)
    assert not is_helios_folder(tmp_path)

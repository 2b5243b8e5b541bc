"""export.json: what is written is what is read, stages become profiles, damage is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.spec import read_spec
from trt_build.errors import BuildError
from trt_build.manifest import (
    MANIFEST_FILE,
    ExportManifest,
    GraphExport,
    Precision,
    Target,
    frame_profile,
    read_manifest,
    stage_profiles,
    write_manifest,
)

SPEC = read_spec(Path(__file__).parents[3] / "model" / "demo" / "weights")


def manifest() -> ExportManifest:
    denoiser = GraphExport(
        file="denoiser.onnx", weights_file="denoiser.weights", bytes=12, graph_sha256="ab",
        weights_sha256="cd", profiles=stage_profiles(SPEC),
    )  # fmt: skip
    return ExportManifest(
        model="demo", target=Target.TENSORRT, precision=Precision.FP8, opset=23, graphs={"denoiser": denoiser},
        versions={"torch": "2.13.0"},
    )  # fmt: skip


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(manifest(), tmp_path)
    assert read_manifest(tmp_path) == manifest()


def test_every_stage_has_its_latent_size() -> None:
    shapes = [profile.shapes["hidden_states"] for profile in stage_profiles(SPEC)]
    assert [shape.opt for shape in shapes] == [(1, 40, 3, 6, 10), (1, 40, 3, 12, 20), (1, 40, 3, 24, 40)]
    assert (shapes[2].min, shapes[2].max) == ((1, 40, 1, 24, 40), (1, 40, 9, 24, 40))
    assert stage_profiles(SPEC)[1].shapes["indices_hidden_states"].max == (1, 9)


def test_frames_vary_where_they_are_counted() -> None:
    (profile,) = frame_profile(SPEC, {"latents": (1, 16, 3, 24, 40), "memory": (1, 1)}, {"latents": 2})
    assert list(profile.shapes) == ["latents"]
    assert profile.shapes["latents"].max == (1, 16, 9, 24, 40)
    assert frame_profile(SPEC, {"tokens": (1, 16)}, {}) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": 99}, "not of format 2"), ({"precision": "int3"}, "int3"), ({"graphs": {"denoiser": {}}}, "file")],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write_manifest(manifest(), tmp_path)
    path = tmp_path / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BuildError, match=said):
        read_manifest(tmp_path)


def test_a_folder_without_one_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="trt_build export"):
        read_manifest(tmp_path)

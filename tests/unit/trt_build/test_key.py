"""The key of a plan: every part of it changes the digest, and is named when it changed."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from model.precision import Precision
from model.spec import read_spec
from trt_build.key import LABELS, BuildEnvironment, EngineKey, engine_keys, key_from_json
from trt_build.manifest import (
    ExportManifest,
    GraphExport,
    Profile,
    ShapeRange,
    Target,
    stage_profiles,
)

SPEC = read_spec(Path(__file__).parents[3] / "model" / "demo" / "weights")
H100 = BuildEnvironment(tensorrt="11.4", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")
DENOISER = GraphExport(
    file="denoiser.onnx", weights_file="denoiser.weights", bytes=12, graph_sha256="ab" * 32,
    weights_sha256="cd" * 32, profiles=stage_profiles(SPEC),
)  # fmt: skip
MANIFEST = ExportManifest(
    model="demo", target=Target.TENSORRT, precision=Precision.BF16, opset=23, graphs={"denoiser": DENOISER}, versions={}
)


def key(manifest: ExportManifest = MANIFEST, spec: Any = SPEC, environment: BuildEnvironment = H100) -> EngineKey:
    return engine_keys(manifest, spec, environment)["denoiser"]


def with_graph(**changes: Any) -> ExportManifest:
    return replace(MANIFEST, graphs={"denoiser": replace(DENOISER, **changes)})


LONGER = (Profile(name="s", shapes={"x": ShapeRange(min=(1, 1), opt=(1, 2), max=(1, 3))}),)
CHANGES = {
    "weights": (key(with_graph(weights_sha256="12345678" + "0" * 56)), "weights cdcdcdcd -> 12345678"),
    "graph": (key(with_graph(graph_sha256="87654321" + "0" * 56)), "graph abababab -> 87654321"),
    "shapes": (key(with_graph(profiles=LONGER)), "-> s: x 1x1..1x2..1x3"),
    "steps": (key(spec=replace(SPEC, stage_steps=(2, 2, 2))), "steps 1,1,1 -> 2,2,2"),
    "precision": (key(replace(MANIFEST, precision=Precision.FP8)), "precision bf16 -> fp8"),
    "tensorrt": (key(environment=replace(H100, tensorrt="11.5")), "TensorRT 11.4 -> 11.5"),
    "gpu": (key(environment=replace(H100, gpu="NVIDIA L4")), "GPU NVIDIA H100 -> NVIDIA L4"),
    "compute_capability": (key(environment=replace(H100, compute_capability="8.9")), "compute capability 9.0 -> 8.9"),
    "driver": (key(environment=replace(H100, driver="590.1")), "driver 580.65.06 -> 590.1"),
}


def test_every_part_of_a_key_is_changed_below() -> None:
    assert {field.name for field in fields(EngineKey)} - {"model", "graph_name"} == set(CHANGES) == set(LABELS)


@pytest.mark.parametrize("part", CHANGES)
def test_one_change_makes_another_key_and_is_named_alone(part: str) -> None:
    changed, said = CHANGES[part]
    assert changed.digest() != key().digest()
    (only,) = changed.changes(key())
    assert said in only
    assert [name for name in asdict(changed) if getattr(changed, name) != getattr(key(), name)] == [part]


def test_the_same_export_gives_the_same_key() -> None:
    assert key() == key()
    assert key().changes(key()) == ()
    assert key_from_json(asdict(key())) == key()


def test_an_input_that_no_profile_names_is_fixed() -> None:
    assert key(with_graph(profiles=())).shapes == "fixed"

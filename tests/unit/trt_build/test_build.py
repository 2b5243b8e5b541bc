"""The build driver over a fake TensorRT: what it asks for, what it keeps, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
from tests.tensorrt_api.exports import H100, write_export
from trt_build.cache import EngineCache
from trt_build.errors import BuildError
from trt_build.manifest import Target


def test_every_graph_becomes_a_plan_with_its_profiles(build: Callable[..., Any], cache: EngineCache) -> None:
    entries, said = build()
    assert [entry.key.graph_name for entry in entries] == ["scale", "words"]
    assert "scale: missing: none was built here" in said
    assert "scale: built in 0.0 s" in said
    plan = entries[0].plan.read_text()
    assert '"profiles": [{"x": [[1, 2], [3, 2], [4, 2]]}, {"x": [[5, 2], [6, 2], [9, 2]]}]' in plan
    assert cache.entries()[0].key.shapes != cache.entries()[1].key.shapes


def test_a_second_build_builds_nothing(build: Callable[..., Any], tensorrt_world: Any) -> None:
    build()
    _, said = build()
    assert tensorrt_world.builds == 2
    assert said.count("up to date") == 2


def test_rebuild_and_other_options_build_again(build: Callable[..., Any], tensorrt_world: Any) -> None:
    build(graphs=("scale",))
    build(graphs=("scale",), rebuild=True)
    _, said = build(graphs=("scale",), strip=True)
    assert "built with other options" in said
    assert tensorrt_world.builds == 3


def test_another_driver_is_stale_and_says_so(build: Callable[..., Any]) -> None:
    build()
    _, said = build(replace(H100, driver="590.1"))
    assert "scale: stale: driver 580.65.06 -> 590.1" in said


def test_one_graph_alone(build: Callable[..., Any]) -> None:
    entries, _ = build(graphs=("words",))
    assert [entry.key.graph_name for entry in entries] == ["words"]
    with pytest.raises(BuildError, match="no graph named paint; the export has scale, words"):
        build(graphs=("paint",))


def test_options_reach_tensorrt(build: Callable[..., Any], tensorrt_world: Any) -> None:
    build(graphs=("scale",))
    assert tensorrt_world.seen_flags == frozenset()
    assert tensorrt_world.seen_pools == {}
    (entry,), _ = build(graphs=("scale",), workspace_bytes=4 * 10**9, weight_streaming=True, strip=True)
    assert tensorrt_world.seen_flags == {"WEIGHT_STREAMING", "STRIP_PLAN", "REFIT_IDENTICAL"}
    assert tensorrt_world.seen_pools == {"WORKSPACE": 4 * 10**9}
    assert (entry.traits.stripped, entry.traits.weight_streaming) == (True, True)


@pytest.mark.parametrize("options", [{"optimization_level": 6}, {"optimization_level": -1}, {"workspace_bytes": -1}])
def test_impossible_options_are_refused(build: Callable[..., Any], options: dict[str, int]) -> None:
    with pytest.raises(BuildError, match=r"got -?\d"):
        build(**options)


def test_kernel_timings_are_kept_and_used_again(
    build: Callable[..., Any], tensorrt_world: Any, cache: EngineCache
) -> None:
    build(graphs=("scale",))
    assert tensorrt_world.timing_cache == b""
    build(graphs=("scale",), rebuild=True)
    assert tensorrt_world.timing_cache == b"+timed"
    (file,) = cache.root.glob(".timings-*.cache")
    assert file.name == ".timings-11.4.0-NVIDIA-H100.cache"
    assert file.read_bytes() == b"+timed+timed"


def test_timings_that_tensorrt_refuses_are_left_out(
    build: Callable[..., Any], tensorrt_world: Any, cache: EngineCache
) -> None:
    build(graphs=("scale",))
    tensorrt_world.fail = "timing cache"
    build(graphs=("scale",), rebuild=True)
    assert tensorrt_world.timing_cache == b""


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("builder", "TensorRT does not start"),
        ("parse", r"node_7 \(Attention\): no such operator; .*nor this one; export the model again"),
        ("profile", "refuses the profile short"),
        ("build", "builds no plan of .*scale.onnx: Could not find any implementation for node /blocks.3/attn"),
    ],
)
def test_what_tensorrt_refuses_is_told_and_leaves_nothing(
    build: Callable[..., Any], tensorrt_world: Any, cache: EngineCache, step: str, said: str
) -> None:
    tensorrt_world.fail = step
    with pytest.raises(BuildError, match=said):
        build()
    assert cache.entries() == []
    assert [path.name for path in cache.root.iterdir() if path.is_dir()] == []


def test_dynamic_inputs_without_a_profile_are_tensorrts_error(
    build: Callable[..., Any], folder: Path, tensorrt_world: Any
) -> None:
    from trt_build.build import BuildOptions, build_plan

    with pytest.raises(BuildError, match="network has dynamic inputs but no profile"):
        build_plan(folder / "scale.onnx", (), BuildOptions())


def test_an_export_for_another_runtime_is_refused_with_the_command(
    tensorrt_world: Any, tmp_path: Path, cache: EngineCache
) -> None:
    from trt_build.build import BuildOptions, build_model

    folder = write_export(tmp_path / "other", target=Target.ONNXRUNTIME)
    with pytest.raises(BuildError, match=r"exported for onnxruntime.*export --model demo --precision bf16"):
        build_model(folder, cache, H100, BuildOptions(), out=io.StringIO())
    with pytest.raises(BuildError, match=r"no export\.json.*trt_build export"):
        build_model(tmp_path, cache, H100, BuildOptions(), out=io.StringIO())


def test_a_file_that_was_cut_is_refused(build: Callable[..., Any], folder: Path) -> None:
    (folder / "scale.onnx").write_bytes(b"cut")
    with pytest.raises(BuildError, match=r"scale\.onnx: got 3 bytes, expected \d+; export the model again"):
        build()


def test_a_full_disk_stops_before_the_build(
    build: Callable[..., Any], tensorrt_world: Any, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3))
    with pytest.raises(BuildError, match="scale's plan takes"):
        build()
    assert tensorrt_world.builds == 0
    assert cache.entries() == []

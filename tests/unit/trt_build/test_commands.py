"""The command line of plans: one clear line without TensorRT, a listing that tells plans apart, pruning that tells."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model.precision import Precision
from trt_build.__main__ import main
from trt_build.cache import EngineCache, PlanTraits, default_root
from trt_build.key import EngineKey
from trt_build.manifest import ExportManifest, Target, write_manifest

NOTHING = ExportManifest(
    model="demo", target=Target.ONNXRUNTIME, precision=Precision.FP32, opset=23, graphs={}, versions={}
)
KEY = EngineKey(
    model="helios-demo", graph_name="denoiser", weights="aa", graph="bb", shapes="fixed", steps="1,1,1",
    precision="bf16", tensorrt="11.4", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65",
)  # fmt: skip


@pytest.mark.parametrize("command", [["build", "DIR"], ["inspect", "DIR"]])
def test_without_tensorrt_one_line_names_the_extra(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if it were not installed
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"trt_build: {command[0]} needs the tensorrt extra (")
    assert error.endswith('; pip install -e ".[tensorrt]" in the checkout\n')
    assert error.count("\n") == 1


def test_without_a_driver_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What pycuda's import raises where it is installed and libcuda is not."""
    (tmp_path / "tensorrt.py").write_text("")
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("")
    (tmp_path / "pycuda" / "driver.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["build", "DIR"]) == 2
    assert capsys.readouterr().err == (
        "trt_build: build needs an NVIDIA driver: pycuda.driver does not load (libcuda.so.1: cannot open shared object "
        "file); see whether `nvidia-smi` works\n"
    )
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("command", [["export", "--out", "OUT"], ["verify", "EXPORT"]])
def test_a_model_that_is_not_there_is_told_before_torch_is_loaded(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(NOTHING, tmp_path)
    given = {"EXPORT": tmp_path, "OUT": tmp_path / "out"}
    words = [str(given.get(word, word)) for word in command]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main([*words, "--model", "/nonexistent"]) == 2
    assert capsys.readouterr().err.startswith("trt_build: no model at /nonexistent; give `demo`")


def test_an_export_that_is_not_there_is_told_before_torch_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"trt_build: cannot read {tmp_path / 'none' / 'export.json'}")


def test_list_tells_plans_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, memoryview(b"x" * 5_000_000), PlanTraits(stripped=True), build_s=1)
    assert main(["cache", "list", "--cache", str(tmp_path)]) == 0
    line, total = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "helios-demo denoiser bf16 stripped, 5.0 MB, TensorRT 11.4, NVIDIA H100 (driver 580.65), used"
    )
    assert total == f"1 plans, 0.01 GB in {tmp_path}"


def test_prune_says_what_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = EngineCache(tmp_path)
    for driver in ("1", "2", "3"):
        cache.store(replace(KEY, driver=driver), memoryview(b"x" * 1_000_000), PlanTraits(), build_s=1)
    assert main(["cache", "prune", "--keep-gb", "0.002", "--cache", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "removed helios-demo denoiser" in printed
    assert len(cache.entries()) == 2
    assert main(["cache", "prune", "--cache", str(tmp_path)]) == 2
    assert "--keep-gb N" in capsys.readouterr().err


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "helios-bridge" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_root() == Path.home() / ".cache" / "helios-bridge" / "engines"

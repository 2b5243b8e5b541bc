"""Plans as `serve` and `doctor` see them: ready, missing, stale, built on demand, not to be had."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnx")
from bridge.engines import plans
from bridge.errors import EngineIncompatible, EngineUnavailable
from tests.tensorrt_api.exports import write_export
from trt_build.cache import EngineCache, PlanTraits, default_root
from trt_build.key import BuildEnvironment
from trt_build.state import keys_of

HERE = BuildEnvironment(tensorrt="11.4", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plans, "this_environment", lambda purpose: HERE)
    return write_export(tmp_path / "export")


def fill_cache(folder: Path, environment: BuildEnvironment = HERE) -> None:
    for key in keys_of(folder, environment).values():
        EngineCache(default_root()).store(key, memoryview(b"plan"), PlanTraits(), build_s=1)


def test_plans_that_are_there_are_ready(folder: Path) -> None:
    fill_cache(folder)
    plans.make_ready(str(folder), build=False)
    assert [text[:6] for _, text in plans.rows(str(folder))] == ["ready:", "ready:"]


def test_missing_plans_name_both_ways_to_build_them(folder: Path) -> None:
    with pytest.raises(EngineIncompatible) as told:
        plans.make_ready(str(folder), build=False)
    assert str(told.value) == (
        f"TensorRT engines (scale, words: missing: none was built here); build them with "
        f"`python -m trt_build build {folder}`, or serve with --build"
    )


def test_stale_plans_say_what_changed(folder: Path) -> None:
    fill_cache(folder, replace(HERE, tensorrt="11.3"))
    with pytest.raises(EngineIncompatible, match=r"\(scale, words: stale: TensorRT 11\.3 -> 11\.4\)"):
        plans.make_ready(str(folder), build=False)
    (name, text), _ = plans.rows(str(folder))
    assert (name, text) == (
        "tensorrt scale", f"stale: TensorRT 11.3 -> 11.4; run `python -m trt_build build {folder}`"
    )  # fmt: skip


def test_build_builds_in_a_process_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def run(command: list[str], **_: Any) -> Any:
        ran.append(command)
        fill_cache(folder)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    plans.make_ready(str(folder), build=True)
    assert ran == [[sys.executable, "-m", "trt_build", "build", str(folder)]]
    plans.make_ready(str(folder), build=True)
    assert len(ran) == 1


def test_a_build_that_fails_or_is_stopped_ends_serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = SimpleNamespace(returncode=2)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: status)
    with pytest.raises(EngineIncompatible, match="the build ended with status 2"):
        plans.make_ready(str(folder), build=True)
    status.returncode = 130
    with pytest.raises(KeyboardInterrupt):
        plans.make_ready(str(folder), build=True)


def test_ctrl_c_is_left_to_the_builder_and_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def run(command: list[str], **_: Any) -> Any:
        signal.raise_signal(signal.SIGINT)  # both get it; the builder saves its timings and ends
        ended.append(command)
        return SimpleNamespace(returncode=130)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(KeyboardInterrupt):
        plans.make_ready(str(folder), build=True)
    assert len(ended) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_without_tensorrt_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineUnavailable, match=r"--runner tensorrt needs the tensorrt extra"):
        plans.make_ready(str(folder), build=True)
    ((name, text),) = plans.rows(str(folder))
    assert (name, text[:36]) == ("tensorrt engines", "none: --runner tensorrt needs the te")


def test_a_model_that_was_not_exported_for_tensorrt_names_the_export(folder: Path) -> None:
    with pytest.raises(EngineIncompatible, match=r"no export\.json; export for TensorRT: .*--precision bf16"):
        plans.make_ready("demo", build=True)

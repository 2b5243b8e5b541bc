"""Plans as `serve` and `doctor` see them: ready, missing, stale, built on demand, not to be had."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("onnx")
from bridge.backends import plans
from bridge.clock import FakeClock
from bridge.errors import ConfigError, EngineIncompatible, EngineUnavailable
from tests.tensorrt_api.exports import write_export
from trt_build.cache import EngineCache, PlanTraits, default_root
from trt_build.key import BuildEnvironment
from trt_build.state import keys_of
from trt_build.watched import INTERRUPTED

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


def test_a_checkpoint_is_to_be_exported_first(tmp_path: Path) -> None:
    """Which is said before anybody looks for TensorRT."""
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"got tensorrt for a Diffusers folder.*trt_build export"):
        plans.make_ready(str(tmp_path), build=False)


def test_stale_plans_say_what_changed(folder: Path) -> None:
    fill_cache(folder, replace(HERE, tensorrt="11.3"))
    with pytest.raises(EngineIncompatible, match=r"\(scale, words: stale: TensorRT 11\.3 -> 11\.4\)"):
        plans.make_ready(str(folder), build=False)
    (name, text), _ = plans.rows(str(folder))
    assert (name, text) == (
        "tensorrt scale", f"stale: TensorRT 11.3 -> 11.4; run `python -m trt_build build {folder}`"
    )  # fmt: skip


class Builder:
    """Stands for the builder's process. obeys: it ends when it is asked to."""

    obeys = True
    status: int | None = 0
    started: ClassVar[list[list[str]]] = []
    told: ClassVar[list[object]] = []

    def __init__(self, command: list[str], **how: Any) -> None:
        self.started.append(command)
        assert sys.platform == "win32" or how == {"process_group": 0}

    def wait(self, timeout: float) -> int:
        if self.status is None:
            if not self.told:
                signal.raise_signal(signal.SIGINT)  # this process alone gets it
            raise subprocess.TimeoutExpired("builder", timeout)
        return self.status

    def send_signal(self, number: int) -> None:
        self.told.append(number)
        if self.obeys:
            self.status = INTERRUPTED

    def kill(self) -> None:
        self.told.append("kill")
        self.status = -9


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> type[Builder]:
    class Fresh(Builder):
        started: ClassVar[list[list[str]]] = []
        told: ClassVar[list[object]] = []

    monkeypatch.setattr(subprocess, "Popen", Fresh)
    return Fresh


def test_build_builds_in_a_process_of_its_own(
    folder: Path, builder: type[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(self: Builder, timeout: float) -> int:
        fill_cache(folder)
        return 0

    monkeypatch.setattr(builder, "wait", wait)
    plans.make_ready(str(folder), build=True)
    assert builder.started == [[sys.executable, "-m", "trt_build", "build", str(folder)]]
    plans.make_ready(str(folder), build=True)
    assert len(builder.started) == 1


def test_a_build_that_fails_or_is_stopped_ends_serving(folder: Path, builder: type[Builder]) -> None:
    builder.status = 2
    with pytest.raises(EngineIncompatible, match="the build ended with status 2"):
        plans.make_ready(str(folder), build=True)
    builder.status = INTERRUPTED
    with pytest.raises(KeyboardInterrupt):
        plans.make_ready(str(folder), build=True)


@pytest.mark.skipif(sys.platform == "win32", reason="its console asks every process")
def test_ctrl_c_is_handed_to_the_builder_once_and_waited_for(folder: Path, builder: type[Builder]) -> None:
    before = signal.getsignal(signal.SIGINT)
    builder.status = None
    with pytest.raises(KeyboardInterrupt):
        plans.make_ready(str(folder), build=True)
    assert builder.told == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="its console asks every process")
def test_a_builder_that_does_not_end_is_killed(
    folder: Path, builder: type[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(plans, "MonotonicClock", lambda: clock)

    def wait(self: Builder, timeout: float) -> int:
        clock.advance_us(round(timeout * 1e6))
        return Builder.wait(self, timeout)

    monkeypatch.setattr(builder, "wait", wait)
    builder.status, builder.obeys = None, False
    with pytest.raises(KeyboardInterrupt):
        plans.make_ready(str(folder), build=True)
    assert builder.told == [signal.SIGINT, "kill"]
    assert 4e6 < clock.now_us() < 7e6


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

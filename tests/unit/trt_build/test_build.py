"""The build driver over a fake TensorRT: what it asks for, what it keeps, and how it fails, stops and dies."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
from tests.tensorrt_api import fake_tensorrt
from tests.tensorrt_api.exports import write_export
from trt_build.cache import EngineCache
from trt_build.errors import BuildCancelled, BuildError
from trt_build.key import BuildEnvironment
from trt_build.manifest import Target
from trt_build.progress import BuildProgress

H100 = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


@pytest.fixture
def build(tensorrt_world: Any, folder: Path, cache: EngineCache) -> Callable[..., Any]:
    from trt_build.build import BuildOptions, build_model

    def run(
        environment: BuildEnvironment = H100, graphs: tuple[str, ...] = (), **options: Any
    ) -> tuple[list[Any], str]:
        out = io.StringIO()
        entries = build_model(
            folder, cache, environment, BuildOptions(**options), graphs=graphs, out=out, clock=lambda: 0.0
        )
        return entries, out.getvalue()

    return run


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


STEPS = [(name, step) for name, _, steps in fake_tensorrt.PHASES for step in range(steps)]


@pytest.mark.parametrize("at", STEPS, ids=[f"{name} {step}" for name, step in STEPS])
def test_ctrl_c_at_any_step_stops_and_leaves_nothing(
    build: Callable[..., Any],
    tensorrt_world: Any,
    cache: EngineCache,
    at: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = threading.Event()
    cancel = BuildProgress.cancel

    def cancel_and_tell(self: BuildProgress) -> None:
        cancel(self)
        heard.set()

    def interrupt(name: str, step: int) -> None:
        if (name, step) == at:
            signal.raise_signal(signal.SIGINT)
            assert heard.wait(5)  # the main thread hears it while this one builds

    monkeypatch.setattr(BuildProgress, "cancel", cancel_and_tell)
    tensorrt_world.on_step = interrupt
    with pytest.raises(BuildCancelled, match="nothing of it was kept"):
        build(graphs=("scale",))
    assert cache.entries() == []
    tensorrt_world.on_step = lambda name, step: None
    entries, _ = build(graphs=("scale",))
    assert len(entries) == 1


def test_ctrl_c_while_the_plan_is_written_leaves_nothing(
    build: Callable[..., Any], cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = BuildProgress.step

    def interrupt(self: BuildProgress, name: str, done: int) -> bool:
        if name == "Writing the plan":
            self.cancel()
        return step(self, name, done)

    with monkeypatch.context() as patched:
        patched.setattr(BuildProgress, "step", interrupt)
        with pytest.raises(BuildCancelled, match="nothing of it was kept"):
            build()
    assert cache.entries() == []
    assert not [path.name for path in cache.root.iterdir() if path.is_dir()]
    _, said = build()
    assert "scale: Writing the plan done after 0:00" in said


@pytest.mark.parametrize("at", STEPS, ids=[f"{name} {step}" for name, step in STEPS])
def test_a_crash_at_any_step_leaves_nothing(
    build: Callable[..., Any], tensorrt_world: Any, cache: EngineCache, at: tuple[str, int]
) -> None:
    def crash(name: str, step: int) -> None:
        if (name, step) == at:
            raise MemoryError("std::bad_alloc")

    tensorrt_world.on_step = crash
    with pytest.raises(MemoryError):
        build(graphs=("scale",))
    assert cache.entries() == []
    tensorrt_world.on_step = lambda name, step: None
    assert len(build(graphs=("scale",))[0]) == 1


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


def test_who_waited_for_another_builder_uses_its_plan(
    build: Callable[..., Any], tensorrt_world: Any, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is taken first and the cache looked at second; so what was built meanwhile is found."""
    import contextlib

    def building(self: EngineCache, key: Any, *, on_wait: Callable[[str], None]) -> Any:
        on_wait("4711")
        monkeypatch.undo()
        build(graphs=("scale",))  # what the other process does while we wait
        return contextlib.nullcontext()

    monkeypatch.setattr(EngineCache, "building", building)
    entries, said = build(graphs=("scale",))
    assert "process 4711 is building it; waiting" in said
    assert "up to date" in said
    assert (len(entries), tensorrt_world.builds) == (1, 1)


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


KILLED = """
import io, os, signal, sys
from pathlib import Path
from tests.tensorrt_api import fake_tensorrt
sys.modules["tensorrt"] = fake_tensorrt
from trt_build.build import BuildOptions, build_model
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment
fake_tensorrt.WORLD.on_step = lambda name, step: step == 2 and os.kill(os.getpid(), signal.SIGKILL)
here = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")
build_model(Path(sys.argv[1]), EngineCache(Path(sys.argv[2])), here, BuildOptions(), out=io.StringIO())
"""


def test_a_killed_builder_leaves_nothing_and_its_lock_free(
    build: Callable[..., Any], folder: Path, cache: EngineCache
) -> None:
    command = [sys.executable, "-c", KILLED, str(folder), str(cache.root)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[3], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert cache.entries() == []
    entries, _ = build()
    assert len(entries) == 2


AT_ONCE = """
import io, sys, time
from pathlib import Path
from tests.tensorrt_api import fake_tensorrt
sys.modules["tensorrt"] = fake_tensorrt
from trt_build.build import BuildOptions, build_model
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment
here = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")
print("ready", flush=True)
sys.stdin.readline()
fake_tensorrt.WORLD.on_step = lambda name, step: time.sleep(0.05)
folder, cache = Path(sys.argv[1]), EngineCache(Path(sys.argv[2]))
build_model(folder, cache, here, BuildOptions(), graphs=("scale",), out=io.StringIO())
print(fake_tensorrt.WORLD.builds)
"""


def test_two_processes_at_once_build_one_plan(folder: Path, cache: EngineCache) -> None:
    command = [sys.executable, "-c", AT_ONCE, str(folder), str(cache.root)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, cwd=Path(__file__).parents[3], **pipes) as first,
        subprocess.Popen(command, cwd=Path(__file__).parents[3], **pipes) as second,
    ):
        builders = (first, second)
        for builder in builders:
            assert builder.stdout is not None
            assert builder.stdout.readline() == "ready\n"
        for builder in builders:
            assert builder.stdin is not None
            builder.stdin.write("go\n")
            builder.stdin.flush()
        built = sorted(builder.communicate(timeout=60)[0].strip() for builder in builders)
    assert built == ["0", "1"]
    assert len(cache.entries()) == 1

"""A build that is stopped, dies, or is not the only one: what it leaves, over a fake TensorRT."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
from tests.tensorrt_api import fake_tensorrt
from trt_build.cache import EngineCache
from trt_build.errors import BuildCancelled
from trt_build.progress import BuildProgress

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
import sys
from pathlib import Path
from tests.tensorrt_api import fake_tensorrt
sys.modules["tensorrt"] = fake_tensorrt
from trt_build.build import BuildOptions, build_model
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment
here = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")

def pause(name, step):
    fake_tensorrt.WORLD.on_step = lambda name, step: None
    print("building", flush=True)
    sys.stdin.readline()

fake_tensorrt.WORLD.on_step = pause
sys.stderr.reconfigure(line_buffering=True)
folder, cache = Path(sys.argv[1]), EngineCache(Path(sys.argv[2]))
build_model(folder, cache, here, BuildOptions(), graphs=("scale",), out=sys.stderr)
print(fake_tensorrt.WORLD.builds, flush=True)
"""


def test_two_processes_at_once_build_one_plan(folder: Path, cache: EngineCache) -> None:
    command = [sys.executable, "-c", AT_ONCE, str(folder), str(cache.root)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, **pipes, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "building\n"
        with subprocess.Popen(command, cwd=root, **pipes, stderr=subprocess.PIPE) as second:
            assert second.stderr is not None
            assert f"process {first.pid} is building it; waiting" in second.stderr.readline()
            assert first.communicate("go\n", timeout=60)[0] == "1\n"
            assert second.communicate(timeout=60)[0] == "0\n"
    assert len(cache.entries()) == 1

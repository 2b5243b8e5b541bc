"""TensorRT plans as the command line sees them: ready, stale or missing, and built on demand. Needs no torch.

Reached by name, since nothing outside engines/ may know trt_build.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge.engines.loading import SHIPPED_MODEL
from bridge.errors import EngineIncompatible, EngineUnavailable
from model.errors import ModelError
from trt_build.cache import EngineCache, Entry, Miss, default_root
from trt_build.environment import this_environment
from trt_build.errors import ExtraMissing
from trt_build.state import engine_states, stale_message
from trt_build.watched import INTERRUPTED

Row = tuple[str, str]


def make_ready(model: str, *, build: bool) -> None:
    """Returns once every plan of a model is there. build: builds what is missing or stale; else that is an error.

    Raises: EngineUnavailable: TensorRT is not installed, or there is no GPU. EngineIncompatible: the model was not
    exported for TensorRT, or its plans are not built; both name the command to run. KeyboardInterrupt: the build was
    stopped.
    """
    folder = _folder(model)
    misses = _misses(folder)
    if not misses:
        return
    if not build:
        raise EngineIncompatible(stale_message(folder, misses))
    status = _build(folder)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0 or (misses := _misses(folder)):
        raise EngineIncompatible(f"the build ended with status {status}; {stale_message(folder, misses)}")


def _build(folder: Path) -> int:
    """Builds in a process of its own, which gives all GPU memory back, and a fault in it takes nothing else along.

    A terminal sends Ctrl-C to both. It is the builder's to obey: it saves its timings and ends. `subprocess.run` would
    kill it after a quarter of a second. Returns: its exit status.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)  # a handler, not SIG_IGN, which the builder would inherit
    try:
        return subprocess.run([sys.executable, "-m", "trt_build", "build", str(folder)], check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def rows(model: str) -> Iterator[Row]:
    """A line for each plan, for `doctor`; one line if there cannot be any."""
    try:
        states = _states(_folder(model))
    except (EngineUnavailable, EngineIncompatible) as exc:
        yield "tensorrt engines", f"none: {exc}"
        return
    for name, state in states.items():
        if isinstance(state, Entry):
            yield f"tensorrt {name}", f"ready: {state.key.precision}, {state.plan_bytes / 1e6:.1f} MB, {state.folder}"
        else:
            yield f"tensorrt {name}", f"{state.reason}; run `python -m trt_build build {_folder(model)}`"


def _misses(folder: Path) -> dict[str, Miss]:
    return {name: state for name, state in _states(folder).items() if isinstance(state, Miss)}


def _states(folder: Path) -> dict[str, Entry | Miss]:
    try:
        return engine_states(folder, this_environment("--runner tensorrt"), EngineCache(default_root()))
    except ExtraMissing as exc:
        raise EngineUnavailable(str(exc)) from exc
    except ModelError as exc:
        raise EngineIncompatible(str(exc)) from exc


def _folder(model: str) -> Path:
    return SHIPPED_MODEL if model == "demo" else Path(model)

"""TensorRT plans for the command line: reports which are ready, stale or missing, and builds them on demand.

Needs no torch. Imported by name, because only this package may import trt_build.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bridge.backends.loading import SHIPPED_MODEL, exported_folder_of
from bridge.clock import MonotonicClock
from bridge.errors import EngineIncompatible, EngineUnavailable
from model.errors import ModelError
from trt_build.cache import EngineCache, Entry, Miss, default_root
from trt_build.environment import this_environment
from trt_build.errors import ExtraMissing
from trt_build.state import engine_states, stale_message
from trt_build.watched import INTERRUPTED

Row = tuple[str, str]

_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
_OWN_GROUP: Final[dict[str, Any]] = {} if sys.platform == "win32" else {"process_group": 0}
_PATIENCE_S = 5.0
_LOOK_EVERY_S = 0.1


def make_ready(model: str, *, build: bool) -> None:
    """Returns once every plan of a model is there. build: builds what is missing or stale; else that is an error.

    Raises: EngineUnavailable: there is no such model, TensorRT is not installed, or there is no GPU. ConfigError: the
    model is a checkpoint. EngineIncompatible: it was not exported for TensorRT, or its plans are not built. All name
    the command to run. KeyboardInterrupt: the build was stopped.
    """
    folder = exported_folder_of(model, "tensorrt")
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

    Whoever asks this process to stop, a terminal or `kill`, asks the builder through it, once: so it saves its timings
    and ends. A terminal must not ask it as well, since a second time means "at once": hence its own process group. One
    that takes longer than `_PATIENCE_S` (it stops between two of TensorRT's steps) is killed, which leaves no plan
    either. Returns: its exit status, `INTERRUPTED` where it was asked to stop.
    """
    asked = threading.Event()
    stopping = [number for name in _STOPPING if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in stopping}
    clock, until_us = MonotonicClock(), None
    try:
        process = subprocess.Popen([sys.executable, "-m", "trt_build", "build", str(folder)], **_OWN_GROUP)
        while (status := _status(process)) is None:
            if asked.is_set() and until_us is None:
                until_us = clock.now_us() + round(_PATIENCE_S * 1e6)
                if _OWN_GROUP:  # elsewhere the console has asked it
                    process.send_signal(signal.SIGINT)
            if until_us is not None and clock.now_us() >= until_us:
                process.kill()
        return INTERRUPTED if asked.is_set() else status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status(process: subprocess.Popen[bytes]) -> int | None:
    """Waits shortly. Returns: its exit status, None while it runs."""
    try:
        return process.wait(_LOOK_EVERY_S)
    except subprocess.TimeoutExpired:
        return None


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

"""`helios-bridge doctor`: what this machine has, as a table for a bug report, and one frame generated for real."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import socket
import sys
from collections.abc import Iterator

from bridge.cli.local_service import FREE_PORT, LocalService
from bridge.client.client import Client
from bridge.client.types import Camera
from bridge.clock import MonotonicClock
from bridge.config import ModelForm, ServeConfig
from bridge.errors import BridgeError
from bridge.machine import cpu_name, gpu_name
from bridge.version import NAME, installed_version
from model.cli_args import install

_PACKAGES = ("numpy", "msgpack", "msgspec", "pyzmq", "onnxruntime", "opencv-python-headless", "pygame-ce")
_RUNNERS = {
    "onnxruntime": ("onnxruntime", "reinstall helios-bridge: it is a base dependency"),
    "torch": ("torch", install("torch")),
    "tensorrt": ("tensorrt", f"on a GPU server: {install('tensorrt')}"),
    "rtx": ("onnxruntime_ep_nv_tensorrt_rtx", f"on a gaming card: {install('rtx')}"),
    "meshes": ("embreex", install("mesh")),
}
_PLANS = "bridge.backends.plans"
_CHECKPOINT = "bridge.backends.checkpoint"
_HUB = "bridge.backends.checkpoint_hub"
_FIRST_FRAME_TIMEOUT_S = 30.0

Row = tuple[str, str]


def examine(*, model: str, offline: bool, runner: str, precision: str, form: ModelForm) -> int:
    """Prints the table. Of a checkpoint's id, no more than its configs is fetched (offline: nothing).

    Returns 0 when a frame was generated, or, of a checkpoint that is too large for this machine or not here yet, when
    it could be loaded on another; else 1.
    """
    for name, value in machine_rows():
        _print_row(name, value)
    checkpoint, hub = importlib.import_module(_CHECKPOINT), importlib.import_module(_HUB)
    of_the_hub = hub.is_id(model)
    try:
        model = hub.planned_folder_of(model, offline=offline)
    except BridgeError as exc:
        _print_row("can be loaded", f"NO: {exc}")
        return 1
    if checkpoint.is_checkpoint(model):
        examined = checkpoint.examine(model, form, precision, fetched_later=of_the_hub)
        for name, value in examined.rows:
            _print_row(name, value)
        if not (examined.loadable and examined.runs_here):
            return 0 if examined.loadable else 1
    else:
        for name, value in importlib.import_module(_PLANS).rows(model):
            _print_row(name, value)
    frame, status = _one_frame(model, runner, precision, form)
    _print_row("one frame", frame)
    return status


def machine_rows() -> Iterator[Row]:
    """Everything that can be told without starting anything."""
    yield NAME, installed_version() or "not installed"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", platform.platform()
    yield "cpu", f"{cpu_name()}, {os.cpu_count()} cores"
    yield "gpu", gpu_name()
    for package in _PACKAGES:
        yield package, importlib.metadata.version(package) if _installed(package) else "MISSING: pip install it"
    for name, (module, remedy) in _RUNNERS.items():
        found = importlib.util.find_spec(module) is not None
        yield f"can use {name}", "yes" if found else f"no; {remedy}"
    yield "free port", str(_free_port())
    yield "display", os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or _display_without_name()


def _one_frame(model: str, runner: str, precision: str, form: ModelForm) -> tuple[str, int]:
    """Starts a service on the model, and asks it until a generated frame arrives."""
    clock = MonotonicClock()
    try:
        config = ServeConfig(bind=FREE_PORT, model=model, runner=runner, precision=precision, form=form, max_sessions=1)
        with (
            LocalService(config) as service,
            Client(service.address, name="doctor") as client,
        ):
            camera = Camera(position=(0.0, 1.6, 5.5), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=65.0)
            for _ in range(round(_FIRST_FRAME_TIMEOUT_S * 10)):
                frame = client.step(camera, timeout_s=5.0)
                if frame.header.chunk >= 0:
                    steps = ", ".join(f"{name} {ms:.0f} ms" for name, ms in frame.header.stage_ms.items())
                    welcome = client.welcome
                    made_on = f"{welcome.model} on {welcome.runner}, camera by {welcome.camera_method}"
                    if frame.pixels.min() == frame.pixels.max():  # what a decoder makes of NaN
                        return f"NO: {made_on}: its frame is of one colour", 1
                    return f"yes: {made_on}; {steps}", 0
                clock.sleep_until_us(clock.now_us() + 100_000)
    except BridgeError as exc:
        return f"NO: {exc}", 1
    return f"NO: the model made none within {_FIRST_FRAME_TIMEOUT_S:.0f} s", 1


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _display_without_name() -> str:
    return "yes" if sys.platform in ("win32", "darwin") else "none; `play` will run the tour headless"


def _print_row(name: str, value: str) -> None:
    print(f"{name:24} {value}", flush=True)

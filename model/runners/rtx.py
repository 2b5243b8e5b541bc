"""Runs exported graphs on NVIDIA's gaming cards: onnxruntime with the TensorRT-RTX provider. Needs the rtx extra.

The provider compiles a graph for the card when it is first loaded, and keeps what it compiled in a folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import onnxruntime_ep_nv_tensorrt_rtx as provider

from model.errors import RunnerError
from model.runners.onnxruntime import ORT_ERRORS, OrtRunner

_MARKS = ("export.json", "spec.json")
_FAILURES: tuple[type[Exception], ...] = (*ORT_ERRORS, OSError)
_SUPPORTED = "compute capability 8.6, 8.9, or 12.0 and newer (GeForce RTX 30, 40, 50)"


def rtx_runner(folder: Path, *, threads: int, cache: Path) -> OrtRunner:
    """cache: where compiled engines are kept, in a folder for each model and provider version.

    Raises: RunnerError: no card that TensorRT-RTX supports, or a graph that it does not take.
    """
    devices = _devices()
    kept = cache / f"rtx-{provider.__version__}-{_digest(folder)}"
    kept.mkdir(parents=True, exist_ok=True)
    settings = {"nv_runtime_cache_path": str(kept), "nv_persistent_context_memory": "1"}

    def provide(options: onnxruntime.SessionOptions) -> None:
        options.add_provider_for_devices(devices, settings)

    return OrtRunner(folder, threads=threads, provide=provide)


def _devices() -> Sequence[Any]:
    name = provider.get_ep_name()
    try:
        found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
        if not found:
            onnxruntime.register_execution_provider_library(name, provider.get_library_path())
            found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    except _FAILURES as exc:
        raise RunnerError(
            f"TensorRT-RTX does not start ({exc}); it needs an NVIDIA driver with CUDA 13 and a card of {_SUPPORTED}"
        ) from exc
    if not found:
        raise RunnerError(f"TensorRT-RTX finds no card here; it needs {_SUPPORTED}; on an H100 use --runner tensorrt")
    return found[:1]


def _digest(folder: Path) -> str:
    """Changes when the model is exported anew: export.json has its hashes."""
    text = b"".join((folder / name).read_bytes() for name in _MARKS if (folder / name).is_file())
    return hashlib.sha256(text).hexdigest()[:16]

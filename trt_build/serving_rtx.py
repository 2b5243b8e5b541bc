"""`--runner rtx`: an exported folder on a gaming card, its compiled engines kept beside the plans. Never torch."""

from __future__ import annotations

from pathlib import Path

from model.runners.onnxruntime import OrtRunner
from model.runners.rtx import rtx_runner
from trt_build.cache import default_root


def create(folder: Path, *, threads: int) -> OrtRunner:
    """Raises: RunnerError: no card that TensorRT-RTX supports, or a graph that it does not take."""
    return rtx_runner(folder, threads=threads, cache=default_root())

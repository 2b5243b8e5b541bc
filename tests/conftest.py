"""What the whole suite shares: `gpu` tests skipped, by name, without a GPU; a Helios folder, a fake TensorRT."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

_OVER_TENSORRT = (
    "model.runners.tensorrt", "model.runners.tensorrt", "model.runners.tensorrt", "trt_build.bench",
    "trt_build.build", "trt_build.inspect", "trt_build.serving",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    driver, torch = _driver_has_a_device(), _torch_has_a_device()
    for item in needing:
        over_driver = item.get_closest_marker("pycuda") is not None
        if not (driver if over_driver else torch):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _torch_has_a_device() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def helios_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight Helios in several shards. Nobody may change it."""
    pytest.importorskip("torch")
    from tests.helios_folder import write

    return write(tmp_path_factory.mktemp("helios"), shard_mb=0.2)


@pytest.fixture(scope="session")
def helios_export(helios_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, exported in float32 with TensorRT's operators, frames of 64 x 128. Nobody may change it."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported") / "helios"
    _export(helios_folder, folder)
    return folder


@pytest.fixture(scope="session")
def helios_view_export(helios_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with room for a view. Nobody may change it."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported-view") / "helios"
    _export(helios_folder, folder, "--camera", "warp-history")
    return folder


def _export(model: Path, folder: Path, *more: str) -> None:
    # In a process of its own: pytest keeps every line that torch's tracer logs, which takes longer than tracing.
    command = [sys.executable, "-m", "trt_build", "export", "--model", str(model), "--size", "128x64",
               "--precision", "fp32", "--target", "tensorrt", "--out", str(folder), *more]  # fmt: skip
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)


def _driver_has_a_device() -> bool:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


@pytest.fixture
def tensorrt_world() -> Iterator[Any]:
    """The fake TensorRT in place of the real one. Import what stands on it inside the test, by name.

    Returns: what the test may turn (`tests.tensorrt_api.fake_tensorrt.World`), as new.
    """
    pytest.importorskip("onnx")
    from tests.tensorrt_api import fake_tensorrt

    for field in fields(fake_tensorrt.World):
        setattr(fake_tensorrt.WORLD, field.name, getattr(fake_tensorrt.World(), field.name))
    names = ("tensorrt", *_OVER_TENSORRT)
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.modules["tensorrt"] = fake_tensorrt
    yield fake_tensorrt.WORLD
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)

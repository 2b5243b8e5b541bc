"""Imported first in a process of its own: TensorRT and a GPU as if they were installed there, and torch as if it were
not, nor anything else that only exporting needs."""

from __future__ import annotations

import importlib.abc
import sys
import types
from typing import Any

BLOCKED = frozenset({"torch", "diffusers", "transformers", "onnx", "safetensors"})


class _Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.split(".")[0] in BLOCKED:
            raise ImportError(f"{fullname} is blocked")


sys.meta_path.insert(0, _Refuse())

from tests.tensorrt_api import fake_device, fake_tensorrt  # noqa: E402 (nothing that they import may slip through)

GPU = fake_device.DeviceIdentity(
    name="NVIDIA H100", compute_capability="9.0", driver="580.65.06", total_bytes=1 << 34
)  # fmt: skip
sys.modules["tensorrt"] = fake_tensorrt
sys.modules["pycuda"] = sys.modules["pycuda.driver"] = types.ModuleType("pycuda.driver")
sys.modules["model.runners.cuda"] = types.SimpleNamespace(  # type: ignore[assignment]
    CudaDevice=lambda: fake_device.FakeDevice(GPU), identify=lambda: GPU
)

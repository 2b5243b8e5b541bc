"""The machine that plans are built on and run on: its GPU, driver and TensorRT, asked for once.

Needs the tensorrt extra when it is asked; importing it needs nothing.
"""

from __future__ import annotations

import importlib

from trt_build.errors import need
from trt_build.key import BuildEnvironment


def this_environment(purpose: str) -> BuildEnvironment:
    """purpose: what needs it, for the message.

    Raises: ExtraMissing: TensorRT or pycuda is not installed, or there is no NVIDIA driver. RunnerError: no GPU.
    """
    need(purpose, "tensorrt", "pycuda.driver", extra="tensorrt")
    identity = importlib.import_module("model.runners.cuda").identify()
    return BuildEnvironment(
        tensorrt=importlib.import_module("tensorrt").__version__,
        gpu=identity.name,
        compute_capability=identity.compute_capability,
        driver=identity.driver,
    )

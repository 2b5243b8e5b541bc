"""The calls of model/runners/cuda.py meet pycuda's real code, over a driver that is none (tests/pycuda_stand_in).

Skipped by name where pycuda is not installed. It shows that the calls fit pycuda and nothing more.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = Path(__file__).parents[3] / "pycuda_stand_in" / "libcuda.c"
OVER_STAND_IN = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from model.errors import RunnerError
from model.runners.cuda import CudaDevice, identify

def refusal(call):
    try:
        call()
    except RunnerError as exc:
        return str(exc)
    return "no error"

print(identify().name)
device = CudaDevice()
with device.current():
    up, down = device.staging(5000, what="up"), device.staging(5000, what="down")
    address = device.allocate(5000, what="block")
    up[:] = np.random.default_rng(0).integers(0, 256, 5000, np.uint8)
    down[:] = 0
    queue, other = device.open_queue(), device.open_queue()
    queue.upload(address, up)
    queue.download(down, address)
    mark = queue.mark()
    other.mark().wait()
    print(int(down.any()), int(mark.reached()))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(mark.wait).result()
    print(int((up == down).all()), int(mark.reached()))
    del mark
    print(queue.handle != other.handle, len(queue._events))
    print(refusal(lambda: device.allocate(3_000_000_000, what="weights")))
    os.environ["STAND_IN_FAULT"] = "700"
    os.putenv("STAND_IN_FAULT", "700")
    print(refusal(queue.mark().wait))
    print(refusal(lambda: queue.upload(address + 4999, up)))
print(refusal(lambda: CudaDevice(1)))
os.unsetenv("STAND_IN_FAULT")
with device.current():
    queue = device.open_queue()
    target = device.staging(5000, what="target")
    target[:] = 0
    queue.upload(address, up)
    queue.download(target, address)
device.close()
device.close()
print(int((target == up).all()))
with_closed = refusal(lambda: device.current().__enter__())
print(with_closed)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("pycuda") is None or sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs pycuda and a C compiler",
)
def test_the_calls_fit_pycuda_over_a_driver_that_is_none(tmp_path: Path):
    library = tmp_path / "libcuda.so.1"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library), str(STAND_IN)], check=True
    )
    environment = os.environ | {"LD_PRELOAD": str(library), "STAND_IN_BYTES": "2000000000"}
    told = subprocess.run(
        [sys.executable, "-c", OVER_STAND_IN], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    name, before, after, queues, memory, fault, copy, absent, done, closed = told.stdout.splitlines()
    assert (name, before, after) == ("Stand-in", "0 0", "1 1")
    assert queues == "True 1"  # the event of a mark that is gone is there for the next
    assert memory.startswith(
        "out of GPU memory: weights needs 3.00 GB, 2.00 GB of 2.00 GB are free, 1.00 GB are missing"
    )
    assert fault.startswith("the GPU failed at what was queued (cuEventSynchronize failed")
    assert "restart the engine" in fault
    assert copy.startswith("a copy to the GPU failed")
    assert absent.startswith("GPU 1 could not be opened")
    assert done == "1"  # closing waited for what was queued
    assert closed == "this GPU was closed; open it again"

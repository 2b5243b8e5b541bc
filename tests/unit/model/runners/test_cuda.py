"""pycuda's half: copies byte for byte, queues beside each other, every failure as a RunnerError that says what to do.

On a GPU the first tests run for real; elsewhere they are skipped by name. The translation of errors is tested over a
pycuda that fails at will. test_cuda_stand_in.py has pycuda itself without a GPU.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from model.errors import RunnerError

SIZES = (0, 1, 255, 4096, 1_000_003)


@pytest.mark.gpu
@pytest.mark.pycuda
class TestOnAGpu:
    """byte for byte, through page-locked staging and the device's own stream."""

    @pytest.fixture
    def device(self):
        pytest.importorskip("pycuda", reason="pycuda is not installed")
        from model.runners.cuda import CudaDevice

        device = CudaDevice()
        with device.current():
            yield device
        device.close()

    @pytest.fixture
    def queue(self, device):
        return device.open_queue()

    @pytest.mark.parametrize("size", SIZES)
    def test_what_goes_up_comes_down(self, device, queue, size: int):
        sent = np.random.default_rng(size).integers(0, 256, size, np.uint8)
        up, down = device.staging(size, what="up"), device.staging(size, what="down")
        address = device.allocate(size, what="block")
        up[:] = sent
        down[:] = 0
        queue.upload(address, up)
        queue.download(down, address)
        queue.mark().wait()
        assert down.tobytes() == sent.tobytes()

    def test_blocks_do_not_overlap(self, device, queue):
        blocks = [(device.allocate(1000, what="block"), device.staging(1000, what="staging")) for _ in range(8)]
        for value, (address, staging) in enumerate(blocks):
            staging[:] = value
            queue.upload(address, staging)
        queue.mark().wait()
        for value, (address, staging) in enumerate(blocks):
            staging[:] = 255
            queue.download(staging, address)
            queue.mark().wait()
            assert (staging == value).all()

    def test_a_mark_tells_of_its_own_queue_on_any_thread(self, device):
        size = 1 << 26
        slow, quick = device.open_queue(), device.open_queue()
        address, staging = device.allocate(size, what="block"), device.staging(size, what="staging")
        for _ in range(20):  # a gigabyte and a half
            slow.upload(address, staging)
        late = slow.mark()
        quick.mark().wait()
        assert not late.reached()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(late.wait).result()
            assert pool.submit(late.reached).result()

    def test_marks_that_are_dropped_on_another_thread_are_used_again(self, device, queue):
        marks = [queue.mark() for _ in range(4)]
        with ThreadPoolExecutor(1) as pool:
            pool.submit(marks.clear).result()
        for _ in range(8):
            queue.mark().wait()

    def test_memory_that_is_not_there_is_counted(self, device):
        with pytest.raises(RunnerError, match=r"out of GPU memory: weights needs \d+\.\d+ GB, .* are missing"):
            device.allocate(1 << 50, what="weights")
        assert device.free_bytes() > 0

    def test_the_gpu_says_what_it_is(self, device, queue):
        assert device.identity.name
        assert float(device.identity.compute_capability) > 0
        assert "CUDA" in device.identity.driver
        assert queue.handle != 0

    def test_a_closed_device_refuses(self):
        pytest.importorskip("pycuda", reason="pycuda is not installed")
        from model.runners.cuda import CudaDevice

        device = CudaDevice()
        device.close()
        device.close()
        with pytest.raises(RunnerError, match="was closed"), device.current():
            pass


class Refusing(types.ModuleType):
    """pycuda.driver as far as cuda.py calls it: a GPU of no use, whose calls fail with `error` once it is set."""

    Error = type("Error", (Exception,), {})
    MemoryError = type("MemoryError", (Error,), {})
    LogicError = type("LogicError", (Error,), {})
    LaunchError = type("LaunchError", (Error,), {})
    RuntimeError = type("RuntimeError", (Error,), {})

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.error: type[Exception] | None = None
        self.depth = 0
        context = SimpleNamespace(push=self._push, detach=lambda: None)
        self.Context = SimpleNamespace(pop=self._pop)
        self.Device = lambda index: SimpleNamespace(
            name=lambda: "GPU", compute_capability=lambda: (9, 0), total_memory=lambda: 80_000_000_000,
            retain_primary_context=lambda: context,
        )  # fmt: skip
        self.Stream = lambda flags: self._refused(SimpleNamespace(handle=7, synchronize=self._refused))
        self.Event = lambda flags: self._refused(
            SimpleNamespace(
                record=lambda stream: self._refused(), query=lambda: self._refused(True), synchronize=self._refused
            )
        )
        self.event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)
        self.init = self._refused
        self.get_driver_version = lambda: 13000
        self.mem_get_info = lambda: self._refused((1_000_000_000, 80_000_000_000))
        self.pagelocked_empty = lambda shape, dtype: self._refused(np.zeros(shape, dtype))
        self.memcpy_htod_async = self.memcpy_dtoh_async = lambda *_: self._refused()
        self.mem_alloc = self._alloc

    def _push(self) -> None:
        self._refused()
        self.depth += 1

    def _pop(self) -> None:
        self.depth -= 1

    def _alloc(self, nbytes: int) -> int:
        if nbytes > 1_000_000_000:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        return self._refused(4096)

    def _refused(self, value=None):
        if self.error is not None:
            raise self.error("it failed")
        return value


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    driver, package = Refusing(), types.ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.delitem(sys.modules, "model.runners.cuda", raising=False)
    yield driver
    sys.modules.pop("model.runners.cuda", None)


CALLS = {
    "open": lambda at: at.cuda.CudaDevice(),
    "identify": lambda at: at.cuda.identify(),
    "enter": lambda at: at.device.current().__enter__(),
    "open_queue": lambda at: at.device.open_queue(),
    "free_bytes": lambda at: at.device.free_bytes(),
    "allocate": lambda at: at.device.allocate(8, what="it"),
    "staging": lambda at: at.device.staging(8, what="it"),
    "upload": lambda at: at.queue.upload(4096, np.zeros(8, np.uint8)),
    "download": lambda at: at.queue.download(np.zeros(8, np.uint8), 4096),
    "mark": lambda at: at.queue.mark(),
    "reached": lambda at: at.mark.reached(),
    "wait": lambda at: at.mark.wait(),
}


@pytest.mark.parametrize("kind", ["Error", "LogicError", "LaunchError", "RuntimeError"])
@pytest.mark.parametrize("call", CALLS)
def test_every_error_of_every_call_is_a_runner_error_with_a_remedy(refusing: Refusing, call: str, kind: str):
    cuda = importlib.import_module("model.runners.cuda")
    device = cuda.CudaDevice()
    with device.current():
        queue = device.open_queue()
        at = SimpleNamespace(cuda=cuda, device=device, queue=queue, mark=queue.mark())
        refusing.error = getattr(Refusing, kind)
        with pytest.raises(RunnerError, match=r"\(it failed\); "):
            CALLS[call](at)
    assert refusing.depth == 0


def test_a_device_whose_gpu_is_lost_still_closes(refusing: Refusing):
    """What waits tells of the fault; closing has nothing to add."""
    device = importlib.import_module("model.runners.cuda").CudaDevice()
    with device.current():
        queue = device.open_queue()
    queue._stream.synchronize = lambda: (_ for _ in ()).throw(Refusing.LaunchError("an illegal address"))
    device.close()
    with pytest.raises(RunnerError, match="was closed"), device.current():
        pass


def test_closing_waits_for_who_is_inside(refusing: Refusing):
    device = importlib.import_module("model.runners.cuda").CudaDevice()
    inside, leave, closed = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        with device.current():
            inside.set()
            assert leave.wait(10)
            assert not closed.is_set()

    with ThreadPoolExecutor(2) as pool:
        staying = pool.submit(stay)
        assert inside.wait(10)
        closing = pool.submit(lambda: (device.close(), closed.set()))
        assert not closed.wait(0.1)
        leave.set()
        staying.result()
        closing.result()
    assert refusing.depth == 0


def test_memory_that_is_missing_is_counted(refusing: Refusing):
    cuda = importlib.import_module("model.runners.cuda")
    device = cuda.CudaDevice()
    with (
        device.current(),
        pytest.raises(RunnerError, match=r"x needs 3\.00 GB, 1\.00 GB of 80\.00 GB .* 2\.00 GB are mi"),
    ):
        device.allocate(3_000_000_000, what="x")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06 (CUDA 13.0)"),
        ("no number here", "CUDA 13.0"),
        (None, "CUDA 13.0"),
    ],
)
def test_the_driver_tells_both_its_versions(
    refusing: Refusing, module: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cuda = importlib.import_module("model.runners.cuda")
    file = tmp_path / "version"
    if module is not None:
        file.write_text(module)
    monkeypatch.setattr(cuda, "_KERNEL_MODULE", file)
    assert cuda.identify().driver == said

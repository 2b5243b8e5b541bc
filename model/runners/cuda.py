"""A CUDA GPU through pycuda: the only module that imports pycuda. Needs the tensorrt extra and an NVIDIA driver.

Works in the GPU's primary context, the one that TensorRT and every other user of the CUDA runtime shares.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pycuda.driver as cuda

from model.errors import RunnerError
from model.runners.device import Bytes, DeviceIdentity, out_of_memory, size_text

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_VERSION = re.compile(r"\b\d{3}\.\d+(?:\.\d+)*\b")


class CudaDevice:
    """GPU `index`. See `Device` for the contract."""

    def __init__(self, index: int = 0) -> None:
        """Raises: RunnerError: there is no such GPU, or the driver does not start."""
        with _mapped(f"GPU {index} could not be opened", "see whether `nvidia-smi` lists it and the driver is loaded"):
            cuda.init()
            self._context: Any = cuda.Device(index).retain_primary_context()
        self._identity = identify(index)
        self._memory: list[Any] = []
        self._staging: list[Any] = []
        self._queues: list[_CudaQueue] = []
        self._open = True
        self._inside = 0
        self._left = threading.Condition()

    @property
    def identity(self) -> DeviceIdentity:
        return self._identity

    @contextmanager
    def current(self) -> Iterator[None]:
        with self._left:
            if not self._open:
                raise RunnerError("this GPU was closed; open it again")
            self._inside += 1
        try:
            with self._entered():
                yield
        finally:
            with self._left:
                self._inside -= 1
                self._left.notify_all()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with _mapped("the GPU's context cannot be entered", "restart the engine"):
            self._context.push()
        try:
            yield
        finally:
            cuda.Context.pop()

    def open_queue(self) -> _CudaQueue:
        with _mapped("no stream could be made", "restart the engine"):
            queue = _CudaQueue(self)
        self._queues.append(queue)
        return queue

    def free_bytes(self) -> int:
        with _mapped("the GPU does not tell its free memory", "restart the engine"):
            free, _ = cuda.mem_get_info()
        return int(free)

    def allocate(self, nbytes: int, *, what: str) -> int:
        try:
            with _mapped(f"no GPU memory for {what}", "restart the engine", but=cuda.MemoryError):
                block = cuda.mem_alloc(max(nbytes, 1))
        except cuda.MemoryError as exc:
            raise out_of_memory(nbytes, self.free_bytes(), self._identity.total_bytes, what=what) from exc
        self._memory.append(block)
        return int(block)

    def staging(self, nbytes: int, *, what: str) -> Bytes:
        remedy = "page-locked memory comes out of the machine's main memory: free some, or raise `ulimit -l`"
        with _mapped(f"no page-locked memory for {what} ({size_text(nbytes)})", remedy):
            block: Bytes = cuda.pagelocked_empty((nbytes,), np.uint8)
        self._staging.append(block)
        return block

    def close(self) -> None:
        with self._left:
            if not self._open:
                return
            self._open = False
            self._left.wait_for(lambda: not self._inside, timeout=_PATIENCE_S)
        with self._entered(), _mapped("the GPU's memory could not be freed", "restart the engine"):
            for queue in self._queues:
                queue.close()
            self._queues.clear()
            for block in self._memory:
                block.free()
            self._memory.clear()
            self._staging.clear()
        context, self._context = self._context, None
        context.detach()


class _CudaQueue:
    """A stream that waits for no other, and the events that its marks are made of: pycuda frees one on the device's own
    thread alone, so they go back to the queue instead, whichever thread drops a mark."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._stream: Any = cuda.Stream(_NON_BLOCKING)
        self._events: deque[Any] = deque()

    @property
    def handle(self) -> int:
        return int(self._stream.handle)

    def upload(self, address: int, source: Bytes) -> None:
        if source.nbytes:
            with _mapped("a copy to the GPU failed", _LOST):
                cuda.memcpy_htod_async(address, source, self._stream)

    def download(self, target: Bytes, address: int) -> None:
        if target.nbytes:
            with _mapped("a copy from the GPU failed", _LOST):
                cuda.memcpy_dtoh_async(target, address, self._stream)

    def mark(self) -> _CudaMark:
        with _mapped("the GPU takes no mark", _LOST):
            event = self._events.popleft() if self._events else cuda.Event(_EVENT)
            event.record(self._stream)
        mark = _CudaMark(self._device, event)
        weakref.finalize(mark, self._events.append, event)
        return mark

    def close(self) -> None:
        with suppress(cuda.Error):  # a fault is told by the mark that waits for it
            self._stream.synchronize()
        self._events.clear()
        self._stream = None


class _CudaMark:
    def __init__(self, device: CudaDevice, event: Any) -> None:
        self._device, self._event = device, event

    def reached(self) -> bool:
        with self._device.current(), _mapped(_FAULT, _LOST):
            return bool(self._event.query())

    def wait(self) -> None:
        with self._device.current(), _mapped(_FAULT, _LOST):
            self._event.synchronize()


_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which pycuda has no name for
_EVENT = cuda.event_flags.DISABLE_TIMING | cuda.event_flags.BLOCKING_SYNC  # a thread that waits burns no core
_PATIENCE_S = 5.0  # for who is still inside when the device is closed
_FAULT = "the GPU failed at what was queued"
_LOST = "its context is lost: restart the engine, and build the plans anew if it happens again"


def identify(index: int = 0) -> DeviceIdentity:
    """What GPU `index` is, without opening it. Raises: RunnerError, as `CudaDevice`."""
    with _mapped(f"GPU {index} does not answer", "see whether `nvidia-smi` lists it and the driver is loaded"):
        cuda.init()
        device = cuda.Device(index)
        major, minor = device.compute_capability()
        return DeviceIdentity(
            name=device.name(), compute_capability=f"{major}.{minor}", driver=_driver_version(),
            total_bytes=device.total_memory(),
        )  # fmt: skip


@contextmanager
def _mapped(failed: str, remedy: str, *, but: type[BaseException] | tuple[()] = ()) -> Iterator[None]:
    """pycuda's errors as ours; `but` passes."""
    try:
        yield
    except but:
        raise
    except cuda.Error as exc:  # the root of pycuda's MemoryError, LogicError, LaunchError and RuntimeError
        raise RunnerError(f"{failed} ({exc}); {remedy}") from exc


def _driver_version() -> str:
    """The kernel module's version where the system tells it, and the CUDA version that the driver speaks."""
    number = cuda.get_driver_version()
    spoken = f"CUDA {number // 1000}.{number % 1000 // 10}"
    try:
        module = _VERSION.search(_KERNEL_MODULE.read_text(encoding="utf-8"))
    except OSError:
        module = None
    return f"{module[0]} ({spoken})" if module else spoken

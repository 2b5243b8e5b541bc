"""A `Device` in host memory whose queue runs only when it is waited for: what a runner must not do, fails here.

Fresh memory is full of 0xCC. A copy must lie inside one allocation, and its staging must not change before it ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from model.errors import RunnerError
from model.runners.device import Bytes, DeviceIdentity, out_of_memory

IDENTITY = DeviceIdentity(name="NVIDIA H100", compute_capability="9.0", driver="580.65.06", total_bytes=1 << 24)
_POISON = 0xCC

STREAMS: dict[int, FakeDevice] = {}
"""Devices by their stream's handle: how a fake TensorRT context finds the memory that it was given."""


class FakeDevice:
    """See `model.runners.device.Device`. `log` tells what was queued, in order; `copies` counts uploads by address."""

    def __init__(self, identity: DeviceIdentity = IDENTITY) -> None:
        self._identity = identity
        self._memory: dict[int, Bytes] = {}
        self._staging: list[Bytes] = []
        self._queue: list[Callable[[], None]] = []
        self._entered = 0
        self._next = 1 << 40
        self.closed = False
        self.log: list[str] = []
        self.fault: str | None = None
        self._handle = 1000 + len(STREAMS)
        STREAMS[self._handle] = self

    @property
    def identity(self) -> DeviceIdentity:
        return self._identity

    @property
    def stream_handle(self) -> int:
        return self._handle

    @contextmanager
    def current(self) -> Iterator[None]:
        if self.closed:
            raise RunnerError("this GPU was closed; open it again")
        self._entered += 1
        try:
            yield
        finally:
            self._entered -= 1

    def free_bytes(self) -> int:
        assert self._entered
        return self._identity.total_bytes - sum(block.nbytes for block in self._memory.values())

    def allocate(self, nbytes: int, *, what: str) -> int:
        free = self.free_bytes()
        if nbytes > free:
            raise out_of_memory(nbytes, free, self._identity.total_bytes, what=what)
        address = self._next
        self._next += max(nbytes, 1) + 256
        self._memory[address] = np.full(nbytes, _POISON, np.uint8)
        self.log.append(f"allocate {what}")
        return address

    def staging(self, nbytes: int, *, what: str) -> Bytes:
        assert self._entered
        block = np.full(nbytes, _POISON, np.uint8)
        self._staging.append(block)
        return block

    def upload(self, address: int, source: Bytes) -> None:
        self._check_staging(source)
        target, before = self.memory(address, source.nbytes), source.copy()
        self.log.append(f"upload {source.nbytes}")

        def copy() -> None:
            assert np.array_equal(source, before), "staging was overwritten before its copy ran"
            target[:] = source

        self.enqueue(copy)

    def download(self, target: Bytes, address: int) -> None:
        self._check_staging(target)
        source = self.memory(address, target.nbytes)
        self.log.append(f"download {target.nbytes}")

        def copy() -> None:
            target[:] = source

        self.enqueue(copy)

    def enqueue(self, work: Callable[[], None]) -> None:
        assert self._entered, "the device is not current"
        self._queue.append(work)

    def synchronize(self) -> None:
        assert self._entered
        self.log.append("synchronize")
        if self.fault is not None:
            raise RunnerError(self.fault)
        queued, self._queue = self._queue, []
        for work in queued:
            try:
                work()
            except RuntimeError as exc:  # a kernel that fails is known only here
                raise RunnerError(f"the GPU failed at what was queued ({exc})") from exc

    def close(self) -> None:
        self.closed = True
        self._memory.clear()

    def memory(self, address: int, nbytes: int) -> Bytes:
        """What lies at an address, to be read or written in place."""
        for start, block in self._memory.items():
            if start <= address and address + nbytes <= start + block.nbytes:
                return block[address - start : address - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address:#x} are not on this device")

    def _check_staging(self, block: Bytes) -> None:
        assert block.dtype == np.uint8
        inside = any(np.may_share_memory(block, staging) for staging in self._staging)
        assert inside or not block.nbytes, "copies go through staging only"

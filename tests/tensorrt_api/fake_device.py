"""A `Device` in host memory whose queues run only when they are waited for: what a runner must not do, fails here.

Fresh memory is full of 0xCC. A copy must lie inside one allocation, and its staging must not change before it ran.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from model.errors import RunnerError
from model.runners.device import Bytes, DeviceIdentity, out_of_memory

IDENTITY = DeviceIdentity(name="NVIDIA H100", compute_capability="9.0", driver="580.65.06", total_bytes=1 << 24)
_POISON = 0xCC

STREAMS: dict[int, FakeQueue] = {}
"""Queues by their stream's handle: how a fake TensorRT context finds the memory that it was given."""


class FakeDevice:
    """See `model.runners.device.Device`. `log` tells what was queued, in order; `copies` counts uploads by address."""

    def __init__(self, identity: DeviceIdentity = IDENTITY) -> None:
        self._identity = identity
        self._memory: dict[int, Bytes] = {}
        self._staging: list[Bytes] = []
        self._here = threading.local()
        self._next = 1 << 40
        self.closed = False
        self.log: list[str] = []
        self.queues: list[FakeQueue] = []
        self.fault: str | None = None

    @property
    def identity(self) -> DeviceIdentity:
        return self._identity

    @contextmanager
    def current(self) -> Iterator[None]:
        if self.closed:
            raise RunnerError("this GPU was closed; open it again")
        self._here.entered = getattr(self._here, "entered", 0) + 1
        try:
            yield
        finally:
            self._here.entered -= 1

    def open_queue(self) -> FakeQueue:
        self.check_entered()
        queue = FakeQueue(self)
        self.queues.append(queue)
        return queue

    def free_bytes(self) -> int:
        self.check_entered()
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
        self.check_entered()
        block = np.full(nbytes, _POISON, np.uint8)
        self._staging.append(block)
        return block

    @property
    def pieces_of_staging(self) -> int:
        """How many were ever made."""
        return len(self._staging)

    def close(self) -> None:
        self.closed = True
        self._memory.clear()

    def memory(self, address: int, nbytes: int) -> Bytes:
        """What lies at an address, to be read or written in place."""
        for start, block in self._memory.items():
            if start <= address and address + nbytes <= start + block.nbytes:
                return block[address - start : address - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address:#x} are not on this device")

    def check_entered(self) -> None:
        assert getattr(self._here, "entered", 0), "the device is not current on this thread"

    def check_staging(self, block: Bytes) -> None:
        assert block.dtype == np.uint8
        inside = any(np.may_share_memory(block, staging) for staging in self._staging)
        assert inside or not block.nbytes, "copies go through staging only"


class FakeQueue:
    """See `model.runners.device.Queue`. `log` tells what was queued here, in order; the device's has it too."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.handle = 1000 + len(STREAMS)
        STREAMS[self.handle] = self
        self.log: list[str] = []
        self._work: list[Callable[[], None]] = []
        self._done = 0

    def tell(self, what: str) -> None:
        self.log.append(what)
        self.device.log.append(what)

    def upload(self, address: int, source: Bytes) -> None:
        self.device.check_staging(source)
        target, before = self.device.memory(address, source.nbytes), source.copy()
        self.tell(f"upload {source.nbytes}")

        def copy() -> None:
            assert np.array_equal(source, before), "staging was overwritten before its copy ran"
            target[:] = source

        self.enqueue(copy)

    def download(self, target: Bytes, address: int) -> None:
        self.device.check_staging(target)
        source = self.device.memory(address, target.nbytes)
        self.tell(f"download {target.nbytes}")

        def copy() -> None:
            target[:] = source

        self.enqueue(copy)

    def enqueue(self, work: Callable[[], None]) -> None:
        self.device.check_entered()
        self._work.append(work)

    def mark(self) -> FakeMark:
        self.device.check_entered()
        return FakeMark(self, len(self._work))

    def has_done(self, count: int) -> bool:
        return self._done >= count

    def do(self, count: int) -> None:
        """The first `count` of all that was ever queued."""
        self.tell("wait")
        if self.device.fault is not None:
            raise RunnerError(self.device.fault)
        while self._done < count:
            work = self._work[self._done]
            self._done += 1
            try:
                work()
            except RuntimeError as exc:  # a kernel that fails is known only here
                raise RunnerError(f"the GPU failed at what was queued ({exc})") from exc


class FakeMark:
    def __init__(self, queue: FakeQueue, count: int) -> None:
        self._queue, self._count = queue, count

    def reached(self) -> bool:
        with self._queue.device.current():
            return self._queue.has_done(self._count)

    def wait(self) -> None:
        with self._queue.device.current():
            self._queue.do(self._count)

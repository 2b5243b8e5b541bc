"""CUDA streams, events and a pool of page-locked host buffers, for `CudaGraphRunner`. Needs the torch extra."""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class CudaEvent:
    """A point in a lane's work."""

    def __init__(self, event: Any = None) -> None:
        self._event = event

    def reached(self) -> bool:
        return self._event is None or bool(self._event.query())

    def wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()


class CudaStream:
    """A CUDA stream with the memory that its captured graphs share; on a CPU, work is done as it is given."""

    def __init__(self, device: torch.device, *, first: bool = False) -> None:
        """first: its kernels, captured ones too, go before those of other streams that wait for a place on the GPU."""
        self.cuda = device.type == "cuda"
        priority = -1 if first else 0
        self.stream: Any = torch.cuda.Stream(device, priority) if self.cuda else None  # type: ignore[no-untyped-call]
        # Graphs of one lane never run at the same time, so their intermediate results may lie in the same memory.
        self.pool: Any = torch.cuda.graph_pool_handle() if self.cuda else None
        # A ring for each: should an array be dropped before it is written, the buffer's next writer still comes later.
        self.ring = PinnedPool(pinned=self.cuda)

    def active(self) -> contextlib.AbstractContextManager[object]:
        return torch.cuda.stream(self.stream) if self.cuda else contextlib.nullcontext()

    def mark(self) -> CudaEvent:
        if not self.cuda:
            return CudaEvent()
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # who waits burns no core
        event.record(self.stream)
        return CudaEvent(event)

    def wait(self) -> None:
        if self.cuda:
            self.stream.synchronize()


class PinnedPool:
    """Buffers that are lent as numpy arrays and come back by themselves once an array and all its views are gone.

    Page-locked where there is a GPU: only then does a copy run beside the GPU's work. As many buffers of a shape are
    made as are in use at once. Arrays may be dropped on any thread.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._free: dict[tuple[torch.Size, torch.dtype], deque[Tensor]] = {}
        self.buffers = 0
        """How many were made so far."""

    def lend(self, like: Tensor) -> tuple[Tensor, NDArray[np.generic]]:
        """A buffer of a tensor's shape and dtype, and the array over it. Whatever it held is still in it."""
        free = self._free.setdefault((like.shape, like.dtype), deque())
        try:
            buffer = free.popleft()
        except IndexError:
            buffer = torch.empty(like.shape, dtype=like.dtype, pin_memory=self._pinned)
            self.buffers += 1
        array: NDArray[np.generic] = buffer.numpy()
        # A view's base is this array, since the array's own base is no array: it lives as long as its last view.
        weakref.finalize(array, free.append, buffer)
        return buffer, array

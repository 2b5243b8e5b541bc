"""CUDA streams and events for `CudaGraphRunner`. Needs the torch extra."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from model.runners.pinned_pool import PinnedPool


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

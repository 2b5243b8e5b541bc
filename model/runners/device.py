"""What a runner needs of a GPU: memory by address, page-locked staging, streams that run beside each other.

An interface; `cuda.py` implements it. No GPU library is imported here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """name: the driver's, "NVIDIA H100 80GB HBM3". compute_capability: "9.0". driver: its version."""

    name: str
    compute_capability: str
    driver: str
    total_bytes: int


class Event(Protocol):
    """A place in a queue. May be asked from any thread."""

    def reached(self) -> bool:
        """Whether all that was queued before it is done. Raises: RunnerError, as `wait`."""
        ...

    def wait(self) -> None:
        """Raises: RunnerError: some of what was queued before it failed, or the device was closed."""
        ...


class Stream(Protocol):
    """Work for a GPU, done in order, beside that of other queues. Nothing of it may be read or overwritten before a
    mark behind it is reached.

    Raises (all methods): RunnerError, never the driver library's own exception.
    """

    @property
    def handle(self) -> int:
        """The driver's handle of the stream."""
        ...

    def upload(self, address: int, source: Bytes) -> None:
        """Queues a copy to the GPU. source: all of a piece of staging."""
        ...

    def download(self, target: Bytes, address: int) -> None:
        """Queues a copy from the GPU. target: all of a piece of staging."""
        ...

    def mark(self) -> Event:
        """Behind all that was queued so far."""
        ...


class Device(Protocol):
    """One GPU.

    Raises (all methods): RunnerError, never the driver library's own exception.
    """

    @property
    def identity(self) -> DeviceIdentity: ...

    def current(self) -> AbstractContextManager[None]:
        """While it is entered, this thread's driver calls go to this GPU. Everything below, and what queues work, needs
        it."""
        ...

    def open_queue(self) -> Stream:
        """One that lives until `close`."""
        ...

    def free_bytes(self) -> int: ...

    def allocate(self, nbytes: int, *, what: str) -> int:
        """Returns: the address of memory on the GPU, its contents undefined, that lives until `close`.

        Raises: RunnerError: not so much is free; says what for, how much there is and how much is missing.
        """
        ...

    def staging(self, nbytes: int, *, what: str) -> Bytes:
        """Page-locked host memory, which copies run from and to without a stop. It may be read and written until
        `close`."""
        ...

    def close(self) -> None:
        """Frees everything, once all that was queued is done and no thread is in `current`. May be called again."""
        ...


def out_of_memory(wanted: int, free: int, total: int, *, what: str) -> RunnerError:
    """The one wording for GPU memory that is not there, with how much of it is missing."""
    return RunnerError(
        f"out of GPU memory: {what} needs {size_text(wanted)}, {size_text(free)} of {size_text(total)} are free, "
        f"{size_text(max(wanted - free, 0))} are missing; end what else uses this GPU, or build with --weight-streaming"
    )


def size_text(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"

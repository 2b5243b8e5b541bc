"""A pool of page-locked host buffers that a GPU writes into and callers read without a copy. Needs the torch extra."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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

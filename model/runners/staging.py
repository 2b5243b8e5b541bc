"""Page-locked host memory for a graph's inputs or outputs, a set for each run under way.

Numpy only; the GPU is `Device`'s.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError
from model.runners.device import Bytes, Device, Event

StagingSet = Mapping[str, Bytes]
"""One piece for each tensor, as large as that ever gets."""
Layout = tuple[np.dtype[np.generic], tuple[int, ...]]
"""How the beginning of a piece is to be read: dtype and shape."""


class Staging:
    """Sets for tensors of the given sizes. A new one is made when the one that came back first is still in use."""

    def __init__(self, device: Device, nbytes: Mapping[str, int], *, what: str) -> None:
        """nbytes: of each tensor, by name. what: for whom, in errors."""
        self.device = device
        self._nbytes, self._what = dict(nbytes), what
        self._given_back: deque[tuple[Event, StagingSet]] = deque()

    def lend(self) -> StagingSet:
        """A set that nothing copies from or to any more. Call it while the device is current.

        Raises: RunnerError: there is no memory for another.
        """
        if self._given_back and self._given_back[0][0].reached():
            return self._given_back.popleft()[1]
        return {
            name: self.device.staging(nbytes, what=f"{self._what}'s {name}") for name, nbytes in self._nbytes.items()
        }

    def give_back(self, lent: StagingSet, after: Event) -> None:
        """Its copies end at `after`. May be called from any thread."""
        self._given_back.append((after, lent))


class StagedOutputs:
    """A run's outputs under way to the host; see `Pending`. Its staging is given back once they are fetched, or when
    nobody is left to fetch them."""

    def __init__(
        self, graph: str, staging: Staging, lent: StagingSet, layouts: Mapping[str, Layout], done: Event
    ) -> None:
        """lent: of `staging`. done: behind the copies into it."""
        self._graph, self._staging, self._layouts, self._done = graph, staging, dict(layouts), done
        self._lent: StagingSet | None = lent
        self._fetched: dict[str, NDArray[np.generic]] = {}
        self._lock = threading.Lock()
        self._give_back = weakref.finalize(self, staging.give_back, lent, done)

    def ready(self) -> bool:
        return self._done.reached()

    def result(self) -> dict[str, NDArray[np.generic]]:
        with self._lock:
            if self._lent is not None:
                try:
                    with self._staging.device.current():  # it is not closed, and its staging not freed, meanwhile
                        self._done.wait()
                        self._fetched = {name: _copied(self._lent[name], *at) for name, at in self._layouts.items()}
                except RunnerError as exc:
                    raise RunnerError(f"{self._graph}: {exc}") from exc
                self._lent = None
                self._give_back()
            return dict(self._fetched)


def _copied(piece: Bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    return piece[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape).copy()

"""Page-locked host memory that a graph's inputs or outputs pass through, a set of it for each run under way.

Numpy only; the GPU is `Device`'s.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError
from model.runners.device import Bytes, Device, Mark

StagingSet = Mapping[str, Bytes]
"""One piece for each tensor, as large as that ever gets."""
Layout = tuple[np.dtype[np.generic], tuple[int, ...]]
"""How the beginning of a piece is to be read: dtype and shape."""


class Staging:
    """Sets for tensors of the given sizes; a new one is made only while all that there are are in use."""

    def __init__(self, device: Device, nbytes: Mapping[str, int], *, what: str) -> None:
        """nbytes: of each tensor, by name. what: for whom, in errors."""
        self._device, self._nbytes, self._what = device, dict(nbytes), what
        self._given_back: deque[tuple[Mark, StagingSet]] = deque()

    def lend(self) -> StagingSet:
        """A set that nothing copies from or to any more. Call it while the device is current.

        Raises: RunnerError: there is no memory for another.
        """
        if self._given_back and self._given_back[0][0].reached():
            return self._given_back.popleft()[1]
        return {
            name: self._device.staging(nbytes, what=f"{self._what}'s {name}") for name, nbytes in self._nbytes.items()
        }

    def give_back(self, lent: StagingSet, after: Mark) -> None:
        """Its copies end at `after`. May be called from any thread."""
        self._given_back.append((after, lent))


class StagedOutputs:
    """A run's outputs under way to the host; see `Pending`. Its staging is given back when nobody holds it any more."""

    def __init__(
        self, graph: str, staging: Staging, lent: StagingSet, layouts: Mapping[str, Layout], done: Mark
    ) -> None:
        """lent: of `staging`. done: behind the copies into it."""
        self._graph, self._lent, self._layouts, self._done = graph, lent, dict(layouts), done
        weakref.finalize(self, staging.give_back, lent, done)

    def ready(self) -> bool:
        return self._done.reached()

    def result(self) -> dict[str, NDArray[np.generic]]:
        try:
            self._done.wait()
        except RunnerError as exc:
            raise RunnerError(f"{self._graph}: {exc}") from exc
        return {name: self._copied(name, dtype, shape) for name, (dtype, shape) in self._layouts.items()}

    def _copied(self, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
        nbytes = math.prod(shape) * dtype.itemsize
        return self._lent[name][:nbytes].view(dtype).reshape(shape).copy()

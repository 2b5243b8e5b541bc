"""Values computed later: on first use, or earlier by a background thread.

Without a `Helper` every value is computed on first use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Deferred(Generic[T_co]):
    """A value that is made once, whatever thread asks for it; who asks while another makes it waits."""

    def __init__(self, make: Callable[[], T_co]) -> None:
        self._make: Callable[[], T_co] | None = make
        self._lock = threading.Lock()

    @staticmethod
    def known(value: T) -> Deferred[T]:
        """One that is there already."""
        return Deferred(lambda: value)

    def get(self) -> T_co:
        """Raises: whatever making it raises, at every call until it is made."""
        with self._lock:
            if self._make is not None:
                self._value = self._make()
                self._make = None  # it may hold much that nobody else does
            return self._value


class Helper:
    """A thread that makes values before they are asked for, in the order in which it is told of them.

    It does not know what nobody wants any more: values of a chunk that failed are made before those of the next.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)

    def begin(self, values: Iterable[Deferred[object]]) -> None:
        """Returns at once. A value that cannot be made says so to whoever asks for it, and keeps no other from it."""
        for value in values:
            self._pool.submit(value.get)

    def close(self) -> None:
        """Returns when the value that is being made is made; the rest is left to whoever asks."""
        self._pool.shutdown(cancel_futures=True)

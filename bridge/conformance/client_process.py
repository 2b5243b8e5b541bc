"""The process of a client that is tested: started with the address in its command, watched, ended."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

ADDRESS_WORD: Final = "{address}"
_LEAVES_S: Final = 3.0  # how long a client that was told BYE may take to end its process


class ClientProcess:
    """command: what to start, `{address}` standing for `address`, which else is added. Without one the client is
    somebody else's and comes by itself: it counts as running."""

    def __init__(self, command: Sequence[str], address: str) -> None:
        self.started_here = bool(command)
        self._process = subprocess.Popen(_filled_in(command, address), stdin=subprocess.DEVNULL) if command else None

    @property
    def running(self) -> bool:
        return self._process is None or self._process.poll() is None

    @property
    def crashed(self) -> str:
        """How it ended by a fault of its own; empty when it did not."""
        status = self._process.poll() if self._process is not None else None
        return f"its process was ended by signal {-status}" if status is not None and status < 0 else ""

    def end(self) -> None:
        """Waits for it to end, and kills it when it does not."""
        if self._process is not None:
            try:
                self._process.wait(_LEAVES_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _filled_in(command: Sequence[str], address: str) -> list[str]:
    if any(ADDRESS_WORD in word for word in command):
        return [word.replace(ADDRESS_WORD, address) for word in command]
    return [*command, address]

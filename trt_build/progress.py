"""How far a build is: what TensorRT's progress monitor is told, kept where a terminal can draw it.

TensorRT calls from threads of its own, in the midst of a build that an exception would tear down. So the calls only
write down what they are told, and the thread that waits for the build draws it. No TensorRT here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

_BAR_CELLS = 24
_CLEAR_LINE = "\x1b[2K"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of a build. depth: 0 for the outermost. done: of `steps`."""

    name: str
    depth: int
    done: int
    steps: int


class BuildProgress:
    """The phases that are open, outermost first, and whether to stop. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Phase] = {}
        self._finished: list[Phase] = []
        self._cancelled = False

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            above = self._open.get(parent or "")
            depth = 0 if above is None else above.depth + 1
            self._open[name] = Phase(name=name, depth=depth, done=0, steps=steps)

    def step(self, name: str, step: int) -> bool:
        """`step` of a phase is done. Returns: whether to go on."""
        with self._lock:
            phase = self._open.get(name)
            if phase is not None:
                self._open[name] = Phase(name=name, depth=phase.depth, done=step + 1, steps=phase.steps)
            return not self._cancelled

    def finish(self, name: str) -> None:
        with self._lock:
            phase = self._open.pop(name, None)
            if phase is not None:
                self._finished.append(phase)

    def cancel(self) -> None:
        """The next step of any phase tells TensorRT to stop."""
        with self._lock:
            self._cancelled = True

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def open_phases(self) -> list[Phase]:
        with self._lock:
            return list(self._open.values())

    def take_finished(self) -> list[Phase]:
        """Phases that finished since the last call."""
        with self._lock:
            finished, self._finished = self._finished, []
            return finished


class ProgressDisplay:
    """Draws one bar for each open phase, in place; without a terminal, a line for each outer phase that is done."""

    def __init__(self, progress: BuildProgress, out: TextIO, clock: Callable[[], float], *, title: str) -> None:
        """clock: seconds that only grow."""
        self._progress, self._out, self._clock, self._title = progress, out, clock, title
        self._began_s = clock()
        self._drawn = 0
        self._in_place = out.isatty()

    def draw(self) -> None:
        if not self._in_place:
            for phase in self._progress.take_finished():
                if phase.depth == 0:
                    self._out.write(f"{self._title}: {phase.name} done after {self._elapsed()}\n")
            self._out.flush()
            return
        self.clear()
        phases = self._progress.open_phases()
        for phase in phases:
            self._out.write(f"{self._title} {bar(phase)} {self._elapsed()}\n")
        self._drawn = len(phases)
        self._out.flush()

    def clear(self) -> None:
        """Takes the bars away, for other text or at the end."""
        self._out.write(f"\x1b[1A{_CLEAR_LINE}" * self._drawn)
        self._drawn = 0
        self._out.flush()

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._began_s), 60)
        return f"{minutes}:{seconds:02d}"


def bar(phase: Phase) -> str:
    """`  [######------]  50 % name`: indented by depth; a phase without steps has an empty bar."""
    share = min(phase.done / phase.steps, 1.0) if phase.steps > 0 else 0.0
    filled = round(share * _BAR_CELLS)
    cells = "#" * filled + "-" * (_BAR_CELLS - filled)
    return f"{'  ' * phase.depth}[{cells}] {share:4.0%} {phase.name}"

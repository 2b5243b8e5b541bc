"""What can go wrong in `model/`.

ModelError
├── SpecError         spec.json is not what this version reads
├── CheckpointError   a weight file is missing, misshapen or of another model
├── RunnerError       a graph was given, or gave, something else than its signature says
└── BlockoutError     geometry that cannot be cast
"""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 4


class ModelError(Exception):
    """Anything that model/ refuses or fails at."""


class SpecError(ModelError):
    """A spec file has missing, unknown or impossible values."""


class CheckpointError(ModelError):
    """A checkpoint cannot be loaded as the model asked for."""


class RunnerError(ModelError):
    """A graph's inputs or outputs do not fit its signature, or its runtime failed."""


class BlockoutError(ModelError):
    """A part of a blockout cannot be cast."""


def some(names: Iterable[str]) -> str:
    """The first few of many names, for a message, and how many there are besides."""
    ordered = sorted(names)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

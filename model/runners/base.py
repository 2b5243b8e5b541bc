"""The `ModuleRunner` protocol: named numpy arrays in, named numpy arrays out; graph signatures and their checks.

No runtime is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from model.errors import RunnerError

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class TensorSignature:
    """dtype: numpy's name for it. shape: None where a length may vary from call to call."""

    dtype: str
    shape: tuple[int | None, ...]

    def admits(self, array: NDArray[np.generic]) -> bool:
        return (
            array.dtype.name == self.dtype
            and array.ndim == len(self.shape)
            and all(want in (None, got) for want, got in zip(self.shape, array.shape, strict=True))
        )

    def __str__(self) -> str:
        return f"{self.dtype}({', '.join('any' if n is None else str(n) for n in self.shape)})"


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """What a graph takes and gives, by name, in order."""

    inputs: Mapping[str, TensorSignature]
    outputs: Mapping[str, TensorSignature]


class ModuleRunner(Protocol):
    """Runs the graphs of one model. Not safe for use from two threads at once.

    Raises (all methods): RunnerError, never a runtime's own exception.
    """

    @property
    def graphs(self) -> Mapping[str, GraphSignature]: ...

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """All outputs of a graph, as arrays that the caller owns. `inputs` are only read.

        One that `is_frozen` and comes again need not be read again: who freezes an array writes to it no more, by
        whatever view.

        Raises: RunnerError: an input is missing, unknown, or of the wrong dtype or shape.
        """
        ...

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        """Fixes an input for all later runs (a runner with a device uploads it once); `run` no longer takes it."""
        ...

    def close(self) -> None:
        """Frees what the graphs hold. A closed runner refuses to run."""
        ...


class Pending(Protocol):
    """The outputs of a graph that was started, perhaps still being made."""

    def ready(self) -> bool:
        """Whether `result` would return at once."""
        ...

    def result(self) -> dict[str, NDArray[np.generic]]:
        """Waits for the outputs; as `ModuleRunner.run` gives them. May be called from any thread, and again.

        Raises: RunnerError: the graph failed.
        """
        ...


@runtime_checkable
class OverlappingRunner(ModuleRunner, Protocol):
    """A runner that can go on with one graph while another is still being made."""

    def start(self, graph: str, inputs: Arrays) -> Pending: ...


@dataclass(frozen=True, slots=True)
class _Finished:
    outputs: dict[str, NDArray[np.generic]]

    def ready(self) -> bool:
        return True

    def result(self) -> dict[str, NDArray[np.generic]]:
        return self.outputs


def started(runner: ModuleRunner, graph: str, inputs: Arrays) -> Pending:
    """Starts a graph where the runner can overlap, else runs it. Raises: RunnerError, as `ModuleRunner.run`."""
    if isinstance(runner, OverlappingRunner):
        return runner.start(graph, inputs)
    return _Finished(runner.run(graph, inputs))


def is_frozen(array: NDArray[np.generic]) -> bool:
    """Whether neither an array nor anything that it is a view of can be written."""
    part: object = array
    while isinstance(part, np.ndarray):
        if part.flags.writeable:
            return False
        part = part.base
    return part is None


def signature_of(graphs: Mapping[str, GraphSignature], graph: str) -> GraphSignature:
    """Raises: RunnerError: there is no such graph."""
    try:
        return graphs[graph]
    except KeyError:
        raise RunnerError(f"no graph named {graph!r}; this model has {', '.join(sorted(graphs)) or 'none'}") from None


def check_input(graph: str, signature: GraphSignature, name: str, array: NDArray[np.generic]) -> None:
    """Raises: RunnerError: the graph has no such input, or `array` does not fit it."""
    if name not in signature.inputs:
        raise RunnerError(f"{graph} has no input {name!r}; it takes {', '.join(signature.inputs)}")
    wanted = signature.inputs[name]
    if not wanted.admits(array):
        got = TensorSignature(array.dtype.name, array.shape)
        raise RunnerError(f"{graph}: input {name!r} must be {wanted}, got {got}")


def check_inputs(graph: str, signature: GraphSignature, inputs: Arrays, bound: Arrays) -> None:
    """Raises: RunnerError: `inputs` and `bound` together are not exactly the graph's inputs."""
    if missing := [name for name in signature.inputs if name not in inputs and name not in bound]:
        raise RunnerError(f"{graph}: input {', '.join(missing)} is missing; got {', '.join(inputs) or 'nothing'}")
    for name, array in inputs.items():
        check_input(graph, signature, name, array)
        if name in bound:
            raise RunnerError(f"{graph}: input {name!r} is bound to a constant, do not pass it")

"""How long each graph takes at each size that it was built for, copies to and from the device included.

Runs any `ModuleRunner`; reads the sizes from export.json. Its figures are for benchmarks/RESULTS.md, with the machine
and the settings that they come with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.runners.base import GraphSignature, ModuleRunner
from trt_build.manifest import ExportManifest, Profile

_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Of one graph at one profile's tuned size. times_ms: one a run, sorted."""

    graph: str
    profile: str
    times_ms: tuple[float, ...]

    def at(self, share: float) -> float:
        """The time that `share` of the runs stay within (nearest rank)."""
        rank = max(int(np.ceil(share * len(self.times_ms))), 1)
        return self.times_ms[rank - 1]


def measure(
    runner: ModuleRunner,
    manifest: ExportManifest,
    *,
    runs: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Every profile of every graph, one after another. clock: seconds. Raises: RunnerError: a graph failed."""
    timings = []
    for name, graph in manifest.graphs.items():
        for profile in graph.profiles or (Profile(name="fixed", shapes={}),):
            inputs = drawn(runner.graphs[name], profile)
            for _ in range(warm_up):
                runner.run(name, inputs)
            times = []
            for _ in range(runs):
                began = clock()
                runner.run(name, inputs)
                times.append((clock() - began) * 1e3)
            timings.append(Timing(graph=name, profile=profile.name, times_ms=tuple(sorted(times))))
    return timings


def drawn(signature: GraphSignature, profile: Profile) -> dict[str, NDArray[np.generic]]:
    """Inputs of the profile's tuned size: normal numbers, and zeros where integers are asked for."""
    rng = np.random.default_rng(_SEED)
    inputs: dict[str, NDArray[np.generic]] = {}
    for name, tensor in signature.inputs.items():
        fixed = tuple(n for n in tensor.shape if n is not None)
        shape = profile.shapes[name].opt if name in profile.shapes else fixed
        normal = np.issubdtype(np.dtype(tensor.dtype), np.floating)
        inputs[name] = (rng.standard_normal(shape) if normal else np.zeros(shape)).astype(tensor.dtype)
    return inputs


def table(timings: list[Timing]) -> str:
    lines = [f"{'graph':<14}{'profile':<10}{'n':>5}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"]
    lines += [
        f"{t.graph:<14}{t.profile:<10}{len(t.times_ms):>5}{t.at(0.5):>10.2f}{t.at(0.95):>10.2f}{t.at(0.99):>10.2f}"
        for t in timings
    ]
    return "\n".join(lines)

"""Which chunks the engine makes for nobody before somebody plays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.backends.helios import HeliosEngine
from bridge.backends.loading import ModelOptions, load_model
from bridge.clock import FakeClock
from bridge.engine.interface import BegunStep, StepRequest
from model.runners.base import Arrays, GraphSignature, ModuleRunner, OverlappingRunner, Pending, started


class Overlapping:
    """A runner that could go on with one graph while another is being made."""

    def __init__(self, runner: ModuleRunner) -> None:
        self._runner = runner

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return self._runner.graphs

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        return self._runner.run(graph, inputs)

    def start(self, graph: str, inputs: Arrays) -> Pending:
        return started(self._runner, graph, inputs)

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        self._runner.bind_constant(graph, name, array)

    def close(self) -> None:
        self._runner.close()


class Watched(HeliosEngine):
    """Remembers how long the chunks were; each takes a second a frame."""

    made: list[int]

    def begin_batch(self, asked: Sequence[StepRequest]) -> list[BegunStep]:
        self.made += [each.plan.frames for each in asked]
        assert isinstance(self._clock, FakeClock)
        self._clock.advance_us(1_000_000 * asked[0].plan.frames)
        return super().begin_batch(asked)


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_runner_with_static_graphs_meets_every_length_before_somebody_plays(overlaps: bool) -> None:
    loaded, lengths = load_model(ModelOptions(model="demo", runner="onnxruntime"))
    if overlaps:
        runner = Overlapping(loaded.runner)
        assert isinstance(runner, OverlappingRunner)
        loaded = dataclasses.replace(loaded, runner=runner)
    engine = Watched(loaded, lengths)
    engine.made, engine._clock = [], FakeClock()
    before = engine.info
    engine.warm_up()
    every = engine.info.frames_per_chunk
    assert len(every) > 1
    assert tuple(sorted(set(engine.made))) == (every if overlaps else every[-1:])
    assert (before.chunk_us, engine.info.chunk_us) == (0, 1_000_000 * every[-1])
    assert engine.info == before, "a process that measures something else is no other engine"
    engine.close()

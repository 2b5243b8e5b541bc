"""The inputs that exported graphs are compared on: one case for each profile, drawn from a fixed seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from model.runners.torch import TorchGraph
from model.spec import Graph, ModelSpec
from trt_build.compare import Case
from trt_build.errors import BuildError
from trt_build.manifest import TOKENS_VIEW, Profile, frame_profile, stage_profiles

_FRAMES = "frames"
_SEED = 20260


def profiles_of(spec: ModelSpec, name: str, graph: TorchGraph) -> tuple[Profile, ...]:
    """A graph's optimization profiles. Raises: BuildError: a length varies of which no profile is known."""
    if name == Graph.DENOISER:
        return stage_profiles(spec, view=TOKENS_VIEW in graph.inputs)
    axes = [(key, axis, length) for key, named in graph.dynamic_axes.items() for axis, length in named.items()]
    if unknown := sorted({length for _, _, length in axes} - {_FRAMES}):
        raise BuildError(f"{name} varies in {', '.join(unknown)}; profiles exist for {_FRAMES} only")
    shapes = {key: tuple(tensor.shape) for key, tensor in graph.inputs.items()}
    return frame_profile(spec, shapes, {key: axis for key, axis, _ in axes})


def cases_of(spec: ModelSpec, graphs: Mapping[str, TorchGraph]) -> list[Case]:
    """Every graph at the tuned size of every profile of it; a graph whose lengths are fixed once, as "fixed".

    A denoiser with room for a view comes without one too. Float inputs are normal numbers, a memory's too; pictures are
    noise.
    """
    cases = []
    for name, graph in graphs.items():
        shapes: dict[str, dict[str, tuple[int, ...]]] = {
            profile.name: {key: shape.opt for key, shape in profile.shapes.items()}
            for profile in profiles_of(spec, name, graph)
        } or {"fixed": {}}
        if TOKENS_VIEW in graph.inputs:
            shapes |= {f"{case}, no view": lengths | {TOKENS_VIEW: (0,)} for case, lengths in shapes.items()}
        for case, lengths in shapes.items():
            generator = torch.Generator().manual_seed(_SEED)
            inputs = {
                key: _drawn(example, lengths.get(key, tuple(example.shape)), generator).numpy()
                for key, example in graph.inputs.items()
            }
            cases.append(Case(graph=name, name=case, inputs=inputs))
    return cases


def _drawn(example: torch.Tensor, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if example.dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if not example.is_floating_point():
        if tuple(example.shape) == shape:
            return example
        first = int(example.flatten()[0])  # integer lengths that vary are consecutive places in time
        return torch.arange(first, first + int(np.prod(shape))).reshape(shape).to(example.dtype)
    return torch.randn(shape, generator=generator)

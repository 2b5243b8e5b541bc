"""The interface of the `denoiser` graph: example inputs, which lengths vary, and what fits it. transformer.py computes
it.

Needs the torch extra.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor

from model.errors import CheckpointError
from model.networks.transformer import DenoiserGraph
from model.pipeline.history import frame_indices
from model.runners.torch import TorchGraph
from model.spec import ModelSpec

DENOISER_OUTPUTS = ("sample",)
DENOISER_AXES = {
    "hidden_states": {2: "frames", 3: "height", 4: "width"},
    "indices_hidden_states": {1: "frames"},
}
"""Lengths that vary from call to call; equal names are equal lengths."""
_OF_A_VIDEO = (
    "hidden_states", "encoder_hidden_states", "latents_history_short", "latents_history_mid", "latents_history_long",
)  # fmt: skip


def denoiser_graph(model: HeliosTransformer3DModel, spec: ModelSpec) -> TorchGraph:
    """The `denoiser` with example inputs for `spec`; new frames and their size vary, history has the spec's.

    Raises: CheckpointError: the model's channels or text width are not the spec's.
    """
    check_fits(model, spec)
    return TorchGraph(
        module=DenoiserGraph(model).eval(),
        inputs=example_inputs(spec),
        outputs=DENOISER_OUTPUTS,
        dynamic_axes=DENOISER_AXES,
    )


def batched(graph: TorchGraph) -> TorchGraph:
    """The `denoiser` for several videos at once, for a runner that can change how many.

    An export has one. Exported for more, and on one thread of a CPU under onnxruntime, two or three of the demo's at
    once took 0.96 of the time in turn (benchmarks/RESULTS.md), and the denoiser is less than half of a chunk: frames
    would be younger by it from 2/3 of the time in turn on.
    """
    axes = {name: {**graph.dynamic_axes.get(name, {}), 0: "batch"} for name in _OF_A_VIDEO}
    return replace(graph, dynamic_axes={**graph.dynamic_axes, **axes})


def check_fits(model: HeliosTransformer3DModel, spec: ModelSpec) -> None:
    """Raises: CheckpointError: the model's channels or text width are not the spec's."""
    for key, wanted in (("in_channels", spec.denoiser_channels), ("text_dim", spec.text_dim)):
        if model.config[key] != wanted:
            raise CheckpointError(f"{spec.name} has {key} {wanted}, the checkpoint {model.config[key]}")


def example_inputs(spec: ModelSpec) -> dict[str, Tensor]:
    """Random inputs of the denoiser, in the order of `DenoiserGraph.forward`; new tokens at half of the full size."""
    long, mid, short = spec.history_sizes
    frames = 3  # unlike every other length, so that export does not take two for the same
    indices = frame_indices(spec.history_sizes, prefix=spec.keep_prefix, new=frames)
    channels, size = spec.denoiser_channels, (spec.latent_height, spec.latent_width)
    return {
        "hidden_states": torch.randn(1, channels, frames, size[0] // 2, size[1] // 2),
        "timestep": torch.tensor([500]),
        "encoder_hidden_states": torch.randn(1, spec.text_tokens, spec.text_dim),
        "indices_hidden_states": torch.from_numpy(indices.new),
        "indices_latents_history_short": torch.from_numpy(indices.short),
        "indices_latents_history_mid": torch.from_numpy(indices.mid),
        "indices_latents_history_long": torch.from_numpy(indices.long),
        "latents_history_short": torch.randn(1, channels, short + spec.keep_prefix, *size),
        "latents_history_mid": torch.randn(1, channels, mid, *size),
        "latents_history_long": torch.randn(1, channels, long, *size),
    }

"""A model's graphs made ready for a GPU: the denoiser in its fast form at a precision, everything else as it comes.

Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from model.errors import RunnerError
from model.fast.attention import fastest_kernel
from model.fast.denoiser import FastDenoiser
from model.fast.precision import Precision
from model.runners.static import StaticRunner
from model.runners.torch import Kept, TorchGraph
from model.spec import Graph, ModelSpec
from model.transformer import DenoiserGraph

PROMPT = "encoder_hidden_states"


def fast_graphs(
    spec: ModelSpec, graphs: Mapping[str, TorchGraph], *, device: str, precision: Precision
) -> dict[str, TorchGraph]:
    """The same graphs with the denoiser at `precision`. Its model is taken apart: use `graphs` no more.

    Its attention kernel is the one that is fastest here at the new tokens of the spec's chunk.

    Raises: RunnerError: the denoiser is not Helios's. CheckpointError: it is of a configuration that the fast form
    does not cover.
    """
    graph = graphs[Graph.DENOISER]
    if not isinstance(graph.module, DenoiserGraph):
        raise RunnerError(f"the fast form is of Helios's denoiser only, got {type(graph.module).__name__}")
    model = graph.module.model.to(device)
    heads, width = model.config.num_attention_heads, model.config.attention_head_dim
    _, rows, columns = spec.patch_size
    tokens = spec.chunk_latents * (spec.latent_height // rows) * (spec.latent_width // columns)
    kernel, _ = fastest_kernel(torch.device(device), precision.dtype, tokens=tokens, heads=heads, width=width)
    fast = FastDenoiser(model, precision, kernel=kernel)
    made = TorchGraph(
        module=fast,
        inputs=graph.inputs,
        outputs=graph.outputs,
        dynamic_axes=graph.dynamic_axes,
        kept=Kept(inputs=(PROMPT,), module=fast.text_keys),
    )
    return {**graphs, Graph.DENOISER: made}


def fast_runner(
    spec: ModelSpec, graphs: Mapping[str, TorchGraph], *, device: str, precision: Precision
) -> StaticRunner:
    """Static graphs over `fast_graphs`, decoding on a stream of its own. Raises: as `fast_graphs`."""
    return StaticRunner(
        fast_graphs(spec, graphs, device=device, precision=precision), device=device, background=(Graph.DECODER,)
    )

"""Graphs ready for a GPU: Helios's denoiser in its fast form at a precision, everything else as it comes.

Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import HeliosTransformer3DModel

from model.errors import RunnerError
from model.fast.attention import AttentionKernel, fastest_kernel
from model.fast.denoiser import FastDenoiser
from model.fast.projection import working_dtype
from model.networks.denoiser import DENOISER_AXES, DENOISER_OUTPUTS, check_fits, example_inputs
from model.networks.transformer import DenoiserGraph
from model.networks.view_denoiser import VIEW_DENOISER_AXES, ViewDenoiserGraph, example_view_inputs
from model.precision import Precision
from model.runners.cuda_graph import CudaGraphRunner
from model.runners.torch import Kept, TorchGraph
from model.spec import DECODERS, Graph, ModelSpec

PROMPT = "encoder_hidden_states"


def fast_denoiser_graph(
    model: HeliosTransformer3DModel,
    spec: ModelSpec,
    precision: Precision,
    *,
    kernel: AttentionKernel | None = None,
    view: bool = False,
) -> TorchGraph:
    """The `denoiser` in its fast form, on the device that `model` is on. The model is taken apart: use it no more.

    kernel: for attention; None takes the fastest there, at the new tokens of the spec's chunk. view: it has room for a
    view in its history.

    Raises: CheckpointError: the model is not the spec's, or of a configuration that the fast form does not cover.
    """
    check_fits(model, spec)
    if kernel is None:
        kernel, _ = chunk_kernels(model, spec, precision)
    fast = FastDenoiser(model, precision, kernel=kernel)
    return TorchGraph(
        module=fast,
        inputs=example_view_inputs(spec) if view else example_inputs(spec),
        outputs=DENOISER_OUTPUTS,
        dynamic_axes=VIEW_DENOISER_AXES if view else DENOISER_AXES,
        kept=Kept(inputs=(PROMPT,), module=fast.text_keys),
    )


def chunk_kernels(
    model: HeliosTransformer3DModel, spec: ModelSpec, precision: Precision
) -> tuple[AttentionKernel | None, dict[AttentionKernel, float]]:
    """The fastest attention kernel at the new tokens of the spec's chunk, and milliseconds by kernel."""
    _, rows, columns = spec.patch_size
    return fastest_kernel(
        model.proj_out.weight.device,
        working_dtype(precision),
        tokens=spec.chunk_latents * (spec.latent_height // rows) * (spec.latent_width // columns),
        heads=model.config.num_attention_heads,
        width=model.config.attention_head_dim,
    )


def fast_runner(
    spec: ModelSpec, graphs: Mapping[str, TorchGraph], *, device: str, precision: Precision
) -> CudaGraphRunner:
    """Static graphs with the denoiser at `precision`, decoding on a stream of its own.

    A denoiser that is already fast is taken as it is; another one is taken apart: use `graphs` no more.

    Raises: RunnerError: the denoiser is not Helios's. CheckpointError: as `fast_denoiser_graph`.
    """
    denoiser = graphs[Graph.DENOISER]
    if isinstance(denoiser.module, DenoiserGraph):
        model = denoiser.module.model.to(torch.device(device))
        view = isinstance(denoiser.module, ViewDenoiserGraph)
        denoiser = fast_denoiser_graph(model, spec, precision, view=view)
    if not isinstance(denoiser.module, FastDenoiser):
        raise RunnerError(f"the fast form is of Helios's denoiser only, got {type(denoiser.module).__name__}")
    return CudaGraphRunner({**graphs, Graph.DENOISER: denoiser}, device=device, background=DECODERS)

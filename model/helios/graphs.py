"""A Helios folder as the graphs that the chunk loop drives, under the names of `model.spec.Graph`.

`load_graphs` makes what a torch runner runs; `export_graphs` the same functions with the autoencoder's memory as inputs
and outputs, for runtimes that keep it in buffers of their own. Needs the torch extra.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import HeliosTransformer3DModel
from torch import nn

from model.errors import CheckpointError
from model.helios import components
from model.helios.components import Dtype, Report
from model.helios.layout import TEXT_ENCODER, TRANSFORMER, VAE, GenerationConfig, read_folder, spec_of
from model.helios.prompt_encoder import PromptEncoder
from model.helios.streaming import DecoderMemory, FramesStep, StreamingDecoder, TinyDecoderStep
from model.helios.wan import WanDecoderStep, WanEncoder, WanEncoderStep, encoder_memory_shapes, memory_shapes
from model.networks.autoencoder import TAEW2_1, TinyAutoencoder
from model.networks.checkpoints import load_weights, widened
from model.networks.conditioner import Conditioner
from model.networks.denoiser import denoiser_graph
from model.networks.lora import LoraAdapter, read_adapter
from model.networks.view_denoiser import view_denoiser_graph
from model.runners.torch import TorchGraph
from model.scene.ray_features import FLOW_CHANNELS, RAY_CHANNELS, RAYS_PER_LATENT_PX
from model.spec import Graph, ModelSpec

TINY_FILES = ("taew2_1.safetensors", "taew2_1.pth")
MakeDenoiser = Callable[[HeliosTransformer3DModel, ModelSpec], TorchGraph]
TINY_SOURCE = "https://github.com/madebyollin/taehv/raw/main/taew2_1.pth"


class DecoderKind(enum.StrEnum):
    """What makes frames of latents: Wan's own autoencoder, or the tiny one, about fifty times cheaper."""

    WAN = "wan"
    TINY = "tiny"


def load_graphs(
    path: Path,
    session: GenerationConfig | None = None,
    *,
    device: str = "cpu",
    dtype: Dtype = Dtype.BF16,
    vae_dtype: Dtype = Dtype.BF16,
    decoder: DecoderKind = DecoderKind.WAN,
    denoiser: MakeDenoiser = denoiser_graph,
    adapter: Path | None = None,
    report: Report = lambda *_: None,
) -> tuple[ModelSpec, dict[str, TorchGraph]]:
    """A folder's graphs with their weights on `device`.

    dtype: of transformer and text encoder. adapter: merged into the transformer; one with camera channels adds the
    graph `conditioner`. Every part is checked before the first is loaded.

    Raises: CheckpointError, SpecError: the folder is not one of Helios, or a weight does not fit.
    """
    folder = read_folder(path)
    spec = spec_of(folder, session)
    tiny = tiny_decoder(path) if decoder is DecoderKind.TINY else None
    found = components.rehearse(folder, dtypes={VAE: vae_dtype, TEXT_ENCODER: dtype, TRANSFORMER: dtype})
    change = None if adapter is None else read_adapter(adapter)
    conditioner = None
    if change is not None:
        change.check(found[TRANSFORMER].module)  # type: ignore[arg-type]  # the transformer's part
        conditioner = conditioner_of(change)
    loaded = {name: components.load(part, device=device, report=report) for name, part in found.items()}
    if tiny is not None:
        tiny.to(device, vae_dtype.torch)
    if change is not None:
        if conditioner is not None:
            spec = replace(spec, conditioning_channels=spec.conditioning_channels + change.camera_channels)
            widened(loaded[TRANSFORMER], change.camera_channels)
        change.merge(loaded[TRANSFORMER])
    graphs = graphs_of(spec, loaded, tiny, denoiser=denoiser)
    if conditioner is not None:
        graphs[Graph.CONDITIONER] = conditioner_graph(spec, conditioner)
    return spec, graphs


def graphs_of(
    spec: ModelSpec,
    loaded: Mapping[str, Any],
    tiny: TinyAutoencoder | None = None,
    *,
    denoiser: MakeDenoiser = denoiser_graph,
) -> dict[str, TorchGraph]:
    """The graphs of networks by part. tiny: decodes in place of Wan's autoencoder. denoiser: in which form."""
    encoder = TorchGraph(
        module=WanEncoder(loaded[VAE]),
        inputs={"frames": torch.zeros(5, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8)},
        outputs=("mean", "std"),
        dynamic_axes={"frames": {0: "frames"}},
    )
    decoders = streaming_decoders(spec, loaded[VAE], tiny)
    return _named({**_common(spec, loaded, denoiser), Graph.ENCODER: encoder, **decoders})


def streaming_decoders(spec: ModelSpec, vae: Any, tiny: TinyAutoencoder | None) -> dict[Graph, TorchGraph]:
    """The graphs that decode a chunk latent frame by latent frame, its memory between them their own. tiny: decodes in
    place of `vae`."""
    steps = _decoder_steps(spec, vae, tiny)
    memory = DecoderMemory(*_memory_of(spec, vae, tiny))
    return {
        name: TorchGraph(
            module=StreamingDecoder(step, memory, first=name is Graph.DECODER_FIRST),
            inputs={"latents": _one_latent(spec)},
            outputs=("frames",),
            dynamic_axes={},
            memory=memory,
        )
        for name, step in steps.items()
    }


def export_graphs(
    spec: ModelSpec, loaded: Mapping[str, Any], tiny: TinyAutoencoder | None = None, *, view: bool = False
) -> dict[str, TorchGraph]:
    """As `graphs_of`, with the decoder's memory made visible: `decoder_first` gives `next_memory_*`, `decoder` takes
    `memory_*` and gives `next_memory_*`.

    The encoder comes in two likewise: `encoder_first` for a clip's first frame, `encoder` for each four after it.
    diffusers encodes in a Python loop over time, which no one graph of any length can hold. view: the denoiser has room
    for a view in its history.
    """
    vae = loaded[VAE]
    shapes, dtype = _memory_of(spec, vae, tiny)
    memory = {f"memory_{index}": torch.zeros(shape, dtype=dtype) for index, shape in enumerate(shapes)}
    decoders = {
        name: TorchGraph(
            module=FramesStep(step),
            inputs={"latents": _one_latent(spec), **({} if name is Graph.DECODER_FIRST else memory)},
            outputs=("frames", *(f"next_{key}" for key in memory)),
            dynamic_axes={},
        )
        for name, step in _decoder_steps(spec, vae, tiny).items()
    }
    denoiser = view_denoiser_graph if view else denoiser_graph
    return _named({**_common(spec, loaded, denoiser), **decoders, **_encoder_steps(spec, vae)})


def _encoder_steps(spec: ModelSpec, vae: Any) -> dict[Graph, TorchGraph]:
    shapes = encoder_memory_shapes(vae, spec.frame_height, spec.frame_width)
    memory = {f"memory_{index}": torch.zeros(shape, dtype=vae.dtype) for index, shape in enumerate(shapes)}
    frames = torch.zeros(spec.temporal_stride, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8)
    return {
        name: TorchGraph(
            module=WanEncoderStep(vae, shapes, first=name is Graph.ENCODER_FIRST),
            inputs=inputs,
            outputs=("mean", "std", *(f"next_{key}" for key in memory)),
            dynamic_axes={},
        )
        for name, inputs in {
            Graph.ENCODER_FIRST: {"frames": frames[:1]},
            Graph.ENCODER: {"frames": frames, **memory},
        }.items()
    }


def _common(spec: ModelSpec, loaded: Mapping[str, Any], denoiser: MakeDenoiser) -> dict[Graph, TorchGraph]:
    tokens = torch.arange(spec.text_tokens)[None] % 3
    return {
        Graph.TEXT_ENCODER: TorchGraph(
            module=PromptEncoder(loaded[TEXT_ENCODER]),
            inputs={"tokens": tokens, "mask": (tokens > 0).long()},
            outputs=("embeddings",),
            dynamic_axes={},
        ),
        Graph.DENOISER: denoiser(loaded[TRANSFORMER], spec),
    }


def _decoder_steps(spec: ModelSpec, vae: Any, tiny: TinyAutoencoder | None) -> dict[Graph, nn.Module]:
    shapes, _ = _memory_of(spec, vae, tiny)

    def step(*, first: bool) -> nn.Module:
        if tiny is None:
            return WanDecoderStep(vae, shapes, first=first)
        return TinyDecoderStep(tiny, spec.latents_mean, spec.latents_inv_std, first=first)

    return {Graph.DECODER_FIRST: step(first=True), Graph.DECODER: step(first=False)}


def _memory_of(spec: ModelSpec, vae: Any, tiny: TinyAutoencoder | None) -> tuple[list[tuple[int, ...]], torch.dtype]:
    """Shapes and dtype of what the decoder remembers between two latent frames."""
    size = (spec.latent_height, spec.latent_width)
    if tiny is None:
        return memory_shapes(vae, *size), vae.dtype
    return tiny.decoder_memory_shapes(*size), next(tiny.parameters()).dtype


def decoder_memory_nbytes(spec: ModelSpec, vae: Any, decoder: DecoderKind, dtype: torch.dtype) -> int:
    """Bytes that a decoder remembers between two latent frames; the autoencoder may lie on the meta device."""
    tiny = empty_tiny_decoder() if decoder is DecoderKind.TINY else None
    shapes, _ = _memory_of(spec, vae, tiny)
    return sum(torch.Size(shape).numel() for shape in shapes) * dtype.itemsize


def conditioner_of(adapter: LoraAdapter) -> Conditioner | None:
    """The network that makes an adapter's camera channels, where its tensors lie; None where it has none.

    Raises: CheckpointError: they are not those of such a network.
    """
    if not adapter.conditioner:
        return None
    with next(iter(adapter.conditioner.values())).device:
        conditioner = Conditioner()
    try:
        conditioner.load_state_dict(dict(adapter.conditioner))
    except RuntimeError as exc:
        raise CheckpointError(f"{adapter.path}: its conditioner does not fit: {exc}") from exc
    return conditioner.eval().requires_grad_(requires_grad=False)


def conditioner_graph(spec: ModelSpec, conditioner: nn.Module) -> TorchGraph:
    """The `conditioner` graph: from what rays met (`model.scene.ray_features`) to camera channels."""
    height, width, frames = spec.latent_height, spec.latent_width, 3
    grid = (height * RAYS_PER_LATENT_PX, width * RAYS_PER_LATENT_PX)
    return TorchGraph(
        module=conditioner,
        inputs={
            "rays": torch.zeros(1, RAY_CHANNELS, frames, *grid),
            "flow": torch.zeros(1, FLOW_CHANNELS, frames, height, width),
        },
        outputs=("conditioning",),
        dynamic_axes={"rays": {2: "frames"}, "flow": {2: "frames"}},
    )


def _one_latent(spec: ModelSpec) -> torch.Tensor:
    return torch.zeros(1, spec.latent_channels, 1, spec.latent_height, spec.latent_width)


def empty_tiny_decoder() -> TinyAutoencoder:
    """The tiny autoencoder without its weights, on the meta device."""
    with torch.device("meta"):
        return TinyAutoencoder(TAEW2_1)


def tiny_decoder_file(path: Path) -> Path | None:
    """Where a Helios folder has the tiny autoencoder's weights; None where it has not."""
    return next((path / name for name in TINY_FILES if (path / name).is_file()), None)


def tiny_decoder(path: Path) -> TinyAutoencoder:
    """The tiny autoencoder of a Helios folder. Raises: CheckpointError: its weights are not beside the model's."""
    file = tiny_decoder_file(path)
    if file is None:
        raise CheckpointError(
            f"the tiny decoder has no weights: expected {' or '.join(TINY_FILES)} in {path}; fetch {TINY_SOURCE}"
        )
    autoencoder = TinyAutoencoder(TAEW2_1)
    load_weights(autoencoder, file)
    return autoencoder.eval().requires_grad_(requires_grad=False)


def _named(graphs: Mapping[Graph, TorchGraph]) -> dict[str, TorchGraph]:
    return {str(name): graph for name, graph in graphs.items()}

"""Helios with random weights made on the device: transformer, prompt and decoders, as graphs and as diffusers' classes.

How long a product takes does not depend on the numbers in it (but for zeros, which are faster: nothing here is zero).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan, HeliosTransformer3DModel
from torch import Tensor, nn

from benchmarks.gpu_sizes import Size
from model.helios.graphs import streaming_decoders
from model.networks.autoencoder import AutoencoderConfig, TinyAutoencoder
from model.runners.torch import TorchGraph
from model.spec import Graph, ModelSpec

_TRIMMED = 3  # frames that a causal decoder makes out of a chunk's first latent frame beyond its one


def random_transformer(size: Size, device: torch.device, dtype: torch.dtype, *, layers: int | None = None) -> Any:
    """diffusers' class as its checkpoint loads: everything in `dtype` but what it keeps in float32.

    layers: fewer blocks than the size has.
    """
    config = dict(size.transformer)
    if layers is not None:
        config["num_layers"] = layers
    model = _made(lambda: HeliosTransformer3DModel(**config), device, dtype)
    for name, module in model.named_modules():
        if any(kept in name.split(".") for kept in model._keep_in_fp32_modules):
            module.float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(kept in name.split(".") for kept in model._keep_in_fp32_modules):
                parameter.data = parameter.data.float()
    return model


def random_prompt(size: Size, device: torch.device) -> Tensor:
    return torch.randn(1, size.text_tokens, int(size.transformer["text_dim"]), device=device)


def random_wan(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    return _made(lambda: AutoencoderKLWan(**size.vae), device, dtype)


class PromptGraph(nn.Module):
    """Stands in for the text encoder, which works once for a prompt and not for a chunk."""

    def __init__(self, prompt: Tensor) -> None:
        super().__init__()
        self.prompt: Tensor
        self.register_buffer("prompt", prompt)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.prompt + 0 * tokens.sum()


class WanGraph(nn.Module):
    """A chunk's latents (1, 16, T, h, w) -> (4 (T - 1) + 1, H, W, 3) uint8 by Wan's decoder."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        frames = self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0][0]
        return pixels(frames.permute(1, 2, 3, 0) / 2 + 0.5)


class TinyGraph(nn.Module):
    """The same by the tiny decoder, which makes four frames of every latent one; the first three are dropped."""

    def __init__(self, autoencoder: TinyAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        dtype = next(self.autoencoder.parameters()).dtype
        frames, _ = self.autoencoder.decode(latents.to(dtype).transpose(1, 2))
        return pixels(frames[0, _TRIMMED:].permute(0, 2, 3, 1))


class NoDecoder(nn.Module):
    """Three latent channels, magnified: what a chunk costs without decoding, its pixels still sent to the host."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, latents: Tensor) -> Tensor:
        spec = self.spec
        frames = latents[0, :3].repeat_interleave(spec.temporal_stride, 1)[:, _TRIMMED:]
        frames = frames.repeat_interleave(spec.spatial_stride, 2).repeat_interleave(spec.spatial_stride, 3)
        return pixels(frames.permute(1, 2, 3, 0))


def decoder_graph(kind: str, size: Size, spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> TorchGraph:
    """Decodes a whole chunk at once. kind: wan, tiny or none."""
    module: nn.Module
    if kind == "wan":
        module = WanGraph(random_wan(size, device, dtype))
    elif kind == "tiny":
        config = AutoencoderConfig(decoder_widths=size.tiny_widths)
        module = TinyGraph(_made(lambda: TinyAutoencoder(config), device, dtype))
    else:
        module = NoDecoder(spec)
    latents = torch.randn(1, 16, spec.chunk_latents, spec.latent_height, spec.latent_width)
    return TorchGraph(
        module=module, inputs={"latents": latents}, outputs=("frames",), dynamic_axes={"latents": {2: "frames"}}
    )


def served_decoders(whole: TorchGraph, spec: ModelSpec) -> dict[str, TorchGraph]:
    """What a service decodes with, latent frame by latent frame, on the weights of `decoder_graph`'s `whole`."""
    module = whole.module
    if isinstance(module, WanGraph):
        decoders = streaming_decoders(spec, module.vae, None)
    elif isinstance(module, TinyGraph):
        decoders = streaming_decoders(spec, None, module.autoencoder)
    else:
        decoders = {Graph.DECODER: whole}
    return {str(name): graph for name, graph in decoders.items()}


def prompt_graph(prompt: Tensor) -> TorchGraph:
    return TorchGraph(
        module=PromptGraph(prompt),
        inputs={"tokens": torch.zeros(1, 1, dtype=torch.int64)},
        outputs=("embeddings",),
        dynamic_axes={},
    )


def pixels(frames: Tensor) -> Tensor:
    """[0, 1] -> uint8, rounded."""
    return (frames.float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).contiguous()


def _made(make: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A module whose weights are drawn on the device, in its dtype, and nowhere else before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            module = make()
    finally:
        torch.set_default_dtype(before)
    return module.eval().requires_grad_(requires_grad=False)

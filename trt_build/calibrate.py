"""The ranges of a denoiser's activations, seen while the model makes chunks. Needs the torch extra.

The one chunk loop runs with the float32 denoiser, so that every stage, every step and a filled history are seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from model.networks.fp8 import Observer
from model.networks.transformer import DenoiserGraph, Form
from model.pipeline.state import ChunkRequest
from model.pipeline.text_conditioning import Tokenize
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.torch import TorchGraph, TorchRunner
from model.spec import Graph, ModelSpec

_SEED = 11


def calibrated_scales(
    spec: ModelSpec,
    graphs: Mapping[str, TorchGraph],
    requests: Sequence[ChunkRequest],
    *,
    tokenize: Tokenize | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, float]:
    """Scales by site, as `model.networks.fp8.Scales` takes them, from making the chunks of `requests` one after
    another.

    device: where the model runs meanwhile; it is on the CPU afterwards. progress: a bar on stderr, if that is a
    terminal.
    """
    observer = Observer()
    denoiser = graphs[Graph.DENOISER]
    assert isinstance(denoiser.module, DenoiserGraph)
    watched = replace(denoiser, module=denoiser.module.in_form(Form.PLAIN, sites=observer))
    used = {str(name): graphs[name] for name in (Graph.TEXT_ENCODER, Graph.CONDITIONER) if name in graphs}
    runner = TorchRunner({**used, str(Graph.DENOISER): watched, str(Graph.DECODER): blind_decoder(spec)}, device=device)
    observer.largest.clear()  # the runner tries every graph on its example, which is noise
    rollout = VideoPipeline(spec, runner, clock=time.perf_counter, tokenize=tokenize)
    state = rollout.open(_SEED, requests[0].texts[0])
    for request in tqdm(requests, desc="calibrating", unit="chunk", disable=None if progress else True):
        _, state = rollout.chunk(state, replace(request, guide=()))  # a blind decoder is not guided
    for graph in (*used.values(), watched):
        graph.module.cpu()
    return observer.scales()


class _BlindDecoder(nn.Module):
    """Black frames of the right number and size, which cost nothing."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, latents: Tensor) -> Tensor:
        spec = self.spec
        black = torch.zeros(1, dtype=torch.uint8, device=latents.device)
        return black.expand(spec.frames_in(latents.shape[2]), spec.frame_height, spec.frame_width, 3)


def blind_decoder(spec: ModelSpec) -> TorchGraph:
    """The `decoder` graph for who looks at no picture: what is decoded does not come back to the denoiser."""
    latents = torch.zeros(1, spec.latent_channels, 1, spec.latent_height, spec.latent_width)
    return TorchGraph(
        module=_BlindDecoder(spec), inputs={"latents": latents}, outputs=("frames",),
        dynamic_axes={"latents": {2: "frames"}},
    )  # fmt: skip
